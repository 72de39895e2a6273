//! What a filter or a rule costs on one core: lists of 5,000 objects, and a watch's events of objects that it hides or
//! changes, in both encodings, beside decoding all of it, filtering and encoding it again, as a program made of client-go
//! does it and as one that goes through `serde_json::Value` does. A watch's bytes go the way that they go to a client, from
//! those of the cloud on: what its client was shown and the version that it has come to are kept, and whether the rules
//! have changed is looked at.
//!
//! Receives the lab (`HOLDFAST_LAB`), which has client-go; without it those columns say so. Prints a table in Markdown with
//! each target beside its figure. A figure over its target is no failure.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use holdfast::kube::list::{Encoding, Limits, Rewriter};
use holdfast::kube::message::Edit;
use holdfast::kube::object::{TypeMeta, from_item};
use holdfast::kube::proto::{envelop, write_bytes, write_number};
use holdfast::kube::watch::{self, EventType};
use holdfast::request::filter::{Ask, Beginning, Chain, Filtered, Filters, Hub, Source, Stands, Transform};
use holdfast::runtime::metrics::Metrics;
use holdfast::state::filters::Filter;
use holdfast::state::inputs::{Inputs, Node};
use holdfast::state::rules::{Agents, RuleSet, Rules};
use holdfast::state::user_rule;
use holdfast::store::{Knowledge, Limits as StoreLimits, Memory, Parts, Scope, Sealer};
use holdfast::upstream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;

const OBJECTS: usize = 5000;
/// Of one watch.
const EVENTS: usize = 1000;
/// What is held beyond the list is no more for the long one.
const FEW: usize = 500;
const ROUNDS: usize = 7;
/// Of what takes a second for each.
const SLOW_ROUNDS: usize = 3;
const CHUNK: usize = 16 * 1024;
/// Fields in an object's managedFields, so that it has some 5 KB.
const MANAGED: usize = 150;

/// FieldsV1 as the kube-apiserver writes it: small nested objects, in protobuf as one field of bytes.
fn managed_fields() -> String {
    let fields: Vec<_> = (0..MANAGED).map(|number| format!(r#""f:field{number}":{{"f:name":{{}},".":{{}}}}"#)).collect();
    format!(r#"{{"f:spec":{{{}}}}}"#, fields.join(","))
}

/// What one filter is measured on; without one, it is a rule.
struct Case {
    filter: Option<Filter>,
    group: &'static str,
    resource: &'static str,
    kind: &'static str,
}

const fn services(filter: Option<Filter>) -> Case {
    Case { filter, group: "", resource: "services", kind: "Service" }
}

const fn slices(filter: Filter) -> Case {
    Case { filter: Some(filter), group: "discovery.k8s.io", resource: "endpointslices", kind: "EndpointSlice" }
}

const CASES: [Case; 8] = [
    services(Some(Filter::DiscardCloudService)),
    services(Some(Filter::NodePortIsolation)),
    services(Some(Filter::MasterService)),
    slices(Filter::ServiceTopology),
    slices(Filter::ForwardKubeSvcTraffic),
    Case { filter: Some(Filter::InClusterConfig), group: "", resource: "configmaps", kind: "ConfigMap" },
    Case { filter: Some(Filter::ServiceEnvUpdater), group: "", resource: "pods", kind: "Pod" },
    services(None),
];

/// Looks at each object with an expression, and changes every second one.
const RULE: &str = "
- name: bench
  match: {resources: [services], expression: 'object.spec.ports.exists(p, p.port == 443) && object.spec.type == \"LoadBalancer\"'}
  set: [{path: /spec/externalTrafficPolicy, value: Local}]
";

impl Case {
    fn api_version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    fn name(&self) -> &'static str {
        self.filter.map_or("(a rule in CEL)", Filter::name)
    }

    /// Namespace and name of an object. The first is the one that the filter looks for.
    fn names(&self, number: usize) -> (&'static str, String) {
        match self.filter.filter(|_| number == 0) {
            Some(Filter::MasterService | Filter::ForwardKubeSvcTraffic) => ("default", "kubernetes".to_owned()),
            Some(Filter::InClusterConfig) => ("kube-system", "kube-proxy".to_owned()),
            _ => ("a", format!("o{number}")),
        }
    }

    /// Of which Service a slice is.
    fn service(&self, number: usize) -> &'static str {
        if self.names(number).0 == "default" { "kubernetes" } else { "s" }
    }

    /// Whether it has something to do with one object alone.
    fn is_of_one(&self) -> bool {
        matches!(self.filter, Some(Filter::MasterService | Filter::ForwardKubeSvcTraffic | Filter::InClusterConfig))
    }

    /// What is not for this node is every second object.
    fn is_far(number: usize) -> bool {
        number.is_multiple_of(2)
    }
}

fn chain(case: &Case) -> Chain {
    let mut rules = RuleSet::new(Agents::parse("*"), case.filter.as_slice());
    if case.filter.is_none() {
        rules.user = user_rule::parse(RULE, &[]).unwrap();
    }
    rules.filters.values_mut().for_each(|components| components.extend(["bench".to_owned()]));
    let inputs = Inputs::default();
    inputs.update(|facts| {
        facts.node = Some(Arc::new(Node { pool: Some("p".into()), zone: None }));
        facts.pool = Some(Arc::new(["n1".to_owned()].into()));
        facts.services = Some(Arc::default());
        facts.topology = Some(Arc::new(HashMap::from([(("a".into(), "s".into()), "openyurt.io/nodepool".into())])));
    });
    let filters = Arc::new(Filters {
        hub: Hub { address: "169.254.2.1".parse().unwrap(), port: 10_268 },
        node_name: "n1".into(),
        inputs: Arc::new(inputs),
        rules: Arc::new(Rules::new(rules)),
        told: Default::default(),
        hidden: Default::default(),
        metrics: Arc::new(Metrics::default()),
    });
    let ask = Ask {
        component: "bench".into(),
        group: case.group.into(),
        resource: case.resource.into(),
        verb: "list".into(),
        whole: true,
        ..Ask::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(filters.chain_for(ask)).unwrap()
}

/// An object in item form that the filter has something to do with.
fn item(case: &Case, encoding: Encoding, number: usize) -> Vec<u8> {
    let managed = managed_fields();
    let (far, (namespace, name), service) = (Case::is_far(number), case.names(number), case.service(number));
    match encoding {
        Encoding::Json => {
            let rest = match case.kind {
                "Service" => {
                    let kind = if far { "LoadBalancer" } else { "NodePort" };
                    format!(r#""spec":{{"type":"{kind}","clusterIP":"10.0.0.1","ports":[{{"name":"https","port":443}}]}}"#)
                }
                "EndpointSlice" => {
                    let endpoint =
                        |node| format!(r#"{{"addresses":["10.1.1.1"],"conditions":{{"ready":true}},"nodeName":"{node}"}}"#);
                    format!(
                        r#""addressType":"IPv4","endpoints":[{},{}],"ports":[{{"name":"https","port":443}}]"#,
                        endpoint("n1"),
                        endpoint("n2")
                    )
                }
                "ConfigMap" => r#""data":{"config.conf":"kubeconfig: x"}"#.to_owned(),
                _ => r#""spec":{"containers":[{"name":"c","env":[{"name":"KUBERNETES_SERVICE_HOST","value":"10.96.0.1"}]}]}"#
                    .to_owned(),
            };
            let listen = if far { "-p" } else { "p" };
            format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","uid":"u","resourceVersion":"{number}","labels":{{"kubernetes.io/service-name":"{service}"}},"annotations":{{"nodeport.openyurt.io/listen":"{listen}","svc.openyurt.io/discard":"{far}"}},"managedFields":[{{"manager":"m","fieldsV1":{managed}}}]}},{rest}}}"#
            )
            .into_bytes()
        }
        Encoding::Protobuf => proto_item(case, number, &managed),
    }
}

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    fields.iter().for_each(|(number, value)| write_bytes(&mut out, *number, value));
    out
}

fn proto_item(case: &Case, number: usize, managed: &str) -> Vec<u8> {
    let pair = |key: &str, value: &str| message(&[(1, key.as_bytes()), (2, value.as_bytes())]);
    let (far, (namespace, name)) = (Case::is_far(number), case.names(number));
    let metadata = message(&[
        (1, name.as_bytes()),
        (3, namespace.as_bytes()),
        (5, b"u"),
        (6, number.to_string().as_bytes()),
        (11, &pair("kubernetes.io/service-name", case.service(number))),
        (12, &pair("nodeport.openyurt.io/listen", if far { "-p" } else { "p" })),
        (12, &pair("svc.openyurt.io/discard", if far { "true" } else { "false" })),
        (17, &message(&[(1, b"m"), (7, &message(&[(1, managed.as_bytes())]))])),
    ]);
    let mut out = message(&[(1, &metadata)]);
    match case.kind {
        "Service" => {
            let kind: &[u8] = if far { b"LoadBalancer" } else { b"NodePort" };
            let mut port = message(&[(1, b"https")]);
            write_number(&mut port, 3, 443);
            write_bytes(&mut out, 2, &message(&[(1, &port), (3, b"10.0.0.1"), (4, kind)]));
        }
        "EndpointSlice" => {
            for node in ["n1", "n2"] {
                write_bytes(&mut out, 2, &message(&[(1, b"10.1.1.1"), (6, node.as_bytes())]));
            }
            let mut port = message(&[(1, b"https")]);
            write_number(&mut port, 3, 443);
            write_bytes(&mut out, 3, &port);
            write_bytes(&mut out, 4, b"IPv4");
        }
        "ConfigMap" => write_bytes(&mut out, 2, &pair("config.conf", "kubeconfig: x")),
        _ => {
            let variable = message(&[(1, b"KUBERNETES_SERVICE_HOST"), (2, b"10.96.0.1")]);
            write_bytes(&mut out, 2, &message(&[(2, &message(&[(1, b"c"), (7, &variable)]))]));
        }
    }
    out
}

fn list(case: &Case, encoding: Encoding, objects: usize) -> Vec<u8> {
    let items = (0..objects).map(|number| item(case, encoding, number));
    match encoding {
        Encoding::Json => {
            let items: Vec<_> = items.map(|item| String::from_utf8(item).unwrap()).collect();
            format!(
                r#"{{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"1"}},"items":[{}]}}"#,
                case.kind,
                case.api_version(),
                items.join(",")
            )
            .into_bytes()
        }
        Encoding::Protobuf => {
            let mut raw = Vec::new();
            items.for_each(|item| write_bytes(&mut raw, 2, &item));
            envelop(&case.api_version(), &format!("{}List", case.kind), &raw)
        }
    }
}

fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    let once = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    (0..rounds).map(|_| once(&mut work)).min().unwrap()
}

fn stream(chain: &Chain, encoding: Encoding, body: &Bytes) {
    let limits = Limits { max_item: 8 << 20, max_head: 64 * 1024 };
    let mut rewriter = Rewriter::new(encoding, limits, chain.reserve(), |kind, item| chain.item(encoding, kind, item));
    let mut out = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        rewriter.feed(rest.split_to(CHUNK.min(rest.len())), &mut out).unwrap();
        std::hint::black_box(&out);
        out.clear();
    }
    rewriter.finish().unwrap();
}

/// A watch's events as they come from the cloud, each of an object that the filter hides or changes.
fn events(case: &Case, encoding: Encoding) -> Vec<Bytes> {
    let types = TypeMeta { api_version: case.api_version(), kind: case.kind.into() };
    let number = |event: usize| if case.is_of_one() { 0 } else { 2 * event };
    let full = |event| from_item(encoding, &types, &item(case, encoding, number(event)));
    (0..EVENTS).map(|event| watch::encode(encoding, EventType::Modified, &full(event))).collect()
}

/// Where the events' collection would be remembered.
fn source(case: &Case, encoding: Encoding) -> Source {
    // Nothing is ever remembered: its tasks need not run.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let parts = Parts {
        store: Arc::new(Memory::default()),
        sealer: Sealer::new(&[1; 32]),
        metrics: Arc::new(Metrics::default()),
        limits: StoreLimits::default(),
        tasks: runtime.handle().clone(),
    };
    let scope = Scope {
        group: case.group.to_owned(),
        version: "v1".to_owned(),
        resource: case.resource.to_owned(),
        protobuf: encoding == Encoding::Protobuf,
        ..Scope::default()
    };
    Source { knowledge: Knowledge::open(parts).unwrap(), scope, bookmarks: true }
}

/// A whole watch, and what its client gets of it.
fn watched(chain: &Chain, source: &Source, events: &[Bytes]) {
    let beginning = Beginning {
        shown: None,
        source: Some(source.clone()),
        stands: Stands::default(),
        resource_version: "1".to_owned(),
        initial_events: false,
        hides_bookmarks: false,
    };
    let transform = Transform::watch(chain.clone(), source.scope.encoding(), false, beginning);
    let frames = events.iter().map(|event| Ok::<_, upstream::Error>(Frame::data(event.clone())));
    let mut body = Filtered::new(StreamBody::new(stream::iter(frames)), transform, Arc::default());
    // What has come never waits for anything.
    while let Some(frame) = body.frame().now_or_never().unwrap() {
        std::hint::black_box(frame.unwrap());
    }
}

/// What `work` gives, and by how many MB it raised the most memory that this process had at once.
fn with_memory<T>(work: impl FnOnce() -> T) -> (T, f64) {
    // Or what was made before would hide it: the peak becomes what there is now (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let made = work();
    (made, peak() - before)
}

/// The most memory this process had at once, in MB.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let lab = std::env::var("HOLDFAST_LAB").ok();
    println!(
        "| filter | encoding | list, MB/s | target, at least | | event of 5 KB | target, at most | | memory beyond a list of {FEW}, of {OBJECTS} | target, at most | | serde_json::Value: list, MB/s | memory | event | client-go: list, MB/s | memory | event |"
    );
    println!("|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for case in &CASES {
        let chain = chain(case);
        for (encoding, target) in [(Encoding::Json, 250.0), (Encoding::Protobuf, 1000.0)] {
            if case.filter.is_some() || encoding == Encoding::Json {
                println!("{}", row(case, &chain, encoding, target, lab.as_deref()));
            }
        }
    }
}

fn row(case: &Case, chain: &Chain, encoding: Encoding, target: f64, lab: Option<&str>) -> String {
    let [(_, little), (took, memory)] = [FEW, OBJECTS].map(|objects| {
        let body = Bytes::from(list(case, encoding, objects));
        with_memory(|| best(ROUNDS, || stream(chain, encoding, &body)))
    });
    let body = Bytes::from(list(case, encoding, OBJECTS));
    let rate = rate(&body, took);
    let is_kept = matches!(chain.item(encoding, case.kind, &item(case, encoding, 0)), Ok(Edit::Keep));
    assert!(!is_kept, "{}: its events are of objects that it leaves alone", case.name());
    let (source, events) = (source(case, encoding), events(case, encoding));
    // Of one, in microseconds.
    let each = |work: &dyn Fn()| best(ROUNDS, work).as_secs_f64() * 1e6 / events.len() as f64;
    let event = each(&|| watched(chain, &source, &events));
    let ok = |good: bool| if good { "ok" } else { "missed" };
    let values = if encoding == Encoding::Json {
        let (took, memory) = with_memory(|| best(SLOW_ROUNDS, || through_values(case, &body)));
        let event = each(&|| events.iter().for_each(|event| through_values(case, event)));
        format!("{:.0} | {memory:.1} MB | {event:.1} us", self::rate(&body, took))
    } else {
        "| |".to_owned()
    };
    let client_go = match (case.filter, lab) {
        (None, _) => "| |".to_owned(),
        (_, None) => "skipped: needs the lab | |".to_owned(),
        (Some(filter), Some(lab)) => {
            let list = through_client_go(lab, (filter, encoding, "list"), &body);
            let (rate, memory) = list.split_once(' ').unwrap();
            let event = through_client_go(lab, (filter, encoding, "events"), &events.concat());
            format!("{rate} | {memory} MB | {event} us")
        }
    };
    // Memory is read in pages, and what it is read from moves by some of them.
    let bounded = little.max(memory) <= 1.0;
    format!(
        "| {} | {encoding:?} | {rate:.0} | {target:.0} | {} | {event:.1} us | 20 us | {} | {little:.1}, {memory:.1} MB | 1.0 MB | {} | {values} | {client_go} |",
        case.name(),
        ok(rate >= target),
        ok(event <= 20.0),
        ok(bounded),
    )
}

/// In MB/s.
fn rate(body: &[u8], took: Duration) -> f64 {
    body.len() as f64 / 1e6 / took.as_secs_f64()
}

/// A list, or an event.
fn through_values(case: &Case, body: &[u8]) {
    let mut value: Value = serde_json::from_slice(body).unwrap();
    match value["items"].as_array_mut() {
        Some(items) => items.retain_mut(|item| is_kept(case, item)),
        None => drop(is_kept(case, &mut value["object"])),
    }
    std::hint::black_box(serde_json::to_vec(&value).unwrap());
}

/// What the filter makes of an object; false: it is dropped.
fn is_kept(case: &Case, object: &mut Value) -> bool {
    let is_named = |name: &str| object["metadata"]["name"] == name;
    match case.filter {
        Some(Filter::DiscardCloudService) => {
            return object["spec"]["type"] != "LoadBalancer"
                || object["metadata"]["annotations"]["svc.openyurt.io/discard"] != "true";
        }
        Some(Filter::NodePortIsolation) => return object["metadata"]["annotations"]["nodeport.openyurt.io/listen"] != "-p",
        Some(Filter::MasterService) if is_named("kubernetes") => {
            object["spec"]["clusterIP"] = "169.254.2.1".into();
            object["spec"]["ports"][0]["port"] = 10_268.into();
        }
        Some(Filter::ServiceTopology) => {
            object["endpoints"].as_array_mut().unwrap().retain(|endpoint| endpoint["nodeName"] == "n1");
        }
        Some(Filter::ForwardKubeSvcTraffic) if is_named("kubernetes") => {
            object["endpoints"] = serde_json::json!([{"addresses": ["169.254.2.1"], "conditions": {"ready": true}}]);
        }
        Some(Filter::InClusterConfig) if is_named("kube-proxy") => {
            let config = object["data"]["config.conf"].as_str().unwrap().replace("kubeconfig", "#kubeconfig");
            object["data"]["config.conf"] = config.into();
        }
        Some(Filter::ServiceEnvUpdater) => {
            object["spec"]["containers"][0]["env"][0]["value"] = "169.254.2.1".into();
        }
        None if object["spec"]["type"] == "LoadBalancer" => object["spec"]["externalTrafficPolicy"] = "Local".into(),
        _ => {}
    }
    true
}

/// What the lab's `filterbench` says of a list, or of a watch's events.
fn through_client_go(lab: &str, (filter, encoding, what): (Filter, Encoding, &str), body: &[u8]) -> String {
    let mut command = Command::new(lab);
    command.args(["filterbench", filter.name(), &format!("{encoding:?}").to_lowercase(), what]);
    command.args([body.len(), SLOW_ROUNDS].map(|number| number.to_string()));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(body).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "filterbench: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
