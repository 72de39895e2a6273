//! Lists in a stream: taken apart into items and put together again, without ever holding more than one item.
//!
//! Receives the bytes of a list body in chunks of any size, JSON or protobuf. Promises that the pieces it hands out,
//! one after the other, are exactly the bytes it received; that every item is one piece; and that an item which lies
//! within one chunk is a slice of it, not a copy. What is not a list, ends early, goes on after its end or exceeds
//! [`Limits`] is a [`ListError`] with the offset of the byte, and the splitter then repeats that error. Pieces handed
//! out before an error were right as far as they go; the list is not complete until [`Splitter::finish`] says so.
//!
//! Sources: `staging/src/k8s.io/apimachinery/pkg/runtime/serializer/{json,protobuf}/collections.go` (the streaming
//! encoders of Kubernetes 1.33 and later), `runtime/generated.proto`, `apis/meta/v1/generated.proto`.

use bytes::Bytes;

mod envelope;
mod json;
mod proto;
mod rewrite;

pub use envelope::{
    Envelope, envelope_json_head, envelope_json_tail, envelope_proto_head, envelope_proto_tail, envelope_table_head,
    proto_item_frame,
};
pub use rewrite::{Reserve, RewriteError, Rewriter};

use super::json::{JsonError, JsonFault};
use super::proto::ProtoFault;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/json`
    Json,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// How much of a list may be held at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest item, in bytes.
    pub max_item: usize,
    /// The sum of the list's own fields that have to be kept or read whole (names of members, kind, apiVersion,
    /// metadata), in bytes.
    pub max_head: usize,
}

impl Limits {
    /// Of answers that pass through: an item is longer by far than any that etcd takes.
    pub const ANSWER: Self = Self { max_item: 8 << 20, max_head: 64 * 1024 };
}

/// A part of a list body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes between items; pass them on as they are.
    Between(Bytes),
    /// One whole item, in item form: as it stands in the list. For protobuf the payload of the field alone; its tag
    /// and length are at the end of the piece before.
    Item(Bytes),
}

/// Why a body is not a list that can be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    #[error("not a list but a {0:?}")]
    NotAList(String),
    #[error("a list without {0}")]
    Missing(&'static str),
    #[error("{0} twice")]
    Twice(&'static str),
    #[error("not {0}")]
    Expected(&'static str),
    #[error("bytes after the end of the list")]
    Trailing,
    #[error("the end of the body within the list")]
    Truncated,
    #[error("an item of more than {0} bytes")]
    ItemTooLong(usize),
    #[error("fields of the list of more than {0} bytes")]
    HeadTooLong(usize),
    #[error(transparent)]
    Json(JsonFault),
    #[error(transparent)]
    Proto(#[from] ProtoFault),
}

/// A fault and the byte of the body at which it was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("list: {fault} at byte {offset}")]
pub struct ListError {
    pub fault: ListFault,
    pub offset: u64,
}

/// Takes a list apart.
#[derive(Debug)]
pub struct Splitter {
    inner: Inner,
    failed: Option<ListError>,
}

impl Splitter {
    /// A splitter for one body.
    pub fn new(encoding: Encoding, limits: Limits) -> Self {
        Splitter { inner: Inner::new(encoding, limits), failed: None }
    }

    /// A Table counts as a list, its rows as items.
    pub fn with_tables(self) -> Self {
        Self { inner: self.inner.with_tables(), ..self }
    }

    /// Takes the next chunk and appends the pieces that it completes.
    pub fn feed(&mut self, chunk: Bytes, out: &mut Vec<Piece>) -> Result<(), ListError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.inner.feed(&chunk, &mut |part| match part {
            Part::Between(bytes) | Part::RawHead { bytes, .. } | Part::ItemHead(bytes) => out.push(Piece::Between(bytes)),
            Part::Item(bytes) => out.push(Piece::Item(bytes)),
            Part::RawEnd => {}
        });
        self.failed = result.as_ref().err().cloned();
        result
    }

    /// Says that the body is over, and what kind of list it was.
    pub fn finish(self) -> Result<Envelope, ListError> {
        match self.failed {
            Some(error) => Err(error),
            None => self.inner.finish(),
        }
    }
}

/// What the splitters find: pieces, and for protobuf also where the lengths are that depend on what comes later.
#[derive(Debug)]
enum Part {
    Between(Bytes),
    /// Tag and length of `Unknown.raw`.
    RawHead {
        bytes: Bytes,
        length: u64,
    },
    /// Tag and length of the item that follows.
    ItemHead(Bytes),
    Item(Bytes),
    /// `Unknown.raw` is over.
    RawEnd,
}

#[derive(Debug)]
enum Inner {
    Json(json::JsonSplitter),
    Protobuf(proto::ProtoSplitter),
}

impl Inner {
    fn new(encoding: Encoding, limits: Limits) -> Self {
        match encoding {
            Encoding::Json => Inner::Json(json::JsonSplitter::new(limits)),
            Encoding::Protobuf => Inner::Protobuf(proto::ProtoSplitter::new(limits)),
        }
    }

    /// A Table counts as a list, its rows as items.
    fn with_tables(self) -> Self {
        match self {
            Inner::Json(splitter) => Inner::Json(splitter.with_tables()),
            protobuf @ Inner::Protobuf(_) => protobuf,
        }
    }

    /// The list's kind; empty as long as it is not known (custom resources name it behind their items).
    fn kind(&self) -> &str {
        match self {
            Inner::Json(splitter) => splitter.kind(),
            Inner::Protobuf(splitter) => splitter.kind(),
        }
    }

    fn feed(&mut self, chunk: &Bytes, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        match self {
            Inner::Json(splitter) => splitter.feed(chunk, sink),
            Inner::Protobuf(splitter) => splitter.feed(chunk, sink),
        }
    }

    fn finish(self) -> Result<Envelope, ListError> {
        match self {
            Inner::Json(splitter) => splitter.finish(),
            Inner::Protobuf(splitter) => splitter.finish(),
        }
    }
}

impl ListError {
    fn new(fault: ListFault, offset: u64) -> Self {
        ListError { fault, offset }
    }

    fn from_json(error: JsonError, start: u64) -> Self {
        ListError { fault: ListFault::Json(error.fault), offset: start + error.at as u64 }
    }
}

#[cfg(test)]
mod tests;
