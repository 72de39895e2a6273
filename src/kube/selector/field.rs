//! `fieldSelector`: `spec.nodeName=edge-1,status.phase!=Failed`.

use std::borrow::Cow;
use std::fmt;

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
        let terms = text.split(',').filter(|part| !part.is_empty()).map(|part| {
            let term = term(part);
            term.ok_or_else(|| BadSelector(format!("invalid selector: '{text}'; can't understand '{part}'")))
        });
        let mut terms = terms.collect::<Result<Vec<_>, _>>()?;
        terms.sort();
        terms.dedup();
        Ok(Self(terms))
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

fn term(part: &str) -> Option<Term> {
    let split = |operator: &str| {
        let mut pieces = part.split(operator);
        let (field, value) = (pieces.next()?, pieces.next()?);
        pieces.next().is_none().then_some((field, value))
    };
    let (equal, (field, value)) = match split("!=") {
        Some(both) => (false, both),
        None => (true, split("==").or_else(|| split("="))?),
    };
    Some(Term { field: field.to_owned(), equal, value: value.to_owned() })
}

/// In the one way in which selectors are compared.
impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { field, equal, value }) in self.0.iter().enumerate() {
            let (comma, operator) = (if index > 0 { "," } else { "" }, if *equal { "=" } else { "!=" });
            write!(f, "{comma}{field}{operator}{value}")?;
        }
        Ok(())
    }
}
