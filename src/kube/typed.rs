//! Objects of types that are known here as a whole, from one encoding to the other and from one API to another.
//!
//! Receives an object in item form, or in JSON as a client sends it. Promises what the kube-apiserver makes of it: the
//! fields that the type has, in its order, and nothing else. What is not of the type's shape is a [`MessageError`].
//!
//! Only for what is written on this node (`known`): what the cloud has written keeps its bytes.
//!
//! Sources: `types.go` for names, order and `omitempty`, `generated.proto` for numbers, of Kubernetes 1.34.

mod change;
mod known;
mod read;
mod valid;
mod write;

use std::collections::BTreeMap;

use super::list::Encoding;
use super::message::MessageError;
pub use change::{Change, NotKept};

/// The fields of a type, in the order of the Go type.
pub type Type = &'static [Member];

/// One field. What is called `key` is the same in all APIs that show the object.
#[derive(Debug)]
pub struct Member {
    key: &'static str,
    json: &'static str,
    number: u32,
    kind: Kind,
    shown: Shown,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    /// Of 32 bits.
    Number,
    /// Of 64 bits.
    Long,
    Flag,
    /// `metav1.Time`, whole seconds.
    Time,
    MicroTime,
    /// `metav1.FieldsV1`.
    Json,
    Texts,
    Map,
    One(Type),
    Many(Type),
}

/// When JSON has it. In protobuf only a pointer may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    NotEmpty,
    /// A pointer: if it is set.
    Set,
}

type Record = BTreeMap<&'static str, Value>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    /// Microseconds since 1970.
    Time(i64),
    Json(Vec<u8>),
    Texts(Vec<String>),
    Map(BTreeMap<String, String>),
    One(Record),
    Many(Vec<Record>),
}

/// An object that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed(Record);

/// What the kube-apiserver would say of an object that was just created.
#[derive(Debug, Clone, Copy)]
pub struct Created<'a> {
    pub namespace: &'a str,
    pub resource_version: &'a str,
    /// Unix seconds.
    pub at: u64,
}

/// What a client says of a new object's metadata; the rest is the server's.
const SAID: [&str; 6] = ["name", "generateName", "labels", "annotations", "ownerReferences", "finalizers"];

/// The type of a resource; `None`: nobody here knows all of it.
pub fn of(group: &str, resource: &str) -> Option<Type> {
    known::of(group, resource)
}

impl Typed {
    pub fn read(of: Type, encoding: Encoding, item: &[u8]) -> Result<Self, MessageError> {
        Ok(Self(match encoding {
            Encoding::Json => read::json(of, item)?,
            Encoding::Protobuf => read::proto(of, item)?,
        }))
    }

    /// In item form.
    pub fn write(&self, of: Type, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Json => write::json(of, &self.0),
            Encoding::Protobuf => write::proto(of, &self.0),
        }
    }

    /// As a client would create it: without what the cloud has given it.
    #[must_use]
    pub fn anew(mut self, namespace: &str) -> Self {
        if let Value::One(metadata) = self.0.entry("metadata").or_insert_with(|| Value::One(Record::new())) {
            metadata.retain(|key, _| SAID.contains(key));
            metadata.insert("namespace", Value::Text(namespace.to_owned()));
        }
        self
    }

    /// As it is once it has been created, but for the uid, which only the cloud can give.
    pub fn created(self, created: &Created<'_>) -> Self {
        let mut object = self.anew(created.namespace);
        let Some(Value::One(metadata)) = object.0.get_mut("metadata") else { return object };
        metadata.insert("resourceVersion", Value::Text(created.resource_version.to_owned()));
        let micros = i64::try_from(created.at).unwrap_or(0).saturating_mul(SECOND);
        metadata.insert("creationTimestamp", Value::Time(micros));
        object
    }
}

/// In microseconds.
const SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests;
