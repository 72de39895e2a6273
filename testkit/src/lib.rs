//! What Holdfast is tested against: a small fake API server with faults, a real
//! cluster in network namespaces, the hub itself as a process, and clients.

pub mod apiserver;
pub mod client;
pub mod cluster;
pub mod fake;
pub mod hub;
pub mod pki;
