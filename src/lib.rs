//! Holdfast: a per-node proxy for the Kubernetes API that goes on answering while the
//! control plane is out of reach.
//!
//! # The rooms
//!
//! * [`request`] is the path: what happens to one request, stage by stage.
//! * [`background`] holds the loops: what goes on whether or not anybody asks.
//! * [`kube`], [`state`], [`store`], [`upstream`] are shared: Kubernetes' vocabulary
//!   without IO; snapshots the loops write and the path reads; what the node knows;
//!   connections to the kube-apiservers.
//! * [`cli`], [`config`], [`ops`], [`runtime`], [`app`] are the shell around them.
//!
//! `request` and `background` never import each other's insides; tests/architecture.rs
//! checks who may import whom. First reading: `request.rs`, `request/dispatch/route.rs`,
//! `request/remote.rs`, `request/offline.rs`, `store.rs`, `app.rs`.

pub mod app;
pub mod background;
pub mod cli;
pub mod config;
pub mod kube;
pub mod ops;
pub mod request;
pub mod runtime;
pub mod state;
pub mod store;
pub mod upstream;
