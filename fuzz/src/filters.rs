//! Each filter, at work on one object and on a list of two.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use holdfast::kube::json::Scanner;
use holdfast::kube::list::{Encoding, Limits, RewriteError, Rewriter};
use holdfast::kube::message::Edit;
use holdfast::kube::object::meta;
use holdfast::kube::proto::{envelop, write_bytes};
use holdfast::kube::schema::{config_map, endpoint_slice, endpoints, pod, service, table};
use holdfast::request::filter::{Ask, Chain, FilterError, Filters, Hub};
use holdfast::runtime::metrics::Metrics;
use holdfast::state::filters::Filter;
use holdfast::state::inputs::{Inputs, Node, Service};
use holdfast::state::rules::{Agents, RuleSet, Rules};

use super::BOTH;
use super::lists::edited;
use super::messages::{May, same_but};

/// A filter, the answers it looks at (group, resource and kind), and what it may change in an object.
struct Case {
    filter: Filter,
    answers: (&'static str, &'static str, &'static str),
    may: &'static [May],
}

const SLICES: (&str, &str, &str) = ("discovery.k8s.io", "endpointslices", "EndpointSliceList");
const SERVICES: (&str, &str, &str) = ("", "services", "ServiceList");
const CASES: [Case; 8] = [
    Case { filter: Filter::DiscardCloudService, answers: SERVICES, may: &[] },
    Case { filter: Filter::NodePortIsolation, answers: SERVICES, may: &[] },
    Case {
        filter: Filter::MasterService,
        answers: SERVICES,
        may: &[May::ChangeIn(
            service::SPEC,
            &[
                May::Change(service::CLUSTER_IP),
                May::Change(service::CLUSTER_IPS),
                May::ChangeIn(service::PORTS, &[May::Change(service::PORT_NUMBER)]),
            ],
        )],
    },
    Case { filter: Filter::ServiceTopology, answers: SLICES, may: &[May::Change(endpoint_slice::ENDPOINTS)] },
    Case {
        filter: Filter::ServiceTopology,
        answers: ("", "endpoints", "EndpointsList"),
        may: &[May::ChangeIn(
            endpoints::SUBSETS,
            &[May::Change(endpoints::ADDRESSES), May::Change(endpoints::NOT_READY_ADDRESSES)],
        )],
    },
    Case {
        filter: Filter::ForwardKubeSvcTraffic,
        answers: SLICES,
        may: &[
            May::Change(endpoint_slice::ENDPOINTS),
            May::ChangeIn(endpoint_slice::PORTS, &[May::Change(endpoint_slice::PORT_NUMBER)]),
        ],
    },
    Case { filter: Filter::InClusterConfig, answers: ("", "configmaps", "ConfigMapList"), may: &[May::Change(config_map::DATA)] },
    Case {
        filter: Filter::ServiceEnvUpdater,
        answers: ("", "pods", "PodList"),
        may: &[May::ChangeIn(
            pod::SPEC,
            &[
                May::ChangeIn(pod::CONTAINERS, ENV),
                May::ChangeIn(pod::INIT_CONTAINERS, ENV),
                // Messages of another form in each encoding.
                May::Change(pod::EPHEMERAL_CONTAINERS),
            ],
        )],
    },
];
const ENV: &[May] = &[May::ChangeIn(pod::ENV, &[May::Change(pod::ENV_VALUE), May::Change(pod::ENV_VALUE_FROM)])];

static CHAINS: LazyLock<Vec<Chain>> = LazyLock::new(|| CASES.iter().map(chain).collect());

/// A chain of this one filter, on node n1 of pool p and zone z1, where n2 is the pool's other node.
fn chain(case: &Case) -> Chain {
    let mut rules = RuleSet::new(Agents::parse("*"), &[case.filter]);
    rules.filters.values_mut().for_each(|components| components.extend(["everybody".to_owned()]));
    let inputs = Inputs::default();
    let named = |name: &str| ("a".to_owned(), name.to_owned());
    inputs.update(|facts| {
        facts.node = Some(Arc::new(Node { pool: Some("p".into()), zone: Some("z1".into()) }));
        facts.pool = Some(Arc::new(["n1", "n2"].map(str::to_owned).into()));
        facts.zone = Some(Arc::default());
        let known = Service { kind: "LoadBalancer".into(), listen: Some("-p".into()), discard: Some("true".into()) };
        facts.services = Some(Arc::new(HashMap::from([(named("s1"), known)])));
        let keys = [("s1", "kubernetes.io/hostname"), ("s2", "openyurt.io/nodepool")];
        facts.topology = Some(Arc::new(keys.into_iter().map(|(name, keys)| (named(name), keys.to_owned())).collect()));
    });
    let filters = Arc::new(Filters {
        hub: Hub { address: [169, 254, 2, 1].into(), port: 10_268 },
        node_name: "n1".to_owned(),
        inputs: Arc::new(inputs),
        rules: Arc::new(Rules::new(rules)),
        told: Default::default(),
        hidden: Default::default(),
        metrics: Arc::new(Metrics::default()),
    });
    let (group, resource, _) = case.answers;
    let (component, verb) = ("everybody".to_owned(), "list".to_owned());
    let ask = Ask { component, group: group.to_owned(), resource: resource.to_owned(), verb, whole: true, ..Ask::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let chain = runtime.block_on(filters.chain_for(ask)).unwrap_or_else(|filter| panic!("{filter} refuses"));
    assert_eq!(chain.decision().filters(), [case.filter]);
    chain
}

/// The data is an object in item form, in whichever encoding, or a row of a Table.
pub fn check(filter: Filter, data: &[u8]) {
    for (case, chain) in CASES.iter().zip(&*CHAINS).filter(|(case, _)| case.filter == filter) {
        for encoding in BOTH {
            Trial { chain, encoding, list: case.answers.2, filter, may: case.may }.check(data);
            Trial { chain, encoding, list: "PartialObjectMetadataList", filter, may: &[] }.check(data);
        }
        Trial { chain, encoding: Encoding::Json, list: "Table", filter, may: &[May::Change(table::OBJECT)] }.check(data);
    }
}

/// The items of a list as they came, and the list as it went on.
type Through = (Vec<Vec<u8>>, Result<Vec<u8>, RewriteError<FilterError>>);

/// A filter and the answer in which an object stands.
struct Trial<'a> {
    chain: &'a Chain,
    encoding: Encoding,
    list: &'static str,
    filter: Filter,
    may: &'static [May],
}

impl Trial<'_> {
    fn check(&self, item: &[u8]) {
        // On any bytes at all nothing panics; the rest is promised for what a splitter hands out.
        let edit = self.edit(item);
        if !self.is_whole(item) {
            return;
        }
        match &edit {
            Ok(Edit::Keep | Edit::Remove) => {}
            Ok(Edit::Replace(new)) => self.check_replaced(item, new),
            Err(error) => assert!(self.filter.is_for_safety() || self.list == "Table", "a filter for comfort fails: {error}"),
        }
        self.check_list(item, edit);
    }

    fn edit(&self, item: &[u8]) -> Result<Edit, FilterError> {
        self.chain.item(self.encoding, self.list, item)
    }

    /// Whether a splitter would hand this out as an item.
    fn is_whole(&self, item: &[u8]) -> bool {
        match self.encoding {
            Encoding::Json => item.starts_with(b"{") && Scanner::default().scan(item) == Ok(Some(item.len())),
            Encoding::Protobuf => true,
        }
    }

    /// The new object is one that can be read, of the same name, different only in what the filter may change; and
    /// filtering it changes nothing more.
    fn check_replaced(&self, old: &[u8], new: &[u8]) {
        assert!(self.is_whole(new), "no object any more");
        same_but(self.may, self.encoding, old, new);
        assert_eq!(meta(self.encoding, new).ok(), meta(self.encoding, old).ok());
        if self.encoding == Encoding::Json && serde_json::from_slice::<serde_json::Value>(old).is_ok() {
            serde_json::from_slice::<serde_json::Value>(new).expect("JSON");
        }
        match self.edit(new) {
            Ok(Edit::Keep) => {}
            Ok(Edit::Replace(again)) => assert_eq!(again, new, "not the same once more"),
            other => panic!("once more gives {other:?}"),
        }
    }

    /// The object twice in a list comes out twice as the filter wants it, and the list is one still.
    fn check_list(&self, item: &[u8], edit: Result<Edit, FilterError>) {
        let body = self.list_of(&[item, item]);
        let (items, filtered) = self.through(&body, |kind, item| self.chain.item(self.encoding, kind, item));
        assert!(items.iter().all(|found| found == item));
        let edit = match (edit, &filtered) {
            (Err(error), _) => return assert_eq!(filtered, Err(RewriteError::Item(error))),
            (Ok(edit), _) => edit,
        };
        let out = filtered.expect("a list");
        if edit == Edit::Keep && self.encoding == Encoding::Json {
            assert_eq!(out, body, "nothing changes, and yet it does");
        }
        let expected = edited(edit, item.to_vec()).map_or(Vec::new(), |item| vec![item.clone(), item]);
        let (found, again) = self.through(&out, |_, _| Ok(Edit::Keep));
        assert_eq!((found, again.is_ok()), (expected, true));
    }

    fn list_of(&self, items: &[&[u8]]) -> Vec<u8> {
        match self.encoding {
            Encoding::Json => {
                let name = if self.list == "Table" { "rows" } else { "items" };
                let head = format!(r#"{{"kind":"{}","apiVersion":"v1","{name}":["#, self.list);
                [head.as_bytes(), &items.join(&b','), b"]}"].concat()
            }
            Encoding::Protobuf => {
                let mut raw = Vec::new();
                items.iter().for_each(|item| write_bytes(&mut raw, 2, item));
                envelop("v1", self.list, &raw)
            }
        }
    }

    /// The items of a list as they come to `rewrite`, and the list that it makes of them.
    fn through(&self, body: &[u8], mut rewrite: impl FnMut(&str, &[u8]) -> Result<Edit, FilterError>) -> Through {
        let limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
        let (mut items, mut out) = (Vec::new(), Vec::new());
        let mut rewriter = Rewriter::new(self.encoding, limits, self.chain.reserve(), |kind, item: &[u8]| {
            items.push(item.to_vec());
            rewrite(kind, item)
        });
        let fed = rewriter.feed(Bytes::copy_from_slice(body), &mut out);
        let end = fed.and_then(|()| rewriter.finish());
        (items, end.map(|_| out.concat()))
    }
}
