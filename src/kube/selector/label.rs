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
        loop {
            match parser.peek() {
                Some(Token::Word(_) | Token::Sign("!")) => {}
                None => break,
                found => return Err(expected(found, "!, identifier, or 'end of string'")),
            }
            terms.push(parser.term().map_err(|why| BadSelector(format!("unable to parse requirement: {why}")))?);
            match parser.next().as_ref() {
                None => break,
                Some(Token::Sign(",")) if matches!(parser.peek(), Some(Token::Word(_) | Token::Sign("!"))) => {}
                Some(Token::Sign(",")) => return Err(expected(parser.peek(), "identifier after ','")),
                found => return Err(expected(found, "',' or 'end of string'")),
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

    fn term(&mut self) -> Result<Term, BadSelector> {
        let absent = self.peek() == Some(&Token::Sign("!"));
        if absent {
            self.at += 1;
        }
        let key = match self.next() {
            Some(Token::Word(key)) => key,
            found => return Err(expected(found.as_ref(), "identifier")),
        };
        if !name::is_qualified(&key) {
            return Err(BadSelector(invalid("<nil>", &key, &name::faults_of_qualified(&key))));
        }
        let test = match self.peek() {
            _ if absent => Test::Absent,
            None | Some(Token::Sign(",")) => Test::Exists,
            Some(_) => self.test(&key)?,
        };
        Ok(Term { key, test })
    }

    fn test(&mut self, key: &str) -> Result<Test, BadSelector> {
        let found = self.next();
        Ok(match literal(found.as_ref()) {
            "in" => Test::In(valid(key, self.values()?)?),
            "notin" => Test::NotIn(valid(key, self.values()?)?),
            "=" | "==" => Test::In(valid(key, vec![self.value()?])?),
            "!=" => Test::NotIn(valid(key, vec![self.value()?])?),
            ">" => Test::Above(number(key, self.value()?)?),
            "<" => Test::Below(number(key, self.value()?)?),
            _ => return Err(expected(found.as_ref(), "in, notin, =, ==, !=, gt, lt")),
        })
    }

    fn value(&mut self) -> Result<String, BadSelector> {
        match self.peek() {
            None | Some(Token::Sign(",")) => Ok(String::new()),
            Some(_) => match self.next() {
                Some(Token::Word(value)) => Ok(value),
                found => Err(expected(found.as_ref(), "identifier")),
            },
        }
    }

    /// `(a,b)`, in order; nothing between two commas is the empty value.
    fn values(&mut self) -> Result<Vec<String>, BadSelector> {
        match self.next() {
            Some(Token::Sign("(")) => {}
            found => return Err(BadSelector(format!("found '{}' expected: '('", literal(found.as_ref())))),
        }
        match self.peek() {
            Some(Token::Word(_) | Token::Sign(",")) => {}
            Some(Token::Sign(")")) => {
                self.at += 1;
                return Ok(vec![String::new()]);
            }
            found => return Err(expected(found, "',', ')' or identifier")),
        }
        let mut values = self.listed()?;
        values.sort();
        values.dedup();
        Ok(values)
    }

    /// What stands before `)`, and that. As Go reads it: one comma may come last, two may not.
    fn listed(&mut self) -> Result<Vec<String>, BadSelector> {
        let mut values = Vec::new();
        loop {
            match self.next() {
                Some(Token::Word(value)) => {
                    values.push(value);
                    match self.peek() {
                        Some(Token::Sign(",")) => {}
                        Some(Token::Sign(")")) => break,
                        found => return Err(expected(found, "',' or ')'")),
                    }
                }
                Some(Token::Sign(",")) => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek() {
                        Some(Token::Sign(")")) => {
                            values.push(String::new());
                            break;
                        }
                        Some(Token::Sign(",")) => {
                            values.push(String::new());
                            self.at += 1;
                        }
                        _ => {}
                    }
                }
                found => return Err(expected(found.as_ref(), "',', or identifier")),
            }
        }
        self.at += 1;
        Ok(values)
    }
}

fn literal(token: Option<&Token>) -> &str {
    match token {
        Some(Token::Sign(sign)) => sign,
        Some(Token::Word(word)) => word,
        None => "",
    }
}

fn expected(found: Option<&Token>, what: &str) -> BadSelector {
    BadSelector(format!("found '{}', expected: {what}", literal(found)))
}

/// What the labels `key` may be compared with.
fn valid(key: &str, values: Vec<String>) -> Result<Vec<String>, BadSelector> {
    let faults = values.iter().enumerate().filter_map(|(index, value)| fault_of_value(key, index, value));
    all_well(faults.collect())?;
    Ok(values)
}

fn number(key: &str, value: String) -> Result<i64, BadSelector> {
    let number = value.parse();
    let why = ["for 'Gt', 'Lt' operators, the value must be an integer".to_owned()];
    let fault = number.is_err().then(|| invalid("values[0]", &value, &why));
    all_well(fault.into_iter().chain(fault_of_value(key, 0, &value)).collect())?;
    Ok(number.unwrap_or_default())
}

fn fault_of_value(key: &str, index: usize, value: &str) -> Option<String> {
    let fault = || invalid(&format!("values[{index}][{key}]"), value, &name::faults_of_label_value(value));
    (!name::is_label_value(value)).then(fault)
}

fn invalid(place: &str, value: &str, why: &[String]) -> String {
    format!("{place}: Invalid value: {value:?}: {}", why.join("; "))
}

fn all_well(faults: Vec<String>) -> Result<(), BadSelector> {
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(BadSelector(one.clone())),
        several => Err(BadSelector(format!("[{}]", several.join(", ")))),
    }
}
