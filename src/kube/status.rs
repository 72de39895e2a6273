//! `metav1.Status`: why something was refused, as the kube-apiserver writes it.
//!
//! Promises the bytes of Go's encoders. Nothing here fails.
//!
//! Source: `apis/meta/v1/types.go` and `generated.proto` of k8s.io/apimachinery; the causes are those of
//! `util/validation/field/errors.go`.

use std::fmt;

use bytes::Bytes;

use super::json::write_string;
use super::list::Encoding;
use super::proto::{self, write_bytes, write_number};

/// A failure.
#[derive(Debug, Default)]
pub struct Status<'a> {
    pub code: u16,
    /// A `metav1.StatusReason`; empty: none.
    pub reason: &'a str,
    pub message: &'a str,
    pub details: Option<&'a Details>,
    /// With which a list goes on all the same; empty: with nothing.
    pub continue_token: &'a str,
}

/// What it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// A kind, or the resource of what was asked for.
    pub kind: String,
    pub causes: Vec<Cause>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

impl Cause {
    pub fn invalid(field: &str, value: &str, why: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value:?}: {why}"))
    }

    pub fn required(field: &str) -> Self {
        Self::new("FieldValueRequired", field, "Required value".to_owned())
    }

    pub fn forbidden(field: &str, why: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {why}"))
    }

    /// `supported`: as a list of quoted words.
    pub fn not_supported(field: &str, value: &str, supported: &str) -> Self {
        Self::new("FieldValueNotSupported", field, format!("Unsupported value: {value:?}: supported values: {supported}"))
    }

    fn new(reason: &'static str, field: &str, message: String) -> Self {
        Self { reason, field: field.to_owned(), message }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

impl Status<'_> {
    /// As the body of an answer; JSON with its newline.
    pub fn body(&self, encoding: Encoding) -> Bytes {
        match encoding {
            Encoding::Json => self.json().into(),
            Encoding::Protobuf => self.protobuf().into(),
        }
    }

    fn json(&self) -> Vec<u8> {
        let mut out = b"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{".to_vec();
        write_texts(&mut out, &[("continue", self.continue_token)]);
        out.extend_from_slice(b"},");
        write_texts(&mut out, &[("status", "Failure"), ("message", self.message), ("reason", self.reason)]);
        if let Some(details) = self.details {
            out.extend_from_slice(b",\"details\":{");
            details.write_json(&mut out);
            out.push(b'}');
        }
        if self.code != 0 {
            out.extend_from_slice(format!(",\"code\":{}", self.code).as_bytes());
        }
        out.extend_from_slice(b"}\n");
        out
    }

    fn protobuf(&self) -> Vec<u8> {
        let mut list_meta = Vec::with_capacity(6 + self.continue_token.len());
        for (number, text) in [(1, ""), (2, ""), (3, self.continue_token)] {
            write_bytes(&mut list_meta, number, text.as_bytes());
        }
        let mut status = Vec::with_capacity(self.message.len() + self.reason.len() + 32);
        write_bytes(&mut status, 1, &list_meta);
        for (number, text) in [(2, "Failure"), (3, self.message), (4, self.reason)] {
            write_bytes(&mut status, number, text.as_bytes());
        }
        if let Some(details) = self.details {
            write_bytes(&mut status, 5, &details.protobuf());
        }
        write_number(&mut status, 6, self.code.into());
        proto::envelop("v1", "Status", &status)
    }
}

impl Details {
    /// The members alone.
    fn write_json(&self, out: &mut Vec<u8>) {
        write_texts(out, &[("name", &self.name), ("group", &self.group), ("kind", &self.kind)]);
        for (index, cause) in self.causes.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"causes\":[{" } else { b",{" });
            write_texts(out, &[("reason", cause.reason), ("message", &cause.message), ("field", &cause.field)]);
            out.push(b'}');
        }
        if !self.causes.is_empty() {
            out.push(b']');
        }
    }

    /// With retryAfterSeconds and uid, which gogo writes although there are none.
    fn protobuf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, text) in [(1, &self.name), (2, &self.group), (3, &self.kind)] {
            write_bytes(&mut out, number, text.as_bytes());
        }
        for cause in &self.causes {
            let mut inner = Vec::new();
            for (number, text) in [(1, cause.reason), (2, &cause.message), (3, &cause.field)] {
                write_bytes(&mut inner, number, text.as_bytes());
            }
            write_bytes(&mut out, 4, &inner);
        }
        write_number(&mut out, 5, 0);
        write_bytes(&mut out, 6, b"");
        out
    }
}

/// The members of an object that say anything.
fn write_texts(out: &mut Vec<u8>, members: &[(&str, &str)]) {
    let said = members.iter().filter(|(_, text)| !text.is_empty());
    for (index, (name, text)) in said.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, name);
        out.push(b':');
        write_string(out, text);
    }
}
