//! The protobuf side of the splitter.
//!
//! Receives chunks of `k8s\0` and a `runtime.Unknown` whose `raw` is a list message: ListMeta in field 1, items in
//! field 2. Promises the pieces as they complete. It holds the beginning of an item that goes on in the next chunk,
//! the tag and length of a field while they are read, and the list's own TypeMeta and ListMeta; nothing else.
//!
//! Invariants: TypeMeta comes before `raw`, as the API server writes it; otherwise it could not be known whether
//! field 2 holds items. While a tag or length is read, `held` and the bytes of the chunk not handed out yet are
//! exactly its beginning. Fields nobody knows are passed on.

use bytes::{Bytes, BytesMut};

use super::{Envelope, Limits, ListError, ListFault, Part};
use crate::kube::proto::{MAGIC, ProtoError, ProtoFault, Varint, read_type_meta, split_tag};

#[derive(Debug)]
pub(super) struct ProtoSplitter {
    limits: Limits,
    state: State,
    /// Where the current chunk begins in the body.
    base: u64,
    /// Where `raw` ends in the body, while within it.
    raw_end: Option<u64>,
    raw_seen: bool,
    varint: Varint,
    /// The part of a tag and length, or of an item, that earlier chunks brought.
    held: BytesMut,
    type_meta: Option<Vec<u8>>,
    /// Empty until the TypeMeta is read.
    kind: String,
    /// Several ListMeta fields merge, and to merge is to concatenate.
    list_meta: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Magic(usize),
    Tag,
    /// The length of field number so-and-so.
    Length(u32),
    /// A varint nobody asked for.
    Number,
    /// So many bytes nobody asked for.
    Skip(u64),
    TypeMeta(u64),
    ListMeta(u64),
    Item(u64),
}

impl State {
    /// Whether the field is over although no byte of it came.
    fn is_due(self) -> bool {
        matches!(self, State::Skip(0) | State::TypeMeta(0) | State::ListMeta(0) | State::Item(0))
    }
}

/// A chunk, how far it has been read and how far it has been handed out.
struct Cursor<'a> {
    chunk: &'a Bytes,
    at: usize,
    sent: usize,
}

impl Cursor<'_> {
    fn between(&mut self, sink: &mut impl FnMut(Part)) {
        if self.sent < self.at {
            sink(Part::Between(self.chunk.slice(self.sent..self.at)));
            self.sent = self.at;
        }
    }

    /// Reads up to `left` bytes: those there are.
    fn take(&mut self, left: u64) -> &[u8] {
        let start = self.at;
        let available = self.chunk.len() - start;
        self.at += usize::try_from(left).map_or(available, |left| left.min(available));
        &self.chunk[start..self.at]
    }

    /// The bytes read since the last ones handed out, with those `held` from earlier chunks before them.
    fn unsent(&mut self, held: &mut BytesMut) -> Bytes {
        let fresh = self.sent..self.at;
        self.sent = self.at;
        if held.is_empty() {
            return self.chunk.slice(fresh);
        }
        held.extend_from_slice(&self.chunk[fresh]);
        held.split().freeze()
    }
}

impl ProtoSplitter {
    pub(super) fn new(limits: Limits) -> Self {
        ProtoSplitter {
            limits,
            state: State::Magic(0),
            base: 0,
            raw_end: None,
            raw_seen: false,
            varint: Varint::default(),
            held: BytesMut::new(),
            type_meta: None,
            kind: String::new(),
            list_meta: Vec::new(),
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn feed(&mut self, chunk: &Bytes, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        let mut cursor = Cursor { chunk, at: 0, sent: 0 };
        while cursor.at < chunk.len() || self.state.is_due() {
            match self.state {
                State::Magic(read) => self.magic(read, &mut cursor, sink)?,
                State::Tag => self.tag(&mut cursor, sink)?,
                State::Length(number) => self.length(number, &mut cursor, sink)?,
                State::Number => {
                    if self.varint(&mut cursor)?.is_some() {
                        self.end_of_field(&mut cursor, sink);
                    }
                }
                State::Item(left) => self.item(left, &mut cursor, sink),
                State::Skip(_) | State::TypeMeta(_) | State::ListMeta(_) => self.pass(&mut cursor, sink)?,
            }
        }
        match self.state {
            State::Tag | State::Length(_) | State::Item(_) => self.held.extend_from_slice(&chunk[cursor.sent..]),
            _ => cursor.between(sink),
        }
        self.base += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Envelope, ListError> {
        let error = |fault| ListError::new(fault, self.base);
        if self.state != State::Tag || self.raw_end.is_some() || !self.held.is_empty() {
            return Err(error(ListFault::Truncated));
        }
        let Some(type_meta) = &self.type_meta else {
            return Err(error(ListFault::Missing("typeMeta")));
        };
        if !self.raw_seen {
            return Err(error(ListFault::Missing("raw")));
        }
        let mut envelope = Envelope::default();
        let damaged = |found: ProtoError| error(ListFault::Proto(found.fault));
        (envelope.api_version, envelope.kind) = read_type_meta(type_meta).map_err(damaged)?;
        envelope.read_proto_meta(&self.list_meta).map_err(damaged)?;
        Ok(envelope)
    }

    fn magic(&mut self, read: usize, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        if cursor.chunk[cursor.at] != MAGIC[read] {
            return Err(self.error(ProtoFault::NoMagic.into(), cursor.at));
        }
        cursor.at += 1;
        self.state = State::Magic(read + 1);
        if read + 1 == MAGIC.len() {
            self.end_of_field(cursor, sink);
        }
        Ok(())
    }

    fn tag(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        let Some(tag) = self.varint(cursor)? else {
            return Ok(());
        };
        let fault = |fault: ProtoFault| self.error(fault.into(), cursor.at - 1);
        let (number, wire) = split_tag(tag).map_err(fault)?;
        let next = match wire {
            2 => State::Length(number),
            _ if number <= 2 => return Err(fault(ProtoFault::UnexpectedType(number))),
            0 => State::Number,
            1 => State::Skip(8),
            5 => State::Skip(4),
            other => return Err(fault(ProtoFault::WireType(other))),
        };
        self.state = next;
        if let State::Skip(length) = next {
            self.check_end(length, cursor)?;
        }
        if !matches!(next, State::Length(_)) {
            sink(Part::Between(cursor.unsent(&mut self.held)));
        }
        Ok(())
    }

    fn length(&mut self, number: u32, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        let Some(length) = self.varint(cursor)? else {
            return Ok(());
        };
        self.check_end(length, cursor)?;
        let is_raw = self.raw_end.is_none() && number == 2;
        self.state = self.field(number, length).map_err(|fault| self.error(fault, cursor.at - 1))?;
        let bytes = cursor.unsent(&mut self.held);
        if is_raw {
            self.raw_seen = true;
            self.raw_end = Some(self.base + cursor.at as u64 + length);
            sink(Part::RawHead { bytes, length });
            self.end_of_field(cursor, sink);
        } else if let State::Item(left) = self.state {
            sink(Part::ItemHead(bytes));
            if left > (cursor.chunk.len() - cursor.at) as u64 {
                self.held.reserve(usize::try_from(left).unwrap_or_default());
            }
        } else {
            sink(Part::Between(bytes));
        }
        Ok(())
    }

    /// What to do with the length-delimited field that begins here.
    fn field(&self, number: u32, length: u64) -> Result<State, ListFault> {
        let longer_than = |limit: usize, used: usize| length > limit.saturating_sub(used) as u64;
        let head_used = self.type_meta.as_ref().map_or(0, Vec::len) + self.list_meta.len();
        match (self.raw_end.is_some(), number) {
            (true, 2) if longer_than(self.limits.max_item, 0) => Err(ListFault::ItemTooLong(self.limits.max_item)),
            (true, 2) => Ok(State::Item(length)),
            (_, 1) if longer_than(self.limits.max_head, head_used) => Err(ListFault::HeadTooLong(self.limits.max_head)),
            (true, 1) => Ok(State::ListMeta(length)),
            (false, 1) if self.type_meta.is_some() => Err(ListFault::Twice("typeMeta")),
            (false, 1) => Ok(State::TypeMeta(length)),
            (false, 2) if self.type_meta.is_none() => Err(ListFault::Missing("typeMeta before raw")),
            (false, 2) if self.raw_seen => Err(ListFault::Twice("raw")),
            (false, 3) if length > 0 => Err(ListFault::Expected("a raw without contentEncoding")),
            _ => Ok(State::Skip(length)),
        }
    }

    /// Goes on in a field that is passed on, and perhaps read as well.
    fn pass(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        let (State::Skip(left) | State::TypeMeta(left) | State::ListMeta(left)) = self.state else {
            return Ok(());
        };
        let bytes = cursor.take(left);
        let left = left - bytes.len() as u64;
        self.state = match self.state {
            State::TypeMeta(_) => {
                self.type_meta.get_or_insert_default().extend_from_slice(bytes);
                State::TypeMeta(left)
            }
            State::ListMeta(_) => {
                self.list_meta.extend_from_slice(bytes);
                State::ListMeta(left)
            }
            _ => State::Skip(left),
        };
        if left > 0 {
            return Ok(());
        }
        if let (State::TypeMeta(_), Some(type_meta)) = (self.state, &self.type_meta) {
            let fault = match read_type_meta(type_meta) {
                Ok((_, kind)) if kind.ends_with("List") => {
                    self.kind = kind;
                    None
                }
                Ok((_, kind)) => Some(ListFault::NotAList(kind)),
                Err(error) => Some(error.fault.into()),
            };
            if let Some(fault) = fault {
                return Err(self.error(fault, cursor.at));
            }
        }
        self.end_of_field(cursor, sink);
        Ok(())
    }

    fn item(&mut self, left: u64, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) {
        let left = left - cursor.take(left).len() as u64;
        self.state = State::Item(left);
        if left == 0 {
            sink(Part::Item(cursor.unsent(&mut self.held)));
            self.end_of_field(cursor, sink);
        }
    }

    fn end_of_field(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) {
        cursor.between(sink);
        self.state = State::Tag;
        if self.raw_end == Some(self.base + cursor.at as u64) {
            self.raw_end = None;
            sink(Part::RawEnd);
        }
    }

    /// Reads on in the current varint, as far as the chunk goes.
    fn varint(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<u64>, ListError> {
        while let Some(byte) = cursor.chunk.get(cursor.at) {
            self.check_end(1, cursor)?;
            let value = self.varint.push(*byte).map_err(|fault| self.error(fault.into(), cursor.at))?;
            cursor.at += 1;
            if value.is_some() {
                return Ok(value);
            }
        }
        Ok(None)
    }

    /// Whether `length` more bytes fit into `raw`.
    fn check_end(&self, length: u64, cursor: &Cursor<'_>) -> Result<(), ListError> {
        let end = (self.base + cursor.at as u64).checked_add(length);
        let fits = end.is_some_and(|end| self.raw_end.is_none_or(|raw_end| end <= raw_end));
        if fits { Ok(()) } else { Err(self.error(ProtoFault::Overrun.into(), cursor.at)) }
    }

    fn error(&self, fault: ListFault, at: usize) -> ListError {
        ListError::new(fault, self.base + at as u64)
    }
}
