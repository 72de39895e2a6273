use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn laid_out(layout: Layout, text: &str, piece: usize) -> String {
    let (mut relayout, mut out) = (Relayout::new(layout).unwrap(), Vec::new());
    text.as_bytes().chunks(piece).for_each(|piece| relayout.feed(piece, &mut out));
    String::from_utf8(out).unwrap()
}

fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[a-z]{0,6}",
        "[ -~\n\té\u{7f}\u{2028}🦀]{0,8}",
        "(yes|no|on|null|~|1e3|0x10|12:30|2020-01-01|-|'|#a|a: b|- a|\\[|&x|!t)"
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(text.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    /// However it comes in pieces: the same values.
    #[test]
    fn the_values_stay(value in values(), piece in 1_usize..9) {
        let text = value.to_string() + "\n";
        let indented = laid_out(Layout::Indented, &text, piece);
        prop_assert_eq!(&indented, &serde_json::to_string_pretty(&value).unwrap());
        let yaml = laid_out(Layout::Yaml, &text, piece);
        let read: Value = serde_saphyr::from_str(&yaml).map_err(|error| TestCaseError::fail(format!("{error}:\n{yaml}")))?;
        prop_assert_eq!(read, value, "{}", yaml);
    }

    #[test]
    fn garbage_does_no_harm(text in "[{}\\[\\],:\"\\\\a1 \n]{0,40}") {
        let _ = laid_out(Layout::Indented, &text, 3);
        let _ = laid_out(Layout::Yaml, &text, 3);
    }
}

#[test]
fn yaml_as_people_know_it() {
    let text = concat!(
        r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":["#,
        r#"{"metadata":{"name":"a","labels":{},"finalizers":["x/y"]},"data":{"on":"yes","n":"1","t":"a\nb"}},"#,
        r#"{"metadata":{"name":"b"},"lists":[[1,[]],[{"c":null}]]}]}"#,
    );
    let expected = r#"kind: ConfigMapList
apiVersion: v1
metadata:
  resourceVersion: "7"
items:
- metadata:
    name: a
    labels: {}
    finalizers:
    - x/y
  data:
    "on": "yes"
    "n": "1"
    t: "a\nb"
- metadata:
    name: b
  lists:
  - - 1
    - []
  - - c: null
"#;
    assert_eq!(laid_out(Layout::Yaml, text, 5), expected);
}

#[test]
fn who_is_answered_how() {
    for (accept, pretty, agent, wanted) in [
        ("", None, "kubelet/v1.34.4", Layout::Compact),
        ("", None, "curl/7.88.1", Layout::Indented),
        ("*/*", None, "Wget/1.21", Layout::Indented),
        ("text/html,application/xhtml+xml,*/*;q=0.8", None, "Mozilla/5.0 (X11)", Layout::Indented),
        ("", Some(false), "curl/7.88.1", Layout::Compact),
        ("", Some(true), "kubelet", Layout::Indented),
        ("application/json;pretty=1", None, "x", Layout::Indented),
        ("application/yaml", None, "curl/7.88.1", Layout::Yaml),
        ("application/yaml, application/json", Some(true), "x", Layout::Yaml),
        ("application/json, application/yaml", None, "x", Layout::Compact),
        ("application/cbor, application/yaml", None, "x", Layout::Yaml),
        ("application/yaml;q=0.1,application/json", None, "x", Layout::Compact),
        ("application/json;q=0.1,application/yaml", None, "x", Layout::Yaml),
    ] {
        assert_eq!(Layout::wanted(accept, pretty, agent), wanted, "{accept} {pretty:?} {agent}");
    }
}
