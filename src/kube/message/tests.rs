use proptest::prelude::*;

use super::*;
use crate::kube::proto::Value;
use crate::kube::proto::{write_bytes, write_number};

const NAME: Field = Field::new("name", 1);
const PORTS: Field = Field::many("ports", 2);
const LABELS: Field = Field::new("labels", 3);
const NUMBER: Field = Field::new("number", 4);
const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// A message with a name, ports that are messages with names, and labels; `unknown` stands between them.
fn message(encoding: Encoding, name: &str, ports: &[&str], labels: &[(&str, &str)]) -> Vec<u8> {
    match encoding {
        Encoding::Json => {
            let ports: Vec<_> = ports.iter().map(|name| serde_json::json!({"x": 1, "name": name})).collect();
            let labels: serde_json::Map<_, _> = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            let text = |value: &dyn erased::ToJson| value.json();
            format!(r#"{{ "name":{}, "unknown":[1,{{}}],"ports":{} ,"labels":{}}}"#, text(&name), text(&ports), text(&labels))
                .into_bytes()
        }
        Encoding::Protobuf => {
            let mut out = Vec::new();
            write_bytes(&mut out, 1, name.as_bytes());
            write_number(&mut out, 99, 300);
            for port in ports {
                let mut inner = Vec::new();
                write_number(&mut inner, 7, 1);
                write_bytes(&mut inner, 1, port.as_bytes());
                write_bytes(&mut out, 2, &inner);
            }
            for (key, value) in labels {
                let mut pair = Vec::new();
                write_bytes(&mut pair, 1, key.as_bytes());
                write_bytes(&mut pair, 2, value.as_bytes());
                write_bytes(&mut out, 3, &pair);
            }
            out
        }
    }
}

mod erased {
    pub trait ToJson {
        fn json(&self) -> String;
    }
    impl<T: serde::Serialize> ToJson for T {
        fn json(&self) -> String {
            serde_json::to_string(self).unwrap()
        }
    }
}

fn names(encoding: Encoding, message: &[u8]) -> Vec<String> {
    let parts = parts(encoding, message, PORTS).unwrap();
    parts.into_iter().map(|range| text(encoding, &message[range], NAME).unwrap().into_owned()).collect()
}

/// The number of a single integer field; `None` if it is not set.
fn number(encoding: Encoding, message: &[u8], field: Field) -> Result<Option<u64>, MessageError> {
    let mut found = None;
    match encoding {
        Encoding::Json => {
            if let Some(value) = part(encoding, message, field)? {
                let text = std::str::from_utf8(value).map_err(|_| MessageError::Shape(field.json))?;
                found = Some(text.trim().parse().map_err(|_| MessageError::Shape(field.json))?);
            }
        }
        Encoding::Protobuf => {
            for part in proto::fields(message) {
                let part = part?;
                if let (true, Value::Varint(value)) = (part.number == field.proto, part.value) {
                    found = Some(value);
                }
            }
        }
    }
    Ok(found)
}

proptest! {
    /// What is read is what was written, and a field that is edited is the only thing that changes.
    #[test]
    fn edits_touch_only_their_field(
        name in ".{0,6}",
        ports in proptest::collection::vec("[a-z\"<é]{0,4}", 0..5),
        fates in proptest::collection::vec(0_u8..3, 5),
    ) {
        for encoding in BOTH {
            let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
            let before = message(encoding, &name, &ports, &[("a", "1"), ("b", "2")]);
            prop_assert_eq!(text(encoding, &before, NAME).unwrap(), name.as_str());
            prop_assert_eq!(names(encoding, &before), ports.clone());
            let mut fate = fates.iter();
            let after = edit(encoding, &before, PORTS, |port| {
                Ok::<_, MessageError>(match fate.next() {
                    Some(0) | None => Edit::Keep,
                    Some(1) => Edit::Replace(set(encoding, port, NAME, Set::Text("new"))?),
                    Some(_) => Edit::Remove,
                })
            }).unwrap();
            let expected: Vec<&str> = ports.iter().zip(&fates).filter(|(_, fate)| **fate != 2)
                .map(|(port, fate)| if *fate == 1 { "new" } else { port }).collect();
            let untouched = ports.iter().zip(&fates).all(|(_, fate)| *fate == 0);
            prop_assert_eq!(after.is_none(), untouched);
            prop_assert_eq!(&before, &message(encoding, &name, &ports, &[("a", "1"), ("b", "2")]));
            let after = after.unwrap_or(before);
            prop_assert_eq!(names(encoding, &after), expected);
            prop_assert_eq!(entry(encoding, &after, LABELS, "b").unwrap().unwrap(), "2");
            if encoding == Encoding::Json {
                let value: serde_json::Value = serde_json::from_slice(&after).unwrap();
                prop_assert_eq!(&value["unknown"], &serde_json::json!([1, {}]));
            } else {
                prop_assert!(proto::fields(&after).any(|field| field.unwrap().number == 99));
            }
        }
    }
}

#[test]
fn what_is_set_is_read_again_wherever_it_was() {
    for encoding in BOTH {
        for before in
            [message(encoding, "old", &["p"], &[]), if encoding == Encoding::Json { b"{}".to_vec() } else { Vec::new() }]
        {
            let after = set(encoding, &before, NAME, Set::Text("n\"ew")).unwrap();
            assert_eq!(text(encoding, &after, NAME).unwrap(), "n\"ew");
            let after = set(encoding, &after, NUMBER, Set::Number(443)).unwrap();
            assert_eq!(number(encoding, &after, NUMBER).unwrap(), Some(443));
            assert_eq!(names(encoding, &after), names(encoding, &before));
            let after = remove(encoding, &after, NAME).unwrap();
            assert_eq!(
                (text(encoding, &after, NAME).unwrap(), number(encoding, &after, NUMBER).unwrap()),
                ("".into(), Some(443))
            );
        }
    }
}

#[test]
fn what_follows_an_object_is_not_taken_for_its_end() {
    for (before, after) in [
        ("{} }", r#"{"name":"n"} }"#),
        (" {\"a\":\"}\"}\n", " {\"a\":\"}\",\"name\":\"n\"}\n"),
        ("{\"a\":{} }{\"b\":{}}", "{\"a\":{} ,\"name\":\"n\"}{\"b\":{}}"),
        ("{\"name\":1}}", "{\"name\":\"n\"}}"),
    ] {
        let made = set(Encoding::Json, before.as_bytes(), NAME, Set::Text("n")).unwrap();
        assert_eq!(String::from_utf8(made).unwrap(), after);
    }
    for none in ["", " ", "}", "[]", "null", "{\"a\":1"] {
        assert!(set(Encoding::Json, none.as_bytes(), NAME, Set::Text("n")).is_err(), "{none}");
    }
}

#[test]
fn an_entry_is_replaced_and_its_neighbours_stay() {
    for encoding in BOTH {
        let before = message(encoding, "n", &[], &[("a", "1"), ("b", "2")]);
        assert_eq!(entry(encoding, &before, LABELS, "c").unwrap(), None);
        let change = |value: &str| (value == "1").then(|| "x\ny".to_owned());
        assert_eq!(change_entry(encoding, &before, LABELS, "b", change).unwrap(), None);
        assert_eq!(change_entry(encoding, &before, LABELS, "c", change).unwrap(), None);
        let after = change_entry(encoding, &before, LABELS, "a", change).unwrap().unwrap();
        let read = |key| entry(encoding, &after, LABELS, key).unwrap().unwrap().into_owned();
        assert_eq!((read("a"), read("b")), ("x\ny".into(), "2".into()));
    }
}

/// Wherever the metadata stands, and whatever is around it.
#[test]
fn what_is_changed_behind_the_metadata_is_changed_as_in_the_whole_object() {
    type Change = fn(&[u8]) -> Result<Edit, MessageError>;
    let changes: [Change; 4] = [
        |object| Ok(Edit::Replace(set(Encoding::Json, object, NAME, Set::Text("new"))?)),
        |object| Ok(Edit::Replace(remove(Encoding::Json, object, NAME)?)),
        |object| Ok(text(Encoding::Json, object, NAME)?).map(|name| if name == "old" { Edit::Remove } else { Edit::Keep }),
        |object| {
            Ok(edit(Encoding::Json, object, PORTS, |_| Ok::<_, MessageError>(Edit::Remove))?.map_or(Edit::Keep, Edit::Replace))
        },
    ];
    let (metadata, name, ports) = (r#""metadata":{"name":"x","m":{"name":[1]}}"#, r#""name":"old""#, r#""ports":[{}]"#);
    for object in [
        format!("{{{metadata},{name},{ports}}}"),
        format!("{{\"kind\":\"K\",\"apiVersion\":\"v1\",{metadata} ,\n{name}}}\n"),
        format!("{{{metadata},{name}}} "),
        format!("{{{name},{metadata},{ports}}}"),
        format!("{{{ports},{name},{metadata}}}"),
        format!("{{{metadata},{ports},\"metadata\":1}}"),
        format!("{{{metadata}}}"),
        format!("{{{name}}}"),
        "{}".to_owned(),
    ] {
        for (number, change) in changes.iter().enumerate() {
            let written = |edit| match edit {
                Edit::Replace(text) => serde_json::from_slice::<serde_json::Value>(&text).unwrap().to_string(),
                edit => format!("{edit:?}"),
            };
            let made = change_behind_metadata(Encoding::Json, object.as_bytes(), change).unwrap();
            assert_eq!(written(made), written(change(object.as_bytes()).unwrap()), "{number}: {object}");
        }
    }
    let broken = change_behind_metadata(Encoding::Json, br#"{"metadata":{},"name":]}"#, changes[0]);
    assert!(broken.is_err());
}

#[test]
fn damage_is_an_error_and_null_is_nothing() {
    assert!(parts(Encoding::Json, b"{\"ports\":[}", PORTS).is_err());
    assert!(parts(Encoding::Protobuf, &[0x12, 9, 1], PORTS).is_err());
    assert!(text(Encoding::Json, b"{\"name\":1}", NAME).is_err());
    assert!(text(Encoding::Protobuf, &[0x0a, 1, 0xff], NAME).is_err());
    assert!(parts(Encoding::Json, b"{\"ports\":null,\"x\":1}", PORTS).unwrap().is_empty());
    let keep = edit(Encoding::Json, b"{\"ports\":null}", PORTS, |_| Ok::<_, MessageError>(Edit::Remove));
    assert_eq!(keep.unwrap(), None);
}
