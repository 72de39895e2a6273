//! Lines on standard error, for journald: a level for each verbosity, no colours.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// 0 and 1: warnings and changes of state; 2 and 3: a line for each request; above:
/// debug, of the hub alone.
pub fn start(verbosity: u8) {
    let (own, access) = match verbosity {
        0 | 1 => (LevelFilter::INFO, LevelFilter::WARN),
        2 | 3 => (LevelFilter::INFO, LevelFilter::INFO),
        _ => (LevelFilter::DEBUG, LevelFilter::DEBUG),
    };
    let targets = Targets::new().with_default(LevelFilter::WARN).with_target("holdfast", own).with_target("access", access);
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}
