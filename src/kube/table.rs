//! A Table: what the kube-apiserver makes of objects for people to read (`as=Table`), made here of the objects.
//!
//! Receives objects in item form, as JSON. Promises, for the resources that [`Printer::built_in`] and
//! [`Printer::custom`] know, the bytes that the kube-apiserver of Kubernetes 1.34 answers with; how long ago something
//! was is said as of the time that the Table was begun. What has no printer here is not guessed at.
//!
//! Sources: pkg/printers/internalversion of k8s.io/kubernetes (columns and cells), `asTable` of
//! k8s.io/apiserver/pkg/endpoints/handlers, pkg/registry/customresource/tableconvertor of k8s.io/apiextensions-apiserver.

mod age;
mod apps;
mod batch;
mod column;
mod core;
mod custom;
mod events;
mod network;
mod path;
mod pods;
mod printer;
mod storage;
mod value;

use std::sync::Arc;

use serde_json::Value;

use self::age::Now;
use super::json;
use super::list::Encoding;
use super::message::{self, MessageError, Set};
use super::metadata;
use super::object::{self, TypeMeta};
use super::schema::table::COLUMNS;

pub(super) use age::time;
pub use printer::Printer;

/// The parameters of the form, as [`Form::As`](super::media::Form::As) has them.
const FORM: &str = "Table;meta.k8s.io;v1";

/// What a row has of its object (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    Nothing,
    Metadata,
    Object,
}

/// How objects become a Table.
#[derive(Debug)]
pub struct Table {
    printer: Arc<Printer>,
    include: Include,
    now: Now,
}

/// Whether a form is this one; one name for lists, objects and events.
pub fn is_form(form: &str) -> bool {
    form == FORM
}

pub fn types() -> TypeMeta {
    TypeMeta { api_version: "meta.k8s.io/v1".to_owned(), kind: "Table".to_owned() }
}

impl Include {
    /// As the parameter says it; `None`: the kube-apiserver refuses.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(Self::Nothing),
            "" | "Metadata" => Some(Self::Metadata),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

impl Table {
    /// One that is begun now.
    pub fn new(printer: Printer, include: Include) -> Self {
        Self { printer: Arc::new(printer), include, now: Now::current() }
    }

    /// The same, begun now.
    pub fn again(&self) -> Self {
        Self { printer: self.printer.clone(), include: self.include, now: Now::current() }
    }

    /// `columnDefinitions`.
    pub fn columns(&self) -> Vec<u8> {
        self.printer.columns()
    }

    /// Whether `rows` is no array where there are none.
    pub fn is_null_without_rows(&self) -> bool {
        self.printer.is_default()
    }

    /// The row of one object.
    pub fn row(&self, types: &TypeMeta, item: &[u8]) -> Result<Vec<u8>, MessageError> {
        let object: Value = serde_json::from_slice(item).map_err(|_| MessageError::Shape("an object"))?;
        let mut out = b"{\"cells\":[".to_vec();
        for (index, cell) in self.printer.cells(&object, self.now).iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            value::write(&mut out, cell);
        }
        out.push(b']');
        if let Some((reason, message)) = self.printer.completed(&object) {
            out.extend_from_slice(b",\"conditions\":[{\"type\":\"Completed\",\"status\":\"True\",\"reason\":");
            json::write_string(&mut out, reason);
            out.extend_from_slice(b",\"message\":");
            json::write_string(&mut out, message);
            out.extend_from_slice(b"}]");
        }
        out.extend_from_slice(b",\"object\":");
        match self.include {
            Include::Nothing => out.extend_from_slice(b"null"),
            Include::Metadata => out.extend_from_slice(&metadata::of_item(Encoding::Json, types, item)?),
            Include::Object => out.extend_from_slice(&object::from_item(Encoding::Json, types, item)),
        }
        out.push(b'}');
        Ok(out)
    }

    /// A Table of one object and, yet, without its columns: they come with the first Table of a watch alone.
    pub fn of_one(&self, types: &TypeMeta, item: &[u8]) -> Result<Vec<u8>, MessageError> {
        let version = object::meta(Encoding::Json, item).map_err(|_| MessageError::Shape("metadata"))?.resource_version;
        let mut out = br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"#.to_vec();
        json::write_string(&mut out, &version);
        out.extend_from_slice(b"},\"columnDefinitions\":null,\"rows\":[");
        out.extend_from_slice(&self.row(types, item)?);
        out.extend_from_slice(b"]}");
        Ok(out)
    }

    /// The same with its columns.
    pub fn headed(&self, table: &[u8]) -> Result<Vec<u8>, MessageError> {
        message::set(Encoding::Json, table, COLUMNS, Set::Message(&self.columns()))
    }
}

#[cfg(test)]
mod tests;
