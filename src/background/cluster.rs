//! Is the cloud there? Probes each server, and publishes the verdict.
//!
//! A probe asks `/readyz` as the node. Verdicts follow [`verdict`], which is pure. A
//! request that saw a connection fail makes the probe happen at once.

mod verdict;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response, Uri};
use tokio::time::{Instant, sleep, timeout};

pub use verdict::{Probing, Seen, Verdict};

use crate::runtime::metrics::{Metrics, Server as ServerLabel, Why};
use crate::state::credentials::Identity;
use crate::state::link::Link;
use crate::upstream::{Body, Error, Server};

/// An answer that takes so much longer than usual is late, and after as long again it is asked for once more, so often.
const LATE: Duration = Duration::from_millis(400);
const APART: u32 = 3;

/// What one server's prober works with.
pub struct Prober {
    pub server: Arc<Server>,
    pub link: Arc<Link>,
    pub metrics: Arc<Metrics>,
    pub probing: Probing,
}

impl Prober {
    /// Probes for ever.
    pub async fn run(self) {
        let mut verdict = Verdict::new();
        self.publish(&verdict, "start", "");
        loop {
            // While it is down nothing is in doubt that more probes would clear.
            let (seen, why) = self.probe(if verdict.is_up() { APART } else { 0 }).await;
            // What failed beside a probe that fails as well is a witness of its own.
            if seen.is_of_the_link() && verdict.is_up() && self.link.was_suspected(self.server.index) {
                verdict.suspect();
            }
            if verdict.note(seen, self.probing) {
                let reason = if verdict.is_up() { "healthy" } else { "unhealthy" };
                self.publish(&verdict, reason, &why);
            }
            if seen == Seen::Good && verdict.is_up() {
                self.link.prove();
            }
            let wait = verdict.next_probe(self.probing);
            tokio::select! {
                () = sleep(wait) => {}
                // While down, the calm rhythm of probes decides.
                () = self.link.suspected(self.server.index), if verdict.is_up() => verdict.suspect(),
            }
        }
    }

    /// `why`: what the last probe met, for the log.
    fn publish(&self, verdict: &Verdict, reason: &'static str, why: &str) {
        let up = verdict.is_up();
        let label = ServerLabel { server: self.server.address().to_string() };
        self.metrics.healthy.get_or_create(&label).set(i64::from(up));
        if !up {
            self.server.forget_connections();
        }
        if self.link.set(self.server.index, up) {
            self.metrics.link_transitions.get_or_create(&Why { reason }).inc();
            if up {
                tracing::info!(server = %self.server.address(), "the link to the cloud is up");
            } else {
                tracing::warn!(server = %self.server.address(), why, "the link to the cloud is down: answering from the store");
            }
        }
    }

    /// What it saw, and in words what that was if it was not good. `apart`: how often it may be asked once more.
    async fn probe(&self, apart: u32) -> (Seen, String) {
        let (parts, replies, began) = (self.server.delivered(), self.server.replied(), Instant::now());
        match timeout(self.probing.timeout, self.ask(apart)).await {
            Ok(Ok(answer)) => {
                let status = answer.status();
                // Anything but an error of the server itself is a sign of life: 401 and
                // 403 are the node's trouble, not the link's.
                if status.is_server_error() {
                    return (Seen::Unready, format!("/readyz: {status}"));
                }
                self.link.took(self.server.index, began.elapsed());
                (Seen::Good, String::new())
            }
            Ok(Err(error)) => (Seen::Unreachable, error.to_string()),
            Err(_) => {
                let seen = if self.server.delivered() > parts {
                    // Its answer may be behind a large one on a slow link.
                    Seen::Busy
                } else if self.server.replied() > replies {
                    Seen::Slow
                } else {
                    Seen::Silent
                };
                (seen, format!("/readyz: no answer within {:?}", self.probing.timeout))
            }
        }
    }

    /// Asks once, and if the answer is late, again on connections of their own: on a link that loses much it is chance which
    /// of them gets through. Fails only where more than silence is known.
    async fn ask(&self, apart: u32) -> Result<Response<Body>, Error> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = Uri::from_static("/readyz");
        let pooled = async {
            let answer = match self.server.send(Identity::Node, &head, &mut None).await {
                // A pooled connection that broke says nothing of the server: a new one does.
                Err(error) if error.was_sent() => self.server.send(Identity::Node, &head, &mut None).await,
                result => result,
            };
            match answer {
                Err(error) if error.is_silence() => pending().await,
                answer => answer,
            }
        };
        let usual = 2 * self.link.latency(self.server.index).unwrap_or_default();
        let apart = (1..=apart).map(async |turn| {
            sleep(usual + LATE * turn).await;
            match self.server.get_apart(Identity::Node, &head).await {
                Ok(answer) => answer,
                Err(_) => pending().await,
            }
        });
        let mut apart = FuturesUnordered::from_iter(apart);
        tokio::select! {
            answer = pooled => answer,
            Some(answer) = apart.next() => Ok(answer),
        }
    }
}

impl Default for Probing {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(2), failures: 3, successes: 2 }
    }
}
