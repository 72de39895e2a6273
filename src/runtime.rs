//! What everything else runs on: memory, draining, metrics, time. Knows nothing of ours.

pub mod allocator;
pub mod drain;
pub mod metrics;
