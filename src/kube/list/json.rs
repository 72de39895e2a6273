//! The JSON side of the splitter.
//!
//! Receives chunks of `{"kind":"...",...,"items":[{...},...]}` with the members in any order and any white space.
//! Promises the pieces as they complete. It holds the beginning of an item that goes on in the next chunk, and one
//! member of the list itself while it is read; nothing else.

use bytes::{Bytes, BytesMut};

use super::{Envelope, Limits, ListError, ListFault, Part};
use crate::kube::json::{Scanner, is_space, string_value, unescape};

#[derive(Debug)]
pub(super) struct JsonSplitter {
    limits: Limits,
    state: State,
    scanner: Scanner,
    /// Where the current chunk begins in the body.
    base: u64,
    /// The part of an item or of a kept member that earlier chunks brought.
    held: BytesMut,
    /// How much of `max_head` is used up.
    head_used: usize,
    found: Found,
}

/// What has been read of the list itself.
#[derive(Debug, Default)]
struct Found {
    envelope: Envelope,
    kind: bool,
    api_version: bool,
    metadata: bool,
    items: bool,
    /// A Table may be taken for a list.
    tables: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    FirstKey,
    NextKey,
    Keep(Kept),
    Colon(Name),
    Value(Name),
    /// The value of a member nobody asked for.
    Skip,
    AfterValue,
    FirstItem,
    NextItem,
    Item,
    AfterItem,
    End,
}

/// What is read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Key,
    Value(Name),
}

/// The members of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Kind,
    ApiVersion,
    Metadata,
    Items,
    Other,
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
}

impl JsonSplitter {
    pub(super) fn new(limits: Limits) -> Self {
        JsonSplitter {
            limits,
            state: State::Start,
            scanner: Scanner::default(),
            base: 0,
            held: BytesMut::new(),
            head_used: 0,
            found: Found::default(),
        }
    }

    pub(super) fn with_tables(mut self) -> Self {
        self.found.tables = true;
        self
    }

    pub(super) fn kind(&self) -> &str {
        &self.found.envelope.kind
    }

    pub(super) fn feed(&mut self, chunk: &Bytes, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        let mut cursor = Cursor { chunk, at: 0, sent: 0 };
        while cursor.at < chunk.len() {
            match self.state {
                State::Item => self.item(&mut cursor, sink)?,
                State::Keep(what) => self.keep(what, &mut cursor)?,
                State::Skip => self.skip(&mut cursor)?,
                _ if is_space(chunk[cursor.at]) => cursor.at += 1,
                state => self.structure(state, chunk[cursor.at], &mut cursor)?,
            }
        }
        cursor.between(sink);
        self.base += chunk.len() as u64;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Envelope, ListError> {
        let error = |fault| ListError::new(fault, self.base);
        if self.state != State::End {
            return Err(error(ListFault::Truncated));
        }
        // A CustomResourceDefinition may call its list anything (`listKind`): what has items is one.
        let Found { envelope, kind, api_version, items, .. } = self.found;
        if !items && kind && !envelope.kind.ends_with("List") {
            return Err(error(ListFault::NotAList(envelope.kind)));
        }
        for (found, name) in [(kind, "kind"), (api_version, "apiVersion"), (items, "items")] {
            if !found {
                return Err(error(ListFault::Missing(name)));
            }
        }
        Ok(envelope)
    }

    /// One byte that is neither white space nor within a value.
    fn structure(&mut self, state: State, byte: u8, cursor: &mut Cursor<'_>) -> Result<(), ListError> {
        // States whose value begins with this very byte leave it to the scanner.
        let (next, taken) = match (state, byte) {
            (State::Start, b'{') => (State::FirstKey, true),
            (State::FirstKey, b'}') | (State::AfterValue, b'}') => (State::End, true),
            (State::FirstKey | State::NextKey, b'"') => (State::Keep(Kept::Key), false),
            (State::Colon(name), b':') => (State::Value(name), true),
            (State::Value(Name::Items), b'[') => (State::FirstItem, true),
            (State::Value(Name::Other), _) => (State::Skip, false),
            (State::Value(name), _) => (State::Keep(Kept::Value(name)), false),
            (State::AfterValue, b',') => (State::NextKey, true),
            (State::FirstItem | State::AfterItem, b']') => (State::AfterValue, true),
            (State::FirstItem | State::NextItem, b'{') => (State::Item, false),
            (State::AfterItem, b',') => (State::NextItem, true),
            _ => return Err(self.error(expected(state), cursor.at)),
        };
        self.state = next;
        cursor.at += usize::from(taken);
        Ok(())
    }

    fn item(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Part)) -> Result<(), ListError> {
        cursor.between(sink);
        let start = cursor.at;
        let rest = cursor.chunk.len() - start;
        let window = rest.min(self.limits.max_item.saturating_sub(self.held.len()));
        match self.scan(cursor, window)? {
            true if self.held.is_empty() => sink(Part::Item(cursor.chunk.slice(start..cursor.at))),
            true => {
                self.held.extend_from_slice(&cursor.chunk[start..cursor.at]);
                sink(Part::Item(self.held.split().freeze()));
            }
            false if window < rest => {
                return Err(self.error(ListFault::ItemTooLong(self.limits.max_item), cursor.at));
            }
            false => {
                self.held.extend_from_slice(&cursor.chunk[start..]);
                cursor.sent = cursor.at;
                return Ok(());
            }
        }
        cursor.sent = cursor.at;
        self.state = State::AfterItem;
        Ok(())
    }

    fn keep(&mut self, what: Kept, cursor: &mut Cursor<'_>) -> Result<(), ListError> {
        let start = cursor.at;
        let rest = cursor.chunk.len() - start;
        let window = rest.min(self.limits.max_head - self.head_used);
        let done = self.scan(cursor, window)?;
        if !done && window < rest {
            return Err(self.error(ListFault::HeadTooLong(self.limits.max_head), cursor.at));
        }
        self.held.extend_from_slice(&cursor.chunk[start..cursor.at]);
        self.head_used += cursor.at - start;
        if done {
            let kept = self.held.split();
            self.state = match what {
                Kept::Key => self.found.key(&kept),
                Kept::Value(name) => self.found.value(name, &kept).map(|()| State::AfterValue),
            }
            .map_err(|fault| self.error(fault, cursor.at))?;
        }
        Ok(())
    }

    fn skip(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ListError> {
        if self.scan(cursor, cursor.chunk.len() - cursor.at)? {
            self.state = State::AfterValue;
        }
        Ok(())
    }

    /// Lets the scanner read `window` bytes; true if the value ends within them.
    fn scan(&mut self, cursor: &mut Cursor<'_>, window: usize) -> Result<bool, ListError> {
        let text = &cursor.chunk[cursor.at..cursor.at + window];
        let end = self.scanner.scan(text).map_err(|error| ListError::from_json(error, self.base + cursor.at as u64))?;
        cursor.at += end.unwrap_or(window);
        Ok(end.is_some())
    }

    fn error(&self, fault: ListFault, at: usize) -> ListError {
        ListError::new(fault, self.base + at as u64)
    }
}

fn expected(state: State) -> ListFault {
    match state {
        State::Start => ListFault::Expected("an object"),
        State::FirstKey | State::NextKey => ListFault::Expected("the name of a member"),
        State::Colon(_) => ListFault::Expected("a colon"),
        State::AfterValue => ListFault::Expected("a comma or the end of the list"),
        State::FirstItem | State::NextItem => ListFault::Expected("an object in items"),
        State::AfterItem => ListFault::Expected("a comma or the end of items"),
        _ => ListFault::Trailing,
    }
}

impl Found {
    fn is_table(&self) -> bool {
        self.tables && self.envelope.kind == "Table"
    }

    fn key(&mut self, quoted: &[u8]) -> Result<State, ListFault> {
        let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        let key = unescape(inside).ok_or(ListFault::Expected("the name of a member"))?;
        let name = match &*key {
            "kind" => once(&mut self.kind, Name::Kind, "kind")?,
            "apiVersion" => {
                self.envelope.sorted_keys = !self.kind;
                once(&mut self.api_version, Name::ApiVersion, "apiVersion")?
            }
            "metadata" => once(&mut self.metadata, Name::Metadata, "metadata")?,
            "items" => once(&mut self.items, Name::Items, "items")?,
            "rows" if self.is_table() => once(&mut self.items, Name::Items, "rows")?,
            _ => Name::Other,
        };
        Ok(State::Colon(name))
    }

    fn value(&mut self, name: Name, text: &[u8]) -> Result<(), ListFault> {
        let string = || string_value(text).map(|text| text.into_owned());
        match name {
            Name::Kind => {
                self.envelope.kind = string().ok_or(ListFault::Expected("a string as kind"))?;
            }
            Name::ApiVersion => {
                self.envelope.api_version = string().ok_or(ListFault::Expected("a string as apiVersion"))?;
            }
            Name::Metadata => {
                self.envelope.read_json_meta(text).ok_or(ListFault::Expected("a ListMeta as metadata"))?;
            }
            Name::Items if text == b"null" => {}
            Name::Items => return Err(ListFault::Expected("an array as items")),
            Name::Other => {}
        }
        Ok(())
    }
}

fn once(seen: &mut bool, name: Name, spelled: &'static str) -> Result<Name, ListFault> {
    if std::mem::replace(seen, true) {
        return Err(ListFault::Twice(spelled));
    }
    Ok(name)
}
