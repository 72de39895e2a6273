//! Collections in which a damaged row was found are taken out, whole: what is left of one proves nothing.

use std::collections::hash_map::Entry;

use tokio::task::JoinHandle;

use super::writer::Batch;
use super::{Header, Knowledge, Op, StoreError, keys};

impl Knowledge {
    /// Takes a damaged collection out: it is fetched again when the cloud is there.
    pub async fn discard(&self, header: &Header) {
        if let Some(discarding) = self.discard_later(header) {
            let _ = discarding.await;
        }
    }

    /// The same, without waiting. Where everything else changes heads: between two of them nothing comes.
    pub(super) fn discard_later(&self, header: &Header) -> Option<JoinHandle<()>> {
        let (knowledge, header) = (self.own.upgrade()?, header.clone());
        Some(self.tasks.spawn(async move {
            if let Err(error) = knowledge.take_out(&header).await {
                tracing::error!(%error, "the damaged collection could not be taken out");
            }
        }))
    }

    /// Another one that has taken the scope's place by then stays, and so does one that a list has made good in its place.
    async fn take_out(&self, header: &Header) -> Result<(), StoreError> {
        if self.version(&header.scope).is_some_and(|version| version != header.version_number()) {
            self.flush().await?;
            if self.opens(header.id)? {
                return Ok(());
            }
        }
        let room = self.writer().room(0).await?;
        // From here to the queue nothing waits.
        let (epoch, key) = (Some(self.writer().epoch()), header.scope.key());
        {
            let mut catalogue = self.catalogue();
            let Entry::Occupied(known) = catalogue.headers.entry(key.clone()) else { return Ok(()) };
            if known.get().id != header.id {
                return Ok(());
            }
            let gone = known.remove();
            self.contents.forget(self.writer().epoch(), gone.id);
            self.note_growth((gone.bytes, gone.items), (0, 0));
        }
        tracing::error!(
            resource = header.scope.resource,
            namespace = header.scope.namespace,
            "a damaged collection is taken out of the store"
        );
        self.metrics().damaged_records.inc();
        self.sent_back.forget(&header.scope);
        let ops = vec![Op::Delete(key), Op::DeletePrefix(keys::items(header.id))];
        room.apply(Batch { ops, epoch, durable: true, ..Batch::default() }).await
    }

    /// Whether every row of these items is as it was sealed.
    fn opens(&self, id: u64) -> Result<bool, StoreError> {
        let mut opens = true;
        self.snapshot()?.scan(&keys::items(id), &mut |key, row| {
            opens = self.sealer().open_row(key, row.to_vec()).is_ok();
            opens
        })?;
        Ok(opens)
    }
}
