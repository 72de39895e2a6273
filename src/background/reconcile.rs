//! What was promised while the link was down is kept when it is back: journalled
//! Events go to the cloud, in order, each until it is there or refused for good, and what has changed of one behind it.
//!
//! An Event is delivered with the credential it was accepted with. A Pod's token may have
//! expired by then: another one that the cloud has issued for the same user takes its
//! place, and until there is one the Event waits, and holds up nobody else's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::Instant;

use crate::kube::token;
use crate::runtime::metrics::Why;
use crate::state::credentials::Identity;
use crate::state::link::Link;
use crate::store::{Credential, Entry, Knowledge, StoreError};
use crate::upstream::{Error, RequestBody, Server};

const AT_A_TIME: usize = 64;
const RETRY: Duration = Duration::from_secs(2);
/// Bytes of an Event in the cloud's answer.
const LARGEST: usize = 64 * 1024;
/// How long an Event waits, once the cloud has refused its author's token, for kubelet to
/// get another one for its Pod.
const GRACE: Duration = Duration::from_secs(3600);

pub struct Delivery {
    pub knowledge: Arc<Knowledge>,
    pub servers: Vec<Arc<Server>>,
    pub link: Arc<Link>,
}

/// Entries whose tokens the cloud does not accept.
#[derive(Debug, Default)]
struct LockedOut {
    since: HashMap<u64, Instant>,
    /// Those that wait on, of the ones that this round has come by.
    still: HashSet<u64>,
}

impl LockedOut {
    /// Whether the entry is to wait on for another token.
    fn waits(&mut self, sequence: u64) -> bool {
        let since = self.since.entry(sequence).or_insert_with(Instant::now);
        let waits = since.elapsed() < GRACE;
        if waits {
            self.still.insert(sequence);
        }
        waits
    }

    /// The round has come by all entries: what has left the journal otherwise is forgotten here too.
    fn end_of_round(&mut self) {
        self.since.retain(|sequence, _| self.still.contains(sequence));
    }
}

/// What became of one entry.
enum Fate {
    Settled,
    Refused(StatusCode),
    /// It is there already, or is being written by somebody else.
    Conflict,
    /// The cloud does not accept the token.
    LockedOut,
    /// The cloud cannot take this one now; it may take others.
    NotYet,
    Later,
}

impl Delivery {
    /// Delivers whenever the link is up, for ever.
    pub async fn run(self) {
        let mut link = self.link.watch();
        let mut locked_out = LockedOut::default();
        loop {
            if link.wait_for(|up| *up).await.is_err() {
                return;
            }
            if let Err(error) = self.round(&mut locked_out).await {
                tracing::warn!(%error, "the journal could not be read");
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Delivers what can be delivered now.
    async fn round(&self, locked_out: &mut LockedOut) -> Result<(), StoreError> {
        let (mut after, mut useless) = (0, HashSet::new());
        locked_out.still.clear();
        loop {
            let entries = self.knowledge.entries(after, AT_A_TIME)?;
            if entries.is_empty() {
                locked_out.end_of_round();
                return Ok(());
            }
            for (sequence, entry) in entries {
                after = sequence;
                if !self.knowledge.waits(sequence) || self.knowledge.is_early(&entry) {
                    continue;
                }
                match self.deliver(sequence, &entry, &mut useless).await {
                    Fate::Later => return Ok(()),
                    Fate::NotYet => continue,
                    // Somebody else has just written it.
                    Fate::Conflict if entry.is_change => continue,
                    Fate::LockedOut if locked_out.waits(sequence) => continue,
                    Fate::LockedOut => self.drop_refused(sequence, entry, StatusCode::UNAUTHORIZED),
                    Fate::Refused(status) => self.drop_refused(sequence, entry, status),
                    Fate::Conflict => {
                        self.knowledge.metrics().events_delivered.inc();
                        self.knowledge.note_there(sequence);
                    }
                    Fate::Settled => {
                        self.knowledge.metrics().events_delivered.inc();
                        self.knowledge.note_delivered(sequence);
                    }
                }
                self.knowledge.settle(sequence).await?;
            }
        }
    }

    fn drop_refused(&self, sequence: u64, entry: Entry, status: StatusCode) {
        self.knowledge.metrics().events_dropped.get_or_create(&Why { reason: "refused" }).inc();
        tracing::warn!(%status, name = entry.name, "the cloud refuses an Event that was accepted while the link was down");
        self.knowledge.note_refused(sequence, entry);
    }

    /// With its own credential, or with what the cloud has issued for the same user since.
    /// `useless`: tokens for which neither has helped in this round.
    async fn deliver(&self, sequence: u64, entry: &Entry, useless: &mut HashSet<String>) -> Fate {
        if matches!(&entry.credential, Credential::Token(token) if useless.contains(token)) {
            return Fate::LockedOut;
        }
        let fate = self.tell(sequence, entry, &entry.credential).await;
        let (Fate::LockedOut, Credential::Token(token)) = (&fate, &entry.credential) else { return fate };
        let user = token::claims(token).map(|claims| claims.user).unwrap_or_default();
        for token in self.knowledge.issued_to(&user).unwrap_or_default() {
            match self.tell(sequence, entry, &Credential::Token(token)).await {
                Fate::LockedOut => {}
                fate => return fate,
            }
        }
        useless.insert(token.clone());
        Fate::LockedOut
    }

    /// The Event as the cloud has it now may happen again when the link is down again.
    async fn hear(&self, entry: &Entry, body: impl http_body::Body<Data = Bytes, Error = Error>) {
        if let Some(event) = whole(body).await {
            self.knowledge.hear_delivered(entry, &event);
        }
    }

    /// Events expire in the cloud (`--event-ttl`), and what happens again is told all the same: as an EventRecorder does.
    async fn tell(&self, sequence: u64, entry: &Entry, credential: &Credential) -> Fate {
        let fate = self.send(entry, credential).await;
        if matches!(fate, Fate::Refused(StatusCode::NOT_FOUND))
            // Somebody may just have deleted it.
            && self.knowledge.waits(sequence)
            && let Some(creation) = entry.creation()
        {
            return self.send(&creation, credential).await;
        }
        fate
    }

    async fn send(&self, entry: &Entry, credential: &Credential) -> Fate {
        let Some(head) = head(entry, credential) else { return Fate::Refused(StatusCode::BAD_REQUEST) };
        for server in self.servers.iter().filter(|server| self.link.server_is_up(server.index)) {
            let body: RequestBody =
                Box::pin(Full::new(Bytes::from(entry.body.clone())).map_err(|never| -> Error { match never {} }));
            match server.send(identity(credential), &head, &mut Some(body)).await {
                Err(error) => tracing::debug!(%error, "an Event could not be delivered now"),
                Ok(answer) => {
                    return match answer.status() {
                        status if status.is_success() => {
                            self.hear(entry, answer.into_body()).await;
                            Fate::Settled
                        }
                        StatusCode::CONFLICT => Fate::Conflict,
                        StatusCode::TOO_MANY_REQUESTS => Fate::Later,
                        status if status.is_server_error() => Fate::NotYet,
                        StatusCode::UNAUTHORIZED => Fate::LockedOut,
                        status => Fate::Refused(status),
                    };
                }
            }
        }
        Fate::Later
    }
}

/// JSON, for nothing else is asked for.
async fn whole<B>(body: B) -> Option<Bytes>
where
    B: http_body::Body<Data = Bytes, Error = Error>,
{
    let whole = tokio::time::timeout(RETRY, Limited::new(body, LARGEST).collect()).await;
    whole.ok()?.ok().map(|whole| whole.to_bytes())
}

fn identity(credential: &Credential) -> Identity {
    match credential {
        Credential::Node => Identity::Node,
        Credential::Token(_) => Identity::Caller,
    }
}

fn head(entry: &Entry, credential: &Credential) -> Option<Parts> {
    let mut request = Request::builder()
        .method(entry.method())
        .uri(entry.target.as_str())
        .header(CONTENT_TYPE, entry.content_type.as_str())
        .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    if let Credential::Token(token) = credential {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round in which these are locked out, and all that there is.
    fn round(locked_out: &mut LockedOut, entries: &[u64]) -> Vec<bool> {
        locked_out.still.clear();
        let waits = entries.iter().map(|sequence| locked_out.waits(*sequence)).collect();
        locked_out.end_of_round();
        waits
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_waits_an_hour_for_another_token_and_no_longer() {
        let mut locked_out = LockedOut::default();
        assert_eq!(round(&mut locked_out, &[1]), [true]);
        tokio::time::advance(GRACE - RETRY).await;
        assert_eq!(round(&mut locked_out, &[1, 2]), [true, true], "each has an hour of its own");
        tokio::time::advance(RETRY).await;
        assert_eq!(round(&mut locked_out, &[1, 2]), [false, true]);
        assert_eq!(locked_out.since.into_keys().collect::<Vec<_>>(), [2], "what has been given up is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_any_more_is_forgotten() {
        let mut locked_out = LockedOut::default();
        round(&mut locked_out, &[1, 2, 3]);
        assert_eq!(round(&mut locked_out, &[3]), [true]);
        assert_eq!(locked_out.since.into_keys().collect::<Vec<_>>(), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_does_not_come_by_all_forgets_none() {
        let mut locked_out = LockedOut::default();
        round(&mut locked_out, &[1, 2]);
        tokio::time::advance(GRACE).await;
        // The cloud fails behind the first one.
        locked_out.still.clear();
        assert!(!locked_out.waits(1));
        locked_out.still.clear();
        assert!(!locked_out.waits(2), "its hour has been counted from the first round on");
    }
}
