//! What the filters make of protobuf, read by Kubernetes' own decoder, is what they make of JSON.
//!
//! Random lists go through the chain in both encodings; the lab's `transcode` is the real encoder and decoder. Needs the
//! lab (`HOLDFAST_LAB`); without it the test is skipped, and that is a failure where `HOLDFAST_REQUIRE_ALL=1`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use holdfast::kube::list::{Encoding, Limits, Rewriter};
use holdfast::kube::message::Edit;
use holdfast::request::filter::{Ask, Chain, FilterError, Filters, Hub};
use holdfast::runtime::metrics::Metrics;
use holdfast::state::filters::Filter;
use holdfast::state::inputs::{Inputs, Node};
use holdfast::state::rules::{Agents, RuleSet, Rules};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// Kubernetes' own code, a line each way.
struct Real {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Real {
    fn start(lab: &std::path::Path) -> Self {
        let mut child = Command::new(lab).arg("transcode").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, input, output }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        assert!(!answer.starts_with("error: "), "{answer}of {line}");
        answer.trim_end().to_owned()
    }

    fn encode(&mut self, object: &[u8]) -> Vec<u8> {
        let answer = self.ask(&format!("encode {}", std::str::from_utf8(object).unwrap().trim_end()));
        STANDARD.decode(answer).unwrap()
    }

    fn decode(&mut self, object: &[u8]) -> String {
        self.ask(&format!("decode {}", STANDARD.encode(object)))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The chain of a component that every filter serves.
fn chain(hub: &str, group: &str, resource: &str) -> Chain {
    let mut rules = RuleSet::new(Agents::parse("*"), &Filter::ALL);
    rules.filters.values_mut().for_each(|components| components.extend(["everybody".to_owned()]));
    let inputs = Inputs::default();
    inputs.update(|facts| {
        facts.node = Some(Arc::new(Node { pool: Some("p".into()), zone: Some("z1".into()) }));
        facts.pool = Some(Arc::new(["n1", "n2"].map(str::to_owned).into()));
        facts.zone = Some(Arc::default());
        facts.services = Some(Arc::default());
        let keys = [("s1", "kubernetes.io/hostname"), ("s2", "openyurt.io/nodepool")];
        let topology: HashMap<_, _> =
            keys.into_iter().map(|(name, keys)| (("a".to_owned(), name.to_owned()), keys.to_owned())).collect();
        facts.topology = Some(Arc::new(topology));
    });
    let filters = Arc::new(Filters {
        hub: Hub { address: hub.parse().unwrap(), port: 10_268 },
        node_name: "n1".to_owned(),
        inputs: Arc::new(inputs),
        rules: Arc::new(Rules::new(rules)),
        told: Default::default(),
        hidden: Default::default(),
        metrics: Arc::new(Metrics::default()),
    });
    let ask = Ask {
        component: "everybody".into(),
        group: group.into(),
        resource: resource.into(),
        verb: "list".into(),
        whole: true,
        ..Ask::default()
    };
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(filters.chain_for(ask)).unwrap()
}

fn filtered(chain: &Chain, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
    let mut rewriter = Rewriter::new(encoding, limits, chain.reserve(), |kind, item| chain.item(encoding, kind, item));
    let mut out = Vec::new();
    for chunk in body.chunks(97) {
        rewriter.feed(Bytes::copy_from_slice(chunk), &mut out).unwrap();
    }
    rewriter.finish().unwrap();
    out.concat()
}

/// The items of a list, as they stand in it.
fn items(encoding: Encoding, body: &[u8]) -> Vec<Vec<u8>> {
    let limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
    let mut items = Vec::new();
    let mut rewriter = Rewriter::new(
        encoding,
        limits,
        |_| 0,
        |_: &str, item: &[u8]| {
            items.push(item.to_vec());
            Ok::<_, FilterError>(Edit::Keep)
        },
    );
    rewriter.feed(Bytes::copy_from_slice(body), &mut Vec::new()).unwrap();
    rewriter.finish().unwrap();
    items
}

/// What becomes of each item. What is not touched keeps its bytes.
fn fates(chain: &Chain, encoding: Encoding, kind: &str, body: &[u8], filtered: &[u8]) -> Vec<&'static str> {
    let (mut left, mut fates) = (items(encoding, filtered).into_iter(), Vec::new());
    for item in items(encoding, body) {
        fates.push(match chain.item(encoding, kind, &item).unwrap() {
            Edit::Keep => {
                assert_eq!(left.next(), Some(item));
                "kept"
            }
            Edit::Replace(changed) => {
                assert_eq!(left.next(), Some(changed));
                "changed"
            }
            Edit::Remove => "hidden",
        });
    }
    assert_eq!(left.next(), None);
    fates
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_owned)
}

/// Metadata with what filters look at, and what they do not.
fn metadata() -> impl Strategy<Value = Value> {
    let names: &[(&str, &str)] = &[
        ("default", "kubernetes"),
        ("kube-system", "kube-proxy"),
        ("kube-system", "x-tunnel-server-internal-svc"),
        ("a", "s1"),
        ("a", "s2"),
        ("a", "other"),
    ];
    let listen = proptest::option::of(one_of(&["p", "-p", "*", "*,-p", "q", "", "p,-p"]));
    let discard = proptest::option::of(one_of(&["true", "false"]));
    let label = proptest::option::of(one_of(&["kubernetes", "s1", "s2", "s3"]));
    (proptest::sample::select(names), listen, discard, label, "[a-z\"<é\u{2028}]{0,6}").prop_map(
        |((namespace, name), listen, discard, label, noise)| {
            json!({
                "namespace": namespace, "name": name, "uid": "u", "resourceVersion": "7", "generation": 3,
                "labels": {"kubernetes.io/service-name": label, "noise": noise},
                "annotations": {"nodeport.openyurt.io/listen": listen, "svc.openyurt.io/discard": discard, "noise": noise},
                "managedFields": [{"manager": noise, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:x": {}}}],
            })
        },
    )
}

fn a_service() -> impl Strategy<Value = Value> {
    let port = (one_of(&["https", "dns", ""]), 1_u16..9999)
        .prop_map(|(name, port)| json!({"name": name, "port": port, "targetPort": "x"}));
    let kind = one_of(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
    (metadata(), kind, proptest::collection::vec(port, 0..3), proptest::collection::vec("10\\.0\\.0\\.[1-9]", 0..3)).prop_map(
        |(metadata, kind, ports, addresses)| {
            json!({"metadata": metadata, "spec": {"type": kind, "ports": ports, "clusterIP": addresses.first(), "clusterIPs": addresses,
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 3}}}, "status": {"loadBalancer": {}}})
        },
    )
}

fn a_slice() -> impl Strategy<Value = Value> {
    let endpoint = (proptest::option::of(one_of(&["n1", "n2", "n3"])), one_of(&["z1", "z2"]), any::<bool>());
    let endpoint = endpoint.prop_map(
        |(node, zone, ready)| json!({"addresses": ["10.1.1.1"], "conditions": {"ready": ready}, "nodeName": node, "zone": zone}),
    );
    let port =
        (one_of(&["https", "dns"]), 1_u16..9999).prop_map(|(name, port)| json!({"name": name, "port": port, "protocol": "TCP"}));
    let lists = (proptest::collection::vec(endpoint, 0..4), proptest::collection::vec(port, 0..3));
    (metadata(), lists, one_of(&["IPv4", "IPv6"])).prop_map(
        |(metadata, (endpoints, ports), family)| json!({"metadata": metadata, "endpoints": endpoints, "ports": ports, "addressType": family}),
    )
}

fn an_endpoints() -> impl Strategy<Value = Value> {
    let address =
        proptest::option::of(one_of(&["n1", "n2", "n3"])).prop_map(|node| json!({"ip": "10.1.1.1", "nodeName": node})).boxed();
    let addresses = || proptest::collection::vec(address.clone(), 0..4);
    let subset = (addresses(), addresses())
        .prop_map(|(ready, not)| json!({"addresses": ready, "notReadyAddresses": not, "ports": [{"port": 1}]}));
    (metadata(), proptest::collection::vec(subset, 0..3))
        .prop_map(|(metadata, subsets)| json!({"metadata": metadata, "subsets": subsets}))
}

fn a_pod() -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        "[a-z]{0,3}".prop_map(|text| json!({"value": text})),
        Just(json!({"valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}})),
        Just(json!({})),
    ];
    let variable =
        (one_of(&["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "OTHER"]), value).prop_map(|(name, mut variable)| {
            variable["name"] = json!(name);
            variable
        });
    let container = proptest::collection::vec(variable, 0..4)
        .prop_map(|env| json!({"name": "c", "image": "i", "env": env, "resources": {}}))
        .boxed();
    let containers = || proptest::collection::vec(container.clone(), 0..3);
    (metadata(), containers(), containers(), containers()).prop_map(|(metadata, containers, init, ephemeral)| {
        json!({"metadata": metadata, "spec": {"containers": containers, "initContainers": init, "ephemeralContainers": ephemeral}, "status": {"phase": "Running"}})
    })
}

fn a_config_map() -> impl Strategy<Value = Value> {
    let config = one_of(&["a: b\nkubeconfig: /x\nc: d", "  kubeconfig: \"\"\n", "nothing", "#kubeconfig: x", ""]);
    (metadata(), any::<bool>(), proptest::option::of(config)).prop_map(|(mut metadata, proxys, config)| {
        if proxys {
            (metadata["namespace"], metadata["name"]) = (json!("kube-system"), json!("kube-proxy"));
        }
        json!({"metadata": metadata, "data": {"config.conf": config.unwrap_or_default(), "kubeconfig.conf": "kubeconfig: y"}})
    })
}

/// `null` is how the strategies say "not there".
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key, without_nulls(value))).collect()
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn check(real: &RefCell<Real>, group: &str, resource: &str, kind: &str, item: BoxedStrategy<Value>) {
    let chains = ["169.254.2.1", "fd00::2:1"].map(|hub| chain(hub, group, resource));
    assert!(!chains[0].decision().is_empty());
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let (changed, all) = (RefCell::new(0), RefCell::new(0));
    let result = runner.run(&(proptest::collection::vec(item, 0..6), 0_usize..2), |(items, family)| {
        let chain = &chains[family];
        let list = json!({"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": "9"}, "items": items});
        let mut real = real.borrow_mut();
        let protobuf = real.encode(without_nulls(list).to_string().as_bytes());
        let json = real.decode(&protobuf);
        let from_json = filtered(chain, Encoding::Json, json.as_bytes());
        let from_protobuf = filtered(chain, Encoding::Protobuf, &protobuf);
        let fates_of = |encoding, body, filtered| fates(chain, encoding, kind, body, filtered);
        prop_assert_eq!(
            fates_of(Encoding::Json, json.as_bytes(), &from_json),
            fates_of(Encoding::Protobuf, &protobuf, &from_protobuf)
        );
        // Through the same types once more: what JSON leaves out and protobuf does not is no difference.
        let normal = real.encode(&from_json);
        let expected: Value = serde_json::from_str(&real.decode(&normal)).unwrap();
        let found: Value = serde_json::from_str(&real.decode(&from_protobuf)).unwrap();
        prop_assert_eq!(&found, &expected);
        *all.borrow_mut() += 1;
        *changed.borrow_mut() += usize::from(from_json != json.as_bytes());
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{resource}: {error}"));
    println!("{resource}: {} random lists, {} changed by the filters, alike in both encodings", all.borrow(), changed.borrow());
    assert!(*changed.borrow() > 30, "the filters had something to do");
}

#[test]
fn protobuf_and_json_are_filtered_alike_as_kubernetes_reads_them() {
    let Some(lab) = testkit::lab() else { return };
    let real = RefCell::new(Real::start(&lab));
    check(&real, "", "services", "ServiceList", a_service().boxed());
    check(&real, "discovery.k8s.io", "endpointslices", "EndpointSliceList", a_slice().boxed());
    check(&real, "", "endpoints", "EndpointsList", an_endpoints().boxed());
    check(&real, "", "pods", "PodList", a_pod().boxed());
    check(&real, "", "configmaps", "ConfigMapList", a_config_map().boxed());
}
