//! Is the cloud there? Probes each server, and publishes the verdict.
//!
//! A probe asks `/readyz` as the node. Verdicts follow [`verdict`], which is pure. A
//! request that saw a connection fail makes the probe happen at once.

mod verdict;

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, timeout};

pub use verdict::{Probing, Seen, Verdict};

use crate::runtime::metrics::{Metrics, Server as ServerLabel, Why};
use crate::state::credentials::Identity;
use crate::state::link::Link;
use crate::upstream::Server;

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
            let (seen, why) = self.probe().await;
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
                () = tokio::time::sleep(wait) => {}
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

    /// What it saw, and in words what that was if it was not good.
    async fn probe(&self) -> (Seen, String) {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = http::Uri::from_static("/readyz");
        let ask = async {
            match self.server.send(Identity::Node, &head, &mut None).await {
                // A pooled connection that broke says nothing of the server: a new one does.
                Err(error) if error.was_sent() => self.server.send(Identity::Node, &head, &mut None).await,
                result => result,
            }
        };
        let (before, began) = (self.server.delivered(), Instant::now());
        match timeout(self.probing.timeout, ask).await {
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
                // Its answer may be behind a large one on a slow link.
                let seen = if self.server.delivered() > before { Seen::Busy } else { Seen::Silent };
                (seen, format!("/readyz: no answer within {:?}", self.probing.timeout))
            }
        }
    }
}

impl Default for Probing {
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), timeout: Duration::from_secs(2), failures: 3, successes: 2 }
    }
}
