//! Watch streams: from bytes to events and back.
//!
//! Receives the bytes of a watch in chunks of any size. JSON events end with a newline; protobuf events are preceded
//! by their length in four bytes, big-endian, and are a bare `WatchEvent` whose object is in full form. Promises each
//! frame once it is complete, with the very bytes it had; a frame within one chunk is a slice of it. A frame that
//! cannot be read or is too long is a [`WatchError`], after which the stream is of no more use; the frames handed out
//! before it are good.
//!
//! Source: `apis/meta/v1/watch.go`, `apis/meta/v1/generated.proto`, `runtime/serializer/{json,protobuf}` (framers).

use bytes::{Buf, Bytes, BytesMut};

use super::json::{self, JsonError};
use super::list::Encoding;
use super::proto::{self, ProtoError};

mod encode;

pub use encode::{bookmark, bookmark_object, encode, error_status};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
    /// One that did not exist when this was written. Its name is in the frame only.
    Other,
}

impl EventType {
    /// The word in the frame.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
            EventType::Other => "OTHER",
        }
    }

    /// Of the word in the frame.
    pub fn from_name(name: &str) -> Self {
        match name {
            "ADDED" => EventType::Added,
            "MODIFIED" => EventType::Modified,
            "DELETED" => EventType::Deleted,
            "BOOKMARK" => EventType::Bookmark,
            "ERROR" => EventType::Error,
            _ => EventType::Other,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: EventType,
    /// In full form. For [`EventType::Error`] a Status.
    pub object: Bytes,
}

/// An event and the bytes that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The whole frame: JSON with its newline, protobuf with its length.
    pub raw: Bytes,
    pub event: Event,
}

/// Why bytes are not a watch stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("watch: a frame of more than {0} bytes")]
    TooLong(usize),
    #[error("watch: event: {0}")]
    Json(#[from] JsonError),
    #[error("watch: event: {0}")]
    Proto(#[from] ProtoError),
    #[error("watch: an event without {0}")]
    Missing(&'static str),
    #[error("watch: bytes after the event")]
    Trailing,
    #[error("watch: the end of the stream within a frame, after {0} bytes")]
    Truncated(usize),
}

/// Cuts a stream into frames.
#[derive(Debug)]
pub struct Framer {
    encoding: Encoding,
    max_frame: usize,
    /// The beginning of a frame that earlier chunks brought; between frames it holds no memory.
    held: BytesMut,
}

impl Framer {
    /// A framer for one stream. `max_frame` is the longest frame in bytes, newline or length included.
    pub fn new(encoding: Encoding, max_frame: usize) -> Self {
        Framer { encoding, max_frame, held: BytesMut::new() }
    }

    /// Takes the next chunk and appends the frames that it completes.
    pub fn feed(&mut self, mut chunk: Bytes, out: &mut Vec<Frame>) -> Result<(), WatchError> {
        while !chunk.is_empty() {
            let Some(taken) = self.frame_end(&chunk)? else {
                self.held.extend_from_slice(&chunk);
                return Ok(());
            };
            let fresh = chunk.split_to(taken);
            let raw = if self.held.is_empty() {
                fresh
            } else {
                self.held.extend_from_slice(&fresh);
                std::mem::take(&mut self.held).freeze()
            };
            let event = match self.encoding {
                Encoding::Json => json_event(&raw)?,
                Encoding::Protobuf => proto_event(&raw)?,
            };
            out.push(Frame { raw, event });
        }
        Ok(())
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether nothing of a next frame has come yet.
    pub fn is_between(&self) -> bool {
        self.held.is_empty()
    }

    /// Says that the stream is over; an error if that is within a frame.
    pub fn finish(self) -> Result<(), WatchError> {
        if self.held.is_empty() { Ok(()) } else { Err(WatchError::Truncated(self.held.len())) }
    }

    /// How many bytes of `chunk` belong to the current frame; None if it is not complete.
    fn frame_end(&self, chunk: &[u8]) -> Result<Option<usize>, WatchError> {
        let length = match self.encoding {
            Encoding::Json => memchr::memchr(b'\n', chunk).map(|newline| self.held.len() + newline + 1),
            Encoding::Protobuf => {
                let mut prefix = self.held.as_ref().chain(chunk);
                prefix.try_get_u32().ok().map(|length| usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4))
            }
        };
        let present = self.held.len() + chunk.len();
        if length.unwrap_or(present) > self.max_frame {
            return Err(WatchError::TooLong(self.max_frame));
        }
        Ok(length.filter(|length| *length <= present).map(|length| length - self.held.len()))
    }
}

/// Reads `{"type":"ADDED","object":{...}}`, the members in any order.
fn json_event(raw: &Bytes) -> Result<Event, WatchError> {
    let (mut kind, mut object) = (None, None);
    let mut members = json::members(raw);
    for member in members.by_ref() {
        let member = member?;
        if member.is("type") {
            let name = json::string_value(&raw[member.value]).ok_or(WatchError::Missing("type"))?;
            kind = Some(EventType::from_name(&name));
        } else if member.is("object") {
            object = Some(raw.slice(member.value));
        }
    }
    if !members.rest().trim_ascii().is_empty() {
        return Err(WatchError::Trailing);
    }
    Ok(Event { kind: kind.ok_or(WatchError::Missing("type"))?, object: object.ok_or(WatchError::Missing("object"))? })
}

/// Reads a `WatchEvent`: type 1, object 2, which is a `RawExtension`: raw 1.
fn proto_event(raw: &Bytes) -> Result<Event, WatchError> {
    let (mut kind, mut object) = (None, None);
    for field in proto::fields(raw.get(4..).unwrap_or_default()) {
        let field = field?;
        match field.number {
            1 => kind = Some(EventType::from_name(field.text()?)),
            2 => {
                for field in proto::fields(field.bytes()?) {
                    let field = field?;
                    if field.number == 1 {
                        object = Some(raw.slice_ref(field.bytes()?));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(Event { kind: kind.ok_or(WatchError::Missing("type"))?, object: object.ok_or(WatchError::Missing("object"))? })
}

#[cfg(test)]
mod tests;
