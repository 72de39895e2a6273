//! Objects in both encodings, and requests, for the filters' tests.

use std::sync::Arc;

use super::{Ask, Filters, Hub};
use crate::kube::json;
use crate::kube::list::Encoding;
use crate::kube::message::{self, Field, Set};
use crate::kube::proto::write_bytes;
use crate::kube::schema::{METADATA, meta};
use crate::state::rules::{RuleSet, Rules};

pub const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

const NAME: Field = Field::new("name", 1);
const NAMESPACE: Field = Field::new("namespace", 3);
/// One that no code here knows, with something in it.
const UNKNOWN: Field = Field::new("fromTheFuture", 4000);

pub fn hub(address: &str) -> Hub {
    Hub { address: address.parse().unwrap(), port: 10_268 }
}

/// A message being written.
#[derive(Clone)]
pub struct Made {
    pub encoding: Encoding,
    pub bytes: Vec<u8>,
}

impl Made {
    pub fn new(encoding: Encoding) -> Self {
        let bytes = if encoding == Encoding::Json { b"{}".to_vec() } else { Vec::new() };
        Self { encoding, bytes }
    }

    /// An object with its metadata and an unknown field.
    pub fn object(
        encoding: Encoding,
        namespace: &str,
        name: &str,
        labels: &[(&str, &str)],
        annotations: &[(&str, &str)],
    ) -> Self {
        let metadata = Self::new(encoding).text(NAME, name).text(NAMESPACE, namespace);
        let metadata = metadata.map(meta::LABELS, labels).map(meta::ANNOTATIONS, annotations);
        Self::new(encoding).message(METADATA, &metadata).text(UNKNOWN, "kept")
    }

    fn set(mut self, field: Field, value: Set<'_>) -> Self {
        self.bytes = message::set(self.encoding, &self.bytes, field, value).unwrap();
        self
    }

    pub fn text(self, field: Field, value: &str) -> Self {
        self.set(field, Set::Text(value))
    }

    pub fn number(self, field: Field, value: u64) -> Self {
        self.set(field, Set::Number(value))
    }

    pub fn texts(self, field: Field, values: &[&str]) -> Self {
        self.set(field, Set::Texts(values))
    }

    pub fn message(self, field: Field, value: &Self) -> Self {
        self.set(field, Set::Message(&value.bytes))
    }

    pub fn messages(self, field: Field, values: &[Self]) -> Self {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.bytes.clone()).collect();
        self.set(field, Set::Messages(&values))
    }

    pub fn map(self, field: Field, pairs: &[(&str, &str)]) -> Self {
        if pairs.is_empty() {
            return self;
        }
        match self.encoding {
            Encoding::Json => {
                let mut map = b"{".to_vec();
                for (index, (key, value)) in pairs.iter().enumerate() {
                    if index > 0 {
                        map.push(b',');
                    }
                    json::write_string(&mut map, key);
                    map.push(b':');
                    json::write_string(&mut map, value);
                }
                map.push(b'}');
                self.set(field, Set::Message(&map))
            }
            Encoding::Protobuf => {
                let pair = |(key, value): &(&str, &str)| {
                    let mut pair = Vec::new();
                    write_bytes(&mut pair, 1, key.as_bytes());
                    write_bytes(&mut pair, 2, value.as_bytes());
                    pair
                };
                let pairs: Vec<Vec<u8>> = pairs.iter().map(pair).collect();
                self.set(field, Set::Messages(&pairs))
            }
        }
    }

    pub fn item(&self) -> super::item::Item<'_> {
        super::item::Item { encoding: self.encoding, bytes: &self.bytes }
    }
}

/// Filters that know nothing yet.
pub fn filters(rules: RuleSet) -> Arc<Filters> {
    Arc::new(Filters {
        hub: hub("169.254.2.1"),
        node_name: "n1".into(),
        inputs: Arc::default(),
        rules: Arc::new(Rules::new(rules)),
        told: Arc::default(),
        hidden: Arc::default(),
        metrics: Arc::default(),
    })
}

/// Whole objects are asked for.
pub fn ask(component: &str, (group, resource): (&str, &str), verb: &str) -> Ask {
    let (component, group, resource, verb) = (component.into(), group.into(), resource.into(), verb.into());
    Ask { component, group, resource, verb, whole: true, ..Ask::default() }
}
