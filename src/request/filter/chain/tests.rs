use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::kube::list::{Limits, Rewriter};
use crate::kube::message::Field;
use crate::kube::proto::write_bytes;
use crate::kube::schema::pod;
use crate::request::filter::testing::{BOTH, Made, ask, filters};
use crate::state::inputs::Node;
use crate::state::rules::{Agents, RuleSet};

/// All filters at once, for one component; a node in pool p.
fn chain(group: &str, resource: &str, whole: bool) -> Chain {
    let mut rules = RuleSet::new(Agents::parse("*"), &Filter::ALL);
    rules.filters.values_mut().for_each(|components| components.extend(["everybody".to_owned()]));
    let filters = filters(rules);
    let kinds = [("lb", "LoadBalancer", Some("true")), ("plain", "ClusterIP", Some("true"))].map(|(name, kind, discard)| {
        let service = Service { kind: kind.into(), discard: discard.map(str::to_owned), ..Service::default() };
        (("a".to_owned(), name.to_owned()), service)
    });
    filters.inputs.update(|facts| {
        facts.node = Some(Arc::new(Node { pool: Some("p".into()), zone: None }));
        facts.pool = Some(Arc::default());
        facts.services = Some(Arc::new(HashMap::from(kinds)));
        facts.topology = Some(Arc::new(HashMap::from([(("a".to_owned(), "s".to_owned()), "kubernetes.io/hostname".to_owned())])));
    });
    let ask = Ask { whole, ..ask("everybody", (group, resource), "list") };
    let decided = Filters::decide(&filters.rules.current(), &ask);
    Chain::new(filters, ask, decided.clone(), decided)
}

const ALL: [(&str, &str); 5] =
    [("", "services"), ("", "endpoints"), ("discovery.k8s.io", "endpointslices"), ("", "configmaps"), ("", "pods")];

#[test]
fn a_decision_can_be_printed() {
    assert_eq!(chain("", "services", true).decision().to_string(), "discardcloudservice, nodeportisolation, masterservice");
    assert_eq!(chain("", "secrets", true).decision().to_string(), "no filter");
    assert_eq!(
        chain("discovery.k8s.io", "endpointslices", true).decision().to_string(),
        "servicetopology, forwardkubesvctraffic"
    );
}

#[test]
fn metadata_is_judged_by_what_the_hub_knows_of_the_service() {
    let chain = chain("", "services", false);
    for encoding in BOTH {
        for (name, discard, hidden) in [
            ("lb", "true", true),
            // By its annotations alone it could be one: the hub knows that it is none.
            ("plain", "true", false),
            // Younger than what the hub knows.
            ("unknown", "true", true),
            ("unknown", "false", false),
        ] {
            let item = Made::object(encoding, "a", name, &[], &[(DISCARD, discard)]);
            let edit = chain.item(encoding, "PartialObjectMetadataList", &item.bytes).unwrap();
            assert_eq!(edit == Edit::Remove, hidden, "{name} {discard}");
        }
    }
}

#[test]
fn a_row_goes_with_its_object() {
    let chain = chain("", "services", false);
    let row =
        |object: &str| chain.item(Encoding::Json, "Table", format!(r#"{{"cells":["x"],"object":{object}}}"#).as_bytes()).unwrap();
    let metadata = |name| format!(r#"{{"kind":"PartialObjectMetadata","metadata":{{"namespace":"a","name":"{name}"}}}}"#);
    assert_eq!(row(&metadata("lb")), Edit::Remove);
    assert_eq!(row(&metadata("plain")), Edit::Keep);
    let master = r#"{"kind":"Service","metadata":{"namespace":"default","name":"kubernetes"},"spec":{"clusterIP":"10.96.0.1"}}"#;
    let Edit::Replace(row) = row(master) else { panic!("whole objects are rewritten in a Table too") };
    let row = String::from_utf8(row).unwrap();
    assert!(row.starts_with(r#"{"cells":["x"],"object":{"#) && row.contains(r#""clusterIP":"169.254.2.1""#), "{row}");
}

/// Whoever wants rows without objects gets none of a hidden one, and none that nobody can judge.
#[test]
fn a_row_without_an_object_is_judged_by_the_object_it_had() {
    let mut chain = chain("", "services", false);
    chain.ask.bare_rows = true;
    assert!(chain.asks_for_objects());
    let row = |object: &str| chain.item(Encoding::Json, "Table", format!(r#"{{"cells":["x"]{object}}}"#).as_bytes());
    let metadata =
        |name| format!(r#","object":{{"kind":"PartialObjectMetadata","metadata":{{"namespace":"a","name":"{name}"}}}}"#);
    assert_eq!(row(&metadata("lb")), Ok(Edit::Remove));
    assert_eq!(row(&metadata("plain")), Ok(Edit::Replace(br#"{"cells":["x"],"object":null}"#.to_vec())));
    for nothing in ["", r#","object":null"#] {
        assert_eq!(
            row(nothing),
            Err(FilterError::Refused("discardcloudservice: not exactly one object in a row".into())),
            "{nothing}"
        );
    }
}

/// A row within a row, as deep as JSON may be: to go after it would overflow the stack, and that ends the process.
#[test]
fn a_row_has_an_object_and_no_rows() {
    let depth = crate::kube::json::MAX_DEPTH - 1;
    let row = [&*r#"{"kind":"Table","object":"#.repeat(depth), "null", &*"}".repeat(depth)].concat();
    for (group, resource) in ALL {
        let chain = chain(group, resource, true);
        let _ = chain.item(Encoding::Json, "Table", row.as_bytes());
    }
}

#[test]
fn what_cannot_be_read_is_refused_for_safety_and_passed_on_for_comfort() {
    let damaged = br#"{"metadata":{"namespace":"kube-system","name":"kube-proxy","annotations":{"nodeport.openyurt.io/listen":"q"}},"data":[1],"spec":7}"#;
    assert!(chain("", "services", true).item(Encoding::Json, "ServiceList", damaged).is_err());
    for (group, resource) in [("", "configmaps"), ("", "pods")] {
        let chain = chain(group, resource, true);
        assert_eq!(chain.item(Encoding::Json, "List", damaged), Ok(Edit::Keep), "{resource}");
        let errors = &chain.filters.metrics.filter_errors;
        let counted: u64 = chain.decision().filters().iter().map(|filter| errors.get_or_create(&label(*filter)).get()).sum();
        assert_eq!(counted, 1, "{resource}: and counted");
    }
}

fn label(filter: Filter) -> crate::runtime::metrics::FilterLabel {
    crate::runtime::metrics::FilterLabel { filter: filter.name().to_owned() }
}

proptest! {
    /// Neither garbage nor objects with a few wrong bytes make anything panic.
    #[test]
    fn no_bytes_panic(
        garbage in proptest::collection::vec(any::<u8>(), 0..80),
        text in "[\\[\\]{}\":,a-z1]{0,60}",
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (group, resource) in ALL {
            let chain = chain(group, resource, true);
            for encoding in BOTH {
                let mut bent = Made::object(encoding, "default", "kubernetes", &[("kubernetes.io/service-name", "s")], &[("a", "b")])
                    .message(crate::kube::schema::service::SPEC, &Made::new(encoding).text(service::TYPE, "NodePort")).bytes;
                for (at, byte) in &flips {
                    let at = at.index(bent.len());
                    bent[at] = *byte;
                }
                for bytes in [garbage.as_slice(), text.as_bytes(), &bent] {
                    for kind in ["ServiceList", "PartialObjectMetadataList", "Table"] {
                        let _ = chain.item(encoding, kind, bytes);
                    }
                }
            }
        }
    }
}

/// Not every Table is one of meta.k8s.io.
#[test]
fn a_custom_resource_called_table_is_an_object() {
    let mut rules = RuleSet::new(Agents::default(), &[]);
    rules.user = crate::state::user_rule::parse("- {name: r, match: {resources: [tables.x.io]}, drop: true}", &[]).unwrap();
    let filters = filters(rules);
    let ask = ask("", ("x.io", "tables"), "get");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let chain = runtime.block_on(filters.chain_for(ask)).unwrap();
    let edited = |object: &str| crate::request::filter::edit(&chain, Encoding::Json, object.as_bytes()).unwrap();
    assert_eq!(edited(r#"{"apiVersion":"x.io/v1","kind":"Table","metadata":{"name":"t"}}"#), Edit::Remove);
    let real = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","rows":[{"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"t"}}}]}"#;
    assert_eq!(edited(real), Edit::Remove);
}

/// The list says how long it is before anything is known of its items, and no item may end it.
#[test]
fn a_protobuf_list_has_room_for_whatever_becomes_of_its_items() {
    let variable = |name| Made::new(Encoding::Protobuf).text(Field::new("name", 1), name);
    // As a client's own encoder may leave it, and as the kube-apiserver writes it.
    let variables = ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"].map(variable);
    let written = variables.clone().map(|variable| variable.text(pod::ENV_VALUE, ""));
    let pod = |containers: Vec<Made>| {
        let spec = Made::new(Encoding::Protobuf).messages(pod::CONTAINERS, &containers);
        Made::object(Encoding::Protobuf, "a", "p", &[], &[]).message(pod::SPEC, &spec)
    };
    let container = |env: &[Made]| Made::new(Encoding::Protobuf).messages(pod::ENV, env);
    let many = |some: &[Made; 2]| some.iter().cycle().take(6000).cloned().collect::<Vec<_>>();
    let hosts = vec![variables[0].clone(); 6000];
    let pods = vec![
        pod(vec![container(&many(&variables))]),
        pod(vec![container(&many(&written))]),
        pod(vec![container(&hosts)]),
        pod(vec![container(&variables[..1]); 3000]),
    ];
    let slice = |number: u32| {
        let metadata = Made::new(Encoding::Protobuf).text(Field::new("name", 1), "k").text(Field::new("namespace", 3), "default");
        let metadata =
            metadata.text(Field::new("uid", 5), &format!("{number:036}")).text(Field::new("creationTimestamp", 8), "123456");
        let metadata = metadata.map(meta::LABELS, &[("kubernetes.io/service-name", "kubernetes")]);
        let port = Made::new(Encoding::Protobuf).text(Field::new("name", 1), "https");
        Made::new(Encoding::Protobuf).message(METADATA, &metadata).messages(Field::many("ports", 3), &[port])
    };
    for (hub, family) in [("169.254.169.254", "IPv4"), ("fd00:1111:2222:3333:4444:5555:6666:7777", "IPv6")] {
        let slices: Vec<Made> = (0..6000).map(|number| slice(number).text(Field::new("addressType", 4), family)).collect();
        let chain = |group: &str, resource: &str| {
            let mut chain = chain(group, resource, true);
            let Filters { inputs, rules, told, hidden, metrics, .. } = &*chain.filters;
            let (inputs, rules, told) = (inputs.clone(), rules.clone(), told.clone());
            let (hidden, metrics) = (hidden.clone(), metrics.clone());
            let hub = crate::request::filter::testing::hub(hub);
            chain.filters = Arc::new(Filters { hub, node_name: "n1".into(), inputs, rules, told, hidden, metrics });
            chain
        };
        fits(&chain("", "pods"), "PodList", &pods);
        pods.iter().for_each(|pod| fits(&chain("", "pods"), "PodList", std::slice::from_ref(pod)));
        fits(&chain("discovery.k8s.io", "endpointslices"), "EndpointSliceList", &slices);
    }
}

fn fits(chain: &Chain, kind: &str, items: &[Made]) {
    let mut raw = Vec::new();
    items.iter().for_each(|item| write_bytes(&mut raw, 2, &item.bytes));
    let body = crate::kube::proto::envelop("v1", kind, &raw);
    let limits = Limits { max_item: 8 << 20, max_head: 1 << 16 };
    let (mut out, mut changed) = (Vec::new(), 0);
    let mut rewriter = Rewriter::new(Encoding::Protobuf, limits, chain.reserve(), |kind, item: &[u8]| {
        let edit = chain.item(Encoding::Protobuf, kind, item);
        changed += usize::from(matches!(edit, Ok(Edit::Replace(_))));
        edit
    });
    rewriter.feed(body.into(), &mut out).unwrap_or_else(|error| panic!("{kind}: {error}"));
    rewriter.finish().unwrap();
    assert_eq!(changed, items.len());
}
