//! What everything else runs on: draining, metrics, time. Knows nothing of ours.

pub mod drain;
pub mod metrics;
