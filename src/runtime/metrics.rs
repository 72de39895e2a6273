//! The counters of the hub. Names of yurthub are kept where it has the figure.
//!
//! Labels come from what clients send, so they are bounded: components and kinds of
//! request beyond a fixed number count as `other`.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const COMPONENTS: usize = 64;
const KINDS: usize = 2048;
const LENGTH: usize = 63;

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
    /// A gauge for its name alone: a counter's would end in `_total`.
    pub traffic: Family<Request, Gauge<u64, AtomicU64>>,
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
    labels: Mutex<Labels>,
}

/// The labels in use.
#[derive(Default)]
struct Labels {
    components: HashSet<String>,
    kinds: HashSet<Request>,
}

impl Metrics {
    /// The labels of a kind of request, from a bounded set.
    pub fn labels(&self, mut wanted: Request) -> Request {
        let other = || "other".to_owned();
        for label in [&mut wanted.client, &mut wanted.verb, &mut wanted.resource, &mut wanted.subresources] {
            if label.len() > LENGTH {
                *label = other();
            }
        }
        let mut known = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        if known.kinds.contains(&wanted) {
            return wanted;
        }
        if !known.components.contains(&wanted.client) {
            if known.components.len() < COMPONENTS {
                known.components.insert(wanted.client.clone());
            } else {
                wanted.client = other();
            }
        }
        if known.kinds.len() < KINDS {
            known.kinds.insert(wanted.clone());
        } else if !known.kinds.contains(&wanted) {
            wanted = Request { client: wanted.client, verb: other(), resource: other(), subresources: other() };
        }
        wanted
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
    counter link_transitions "holdfast_link_transitions" "Changes of the link's verdict by reason",
    counter lists_remembered "holdfast_lists_remembered" "Complete lists that replaced what was known",
    counter lists_not_remembered "holdfast_lists_not_remembered" "Lists that were passed on and not remembered",
    counter filter_errors "holdfast_filter_errors" "Answers that a filter could not read",
    counter damaged_records "holdfast_store_damaged_records" "Records that failed their seal and were taken out",
    gauge store_bytes "holdfast_store_bytes" "Bytes of remembered items",
    gauge journal_entries "holdfast_journal_entries" "Events that wait for delivery",
    counter events_accepted "holdfast_events_accepted" "Events accepted while the link was down",
    counter events_delivered "holdfast_events_delivered" "Events delivered after the link's return",
    counter events_dropped "holdfast_events_dropped" "Events dropped from the journal",
    counter panics "holdfast_panics" "Panics that ended one connection",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_from_clients_are_bounded() {
        let metrics = Metrics::default();
        let request = |client: usize, resource: usize| Request {
            client: format!("c{client}"),
            verb: "get".into(),
            resource: format!("r{resource}"),
            subresources: String::new(),
        };
        let seen: HashSet<Request> = (0..300)
            .flat_map(|client| (0..300).map(move |resource| (client, resource)))
            .map(|(client, resource)| metrics.labels(request(client, resource)))
            .collect();
        assert!(seen.len() <= KINDS + COMPONENTS + 1, "{}", seen.len());
        assert_eq!(metrics.labels(request(0, 0)), request(0, 0), "what was there first stays");
    }
}
