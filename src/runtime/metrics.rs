//! The counters of the hub. Names of yurthub are kept where it has the figure.
//!
//! Labels come from what clients send, so they are bounded: components and kinds of
//! request beyond a fixed number count as `other`. A rule's figure is there as long as the rule.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

const COMPONENTS: usize = 64;
const KINDS: usize = 2048;
const LENGTH: usize = 63;
const OTHER: &str = "other";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Request {
    pub client: String,
    pub verb: String,
    pub resource: String,
    pub subresources: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Answer {
    pub route: &'static str,
    pub code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Server {
    pub server: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Why {
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FilterLabel {
    pub filter: String,
}

/// Every figure; cloned handles are cheap and count into the same cells.
#[derive(Default)]
pub struct Metrics {
    pub healthy: Family<Server, Gauge>,
    pub in_flight: Family<Request, Gauge>,
    pub in_flight_total: Gauge<i64, AtomicI64>,
    /// A gauge for its name alone: a counter's would end in `_total`.
    pub traffic: Family<Request, Gauge<u64, AtomicU64>>,
    pub answers: Family<Answer, Counter>,
    pub offline_ages: Ages,
    pub connections_refused: Counter,
    pub link_transitions: Family<Why, Counter>,
    pub watches_held: Family<Why, Counter>,
    pub watches_shared: Counter,
    pub lists_shared: Counter,
    pub access_reviews: Family<Why, Counter>,
    pub lists_remembered: Counter,
    pub lists_not_remembered: Family<Why, Counter>,
    pub filter_errors: Family<FilterLabel, Counter>,
    pub damaged_records: Counter,
    pub store_damaged: Gauge,
    pub store_bytes: Gauge,
    pub store_objects: Gauge,
    pub given_up: Family<Why, Counter>,
    pub journal_entries: Gauge,
    pub events_accepted: Counter,
    pub events_folded: Counter,
    pub events_delivered: Counter,
    pub events_dropped: Family<Why, Counter>,
    pub panics: Counter,
    kinds: Mutex<Kinds>,
}

/// Seconds, from what has just been heard to what was heard a month ago.
#[derive(Clone, Debug)]
pub struct Ages(Histogram);

impl Default for Ages {
    fn default() -> Self {
        Self(Histogram::new([1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0]))
    }
}

impl Ages {
    pub fn observe(&self, seconds: u64) {
        self.0.observe(seconds as f64);
    }
}

impl EncodeMetric for Ages {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// The figures of one kind of request, found once for each request.
pub struct Kind {
    pub in_flight: Gauge,
    pub traffic: Gauge<u64, AtomicU64>,
}

/// The kinds in use, by their labels joined with NUL.
#[derive(Default)]
struct Kinds {
    components: HashSet<String>,
    known: HashMap<String, Arc<Kind>>,
}

impl Metrics {
    /// The figures of a kind of request: client, verb, resource, subresource. From a
    /// bounded set.
    pub fn kind(&self, labels: [&str; 4]) -> Arc<Kind> {
        let labels = labels.map(|label| if label.len() > LENGTH { OTHER } else { label });
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kind) = kinds.known.get(&labels.join("\0")) {
            return kind.clone();
        }
        let labels = kinds.bounded(labels);
        let [client, verb, resource, subresources] = labels.map(str::to_owned);
        let request = Request { client, verb, resource, subresources };
        let figures = || {
            let in_flight = self.in_flight.get_or_create(&request).clone();
            Arc::new(Kind { in_flight, traffic: self.traffic.get_or_create(&request).clone() })
        };
        kinds.known.entry(labels.join("\0")).or_insert_with(figures).clone()
    }
}

impl Kinds {
    /// The labels themselves while there is room for them, else `other`.
    fn bounded<'a>(&mut self, [mut client, verb, resource, subresources]: [&'a str; 4]) -> [&'a str; 4] {
        if !self.components.contains(client) {
            if self.components.len() < COMPONENTS {
                self.components.insert(client.to_owned());
            } else {
                client = OTHER;
            }
        }
        if self.known.len() < KINDS { [client, verb, resource, subresources] } else { [client, OTHER, OTHER, OTHER] }
    }
}

macro_rules! figures {
    ($($kind:ident $field:ident $name:literal $help:literal),* $(,)?) => {
        impl Metrics {
            /// Kind, name and meaning of every figure; a counter's public name ends in
            /// `_total`.
            pub const FIGURES: &[(&'static str, &'static str, &'static str)] = &[$((stringify!($kind), $name, $help)),*];

            /// Adds every figure to a registry, under its public name.
            pub fn register(&self, registry: &mut Registry) {
                $(registry.register($name, $help, self.$field.clone());)*
            }
        }
    };
}

figures! {
    gauge healthy "node_yurthub_server_healthy_status" "1 while the server is up",
    gauge in_flight "node_yurthub_in_flight_requests_collector" "Requests in flight",
    gauge in_flight_total "node_yurthub_in_flight_requests_total" "Requests in flight, all",
    gauge traffic "node_yurthub_proxy_traffic_collector" "Bytes of answers",
    counter answers "holdfast_answers" "Answers by route and status code",
    counter connections_refused "holdfast_connections_refused" "Connections closed because their source has its share of the places",
    histogram offline_ages "holdfast_offline_answer_age_seconds" "How old what the store answered was, as its `Age` says",
    counter link_transitions "holdfast_link_transitions" "Changes of the link's verdict by reason",
    counter lists_remembered "holdfast_lists_remembered" "Complete lists that replaced what was known",
    counter watches_held "holdfast_watches_held" "What became of open watches that had lost the connection which brought them, by reason; one watch may go on several times",
    counter watches_shared "holdfast_watches_shared" "Watches that were told what the cloud tells another one; one watch may go on so several times",
    counter lists_shared "holdfast_lists_shared" "Lists of any version, and beginnings of watches from one, that the store may answer because it is told what changes",
    counter access_reviews "holdfast_access_reviews" "What the cloud has said when it was asked whether one may list or watch that is told what another one is",
    counter lists_not_remembered "holdfast_lists_not_remembered" "Lists that were passed on and not remembered",
    counter filter_errors "holdfast_filter_errors" "Items that a filter could not read, or requests whose filter did not know what it goes by; of a rule, `rule/NAME`, as long as there is one; `body`: answers that broke off because they were no list, no events or no gzip; `inputs`: objects that filters go by and that the hub could not read",
    counter damaged_records "holdfast_store_damaged_records" "Records that failed their seal and were taken out",
    gauge store_damaged "holdfast_store_damaged" "1 while the store's file is known to be damaged: nothing is written until another one takes its place",
    gauge store_bytes "holdfast_store_bytes" "Bytes of remembered items",
    gauge store_objects "holdfast_store_objects" "Remembered items",
    counter given_up "holdfast_store_given_up" "Collections, and rows that stand for themselves, given up by reason",
    gauge journal_entries "holdfast_journal_entries" "Events, and changes of Events, that wait for delivery",
    counter events_accepted "holdfast_events_accepted" "Events, and changes of Events, accepted while the link was down",
    counter events_folded "holdfast_events_folded" "Changes of Events that were accepted on top of one that waited already, to be delivered as one with it",
    counter events_delivered "holdfast_events_delivered" "Events, and changes of Events, delivered after the link's return",
    counter events_dropped "holdfast_events_dropped" "Events that were not kept because the journal was full, or that have made room after a day, or that the cloud has refused after they were accepted, or changes that a later write or a deletion has overtaken, by reason",
    counter panics "holdfast_panics" "Panics: each ended one task, or met damage in the file of the store",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_from_clients_are_bounded() {
        let metrics = Metrics::default();
        let kind = |client: usize, resource: usize| metrics.kind([&format!("c{client}"), "get", &format!("r{resource}"), ""]);
        let first = kind(0, 0);
        let seen: HashSet<*const Kind> = (0..300)
            .flat_map(|client| (0..300).map(move |resource| (client, resource)))
            .map(|(client, resource)| Arc::as_ptr(&kind(client, resource)))
            .collect();
        assert!(seen.len() <= KINDS + COMPONENTS + 1, "{}", seen.len());
        assert!(Arc::ptr_eq(&kind(0, 0), &first), "what was there first stays");
    }

    #[test]
    fn a_kind_counts_under_its_labels() {
        let metrics = Metrics::default();
        metrics.kind(["kubelet", "get", &"long".repeat(100), ""]).traffic.inc_by(7);
        let labels = ["kubelet", "get", "other", ""].map(str::to_owned);
        let [client, verb, resource, subresources] = labels;
        let counted = metrics.traffic.get_or_create(&Request { client, verb, resource, subresources }).get();
        assert_eq!(counted, 7);
    }
}
