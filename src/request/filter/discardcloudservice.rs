//! discardcloudservice: Services that only the cloud's load balancer serves are none of this node's business.
//!
//! Receives a Service's name and what is known of it. Promises to hide those of type LoadBalancer that are annotated
//! `svc.openyurt.io/discard: "true"`, and kube-system/x-tunnel-server-internal-svc, and no other.

use crate::state::inputs::{Service, ServiceName};

pub(super) fn hides((namespace, name): &ServiceName, service: &Service) -> bool {
    let discarded = service.kind == "LoadBalancer" && service.discard.as_deref() == Some("true");
    discarded || (namespace.as_str(), name.as_str()) == ("kube-system", "x-tunnel-server-internal-svc")
}

#[cfg(test)]
mod tests;
