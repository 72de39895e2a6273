//! masterservice: Pods on this node reach the API server through the hub.
//!
//! Receives one item, JSON or protobuf. Promises to leave every object but the Service default/kubernetes alone, and
//! to change in that one nothing but `spec.clusterIP` and `spec.clusterIPs` (the hub's address) and the port of the
//! port named `https` (the hub's secure port); fields this code does not know stay, in their order. An item that
//! cannot be read is a [`FilterError`], never passed on as it is.

use std::ops::Range;

use crate::kube::json::{self, JsonError};
use crate::kube::list::Encoding;
use crate::kube::object::{self, ObjectError};
use crate::kube::proto::{self, Field, ProtoError, write_bytes, write_number};

/// Why an item could not be filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error("service: {0}")]
    Json(#[from] JsonError),
    #[error("service: {0}")]
    Proto(#[from] ProtoError),
    #[error("service: not exactly one spec")]
    Spec,
}

/// Where the hub listens for Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterService {
    /// An IP address as text, IPv6 without brackets.
    host: String,
    port: u16,
}

impl MasterService {
    /// The filter for a hub at `host` and its secure `port`.
    pub fn new(host: std::net::IpAddr, port: u16) -> Self {
        MasterService { host: host.to_string(), port }
    }

    /// The item as clients shall see it; None if that is as it is.
    pub fn rewrite(&self, encoding: Encoding, item: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
        let meta = object::meta(encoding, item)?;
        if meta.namespace != "default" || meta.name != "kubernetes" {
            return Ok(None);
        }
        match encoding {
            Encoding::Json => self.json(item).map(Some),
            Encoding::Protobuf => self.proto_service(item).map(Some),
        }
    }

    fn json(&self, item: &[u8]) -> Result<Vec<u8>, FilterError> {
        let mut specs = Vec::new();
        for member in json::members(item) {
            let member = member?;
            if member.is("spec") {
                specs.push(member.value);
            }
        }
        let [spec] = specs.as_slice() else {
            return Err(FilterError::Spec);
        };
        let text = item.get(spec.clone()).unwrap_or_default();

        let quoted = format!("\"{}\"", self.host);
        let mut edits = Vec::new();
        let (mut has_ip, mut has_ips) = (false, false);
        for member in json::members(text) {
            let member = member?;
            if member.is("clusterIP") {
                has_ip = true;
                edits.push((member.value, quoted.clone()));
            } else if member.is("clusterIPs") {
                has_ips = true;
                edits.push((member.value, format!("[{quoted}]")));
            } else if member.is("ports") {
                let ports = https_ports(text, member.value)?;
                edits.extend(ports.into_iter().map(|port| (port, self.port.to_string())));
            }
        }
        let end = text.len().saturating_sub(1);
        let mut comma = if text.get(1..end).unwrap_or_default().trim_ascii().is_empty() { "" } else { "," };
        for (present, member) in [(has_ip, format!("\"clusterIP\":{quoted}")), (has_ips, format!("\"clusterIPs\":[{quoted}]"))] {
            if !present {
                edits.push((end..end, format!("{comma}{member}")));
                comma = ",";
            }
        }
        Ok(splice(item, spec.start, &edits))
    }

    /// Service: metadata 1, spec 2.
    fn proto_service(&self, item: &[u8]) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::with_capacity(item.len() + 128);
        let mut specs = 0;
        for field in proto::fields(item) {
            let field = field?;
            if field.number == 2 {
                specs += 1;
                write_bytes(&mut out, 2, &self.proto_spec(field.bytes()?)?);
            } else {
                copy(&mut out, item, &field);
            }
        }
        if specs == 1 { Ok(out) } else { Err(FilterError::Spec) }
    }

    /// ServiceSpec: ports 1, clusterIP 3, clusterIPs 18.
    fn proto_spec(&self, spec: &[u8]) -> Result<Vec<u8>, FilterError> {
        let mut out = Vec::with_capacity(spec.len() + 128);
        let (mut has_ip, mut has_ips) = (false, false);
        for field in proto::fields(spec) {
            let field = field?;
            match field.number {
                1 => match self.proto_port(field.bytes()?)? {
                    Some(port) => write_bytes(&mut out, 1, &port),
                    None => copy(&mut out, spec, &field),
                },
                3 if !std::mem::replace(&mut has_ip, true) => write_bytes(&mut out, 3, self.host.as_bytes()),
                18 if !std::mem::replace(&mut has_ips, true) => write_bytes(&mut out, 18, self.host.as_bytes()),
                3 | 18 => {}
                _ => copy(&mut out, spec, &field),
            }
        }
        for (number, present) in [(3, has_ip), (18, has_ips)] {
            if !present {
                write_bytes(&mut out, number, self.host.as_bytes());
            }
        }
        Ok(out)
    }

    /// ServicePort: name 1, port 3. None if it is not the one named https.
    fn proto_port(&self, port: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
        let mut name = "";
        for field in proto::fields(port) {
            let field = field?;
            if field.number == 1 {
                name = field.text()?;
            }
        }
        if name != "https" {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(port.len() + 4);
        for field in proto::fields(port) {
            let field = field?;
            match field.number {
                3 => write_number(&mut out, 3, self.port.into()),
                _ => copy(&mut out, port, &field),
            }
        }
        Ok(Some(out))
    }
}

/// Where in `spec` the numbers of the ports named https are.
fn https_ports(spec: &[u8], ports: Range<usize>) -> Result<Vec<Range<usize>>, FilterError> {
    let list = spec.get(ports.clone()).unwrap_or_default();
    let mut found = Vec::new();
    if list == b"null" {
        return Ok(found);
    }
    for port in json::elements(list) {
        let port = port?;
        let text = list.get(port.clone()).unwrap_or_default();
        let (mut is_https, mut number) = (false, None);
        for member in json::members(text) {
            let member = member?;
            if member.is("name") {
                is_https = json::string_value(&text[member.value]).as_deref() == Some("https");
            } else if member.is("port") {
                number = Some(member.value);
            }
        }
        if let Some(number) = number.filter(|_| is_https) {
            let start = ports.start + port.start;
            found.push(start + number.start..start + number.end);
        }
    }
    Ok(found)
}

/// `item` with the ranges of `edits`, which are in order and count from `base`, replaced.
fn splice(item: &[u8], base: usize, edits: &[(Range<usize>, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len() + 128);
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(item.get(at..base + range.start).unwrap_or_default());
        out.extend_from_slice(text.as_bytes());
        at = base + range.end;
    }
    out.extend_from_slice(item.get(at..).unwrap_or_default());
    out
}

fn copy(out: &mut Vec<u8>, message: &[u8], field: &Field<'_>) {
    out.extend_from_slice(message.get(field.range.clone()).unwrap_or_default());
}

#[cfg(test)]
mod tests;
