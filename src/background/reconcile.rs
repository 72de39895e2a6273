//! What was promised while the link was down is kept when it is back: journalled
//! Events go to the cloud, in order, each until it is there or refused for good.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};

use crate::runtime::metrics::Why;
use crate::state::credentials::Identity;
use crate::state::link::Link;
use crate::store::{Credential, Entry, Knowledge};
use crate::upstream::{Error, RequestBody, Server};

const AT_A_TIME: usize = 64;
const RETRY: Duration = Duration::from_secs(2);

pub struct Delivery {
    pub knowledge: Arc<Knowledge>,
    pub servers: Vec<Arc<Server>>,
    pub link: Arc<Link>,
}

/// What became of one entry.
enum Fate {
    Settled,
    Refused(StatusCode),
    Later,
}

impl Delivery {
    /// Delivers whenever the link is up, for ever.
    pub async fn run(self) {
        let mut link = self.link.watch();
        loop {
            if link.wait_for(|up| *up).await.is_err() {
                return;
            }
            let wait = match self.round().await {
                Ok(true) => Duration::ZERO,
                Ok(false) => RETRY,
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be read");
                    RETRY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Delivers some; true if there may be more to deliver now.
    async fn round(&self) -> Result<bool, crate::store::StoreError> {
        let entries = self.knowledge.entries(AT_A_TIME)?;
        let full = entries.len() == AT_A_TIME;
        for (sequence, entry) in entries {
            match self.deliver(&entry).await {
                Fate::Settled => {
                    self.knowledge.metrics().events_delivered.inc();
                }
                Fate::Refused(status) => {
                    self.knowledge.metrics().events_dropped.get_or_create(&Why { reason: "refused" }).inc();
                    tracing::warn!(%status, name = entry.name, "the cloud refuses an Event that was accepted while the link was down");
                }
                Fate::Later => return Ok(false),
            }
            self.knowledge.settle(sequence).await?;
        }
        Ok(full)
    }

    async fn deliver(&self, entry: &Entry) -> Fate {
        for server in self.servers.iter().filter(|server| self.link.server_is_up(server.index)) {
            let (identity, Some(head)) = (identity(entry), head(entry)) else {
                return Fate::Refused(StatusCode::BAD_REQUEST);
            };
            let body: RequestBody =
                Box::pin(Full::new(Bytes::from(entry.body.clone())).map_err(|never| -> Error { match never {} }));
            match server.send(identity, &head, &mut Some(body)).await {
                Err(error) => tracing::debug!(%error, "an Event could not be delivered now"),
                Ok(answer) => {
                    return match answer.status() {
                        status if status.is_success() || status == StatusCode::CONFLICT => Fate::Settled,
                        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => Fate::Later,
                        status => Fate::Refused(status),
                    };
                }
            }
        }
        Fate::Later
    }
}

fn identity(entry: &Entry) -> Identity {
    match entry.credential {
        Credential::Node => Identity::Node,
        Credential::Token(_) => Identity::Caller,
    }
}

fn head(entry: &Entry) -> Option<Parts> {
    let mut request = Request::post(entry.target.as_str())
        .header(CONTENT_TYPE, entry.content_type.as_str())
        .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")));
    if let Credential::Token(token) = &entry.credential {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    Some(request.body(()).ok()?.into_parts().0)
}
