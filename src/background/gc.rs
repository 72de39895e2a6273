//! Keeps the store within its bounds, and clears garbage and old rights away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::state::link::Link;
use crate::state::rules::Rules;
use crate::store::{Ages, Knowledge};

/// Grants that were not renewed for this long are forgotten, in seconds: 90 days. What is read by its name alone goes
/// with the right to it.
const GRANT_AGE: u64 = 90 * 24 * 3600;
const SWEEP: Duration = Duration::from_secs(60);
/// After a cut, or a start, agents have this long to be seen again.
const RETURN: Duration = Duration::from_secs(3600);

pub struct Gc {
    pub knowledge: Arc<Knowledge>,
    pub link: Arc<Link>,
    pub rules: Arc<Rules>,
    /// Between two sweeps of garbage and rights.
    pub period: Duration,
    /// After which agents count as not seen any more.
    pub max_idle: Duration,
}

impl Gc {
    /// Sweeps after new lists and every minute; garbage and rights every period.
    pub async fn run(self) {
        let mut up = Up::new(&self.link);
        let mut rarely = Instant::now() + Duration::from_secs(60);
        loop {
            tokio::select! {
                () = self.knowledge.sweep_wanted() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
            let all_are_back = up.lasts() >= RETURN;
            self.knowledge.note_online(up.more().as_secs());
            let pinned = self.rules.current();
            let pins = |agent: &str| pinned.cache_agents.names(agent);
            if let Err(error) = self.knowledge.sweep(pins).await {
                tracing::warn!(%error, "the store could not be swept");
            }
            if Instant::now() >= rarely {
                rarely = Instant::now() + self.period;
                self.sweep_rarely(all_are_back, pins).await;
            }
        }
    }

    async fn sweep_rarely(&self, all_are_back: bool, pins: impl Fn(&str) -> bool) {
        let ages = Ages { unseen: self.max_idle.as_secs(), unlisted: GRANT_AGE };
        if all_are_back && let Err(error) = self.knowledge.sweep_garbage(ages, pins).await {
            tracing::warn!(%error, "garbage could not be swept");
        }
        if let Err(error) = self.knowledge.sweep_rights(GRANT_AGE).await {
            tracing::warn!(%error, "old grants could not be swept");
        }
    }
}

/// For how long the link has been up, without a cut in between.
struct Up {
    link: watch::Receiver<bool>,
    since: Instant,
    /// Until when it was told.
    told: Instant,
}

impl Up {
    fn new(link: &Link) -> Self {
        Self { link: link.watch(), since: Instant::now(), told: Instant::now() }
    }

    fn lasts(&mut self) -> Duration {
        let was_cut = self.link.has_changed().unwrap_or(false);
        if !*self.link.borrow_and_update() || was_cut {
            self.since = Instant::now();
        }
        self.since.elapsed()
    }

    /// For how long of the time since this was last asked, in whole seconds: the rest is told later.
    fn more(&mut self) -> Duration {
        if !*self.link.borrow() {
            self.told = Instant::now();
            return Duration::ZERO;
        }
        let more = Duration::from_secs(self.told.max(self.since).elapsed().as_secs());
        self.told = self.told.max(self.since) + more;
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cut_however_short_begins_the_time_anew() {
        let link = Link::new(1);
        let mut up = Up::new(&link);
        tokio::time::advance(RETURN).await;
        assert_eq!(up.lasts(), RETURN);
        link.set(0, false);
        link.set(0, true);
        tokio::time::advance(SWEEP).await;
        assert_eq!(up.lasts(), Duration::ZERO);
        tokio::time::advance(SWEEP).await;
        assert_eq!(up.lasts(), SWEEP);
        link.set(0, false);
        tokio::time::advance(RETURN).await;
        assert_eq!(up.lasts(), Duration::ZERO, "while it is cut");
        tokio::time::advance(RETURN).await;
        assert_eq!(up.lasts(), Duration::ZERO);
    }
}
