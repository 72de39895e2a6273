use super::*;
use proptest::prelude::*;

fn end(text: &[u8]) -> Result<Option<usize>, JsonError> {
    Scanner::default().scan(text)
}

#[test]
fn finds_the_end_of_a_value() {
    assert_eq!(end(br#"{"a":[1,{"b":"}\"]"}]},7"#), Ok(Some(22)));
    assert_eq!(end(br#""a\\","#), Ok(Some(5)));
    assert_eq!(end(b"-1.5e3 "), Ok(Some(6)));
    assert_eq!(end(b"null"), Ok(None));
    assert_eq!(end(b"[["), Ok(None));
}

#[test]
fn refuses_what_is_not_json() {
    let fault = |text: &[u8]| end(text).err().map(|error| (error.fault, error.at));
    assert_eq!(fault(b"[}"), Some((JsonFault::Mismatched, 1)));
    assert_eq!(fault(b"{\"a\":<}"), Some((JsonFault::Unexpected(b'<'), 5)));
    assert_eq!(fault(b"]"), Some((JsonFault::Unexpected(b']'), 0)));
    assert_eq!(fault(b"12\"3\""), Some((JsonFault::Unexpected(b'"'), 2)));
    assert_eq!(fault(&vec![b'['; MAX_DEPTH + 1]), Some((JsonFault::TooDeep, MAX_DEPTH)));
    let mut deep = [b'['].repeat(MAX_DEPTH);
    deep.extend([b']'].repeat(MAX_DEPTH));
    assert_eq!(end(&deep), Ok(Some(2 * MAX_DEPTH)));
}

#[test]
fn finds_top_level_fields() {
    let object = br#" { "a" : {"b":1} , "\u0062":"x\ty", "c":12 }"#;
    let at = |name| top_level_field(object, name).map(|range| &object[range]);
    assert_eq!(at("a"), Some(&br#"{"b":1}"#[..]));
    assert_eq!(at("b"), Some(&br#""x\ty""#[..]));
    assert_eq!(at("c"), Some(&b"12"[..]));
    assert_eq!(at("d"), None);
    assert_eq!(string_value(at("b").unwrap_or_default()).as_deref(), Some("x\ty"));
    assert_eq!(top_level_field(br#"{"\\":1,"\\\\":22}"#, r"\\"), Some(15..17), "compared with escapes");
    assert_eq!(string_value(b"12"), None);
    assert_eq!(string_value(b"\""), None);
}

#[test]
fn walks_stop_at_a_fault() {
    let faults = |text: &'static [u8]| members(text).filter_map(Result::err).count();
    assert_eq!(faults(b"{}"), 0);
    for bad in [&b"{\"a\" 1}"[..], b"{\"a\":1,}", b"{,}", b"[1]", b"{\"a\":1", b"", b"{\"a\":1;\"b\":2}", b"{a:1}"] {
        assert_eq!(faults(bad), 1, "{}", String::from_utf8_lossy(bad));
    }
    assert_eq!(elements(b"[1, \"a\",{}]").map_while(Result::ok).collect::<Vec<_>>(), [1..2, 4..7, 8..10]);
    let mut walk = members(b"{\"a\":1} x");
    walk.by_ref().for_each(drop);
    assert_eq!(walk.rest(), b" x");
}

#[test]
fn writes_strings_as_go_does() {
    let mut out = Vec::new();
    write_string(&mut out, "a\"\\\u{8}\u{c}\n\r\t\u{1}<>&\u{2028}é\u{7f}");
    assert_eq!(out, "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u003c\\u003e\\u0026\\u2028é\u{7f}\"".as_bytes());
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        "[\"\\\\{}]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_end_does_not_depend_on_chunks(value in value(), cuts in proptest::collection::vec(1_usize..9, 0..64)) {
        let text = value.to_string();
        let whole = format!("{text},x");
        let mut scanner = Scanner::default();
        let (mut at, mut cuts) = (0, cuts.into_iter());
        let found = loop {
            prop_assert!(at < whole.len());
            let next = (at + cuts.next().unwrap_or(5)).min(whole.len());
            match scanner.scan(&whole.as_bytes()[at..next])? {
                Some(length) => break at + length,
                None => at = next,
            }
        };
        prop_assert_eq!(found, text.len());
    }

    /// What is long is looked at in blocks, single bytes are not.
    #[test]
    fn neither_do_the_end_and_the_faults_depend_on_blocks(
        tokens in proptest::collection::vec(prop_oneof![
            20 => r#""(\\[\\"n]|[a,:{\]]){0,40}""#,
            10 => r#""[a,:{\]]{0,300}(\\["n][a,:{\]]{60,70})?""#,
            10 => "[,:1 ]",
            4 => r"[\[{]",
            2 => r"[\]}]",
            1 => any::<String>(),
        ], 0..40),
        depth in 1_usize..9,
        behind in proptest::sample::select(vec![&b"\"x\"]]]]"[..], b"]]]]", b"\\\"]]]]"]),
    ) {
        let text = [&b"[".repeat(depth), tokens.concat().as_bytes()].concat();
        let mut bytewise = Scanner::default();
        let mut found = Ok(None);
        for (at, byte) in text.iter().enumerate() {
            found = bytewise.scan(&[*byte]).map(|end| end.map(|_| at + 1)).map_err(|error| JsonError { at, ..error });
            if found != Ok(None) {
                break;
            }
        }
        let mut whole = Scanner::default();
        prop_assert_eq!(whole.scan(&text), found);
        if found == Ok(None) {
            prop_assert_eq!(whole.scan(behind), bytewise.scan(behind), "where a text stands that goes on");
        }
    }

    #[test]
    fn members_are_those_of_serde(
        map in proptest::collection::btree_map(prop_oneof![any::<String>(), "[\\\\\"a]{0,3}"], value(), 0..6),
        pretty: bool,
    ) {
        let object = serde_json::Value::Object(map.clone().into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }?;
        for (name, value) in &map {
            let range = top_level_field(text.as_bytes(), name).expect("present");
            prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&text.as_bytes()[range])?, value);
        }
        prop_assert_eq!(members(text.as_bytes()).map_while(Result::ok).count(), map.len());
    }

    #[test]
    fn strings_return(text: String) {
        let mut out = Vec::new();
        write_string(&mut out, &text);
        let read = string_value(&out);
        prop_assert_eq!(read.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn no_text_panics(text in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\1n ".to_vec())], 0..40)) {
        members(&text).for_each(drop);
        elements(&text).for_each(drop);
        let _ = string_value(&text);
    }
}
