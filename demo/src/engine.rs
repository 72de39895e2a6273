//! The runtime for what is asynchronous: connections, and the small API server. It runs
//! on a thread of its own until the process ends, so that the story can be told in
//! plain order while the cloud lives on.

use anyhow::Result;
use tokio::runtime::{Builder, Handle};

/// Starts it.
pub fn start() -> Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
