//! Which way a request goes. Pure: a decision first, acted on elsewhere.

mod route;

pub use route::{Decision, Facts, Route, route};
