//! The counters of the hub. Names of yurthub are kept where it has the figure.
//!
//! Labels are bounded: components beyond a fixed number count as `other`.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const COMPONENTS: usize = 64;

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

/// Every figure; cloned handles are cheap and count into the same cells.
#[derive(Default)]
pub struct Metrics {
    pub healthy: Family<Server, Gauge>,
    pub in_flight: Family<Request, Gauge>,
    pub in_flight_total: Gauge<i64, AtomicI64>,
    pub traffic: Family<Request, Counter>,
    pub answers: Family<Answer, Counter>,
    pub link_transitions: Family<Why, Counter>,
    pub lists_remembered: Counter,
    pub lists_not_remembered: Family<Why, Counter>,
    pub filter_errors: Counter,
    pub damaged_records: Counter,
    pub store_bytes: Gauge,
    pub journal_entries: Gauge,
    pub events_accepted: Counter,
    pub events_delivered: Counter,
    pub events_dropped: Family<Why, Counter>,
    pub panics: Counter,
    components: Mutex<HashSet<String>>,
}

impl Metrics {
    /// A label for a component, from a bounded set.
    pub fn component(&self, name: &str) -> String {
        let mut known = self.components.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.contains(name) {
            return name.to_owned();
        }
        if known.len() >= COMPONENTS {
            return "other".to_owned();
        }
        known.insert(name.to_owned());
        name.to_owned()
    }

    /// Adds every figure to a registry, under its public name.
    pub fn register(&self, registry: &mut Registry) {
        macro_rules! figures {
            ($($field:ident $name:literal $help:literal),* $(,)?) => {
                $(registry.register($name, $help, self.$field.clone());)*
            };
        }
        figures! {
            healthy "node_yurthub_server_healthy_status" "1 while the server is up",
            in_flight "node_yurthub_in_flight_requests_collector" "Requests in flight",
            in_flight_total "node_yurthub_in_flight_requests_total" "Requests in flight, all",
            traffic "node_yurthub_proxy_traffic_collector" "Bytes of answers",
            answers "holdfast_answers" "Answers by route and status code",
            link_transitions "holdfast_link_transitions" "Changes of the link's verdict by reason",
            lists_remembered "holdfast_lists_remembered" "Complete lists that replaced what was known",
            lists_not_remembered "holdfast_lists_not_remembered" "Lists that were passed on and not remembered",
            filter_errors "holdfast_filter_errors" "Answers that a filter could not read",
            damaged_records "holdfast_store_damaged_records" "Records that failed their seal and were taken out",
            store_bytes "holdfast_store_bytes" "Bytes of remembered items",
            journal_entries "holdfast_journal_entries" "Events that wait for delivery",
            events_accepted "holdfast_events_accepted" "Events accepted while the link was down",
            events_delivered "holdfast_events_delivered" "Events delivered after the link's return",
            events_dropped "holdfast_events_dropped" "Events dropped from the journal",
            panics "holdfast_panics" "Panics that ended one connection",
        }
    }
}
