//! `fieldSelector`: `spec.nodeName=edge-1,status.phase!=Failed`. Of a value `\`, `,` and `=` have a backslash before them.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::{BadSelector, beyond};
use crate::kube::list::Encoding;
use crate::kube::message::MessageError;

mod known;

pub use known::Fields;

/// All of its terms hold for what it selects; empty: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Reads the text; empty text selects everything. Which fields there are is another question ([`Fields`]).
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let mut parts = split_terms(text);
        // Of several faults the first in this order is told.
        parts.sort_unstable();
        let terms = parts.into_iter().filter(|part| !part.is_empty()).map(|part| {
            let (field, equal, value) =
                split_term(part).ok_or_else(|| BadSelector(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            Ok(Term { field: field.to_owned(), equal, value: unescape_value(value)? })
        });
        let mut terms = terms.collect::<Result<Vec<_>, _>>()?;
        // A mere `=` asks for nothing.
        terms.retain(|term| !(term.field.is_empty() && term.value.is_empty()));
        terms.sort();
        terms.dedup();
        Ok(Self(terms))
    }

    /// The one term `field=value`.
    pub fn one(field: &str, value: &str) -> Self {
        Self(vec![Term { field: field.to_owned(), equal: true, value: value.to_owned() }])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields it asks for.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|term| term.field.as_str())
    }

    /// The value that a field must have.
    pub fn exactly(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|term| term.equal && term.field == field).map(|term| term.value.as_str())
    }

    pub(super) fn beyond(&self, wider: &Self) -> Option<Self> {
        beyond(&self.0, &wider.0).map(Self)
    }

    pub(super) fn matches(&self, kind: &Fields, encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
        for term in &self.0 {
            let value = kind.value(&term.field, encoding, item)?.unwrap_or(Cow::Borrowed(""));
            if (value == term.value) != term.equal {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What stands between the commas; those with a backslash before them are data.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    let ends = |letter| {
        let ends = letter == ',' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    };
    text.split(ends).collect()
}

/// The field, whether it is to be equal, and the value as it is written. The first operator counts, for nothing is
/// escaped before it.
fn split_term(part: &str) -> Option<(&str, bool, &str)> {
    let (before, after) = part.split_once('=')?;
    Some(match before.strip_suffix('!') {
        Some(field) => (field, false, after),
        None => (before, true, after.strip_prefix('=').unwrap_or(after)),
    })
}

fn unescape_value(value: &str) -> Result<String, BadSelector> {
    let wrong = |what: String| Err(BadSelector(format!("invalid field selector: {what}")));
    let mut unescaped = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(data @ ('\\' | ',' | '=')) => unescaped.push(data),
                other => return wrong(format!("invalid escape sequence: \\{}", other.map_or_else(String::new, String::from))),
            },
            // Go says it as a number.
            ',' | '=' => return wrong(format!("unescaped character in value: {}", u32::from(letter))),
            _ => unescaped.push(letter),
        }
    }
    Ok(unescaped)
}

/// In the one way in which selectors are compared.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { field, equal, value }) in self.0.iter().enumerate() {
            let (comma, operator) = (if index > 0 { "," } else { "" }, if *equal { "=" } else { "!=" });
            write!(f, "{comma}{field}{operator}")?;
            for letter in value.chars() {
                if matches!(letter, '\\' | ',' | '=') {
                    f.write_char('\\')?;
                }
                f.write_char(letter)?;
            }
        }
        Ok(())
    }
}
