//! Connections to the kube-apiservers: a pool of our own over HTTP/2, and lanes over
//! HTTP/1.1 for small GETs.
//!
//! Promises: a request never queues behind a server's stream limit (another
//! connection is opened); a connection that is dead without a sign is found within
//! two seconds of a request's waiting on it; nobody's request travels on a
//! connection with somebody else's certificate. Failures are an [`Error`] that says
//! whether the link is to blame and whether the server can have seen the request.

mod address;
pub mod body;
pub mod connect;
mod connection;
mod error;
mod http1;
mod lane;
mod pool;
mod proxy;
mod resolver;
mod server;
mod successor;
mod timing;
mod transport;

pub use address::Address;
pub use body::{Beginning, Body, RequestBody};
pub use error::{Error, Fault};
pub use http1::Upgraded;
pub use proxy::{BadProxy, Proxies};
pub use server::{Means, Server};
pub use successor::Successor;
pub use timing::Timing;
