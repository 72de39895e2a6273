//! The TLS configurations, towards the cloud and towards Pods, swapped when the files
//! change.
//!
//! Two towards the cloud, because the kube-apiserver believes a client certificate before a
//! token: a connection that carries other callers' tokens must not carry the node's
//! certificate, or they would be answered as the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::{ClientConfig, ServerConfig};

/// Whose credential a connection to the cloud carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The node's client certificate.
    Node,
    /// None: each request brings its own.
    Caller,
}

/// One generation of credentials.
pub struct Generation {
    pub number: u64,
    pub node: Arc<ClientConfig>,
    pub caller: Arc<ClientConfig>,
}

pub struct Credentials {
    current: ArcSwap<Generation>,
    next: AtomicU64,
}

impl Credentials {
    pub fn new(node: Arc<ClientConfig>, caller: Arc<ClientConfig>) -> Self {
        Self { current: ArcSwap::from_pointee(Generation { number: 0, node, caller }), next: AtomicU64::new(1) }
    }

    pub fn current(&self) -> Arc<Generation> {
        self.current.load_full()
    }

    pub fn replace(&self, node: Arc<ClientConfig>, caller: Arc<ClientConfig>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.current.store(Arc::new(Generation { number, node, caller }));
    }
}

/// What the hub shows to Pods. New connections use what was put here last; open ones
/// stay as they are.
pub struct Serving(ArcSwap<ServerConfig>);

impl Serving {
    pub fn new(config: Arc<ServerConfig>) -> Self {
        Self(ArcSwap::new(config))
    }

    pub fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }

    pub fn replace(&self, config: Arc<ServerConfig>) {
        self.0.store(config);
    }
}
