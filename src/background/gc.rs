//! Keeps the store within its bounds, and gives memory back.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Knowledge;

/// Grants that were not renewed for this long are forgotten, in seconds: 90 days.
const GRANT_AGE: u64 = 90 * 24 * 3600;
const SWEEP: Duration = Duration::from_secs(60);

/// Sweeps after new lists and every minute; rights every `period`.
pub async fn run(knowledge: Arc<Knowledge>, period: Duration) {
    let mut rights_at = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        tokio::select! {
            () = knowledge.sweep_wanted() => {}
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(error) = knowledge.sweep().await {
            tracing::warn!(%error, "the store could not be swept");
        }
        if tokio::time::Instant::now() >= rights_at {
            rights_at = tokio::time::Instant::now() + period;
            if let Err(error) = knowledge.sweep_rights(GRANT_AGE).await {
                tracing::warn!(%error, "old grants could not be swept");
            }
        }
    }
}
