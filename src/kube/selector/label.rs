//! `labelSelector`: `a=b,c!=d,e in (f,g),h,!i,j>1`.

use std::fmt;

use super::{BadSelector, beyond};
use crate::kube::list::Encoding;
use crate::kube::message::{self, MessageError};
use crate::kube::name;
use crate::kube::schema::{METADATA, meta};

/// All of its terms hold for what it selects; empty: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Term>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Term {
    key: String,
    test: Test,
}

/// `=`, `==` and `in` are one thing, as `!=` and `notin` are; values in order and each once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

impl LabelSelector {
    /// Reads the text; empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0 };
        let mut terms = Vec::new();
        while parser.peek().is_some() {
            terms.push(parser.term()?);
            match parser.next() {
                None => break,
                Some(Token::Sign(",")) if matches!(parser.peek(), Some(Token::Word(_) | Token::Sign("!"))) => {}
                Some(Token::Sign(",")) => return Err(parser.found("identifier after ','")),
                Some(_) => return Err(parser.found("',' or 'end of string'")),
            }
        }
        terms.sort();
        terms.dedup();
        Ok(Self(terms))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn beyond(&self, wider: &Self) -> Option<Self> {
        beyond(&self.0, &wider.0).map(Self)
    }

    pub(super) fn matches(&self, encoding: Encoding, item: &[u8]) -> Result<bool, MessageError> {
        for term in &self.0 {
            let value = message::inner_entry(encoding, item, METADATA, meta::LABELS, &term.key)?;
            if !term.test.holds(value.as_deref()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|one| one != value)),
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Above(limit) => number().is_some_and(|number| number > *limit),
            Self::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// In the one way in which selectors are compared.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Term { key, test }) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { "," } else { "" })?;
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
                Test::In(values) => write!(f, "{key} in ({})", values.join(",")),
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
                Test::Exists => f.write_str(key),
                Test::Absent => write!(f, "!{key}"),
                Test::Above(limit) => write!(f, "{key}>{limit}"),
                Test::Below(limit) => write!(f, "{key}<{limit}"),
            }?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Sign(&'static str),
    Word(String),
}

/// The longer one first.
const SIGNS: [&str; 9] = ["!=", "==", "=", "!", "(", ")", ",", ">", "<"];

fn tokens(text: &str) -> Result<Vec<Token>, BadSelector> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let ends_word = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n') || "=!(),><".contains(c);
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if first == '\0' {
            return Err(BadSelector("unable to parse requirement: a NUL".to_owned()));
        }
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let (word, behind) = rest.split_at(rest.find(ends_word).unwrap_or(rest.len()));
            tokens.push(Token::Word(word.to_owned()));
            rest = behind;
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    /// An error at the token before.
    fn found(&self, expected: &str) -> BadSelector {
        let found = match self.at.checked_sub(1).and_then(|at| self.tokens.get(at)) {
            Some(Token::Sign(sign)) => sign,
            Some(Token::Word(word)) => word.as_str(),
            None => "",
        };
        BadSelector(format!("unable to parse requirement: found '{found}', expected: {expected}"))
    }

    fn term(&mut self) -> Result<Term, BadSelector> {
        let absent = self.peek() == Some(&Token::Sign("!"));
        if absent {
            self.at += 1;
        }
        let Some(Token::Word(key)) = self.next() else { return Err(self.found("!, identifier, or 'end of string'")) };
        valid_key(&key)?;
        let test = match self.peek() {
            _ if absent => Test::Absent,
            None | Some(Token::Sign(",")) => Test::Exists,
            Some(_) => self.test()?,
        };
        Ok(Term { key, test })
    }

    fn test(&mut self) -> Result<Test, BadSelector> {
        let operator = match self.next() {
            Some(Token::Sign(sign)) => sign.to_owned(),
            Some(Token::Word(word)) => word,
            None => String::new(),
        };
        Ok(match operator.as_str() {
            "in" => Test::In(self.values()?),
            "notin" => Test::NotIn(self.values()?),
            "=" | "==" => Test::In(vec![self.value()?]),
            "!=" => Test::NotIn(vec![self.value()?]),
            ">" => Test::Above(self.number()?),
            "<" => Test::Below(self.number()?),
            _ => return Err(self.found("in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn value(&mut self) -> Result<String, BadSelector> {
        match self.peek() {
            None | Some(Token::Sign(",")) => Ok(String::new()),
            Some(_) => match self.next() {
                Some(Token::Word(value)) => valid_value(value),
                _ => Err(self.found("identifier")),
            },
        }
    }

    fn number(&mut self) -> Result<i64, BadSelector> {
        let value = self.value()?;
        value.parse().map_err(|_| BadSelector(format!("{value:?}: for 'Gt', 'Lt' operators, the value must be an integer")))
    }

    /// `(a,b)`, in order; nothing between two commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, BadSelector> {
        if self.next() != Some(Token::Sign("(")) {
            return Err(self.found("'('"));
        }
        let mut values = Vec::new();
        loop {
            let value = match self.peek() {
                Some(Token::Word(word)) => {
                    let word = word.clone();
                    self.at += 1;
                    word
                }
                _ => String::new(),
            };
            values.push(valid_value(value)?);
            match self.next() {
                Some(Token::Sign(",")) => {}
                Some(Token::Sign(")")) => break,
                _ => return Err(self.found("',' or ')'")),
            }
        }
        values.sort();
        values.dedup();
        Ok(values)
    }
}

fn valid_key(key: &str) -> Result<(), BadSelector> {
    if name::is_qualified(key) {
        return Ok(());
    }
    Err(BadSelector(format!("unable to parse requirement: <nil>: Invalid value: {key:?}: not a label's name")))
}

fn valid_value(value: String) -> Result<String, BadSelector> {
    if name::is_label_value(&value) {
        return Ok(value);
    }
    Err(BadSelector(format!("unable to parse requirement: Invalid value: {value:?}: not a label's value")))
}
