//! Whose request is this? A header alone never makes anybody the node.
//!
//! | proof | caller |
//! |---|---|
//! | bearer token | whoever the cloud says |
//! | kubelet's client certificate, on the TLS port | the node |
//! | nothing, on the loopback port, from a process outside every Pod | the node |
//! | nothing, otherwise | 401 |

mod identify;
mod owner;

pub use identify::{Callers, identify};
pub use owner::{Ownership, Procfs};
