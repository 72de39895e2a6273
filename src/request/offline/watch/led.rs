//! What was written on this node, on its way to one watch's client, and the way back from it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::follow::{Follow, Overtaken, Step, Until, Way};
use super::Watcher;
use crate::kube::watch::EventType;
use crate::request::filter::{By, Mark, OVERTAKEN, Stood};

/// How long what was written here may take to the cloud once the link is back, before its readers hear of it there.
const SETTLES: Duration = Duration::from_secs(10);

impl Watcher {
    /// Shows what was written on this node since it was last looked at.
    pub(super) async fn follow(&mut self) -> Result<(), ()> {
        while self.tell(async |follow, way| follow.step(way).await).await? {}
        Ok(())
    }

    /// The link is back: leads the client back from what it was shown that was written here, as soon as the cloud has that, or
    /// has refused it; at the latest after [`SETTLES`]. Returns whether it is done: the link may have fallen again.
    pub(super) async fn lead_back(&mut self) -> Result<bool, ()> {
        let (until, mut ending, link) = (Instant::now() + SETTLES, self.ending.clone(), self.link.clone());
        let mut falls = std::pin::pin!(link.falls());
        self.take_back(Until::Gone).await?;
        while self.follow.as_ref().is_some_and(Follow::has_shown) {
            tokio::select! {
                () = self.sender.closed() => return Err(()),
                () = ending.begun() => return Err(()),
                () = &mut falls => return Ok(false),
                () = written(&mut self.follow) => self.take_back(Until::Gone).await?,
                () = sleep_until(until.min(self.until)) => self.take_back(Until::Now).await?,
            }
        }
        self.stands.change(|stood| stood.local = None);
        Ok(true)
    }

    async fn take_back(&mut self, until: Until) -> Result<(), ()> {
        while self.tell(async move |follow, way| follow.take_back(way, until).await).await? {}
        Ok(())
    }

    /// Tells a step; whether there is more.
    async fn tell(&mut self, step: impl AsyncFnOnce(&mut Follow, &Way) -> Result<Step, Overtaken>) -> Result<bool, ()> {
        let Some(mut follow) = self.follow.take() else { return Ok(false) };
        let (chain, types) = (self.chain.clone(), self.types.clone());
        let way = Way { chain, form: self.form.again(), types, encoding: self.encoding };
        let gone = self.knowledge.gone_here();
        let Ok(Step { events, more }) = step(&mut follow, &way).await else {
            return self.expired(OVERTAKEN).await.map(|()| false);
        };
        let stood = Stood { local: Some(gone), taken: follow.taken().clone(), ..self.stands.now() };
        self.follow = Some(follow);
        if events.is_empty() {
            self.stands.change(|stands| stands.taken = stood.taken);
            return Ok(more);
        }
        self.note.told(By::Node { gone });
        // What is lost on the way is told again, but for what takes something back.
        self.stands.change(|stood| stood.mark = Mark::Mixed);
        let backwards = events.iter().any(|(kind, _)| *kind == EventType::Modified);
        for (kind, item) in events {
            self.event(kind, item).await?;
        }
        // What was there before has its own version, which is older than the list's.
        if backwards && self.bookmarks {
            self.bookmark(false).await?;
        }
        // Until then some of it may not have been taken.
        let _ = self.sender.reserve_many(self.sender.max_capacity()).await.map_err(drop)?;
        self.stands.change(|stands| *stands = stood);
        Ok(more)
    }
}

/// Returns when something may have been written on this node.
pub(super) async fn written(follow: &mut Option<Follow>) {
    match follow {
        Some(follow) => follow.changed().await,
        None => std::future::pending().await,
    }
}
