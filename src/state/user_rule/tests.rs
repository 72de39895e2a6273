use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kube::json::Outline;

const GOOD: &str = r#"
- name: everything
  match:
    components: [ingress]
    users: ["system:serviceaccount:a:b"]
    resources: [services, endpointslices.discovery.k8s.io]
    namespaces: [a]
    labelSelector:
      matchLabels: {app: web}
      matchExpressions: [{key: tier, operator: In, values: [x, y]}]
    expression: object.spec.ports.exists(p, p.port == 80) && node.zone != 'z'
  remove: [{path: /spec/ports/*, where: self.port == 22}]
  set: [{path: /spec/externalTrafficPolicy, value: Local}]
  annotate: {example.com/by: holdfast}
  onError: keep
- name: hidden
  match: {resources: [pods]}
  drop: true
"#;

#[test]
fn a_rule_serves_whom_it_names() {
    let rules = parse(GOOD, &[]).unwrap();
    let good = Asked {
        component: "ingress",
        user: "system:serviceaccount:a:b",
        group: "discovery.k8s.io",
        resource: "endpointslices",
        namespace: "a",
    };
    let [everything, hidden] = &rules[..] else { panic!("{rules:?}") };
    assert!(everything.serves(&good) && everything.uses_node() && !everything.drops());
    assert!(everything.serves(&Asked { namespace: "", ..good }), "a list of all namespaces has that one too");
    assert!(!everything.serves(&Asked { namespace: "b", ..good }));
    assert!(!everything.serves(&Asked { component: "other", ..good }));
    assert!(!everything.serves(&Asked { user: "", ..good }));
    assert!(!everything.serves(&Asked { group: "", ..good }));
    assert!(hidden.serves(&Asked { component: "x", user: "y", group: "", resource: "pods", namespace: "z" }));
    assert!(hidden.drops() && !hidden.uses_node() && hidden.on_error() == OnError::Refuse);

    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    assert!(everything.is_for("a", &labels(&[("app", "web"), ("tier", "x")])));
    assert!(!everything.is_for("b", &labels(&[("app", "web"), ("tier", "x")])));
    assert!(!everything.is_for("a", &labels(&[("app", "web")])));
    assert!(hidden.is_for("", &labels(&[])));
}

#[test]
fn a_bad_rule_is_named_with_its_field_and_nothing_of_the_list_is_taken() {
    let rule = |rest: &str| format!("- {{name: first, match: {{resources: [a]}}, drop: true}}\n- name: bad\n{rest}");
    for (rest, field, why) in [
        ("  match: {resources: []}\n  drop: true", "match.resources", "RBAC"),
        ("  match: {resources: ['*']}\n  drop: true", "match.resources", "RBAC"),
        ("  match: {resources: [services/status]}\n  drop: true", "match.resources", "RBAC"),
        ("  match: {resources: [Services]}\n  drop: true", "match.resources", "RBAC"),
        ("  match: {resources: [a], components: ['*']}\n  drop: true", "match.components", "left out"),
        ("  match: {resources: [a], namespaces: ['']}\n  drop: true", "match.namespaces", "left out"),
        ("  match: {resources: [a]}\n  set: [{path: '/l/*/x', value: LONG}]", "set[0].value", "1024 bytes"),
        ("  match: {resources: [a], verbs: [get]}\n  drop: true", "fields", "unknown field `verbs`"),
        ("  match: {}\n  drop: true", "fields", "missing field `resources`"),
        ("  match: {resources: [a]}", "drop", "either drops"),
        ("  match: {resources: [a]}\n  drop: true\n  annotate: {a: b}", "drop", "either drops"),
        ("  match: {resources: [a]}\n  remove: [MANY]", "changes", "at most 32"),
        ("  match: {resources: [a]}\n  drop: maybe", "fields", "bool"),
        ("  match: {resources: [a]}\n  drop: true\n  onError: ignore", "fields", "`keep`"),
        ("  match: {resources: [a], expression: 'object.a =='}\n  drop: true", "match.expression", "Syntax error"),
        ("  match: {resources: [a], expression: 'oject.a'}\n  drop: true", "match.expression", "oject is not known"),
        ("  match: {resources: [a], expression: 'self.a'}\n  drop: true", "match.expression", "self is not known"),
        ("  match: {resources: [a], expression: 'now() > 1'}\n  drop: true", "match.expression", "there is no now()"),
        (
            "  match: {resources: [a], labelSelector: {matchExpressions: [{key: a, operator: Near}]}}\n  drop: true",
            "match.labelSelector",
            "",
        ),
        ("  match: {resources: [a]}\n  set: [{path: spec, value: 1}]", "set[0].path", "JSON pointer"),
        ("  match: {resources: [a]}\n  set: [{path: /spec}]", "set[0]", "needs a value"),
        ("  match: {resources: [a]}\n  set: [{path: /metadata/name, value: x}]", "set[0].path", "known by"),
        ("  match: {resources: [a]}\n  remove: [{path: /metadata/uid}]", "remove[0].path", "known by"),
        ("  match: {resources: [a]}\n  remove: [{path: /spec, value: 1}]", "remove[0]", "no value"),
        ("  match: {resources: [a]}\n  remove: [{path: /spec, where: 'true'}]", "remove[0].where", "'*'"),
        ("  match: {resources: [a]}\n  remove: [{path: /a/*, where: 'object.a'}]", "remove[0].where", "object is not known"),
    ] {
        let written = rest.replace("LONG", &"x".repeat(1025)).replace("MANY", &"{path: /a}, ".repeat(33));
        let error = parse(&rule(&written), &[]).unwrap_err();
        assert_eq!((error.rule.as_str(), error.field.as_str()), ("bad", field), "{rest}: {error}");
        assert!(error.why.contains(why), "{rest}: {error}");
    }
    for (text, rule, field) in [
        ("- {name: Bad_Name, match: {resources: [a]}, drop: true}", "Bad_Name", "name"),
        ("- {match: {resources: [a]}, drop: true}", "number 1", "fields"),
        ("- text", "number 1", "fields"),
        ("name: x", "list", "yaml"),
        ("- {", "list", "yaml"),
        ("- {name: x, match: {resources: [a]}, drop: true}\n- {name: x, match: {resources: [a]}, drop: true}", "x", "name"),
    ] {
        let error = parse(text, &[]).unwrap_err();
        assert_eq!((error.rule.as_str(), error.field.as_str()), (rule, field), "{error}");
    }
    let taken = parse("- {name: x, match: {resources: [a]}, drop: true}", &[]).unwrap();
    assert_eq!(parse("- {name: x, match: {resources: [a]}, drop: true}", &taken).unwrap_err().field, "name");
    assert_eq!(parse(" \n", &[]).unwrap(), []);
    let many = "- {name: x, match: {resources: [a]}, drop: true}\n".repeat(RULES + 1);
    assert_eq!(parse(&many, &[]).unwrap_err().field, "length");
}

#[test]
fn what_an_expression_may_cost_is_checked_before_it_is_used() {
    let good = [
        "object.metadata.name.startsWith('x') && size(object.spec.ports) > 0",
        "object.a.exists(c, c.env.exists(e, e.name == 'x' && e.value in ['1', '2']))",
        "has(object.spec) ? object.spec.replicas % 2 == 0 : false",
        "['a', 'b'].all(x, x != node.name)",
        "node.name in node.neighbours",
        "object.metadata.labels['a.b/c'] == 'd'",
        "object.a.exists_one(x, x == 1) || !object.b",
        "object.a.all(x, x in node.neighbours || x == node.zone || !has(node.pool))",
        "node.neighbours == object.a",
        // Once for each object; where it would be once for each element it is refused, below.
        "node.neighbours.exists(name, name.startsWith('x'))",
    ];
    for text in good {
        Expression::of_object(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for (text, why) in [
        ("object.a.map(x, x).size() > 0", "map() and filter()"),
        ("size(object.a.filter(x, x > 1)) > 0", "map() and filter()"),
        ("object.a.exists(x, object.b.exists(y, y == 1))", "something of x"),
        ("object.a.exists(x, object.b == x)", "object cannot stand in a macro"),
        ("object.a.exists(x, x.b.exists(y, x == y))", "x cannot stand in a macro over y"),
        ("object.a.all(a, a.all(b, b.all(c, c.all(d, d))))", "at most 3"),
        ("[object.l].all(node, node.all(y, y == 1))", "node is no name"),
        ("object.l.all(object, object == 1)", "object is no name"),
        ("node.neighbours.all(a, node.neighbours.all(b, b != ''))", "something of a"),
        ("object.l.all(a, ['x', 'y'].all(b, b != ''))", "something of a"),
        ("object.l.all(a, [a, a].all(b, b.c == 1))", "something of a"),
        ("object.l.all(a, node.neighbours == node.neighbours)", "of node there are"),
        ("object.l.all(a, a == node)", "of node there are"),
        ("object.l.all(a, a in node['neighbours'])", "of node there are"),
        ("object.l.all(a, size(node.neighbours) > 3)", "of node there are"),
        ("object.a.matches('(a+)+')", "there is no matches()"),
        ("{'a': object} == {}", "maps and messages"),
        ("a.b.C{}.x", "maps and messages"),
    ] {
        let error = Expression::of_object(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let error = Expression::of_element("self.a == node.neighbours").unwrap_err();
    assert!(error.contains("of node there are"), "{error}");
    Expression::of_element("self.name in node.neighbours").unwrap();
    let many = ["object.l.all(x, x == 1)"; 9].join(" && ");
    assert!(Expression::of_object(&many).unwrap_err().contains("at most 8 macros"));
    Expression::of_object("object.a.exists(c, c.b[0].exists(d, d['e'].exists(f, f == 1)))").unwrap();
    let long = format!("'{}' == ''", "x".repeat(1100));
    assert!(Expression::of_object(&long).unwrap_err().contains("1024"));
    for deep in ["(".repeat(500) + "1" + &")".repeat(500), "!".repeat(1000) + "true", "-".repeat(1000) + "1", "[".repeat(1000)] {
        // Whatever it says to it, it says it.
        let _ = Expression::of_object(&deep);
    }
}

#[test]
fn an_expression_without_a_value_says_why_and_tells_no_secrets() {
    let secret = serde_json::json!({"data": {"password": "c2VjcmV0"}, "n": 3, "f": 1.5, "big": u64::MAX, "no": null});
    let secret = secret.to_string();
    let holds = |text: &str| Expression::of_object(text).unwrap().holds(&mut Outline::new(secret.as_bytes()), None);
    for text in ["object.n == 3", "object.f > 1", "object.no == null", "!has(object.missing)", "object.big > 5u"] {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    for text in [
        "object.data.password < 3",
        "object.missing.x",
        "object.data.password",
        "object.data.password == object",
        "node.name == 'x'",
        "object.n / 0 == 1",
        "object.data[object.data.password] == 1",
    ] {
        let result = holds(text);
        assert!(!format!("{result:?}").contains("c2VjcmV0"), "{text}: {result:?}");
        if text != "object.data.password == object" {
            assert!(result.is_err(), "{text}: {result:?}");
        }
    }
}

fn objects() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), (0_i64..4).prop_map(Value::from), "[ab]{0,2}".prop_map(Value::from)];
    let value = leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    proptest::collection::btree_map("[abc]", value, 0..4).prop_map(|map| json!(map))
}

proptest! {
    /// What is not taken apart is what nobody asks for.
    #[test]
    fn an_expression_says_the_same_of_the_parts_as_of_the_whole(object in objects()) {
        let object = object.to_string();
        for text in [
            "object.a == 1",
            "object.a.b == 'a' || object.a.c.a == 2",
            "has(object.a.b) && !has(object.c)",
            "object.a.exists(x, x == 1) && size(object.b) > 1",
            "object.a['b'] == 1",
            "object['a'].b == object.c",
            "size(object) == 2",
            "object.b in object.a.c",
            "object.a == object.b.a",
            "has(object.a) ? object.a.a == 1 : object.b.exists(x, x.a == object.c)",
        ] {
            let Ok(parts) = Expression::of_object(text) else { continue };
            let whole = Expression::of_object(text).unwrap().taking_all_apart();
            let said = |expression: &Expression| expression.holds(&mut Outline::new(object.as_bytes()), None);
            prop_assert_eq!(said(&parts), said(&whole), "{} of {}", text, object);
        }
    }
}

/// The examples that users copy.
#[test]
fn the_rules_in_the_docs_hold() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md"));
    let blocks: Vec<&str> = page.split("```yaml\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 6);
    let mut rules = Vec::new();
    for block in blocks {
        let more = parse(block, &rules).unwrap_or_else(|error| panic!("{error}:\n{block}"));
        rules.extend(more);
    }
}
