use super::*;

fn labels(text: &str) -> LabelSelector {
    LabelSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_selector_is_written_in_one_way() {
    for (text, canonical) in [
        ("", ""),
        (" a = b , c", "a=b,c"),
        ("c,a==b", "a=b,c"),
        ("a in (b)", "a=b"),
        ("a in (c, b,c)", "a in (b,c)"),
        ("a notin (b),a!=b", "a!=b"),
        ("!a,a.b/c-d_e>7,z<1", "!a,a.b/c-d_e>7,z<1"),
        ("a=", "a="),
        ("a in ()", "a="),
        ("a in (,b)", "a in (,b)"),
        ("in=notin", "in=notin"),
    ] {
        assert_eq!(labels(text).to_string(), canonical, "{text}");
        assert_eq!(labels(canonical), labels(text), "{canonical} is read as it was written");
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for text in [
        "=a",
        "a,",
        "a=b c",
        "a in b",
        "a in (b",
        "a b",
        "a,,b",
        "a=b=c",
        "!",
        "!a=b",
        "a>x",
        "-a=b",
        "a/b/c",
        "A.b/c=d",
        "a=-",
        "a&b",
        "a in (b,,)",
    ] {
        assert!(LabelSelector::parse(text).is_err(), "{text}");
    }
    assert!(LabelSelector::parse(&format!("a={}", "v".repeat(64))).is_err());
    for (text, why) in [
        ("a,", "found '', expected: identifier after ','"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("/a/b", "unable to parse requirement: <nil>: Invalid value: \"/a/b\": a qualified name must consist of"),
        (
            "a in (b,-)",
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string or",
        ),
    ] {
        let error = LabelSelector::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(why), "{text}: {error}");
    }
    for text in ["a", "a=b=c", "spec.nodeName"] {
        assert!(FieldSelector::parse(text).is_err(), "{text}");
    }
}

/// The cases of `fields/selector_test.go` and what a kube-apiserver of 1.34.4 has answered.
#[test]
fn values_of_fields_are_escaped_as_the_kube_apiserver_has_them() {
    for (text, canonical, terms) in [
        ("x=a,y=b", "x=a,y=b", vec![("x", "a"), ("y", "b")]),
        (",,x=a,", "x=a", vec![("x", "a")]),
        (r"x=a\,b", r"x=a\,b", vec![("x", "a,b")]),
        (r"x==a\=b", r"x=a\=b", vec![("x", "a=b")]),
        (r"x=a\\,y=b", r"x=a\\,y=b", vec![("x", r"a\"), ("y", "b")]),
        (r"x=\\\,\=", r"x=\\\,\=", vec![("x", r"\,=")]),
        ("x= a ", "x= a ", vec![("x", " a ")]),
        ("x=\u{e4}\\,\u{1f600}", "x=\u{e4}\\,\u{1f600}", vec![("x", "\u{e4},\u{1f600}")]),
        (r"a\,b=c", r"a\,b=c", vec![(r"a\,b", "c")]),
        ("x!=a", "x!=a", vec![]),
        (r"x!=a\=b", r"x!=a\=b", vec![]),
        ("x=", "x=", vec![("x", "")]),
        ("=x", "=x", vec![("", "x")]),
        // It asks for nothing.
        ("=,!=,==", "", vec![]),
    ] {
        let selector = FieldSelector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(selector.to_string(), canonical, "{text}");
        assert_eq!(FieldSelector::parse(canonical), Ok(selector.clone()), "{canonical} is read as it was written");
        for (field, value) in terms {
            assert_eq!(selector.exactly(field), Some(value), "{text}");
        }
    }
    for (text, said) in [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a,metadata.name", "invalid selector: 'a,metadata.name'; can't understand 'a'"),
        ("metadata.name!=b=c", "invalid field selector: unescaped character in value: 61"),
        ("metadata.name===b", "invalid field selector: unescaped character in value: 61"),
        ("a!==b", "invalid field selector: unescaped character in value: 61"),
        (r"metadata.name=b\", r"invalid field selector: invalid escape sequence: \"),
        (r"metadata.name=b\x", r"invalid field selector: invalid escape sequence: \x"),
        // Of several faults that of the least term.
        ("x,metadata.name=b=c", "invalid field selector: unescaped character in value: 61"),
    ] {
        assert_eq!(FieldSelector::parse(text), Err(BadSelector(said.to_owned())), "{text}");
    }
}

#[test]
fn labels_are_judged_as_the_kube_apiserver_does() {
    let item = br#"{"metadata":{"name":"p","labels":{"a":"b","n":"7","empty":"","x/y":"z"}}}"#;
    for (text, holds) in [
        ("a=b", true),
        ("a!=b", false),
        ("q!=b", true),
        ("q=b", false),
        ("q=", false),
        ("empty=", true),
        ("a in (b,c),x/y", true),
        ("a notin (b,c)", false),
        ("q notin (b)", true),
        ("!q", true),
        ("!a", false),
        ("n>6,n<8", true),
        ("n>7", false),
        ("a>0", false),
        ("q<1", false),
    ] {
        assert_eq!(labels(text).matches(Encoding::Json, item).unwrap(), holds, "{text}");
    }
}

#[test]
fn fields_have_the_values_by_which_the_kube_apiserver_selects() {
    let pod = br#"{"metadata":{"name":"p","namespace":"a"},"spec":{"nodeName":"n","hostNetwork":true},"status":{"phase":"Running","podIP":"10.0.0.1"}}"#;
    let pods = Fields::of("", "v1", "pods");
    for (text, holds) in [
        ("metadata.name=p,metadata.namespace==a", true),
        ("spec.nodeName=n", true),
        ("spec.nodeName!=n", false),
        ("spec.hostNetwork=true", true),
        ("status.phase!=Failed,status.phase!=Succeeded", true),
        ("status.podIPs=10.0.0.1", false),
        ("status.nominatedNodeName=", true),
    ] {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.matches(&pods, Encoding::Json, pod).unwrap(), holds, "{text}");
    }
    let nobody = br#"{"metadata":{"name":"n"},"spec":{}}"#;
    let nodes = Fields::of("", "v1", "nodes");
    assert!(FieldSelector::parse("spec.unschedulable=false").unwrap().matches(&nodes, Encoding::Json, nobody).unwrap());
    let event = br#"{"metadata":{"name":"e"},"source":{},"reportingComponent":"kubelet"}"#;
    let events = Fields::of("", "v1", "events");
    assert!(FieldSelector::parse("source=kubelet").unwrap().matches(&events, Encoding::Json, event).unwrap());
}

#[test]
fn a_field_that_nobody_selects_by_is_refused_in_the_kube_apiservers_words() {
    assert_eq!(Fields::of("", "v1", "pods").refusal("spec.x").unwrap(), "field label not supported: spec.x");
    let default = r#""spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#;
    assert_eq!(Fields::of("apps", "v1", "deployments").refusal("spec.x").unwrap(), default);
    assert_eq!(Fields::of("", "v1", "pods").refusal("spec.nodeName"), None);
    assert_eq!(Fields::of("example.com", "v1", "widgets").refusal("spec.x"), None, "a custom resource may have it");
}

#[test]
fn what_is_wider_has_all_and_what_is_left_to_ask_is_said() {
    let selection = |labels: &str, fields: &str| Selection::parse(labels, fields).unwrap();
    let asked = selection("a=b,c", "spec.nodeName=n");
    assert_eq!(asked.beyond(&selection("", "")), Some(asked.clone()));
    assert_eq!(asked.beyond(&selection("c", "spec.nodeName=n")), Some(selection("a=b", "")));
    assert_eq!(asked.beyond(&asked), Some(Selection::default()));
    assert_eq!(asked.beyond(&selection("d", "")), None);
    assert_eq!(selection("", "").beyond(&selection("c", "")), None);
}
