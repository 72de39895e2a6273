//! Walking over complete JSON values, and writing strings the way Go does.
//!
//! Receives one complete object or array. Promises ranges within it. A walk stops at the first fault; what came
//! before it has been handed out already.

use std::borrow::Cow;
use std::ops::Range;

use super::{JsonError, JsonFault, Scanner, is_space, unescape};

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Between the quotes, escapes as they are written.
    pub raw_key: &'a [u8],
    /// Where the value is in the object.
    pub value: Range<usize>,
}

impl Member<'_> {
    /// Whether the key, escapes resolved, is `name`.
    pub fn is(&self, name: &str) -> bool {
        if self.raw_key.contains(&b'\\') {
            return unescape(self.raw_key).as_deref() == Some(name);
        }
        self.raw_key == name.as_bytes()
    }
}

/// The members of an object, in the order of the text.
#[derive(Debug)]
pub struct Members<'a>(Walk<'a>);

/// The elements of an array, as ranges within it.
#[derive(Debug)]
pub struct Elements<'a>(Walk<'a>);

#[derive(Debug)]
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    scanner: Scanner,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Before,
    Within,
    Over,
}

/// Walks over the members of `object`. White space before it is skipped; what follows it is left alone.
pub fn members(object: &[u8]) -> Members<'_> {
    Members(Walk::over(object))
}

/// Walks over the elements of `array`.
pub fn elements(array: &[u8]) -> Elements<'_> {
    Elements(Walk::over(array))
}

/// `object` from where the value of member `name` begins: what is in it can be walked over without looking for its end
/// first. None if there is no such member.
pub fn from_member<'a>(object: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, JsonError> {
    let mut walk = Walk::over(object);
    while walk.step(b'{', b'}')? {
        let raw_key = walk.key()?;
        walk.peek()?;
        if (Member { raw_key, value: 0..0 }).is(name) {
            return Ok(object.get(walk.at..));
        }
        walk.value()?;
    }
    Ok(None)
}

/// Where the value of member `name` is in `object`; stops reading there. None if there is no such member before
/// the first fault.
pub fn top_level_field(object: &[u8], name: &str) -> Option<Range<usize>> {
    members(object).map_while(Result::ok).find(|member| member.is(name)).map(|member| member.value)
}

/// The text of `value`, if that is a JSON string.
pub fn string_value(value: &[u8]) -> Option<Cow<'_, str>> {
    let inside = value.trim_ascii().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    unescape(inside)
}

/// Appends `text` as a JSON string, escaped as Go's `encoding/json` does by default (so `<`, `>`, `&`, U+2028 and
/// U+2029 as well).
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{0}'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

impl<'a> Members<'a> {
    /// What follows the object, once the walk is over.
    pub fn rest(&self) -> &'a [u8] {
        self.0.text.get(self.0.at..).unwrap_or_default()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance(b'{', b'}', Walk::member)
    }
}

impl Elements<'_> {
    /// What follows the array, once the walk is over.
    pub fn rest(&self) -> &[u8] {
        self.0.text.get(self.0.at..).unwrap_or_default()
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Range<usize>, JsonError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance(b'[', b']', Walk::value)
    }
}

impl<'a> Walk<'a> {
    fn over(text: &'a [u8]) -> Self {
        Walk { text, at: 0, scanner: Scanner::default(), progress: Progress::Before }
    }

    /// Goes to the next entry of a container between `open` and `close`, and reads it with `entry`.
    fn advance<T>(
        &mut self,
        open: u8,
        close: u8,
        entry: impl FnOnce(&mut Self) -> Result<T, JsonError>,
    ) -> Option<Result<T, JsonError>> {
        let result = match self.step(open, close) {
            Ok(false) => return None,
            Ok(true) => entry(self),
            Err(error) => Err(error),
        };
        if result.is_err() {
            self.progress = Progress::Over;
        }
        Some(result)
    }

    /// True if an entry follows.
    fn step(&mut self, open: u8, close: u8) -> Result<bool, JsonError> {
        match self.progress {
            Progress::Over => return Ok(false),
            Progress::Before => {
                self.expect(open)?;
                self.progress = Progress::Within;
                if self.peek()? != close {
                    return Ok(true);
                }
            }
            Progress::Within => {
                if self.peek()? == b',' {
                    self.at += 1;
                    return Ok(true);
                }
            }
        }
        self.expect(close)?;
        self.progress = Progress::Over;
        Ok(false)
    }

    /// A member's name, up to its value.
    fn key(&mut self) -> Result<&'a [u8], JsonError> {
        if self.peek()? != b'"' {
            return Err(self.unexpected());
        }
        let key = self.value()?;
        self.expect(b':')?;
        Ok(self.text.get(key.start + 1..key.end - 1).unwrap_or_default())
    }

    fn member(&mut self) -> Result<Member<'a>, JsonError> {
        let raw_key = self.key()?;
        let value = self.value()?;
        Ok(Member { raw_key, value })
    }

    fn value(&mut self) -> Result<Range<usize>, JsonError> {
        self.peek()?;
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let shifted = |error: JsonError| JsonError { at: error.at + start, ..error };
        match self.scanner.scan(rest).map_err(shifted)? {
            Some(length) => self.at = start + length,
            None if self.scanner.finish() => self.at = self.text.len(),
            None => {
                return Err(JsonError { fault: JsonFault::Truncated, at: self.text.len() });
            }
        }
        Ok(start..self.at)
    }

    /// The next byte that is not white space, not taken yet.
    fn peek(&mut self) -> Result<u8, JsonError> {
        while let Some(byte) = self.text.get(self.at) {
            if !is_space(*byte) {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(JsonError { fault: JsonFault::Truncated, at: self.at })
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek()? != byte {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn unexpected(&self) -> JsonError {
        let fault = self.text.get(self.at).map_or(JsonFault::Truncated, |byte| JsonFault::Unexpected(*byte));
        JsonError { fault, at: self.at }
    }
}
