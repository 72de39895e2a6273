//! A store whose file was found damaged while the hub runs goes on in another file.
//!
//! What is promised is copied to that one at once, for the hub may end at any moment, and the next start goes on with it.
//! This life of the hub does so when the link is seen to be up (at a start that is only hoped): before, what can still be
//! read is worth more than nothing, and then clients are sent back to list what is lost. Once in a life: where it happens
//! again it is the disk, and each time a file is kept.

use std::sync::Arc;

use crate::state::link::Link;
use crate::store::{Aside, Disk, Knowledge, StoreError};

pub struct Mending {
    pub disk: Arc<Disk>,
    pub knowledge: Arc<Knowledge>,
    pub link: Arc<Link>,
}

impl Mending {
    /// Waits for damage, and mends it.
    pub async fn run(self) {
        if self.disk.damage().wait_for(|damaged| *damaged).await.is_err() {
            return;
        }
        let mending = Arc::new(self);
        // What was queued before is written by then, or refused; and nothing is accepted any more.
        let _ = mending.knowledge.flush().await;
        let prepared = mending.clone().may_block(Self::prepare).await;
        let is_prepared = prepared.is_ok();
        if let Err(error) = prepared {
            tracing::error!(%error, "what was accepted while the link was down cannot be copied to another store");
        }
        mending.link.is_proven().await;
        match mending.may_block(move |mending| mending.go_on(is_prepared)).await {
            Ok(aside) => {
                let kept = aside.map(|aside| aside.kept);
                tracing::warn!(
                    ?kept,
                    "the damaged store is kept, and another one goes on: what is told from now on is remembered"
                );
            }
            Err(error) => tracing::error!(%error, "no other store can take the place of the damaged one: nothing is remembered"),
        }
    }

    fn prepare(&self) -> Result<(), StoreError> {
        self.disk.prepare(&self.knowledge.last_will())
    }

    /// What was delivered since it was prepared is delivered once more after the next start, and found to be there.
    fn go_on(&self, is_prepared: bool) -> Result<Option<Aside>, StoreError> {
        if !is_prepared {
            self.prepare()?;
        }
        self.disk.go_on(|| self.knowledge.begin_anew())
    }

    async fn may_block<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = tokio::task::spawn_blocking(move || work(&self)).await;
        done.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())))
    }
}
