//! Each filter on what a real kube-apiserver answered, in both encodings: the cases of `tests/fixtures/filters`.
//!
//! A case's input goes through the chain of a component that the filter serves, and must come out as the recorded output.
//! Needs nothing but the files: one that is missing is a failure, and so is one that no case names.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::kube::list::{Encoding, Limits, Rewriter};
use holdfast::kube::message::Edit;
use holdfast::kube::object::{back_to_full, into_item};
use holdfast::kube::proto::{envelop, fields};
use holdfast::request::filter::{Ask, Chain, EDITION, Filters, Hub};
use holdfast::runtime::metrics::Metrics;
use holdfast::state::filters::Filter;
use holdfast::state::inputs::{Inputs, Node};
use holdfast::state::mark;
use holdfast::state::rules::{Agents, RuleSet, Rules};
use serde::Deserialize;
use serde_json::{Value, json};

const BOTH: [(Encoding, &str); 2] = [(Encoding::Json, "json"), (Encoding::Protobuf, "pb")];
/// What comes out of all cases.
const OF_EDITION: &str = "1: 7422b6d320105655";
/// The field that fills a rewritten protobuf list up to its announced length.
const FILLING: u32 = 15;

/// A line of a filter's `cases.json`, as the fixtures' README explains it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    path: String,
    #[serde(default)]
    facts: Facts,
    #[serde(rename = "patch")]
    _patch: Option<Value>,
    #[serde(default)]
    hidden: Vec<String>,
    put: Option<String>,
    edit: Option<String>,
}

/// What the filter goes by. Of a cluster with neither pools nor zones, if nothing is said.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Facts {
    hub: Option<String>,
    pool: Option<String>,
    zone: Option<String>,
    /// The nodes of the pool.
    members: BTreeSet<String>,
    /// By `namespace/name` of the Service.
    topology: HashMap<String, String>,
}

impl Case {
    /// Whether the client sees something else than the cloud has.
    fn differs(&self) -> bool {
        !self.hidden.is_empty() || self.put.is_some() || self.edit.is_some()
    }

    /// The group and the resource that the path names.
    fn resource(&self) -> (&str, &str) {
        let words: Vec<&str> = self.path.split('/').collect();
        match words[1..] {
            ["api", "v1", "namespaces", _, resource, ..] => ("", resource),
            ["apis", group, "v1", "namespaces", _, resource, ..] => (group, resource),
            _ => panic!("{} is the path of no object and no list", self.path),
        }
    }

    fn chain(&self, filter: Filter) -> Chain {
        let inputs = Inputs::default();
        inputs.update(|facts| {
            facts.node = Some(Arc::new(Node { pool: self.facts.pool.clone(), zone: self.facts.zone.clone() }));
            facts.pool = Some(Arc::new(self.facts.members.clone()));
            facts.zone = Some(Arc::default());
            facts.services = Some(Arc::default());
            let service = |name: &str| name.split_once('/').map(|(namespace, name)| (namespace.to_owned(), name.to_owned()));
            let topology = self.facts.topology.iter().map(|(name, keys)| (service(name).unwrap(), keys.clone())).collect();
            facts.topology = Some(Arc::new(topology));
        });
        let filters = Arc::new(Filters {
            hub: Hub { address: self.facts.hub.as_deref().unwrap_or("169.254.2.1").parse().unwrap(), port: 10_268 },
            node_name: "n1".to_owned(),
            inputs: Arc::new(inputs),
            rules: Arc::new(Rules::new(RuleSet::new(Agents::default(), &[filter]))),
            told: Default::default(),
            hidden: Default::default(),
            metrics: Arc::new(Metrics::default()),
        });
        let (group, resource) = self.resource();
        let ask = Ask {
            component: filter.components()[0].to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb: "get".to_owned(),
            whole: true,
            ..Ask::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let chain = runtime.block_on(filters.chain_for(ask)).unwrap();
        assert_eq!(chain.decision().filters(), [filter]);
        chain
    }
}

fn filtered(chain: &Chain, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let (types, item) = into_item(encoding, body).unwrap();
    if types.kind.ends_with("List") {
        return filtered_list(chain, encoding, body);
    }
    match chain.item(encoding, &types.kind, &item).unwrap() {
        Edit::Keep => body.to_vec(),
        Edit::Remove => panic!("{} is hidden", types.kind),
        Edit::Replace(item) => {
            let newline = body.ends_with(b"\n").then_some(b'\n');
            back_to_full(encoding, &types, item, body).into_iter().chain(newline).collect()
        }
    }
}

fn filtered_list(chain: &Chain, encoding: Encoding, body: &[u8]) -> Vec<u8> {
    let limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
    let mut rewriter = Rewriter::new(encoding, limits, chain.reserve(), |kind, item| chain.item(encoding, kind, item));
    let mut out = Vec::new();
    for chunk in body.chunks(97) {
        rewriter.feed(Bytes::copy_from_slice(chunk), &mut out).unwrap();
    }
    rewriter.finish().unwrap();
    match encoding {
        Encoding::Json => out.concat(),
        Encoding::Protobuf => without_filling(&out.concat()),
    }
}

/// A rewritten list without the field of zeros at its end.
fn without_filling(list: &[u8]) -> Vec<u8> {
    let (types, raw) = into_item(Encoding::Protobuf, list).unwrap();
    let last = fields(&raw).last().unwrap().unwrap();
    assert!(last.number == FILLING && last.bytes().unwrap().iter().all(|byte| *byte == 0));
    envelop(&types.api_version, &types.kind, &raw[..last.range.start])
}

/// To the byte; but of a list in JSON that a filter has emptied, `[]` is left, where the API server writes `null` or
/// nothing.
fn agree(encoding: Encoding, found: &[u8], expected: &[u8]) -> bool {
    let emptied = encoding == Encoding::Json && found.windows(3).any(|bytes| bytes == b":[]");
    found == expected || (emptied && as_read(found) == as_read(expected))
}

fn as_read(object: &[u8]) -> Value {
    fn without_empty(value: Value) -> Value {
        match value {
            Value::Object(map) => map
                .into_iter()
                .filter(|(_, value)| !value.is_null() && *value != json!([]))
                .map(|(key, value)| (key, without_empty(value)))
                .collect(),
            Value::Array(list) => list.into_iter().map(without_empty).collect(),
            other => other,
        }
    }
    without_empty(serde_json::from_slice(object).unwrap())
}

/// For whoever reads the failure.
fn text(encoding: Encoding, object: &[u8]) -> String {
    match encoding {
        Encoding::Json => String::from_utf8_lossy(object).into_owned(),
        Encoding::Protobuf => object.escape_ascii().to_string(),
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}: scripts/record-filter-fixtures", path.display()))
}

/// The names of the recorded files of the cases, as they have to be.
fn recorded(cases: &[Case]) -> BTreeSet<String> {
    let names = cases.iter().flat_map(|case| ["in", "out"].map(|side| format!("{}.{side}", case.case)));
    names.flat_map(|name| BOTH.map(|(_, ending)| format!("{name}.{ending}"))).collect()
}

fn files(folder: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !["cases.json", "objects.yaml"].contains(&name.as_str())).collect()
}

fn check(filter: Filter) {
    let folder = Path::new("tests/fixtures/filters").join(filter.name());
    let cases: Vec<Case> = serde_json::from_slice(&read(&folder.join("cases.json"))).unwrap();
    assert_eq!(files(&folder), recorded(&cases), "recorded, and named by a case, of {}", filter.name());
    assert!(cases.iter().any(Case::differs) && !cases.iter().all(Case::differs), "something to do, and something to leave");
    for case in &cases {
        let chain = case.chain(filter);
        for (encoding, ending) in BOTH {
            let [input, expected] = ["in", "out"].map(|side| read(&folder.join(format!("{}.{side}.{ending}", case.case))));
            let found = filtered(&chain, encoding, &input);
            assert!(
                agree(encoding, &found, &expected),
                "{}/{}.out.{ending}\n   found: {}\nexpected: {}",
                filter.name(),
                case.case,
                text(encoding, &found),
                text(encoding, &expected)
            );
            assert_eq!(input != expected, case.differs(), "{}/{}.{ending}", filter.name(), case.case);
        }
    }
}

#[test]
fn discardcloudservice() {
    check(Filter::DiscardCloudService);
}

#[test]
fn nodeportisolation() {
    check(Filter::NodePortIsolation);
}

#[test]
fn masterservice() {
    check(Filter::MasterService);
}

#[test]
fn servicetopology() {
    check(Filter::ServiceTopology);
}

#[test]
fn forwardkubesvctraffic() {
    check(Filter::ForwardKubeSvcTraffic);
}

#[test]
fn inclusterconfig() {
    check(Filter::InClusterConfig);
}

#[test]
fn serviceenvupdater() {
    check(Filter::ServiceEnvUpdater);
}

/// Processes of the hub take each other's word for what clients were shown as long as this is so.
#[test]
fn what_filters_make_of_objects_is_of_this_edition() {
    let mut all = Vec::new();
    for filter in Filter::ALL {
        let folder = Path::new("tests/fixtures/filters").join(filter.name());
        let cases: Vec<Case> = serde_json::from_slice(&read(&folder.join("cases.json"))).unwrap();
        for case in cases {
            let chain = case.chain(filter);
            for (encoding, ending) in BOTH {
                let input = read(&folder.join(format!("{}.in.{ending}", case.case)));
                all.extend(filtered(&chain, encoding, &input));
            }
        }
    }
    let now = format!("{EDITION}: {:016x}", mark::of_bytes(&all));
    assert_eq!(now, OF_EDITION, "raise request::filter::EDITION if a case comes out as something else than before");
}

#[test]
fn every_filter_has_its_cases() {
    let folders: BTreeSet<String> = fs::read_dir("tests/fixtures/filters")
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, Filter::ALL.iter().map(|filter| filter.name().to_owned()).collect());
}
