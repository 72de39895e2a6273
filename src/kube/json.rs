//! JSON as bytes: where values begin and end, without building a tree.
//!
//! Receives JSON text, whole or in chunks. Promises to find the end of a value at gigabytes a second ([`Scanner`]),
//! and to walk over the members of an object or the elements of an array handing out byte ranges, so that a caller
//! can cut, copy or replace parts and leave every other byte as it was. Malformed text is an error with its offset;
//! nothing here panics.
//!
//! What is checked is the structure: brackets match, strings end, nesting has a bound, and outside strings only
//! characters occur that JSON has there. Numbers and literals inside a value are not checked; a reader that
//! interprets them does that.

use std::borrow::Cow;

use memchr::memchr2;

use strings::Strings;

mod outline;
mod strings;
mod walk;

pub use outline::Outline;
pub use walk::{Elements, Member, Members, elements, from_member, members, string_value, top_level_field, write_string};

/// The deepest nesting accepted; the same as in Go's `encoding/json` and in `sigs.k8s.io/json`.
pub const MAX_DEPTH: usize = 10_000;

/// Why text is not the JSON it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("nesting of more than {MAX_DEPTH}")]
    TooDeep,
    #[error("a bracket that closes another kind")]
    Mismatched,
    #[error("the byte {0:#04x}")]
    Unexpected(u8),
    #[error("the end of the text within a value")]
    Truncated,
}

/// A fault and the byte of the text at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct JsonError {
    pub fault: JsonFault,
    pub at: usize,
}

/// Finds the end of one value that may arrive in chunks, then of the next.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    nesting: Nesting,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Container,
    String,
    /// After a backslash within a string.
    Escape,
    /// A number or literal outside any container; it ends where a delimiter begins.
    Scalar,
}

/// The open brackets: a bit each, the innermost 64 in a register.
#[derive(Debug, Default)]
struct Nesting {
    depth: usize,
    innermost: u64,
    outer: Vec<u64>,
}

impl Nesting {
    #[inline]
    fn open(&mut self, object: bool) -> Result<(), JsonFault> {
        if self.depth >= MAX_DEPTH {
            return Err(JsonFault::TooDeep);
        }
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.innermost);
        }
        self.innermost = self.innermost << 1 | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    /// Closes the innermost bracket; true if it was the last one.
    #[inline]
    fn close(&mut self, object: bool) -> Result<bool, JsonFault> {
        if self.depth == 0 || (self.innermost & 1 == 1) != object {
            return Err(JsonFault::Mismatched);
        }
        self.innermost >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.innermost = self.outer.pop().unwrap_or_default();
        }
        Ok(self.depth == 0)
    }
}

/// What a byte means outside strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Quote,
    Open,
    Close,
    Never,
}

static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Never; 256];
    let plain = b" \t\r\n,:0123456789+-.eEtrufalsn";
    let mut at = 0;
    while at < plain.len() {
        table[plain[at] as usize] = Class::Plain;
        at += 1;
    }
    table[b'"' as usize] = Class::Quote;
    table[b'{' as usize] = Class::Open;
    table[b'[' as usize] = Class::Open;
    table[b'}' as usize] = Class::Close;
    table[b']' as usize] = Class::Close;
    table
}

/// Whether `byte` is JSON's white space.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

impl Scanner {
    /// Reads on. The first chunk begins with the first byte of the value, without white space before it.
    /// `Some(n)`: the value ended after `n` bytes of this chunk, and the scanner is ready for the next value.
    /// `None`: the whole chunk belongs to the value. Offsets in errors are within the chunk; after an error the
    /// scanner is of no more use.
    pub fn scan(&mut self, chunk: &[u8]) -> Result<Option<usize>, JsonError> {
        let mut at = 0;
        if self.state == State::Start {
            let Some(first) = chunk.first() else {
                return Ok(None);
            };
            self.state = match CLASSES[usize::from(*first)] {
                Class::Quote => State::String,
                Class::Open => {
                    self.nesting.open(*first == b'{').map_err(|fault| JsonError { fault, at: 0 })?;
                    State::Container
                }
                Class::Plain if !matches!(first, b',' | b':') && !is_space(*first) => State::Scalar,
                _ => {
                    return Err(JsonError { fault: JsonFault::Unexpected(*first), at: 0 });
                }
            };
            at = 1;
        }
        let end = match self.state {
            State::Scalar => scalar_end(chunk, at),
            State::Container => self.container(chunk, at),
            State::String | State::Escape | State::Start => self.string(chunk, at),
        }?;
        if end.is_some() {
            self.state = State::Start;
        }
        Ok(end)
    }

    /// Says that no more text comes: true if that ends a value properly, which only a number or literal can do.
    pub fn finish(&mut self) -> bool {
        std::mem::take(&mut self.state) == State::Scalar
    }

    /// Goes on within a container, outside its strings.
    fn container(&mut self, chunk: &[u8], mut at: usize) -> Result<Option<usize>, JsonError> {
        let mut strings = Strings::default();
        while let Some(block) = chunk.get(at..).and_then(<[u8]>::first_chunk) {
            let mut left = strings.left_of(block);
            if left == 0 && strings.state() == State::String {
                // Nothing but a string: a long one, probably.
                let behind = &chunk[at + block.len()..];
                at += block.len() + memchr2(b'"', b'\\', behind).unwrap_or(behind.len());
                continue;
            }
            while left != 0 {
                let offset = left.trailing_zeros() as usize;
                if self.outside(block[offset], at + offset)? {
                    return Ok(Some(at + offset + 1));
                }
                left &= left - 1;
            }
            at += block.len();
        }
        self.state = strings.state();
        self.remainder(chunk, at)
    }

    /// Takes a byte outside strings that is no quote: true if the value ends with it.
    #[inline]
    fn outside(&mut self, byte: u8, at: usize) -> Result<bool, JsonError> {
        let located = |fault| JsonError { fault, at };
        match CLASSES[usize::from(byte)] {
            Class::Plain => Ok(false),
            Class::Open => self.nesting.open(byte == b'{').map(|()| false).map_err(located),
            Class::Close => self.nesting.close(byte == b'}').map_err(located),
            Class::Quote | Class::Never => Err(located(JsonFault::Unexpected(byte))),
        }
    }

    /// The same for less than a block, from within a string or not.
    fn remainder(&mut self, chunk: &[u8], mut at: usize) -> Result<Option<usize>, JsonError> {
        if self.state != State::Container {
            let Some(end) = self.rest_of_string(chunk, at) else { return Ok(None) };
            at = end;
        }
        while let Some(byte) = chunk.get(at) {
            if *byte == b'"' {
                self.state = State::String;
                let Some(end) = self.rest_of_string(chunk, at + 1) else { return Ok(None) };
                at = end;
            } else if self.outside(*byte, at)? {
                return Ok(Some(at + 1));
            } else {
                at += 1;
            }
        }
        Ok(None)
    }

    /// Goes on within a string, and with what is around it if it ends.
    fn string(&mut self, chunk: &[u8], at: usize) -> Result<Option<usize>, JsonError> {
        match self.rest_of_string(chunk, at) {
            Some(end) if self.nesting.depth > 0 => self.container(chunk, end),
            end => Ok(end),
        }
    }

    /// The offset after the quote that closes the string; `None`: it is not in this chunk.
    fn rest_of_string(&mut self, chunk: &[u8], at: usize) -> Option<usize> {
        let escaped = usize::from(self.state == State::Escape);
        if at + escaped > chunk.len() {
            return None;
        }
        let end = string_end(chunk, at + escaped);
        self.state = end.err().unwrap_or(State::Container);
        end.ok()
    }
}

/// Most strings of an object end within this: they are looked at eight bytes at a time, longer ones by memchr.
const SHORT: usize = 32;

/// The offset after the closing quote of a string whose inside begins at `at`, or the state in which it is left.
#[inline]
fn string_end(chunk: &[u8], mut at: usize) -> Result<usize, State> {
    loop {
        let rest = chunk.get(at..).unwrap_or_default();
        let found = short_end(rest).or_else(|seen| memchr2(b'"', b'\\', &rest[seen..]).map(|found| seen + found).ok_or(()));
        match found {
            Err(()) => return Err(State::String),
            Ok(found) if rest[found] == b'"' => return Ok(at + found + 1),
            Ok(found) if found + 1 == rest.len() => return Err(State::Escape),
            Ok(found) => at += found + 2,
        }
    }
}

/// Where the first quote or backslash is, or how many bytes have none.
#[inline]
fn short_end(rest: &[u8]) -> Result<usize, usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The lowest byte that is zero has its high bit set here, and none below it has.
    let zeros = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    let mut at = 0;
    while at < SHORT {
        let Some(word) = rest.get(at..).and_then(|rest| rest.first_chunk::<8>()) else { break };
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (LOW * u64::from(b'"'))) | zeros(word ^ (LOW * u64::from(b'\\')));
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    Err(at)
}

fn scalar_end(chunk: &[u8], at: usize) -> Result<Option<usize>, JsonError> {
    for (offset, byte) in chunk.iter().enumerate().skip(at) {
        match byte {
            b',' | b'}' | b']' => return Ok(Some(offset)),
            byte if is_space(*byte) => return Ok(Some(offset)),
            byte if *byte != b':' && CLASSES[usize::from(*byte)] == Class::Plain => {}
            byte => {
                return Err(JsonError { fault: JsonFault::Unexpected(*byte), at: offset });
            }
        }
    }
    Ok(None)
}

/// The text between the quotes of a JSON string, escapes resolved. None if that is not UTF-8 or an escape is wrong.
pub(crate) fn unescape(inside: &[u8]) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'\\', inside).is_none() {
        return std::str::from_utf8(inside).ok().map(Cow::Borrowed);
    }
    let mut quoted = Vec::with_capacity(inside.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(inside);
    quoted.push(b'"');
    serde_json::from_slice::<String>(&quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
