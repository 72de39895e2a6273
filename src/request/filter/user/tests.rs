use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::kube::list::Encoding;
use crate::state::inputs::Node;
use crate::state::user_rule::{Asked, parse};

fn rule(text: &str) -> Arc<UserRule> {
    parse(&format!("- name: r\n{text}"), &[]).unwrap().remove(0)
}

fn facts() -> Facts {
    facts_of("p")
}

fn facts_of(pool: &str) -> Facts {
    Facts {
        node: Some(Arc::new(Node { pool: Some(pool.into()), zone: Some("z1".into()) })),
        pool: Some(Arc::new(["n1".to_owned(), "n2".to_owned()].into())),
        ..Facts::default()
    }
}

fn applied(rule: &UserRule, full: bool, object: &str) -> Result<Option<String>, String> {
    applied_with(rule, &facts(), full, object)
}

fn applied_with(rule: &UserRule, facts: &Facts, full: bool, object: &str) -> Result<Option<String>, String> {
    let node = node("n1", facts);
    let item = Item { encoding: Encoding::Json, bytes: object.as_bytes() };
    Ok(match apply(rule, Some(&node), full, &item)? {
        Edit::Keep => Some(object.to_owned()),
        Edit::Replace(new) => Some(String::from_utf8(new).unwrap()),
        Edit::Remove => None,
    })
}

#[test]
fn a_rule_is_for_what_it_matches() {
    let rule = rule(
        "  match: {resources: [services], namespaces: [a], labelSelector: {matchLabels: {l: v}}, \
         expression: object.spec.type == 'LoadBalancer'}\n  drop: true",
    );
    for (object, hidden) in [
        (r#"{"metadata":{"namespace":"a","labels":{"l":"v"}},"spec":{"type":"LoadBalancer"}}"#, true),
        (r#"{"metadata":{"namespace":"b","labels":{"l":"v"}},"spec":{"type":"LoadBalancer"}}"#, false),
        (r#"{"metadata":{"namespace":"a","labels":{"l":"w"}},"spec":{"type":"LoadBalancer"}}"#, false),
        (r#"{"metadata":{"namespace":"a"},"spec":{"type":"LoadBalancer"}}"#, false),
        (r#"{"metadata":{"namespace":"a","labels":{"l":"v"}},"spec":{"type":"ClusterIP"}}"#, false),
        (r#"{"metadata":{"namespace":"b"}}"#, false),
    ] {
        assert_eq!(applied(&rule, true, object).unwrap().is_none(), hidden, "{object}");
    }
    let error = applied(&rule, true, r#"{"metadata":{"namespace":"a","labels":{"l":"v"}}}"#).unwrap_err();
    assert_eq!(error, "match.expression: no such key: spec");
    assert!(applied(&rule, true, "[]").is_err() && applied(&rule, true, "{").is_err());
}

#[test]
fn changes_are_made_in_order_and_leave_every_other_byte() {
    let rule = rule(
        "  match: {resources: [services]}\n  annotate: {a.b/c: d}\n  remove: [{path: /spec/old}]\n  set:\n\
         \x20 - {path: /spec/policy, value: Local}\n  - {path: /spec/ports/*/nodePort, value: 0, where: self.port == 80}",
    );
    let object = r#"{ "metadata" :{"name":"s","x":[ 1 ]},"spec":{"old":{"x":1},"ports":[{"port":80},{"port": 81}],"new":"kept"},"status":{} }"#;
    let expected = r#"{ "metadata" :{"name":"s","x":[ 1 ],"annotations":{"a.b/c":"d"}},"spec":{"ports":[{"port":80,"nodePort":0},{"port": 81}],"new":"kept","policy":"Local"},"status":{} }"#;
    let once = applied(&rule, true, object).unwrap().unwrap();
    assert_eq!(once, expected);
    assert_eq!(applied(&rule, true, &once).unwrap().unwrap(), once, "twice is as once");
    let metadata = r#"{"metadata":{"name":"s"}}"#;
    assert_eq!(applied(&rule, false, metadata).unwrap().unwrap(), r#"{"metadata":{"name":"s","annotations":{"a.b/c":"d"}}}"#);
}

#[test]
fn a_rule_that_fails_changes_nothing_of_its_object() {
    let rule = rule("  match: {resources: [a]}\n  set: [{path: /x, value: 1}, {path: /l/*/y, value: 2, where: self.n > 0}]");
    assert_eq!(applied(&rule, true, r#"{"l":[{"n":1}]}"#).unwrap().unwrap(), r#"{"l":[{"n":1,"y":2}],"x":1}"#);
    assert_eq!(applied(&rule, true, r#"{"l":[{"n":1},{}]}"#).unwrap_err(), "where: no such key: n");
    let huge = format!(r#"{{"l":[{{"n":1,"s":"{}"}}]}}"#, "x".repeat(MAX_OBJECT));
    assert!(applied(&rule, true, &huge).unwrap_err().contains("is not looked at"));
    let many = format!(r#"{{"l":[{}{{"n":1}}]}}"#, r#"{"n":1},"#.repeat(MAX_VALUES / 3));
    assert!(applied(&rule, true, &many).unwrap_err().contains("values is not looked at"));
    let text = format!(r#"{{"l":[{{"n":1,"s":"{}"}}]}}"#, r#"{[\",:"#.repeat(MAX_VALUES / 3));
    assert!(applied(&rule, true, &text).is_ok(), "text is one value");
}

#[test]
fn the_node_is_known() {
    let near = rule(
        "  match: {resources: [endpointslices.discovery.k8s.io]}\n  remove:\n  - path: /endpoints/*\n    \
         where: has(self.nodeName) && self.nodeName != node.name && !(self.nodeName in node.neighbours)",
    );
    let object = r#"{"endpoints":[{"nodeName":"n1"},{"nodeName":"n2"},{"nodeName":"n3"},{}]}"#;
    assert_eq!(applied(&near, true, object).unwrap().unwrap(), r#"{"endpoints":[{"nodeName":"n1"},{"nodeName":"n2"},{}]}"#);
    assert_eq!(needs(&near), [Part::Node, Part::Pool]);
    let zone = rule("  match: {resources: [a], expression: \"node.pool == 'p' && node.zone == 'z1'\"}\n  drop: true");
    assert_eq!(applied(&zone, true, "{}").unwrap(), None);
    let item = Item { encoding: Encoding::Json, bytes: b"{}" };
    let poor = node("n1", &Facts::default());
    assert_eq!(apply(&zone, Some(&poor), true, &item).unwrap_err(), "match.expression: no such key: zone");
}

/// The rule of this name among the examples that docs/rules.md ends with.
fn example(name: &str) -> Arc<UserRule> {
    let (_, page) = include_str!("../../../../docs/rules.md").split_once("## Five examples").unwrap();
    let blocks = page.split("```yaml").skip(1).map(|block| block.split("```").next().unwrap());
    let rules: Vec<_> = blocks.flat_map(|block| parse(block, &[]).unwrap()).collect();
    assert_eq!(rules.len(), 5);
    rules.into_iter().find(|rule| rule.name() == name).unwrap()
}

/// Whom it serves, as component, user and namespace, and what it makes of objects; `None`: they are hidden.
struct Example {
    name: &'static str,
    resource: (&'static str, &'static str),
    served: [&'static str; 3],
    others: &'static [[&'static str; 3]],
    objects: &'static [(&'static str, Option<&'static str>)],
}

const EXAMPLES: [Example; 5] = [
    Example {
        name: "not-for-ingress",
        resource: ("", "services"),
        served: ["nginx-ingress-controller", "u", "a"],
        others: &[["kube-proxy", "u", "a"]],
        objects: &[
            (r#"{"metadata":{"labels":{"exposure":"cloud"}}}"#, None),
            (r#"{"metadata":{"labels":{"exposure":"edge"}}}"#, Some(r#"{"metadata":{"labels":{"exposure":"edge"}}}"#)),
        ],
    },
    Example {
        name: "traffic-stays",
        resource: ("", "services"),
        served: ["kube-proxy", "u", "a"],
        others: &[["coredns", "u", "a"]],
        objects: &[
            (r#"{"spec":{"type":"NodePort"}}"#, Some(r#"{"spec":{"type":"NodePort","externalTrafficPolicy":"Local"}}"#)),
            (
                r#"{"spec":{"externalTrafficPolicy":"Cluster","type":"LoadBalancer"}}"#,
                Some(r#"{"spec":{"externalTrafficPolicy":"Local","type":"LoadBalancer"}}"#),
            ),
            (r#"{"spec":{"type":"ClusterIP"}}"#, Some(r#"{"spec":{"type":"ClusterIP"}}"#)),
        ],
    },
    Example {
        name: "cilium-stays-in-the-pool",
        resource: ("discovery.k8s.io", "endpointslices"),
        served: ["cilium-agent", "u", "a"],
        others: &[["kube-proxy", "u", "a"]],
        objects: &[
            (
                r#"{"metadata":{"labels":{"edge.example.com/topology":"pool"}},"endpoints":[{"nodeName":"n1"},{"nodeName":"n2"},{"nodeName":"n3"},{}]}"#,
                Some(
                    r#"{"metadata":{"labels":{"edge.example.com/topology":"pool"}},"endpoints":[{"nodeName":"n1"},{"nodeName":"n2"},{}]}"#,
                ),
            ),
            (
                r#"{"metadata":{"labels":{}},"endpoints":[{"nodeName":"n3"}]}"#,
                Some(r#"{"metadata":{"labels":{}},"endpoints":[{"nodeName":"n3"}]}"#),
            ),
        ],
    },
    Example {
        name: "dns-of-the-ship",
        resource: ("", "services"),
        served: ["any", "system:serviceaccount:kube-system:coredns", "kube-system"],
        others: &[["coredns", "system:serviceaccount:kube-system:other", "kube-system"]],
        objects: &[
            (
                r#"{"metadata":{"name":"upstream-dns","namespace":"kube-system"},"spec":{"externalName":"dns.cloud"}}"#,
                Some(
                    r#"{"metadata":{"name":"upstream-dns","namespace":"kube-system","annotations":{"example.com/changed-by":"traffic at sea"}},"spec":{"externalName":"dns.ship.local"}}"#,
                ),
            ),
            (
                r#"{"metadata":{"name":"kube-dns","namespace":"kube-system"}}"#,
                Some(r#"{"metadata":{"name":"kube-dns","namespace":"kube-system"}}"#),
            ),
            (
                r#"{"metadata":{"name":"upstream-dns","namespace":"shop"}}"#,
                Some(r#"{"metadata":{"name":"upstream-dns","namespace":"shop"}}"#),
            ),
        ],
    },
    Example {
        name: "agent-needs-little",
        resource: ("", "pods"),
        served: ["node-agent", "u", ""],
        others: &[["kubelet", "u", ""]],
        objects: &[
            (
                r#"{"metadata":{"namespace":"shop","managedFields":[{}]},"spec":{"containers":[{"name":"a","env":[{"name":"x"}]},{"name":"b"}]}}"#,
                Some(r#"{"metadata":{"namespace":"shop"},"spec":{"containers":[{"name":"a"},{"name":"b"}]}}"#),
            ),
            (
                r#"{"metadata":{"namespace":"kube-system"},"spec":{"containers":[{"env":[]}]}}"#,
                Some(r#"{"metadata":{"namespace":"kube-system"},"spec":{"containers":[{"env":[]}]}}"#),
            ),
        ],
    },
];

#[test]
fn the_examples_of_the_page_do_what_it_says() {
    let facts = facts_of("ships");
    for Example { name, resource: (group, resource), served, others, objects } in EXAMPLES {
        let rule = example(name);
        let serves =
            |[component, user, namespace]: [&str; 3]| rule.serves(&Asked { component, user, group, resource, namespace });
        assert!(serves(served), "{name}");
        others.iter().for_each(|asked| assert!(!serves(*asked), "{name}: {asked:?}"));
        for (object, expected) in objects {
            assert_eq!(applied_with(&rule, &facts, true, object).unwrap().as_deref(), *expected, "{name}: {object}");
        }
    }
    let (object, _) = EXAMPLES[2].objects[0];
    let alone = Facts { pool: Some(Arc::new(["n1".to_owned()].into())), node: Some(Arc::default()), ..Facts::default() };
    let all = applied_with(&example("cilium-stays-in-the-pool"), &alone, true, object).unwrap().unwrap();
    assert_eq!(all, object, "of a node that is in no pool");
    let (object, _) = EXAMPLES[3].objects[0];
    let ashore = applied_with(&example("dns-of-the-ship"), &facts_of("port"), true, object).unwrap().unwrap();
    assert_eq!(ashore, object);
}

proptest! {
    #[test]
    fn garbage_is_an_error_or_stays(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let rule = rule("  match: {resources: [a], expression: object.a == 1}\n  remove: [{path: /l/*, where: self.x == 1}]");
        let object = [b"{\"a\":1,\"l\":[".as_slice(), &bytes, b"]}"].concat();
        let item = Item { encoding: Encoding::Json, bytes: &object };
        let _ = apply(&rule, None, true, &item);
    }
}
