//! Where a kube-apiserver is.

use std::fmt;

use http::uri::Authority;

/// Host and port of an apiserver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address without brackets.
    pub host: String,
    pub port: u16,
    /// Both, as `:authority` and `Host` have them.
    pub authority: Authority,
}

impl Address {
    /// `None`: it is no host that a URI could have.
    pub fn new(host: &str, port: u16) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Some(Self { host, port, authority: text.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(f)
    }
}
