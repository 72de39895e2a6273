//! Another process takes this one's place, and its clients' watches with it.
//!
//! It is asked for each of them, and answers at once: it goes on with it as with a watch of its own that has lost what
//! brought it.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Kept;
use crate::kube::list::Encoding;
use crate::request::accept::CLIENT;
use crate::request::context::{Body, BodyError, Response};
use crate::upstream::{Error, Successor};

/// What a client reads, from one process to the next.
const ENCODING: HeaderName = HeaderName::from_static("holdfast-encoding");

/// Who has taken this process's place, once somebody has.
#[derive(Default)]
pub struct Succession(watch::Sender<Option<Arc<Successor>>>);

/// Ready once somebody has.
pub(super) type Comes = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Succession {
    /// Clients' watches are left to this one from now on.
    pub fn is(&self, successor: Arc<Successor>) {
        self.0.send_replace(Some(successor));
    }

    pub(super) fn now(&self) -> Option<Arc<Successor>> {
        self.0.borrow().clone()
    }

    pub(super) fn comes(&self) -> Comes {
        let mut successor = self.0.subscribe();
        Box::pin(async move {
            if successor.wait_for(Option::is_some).await.is_err() {
                std::future::pending().await
            }
        })
    }
}

/// What the successor answers to a watch from where its client stands; `None`: it cannot be asked for.
pub(super) async fn ask(successor: &Successor, kept: &mut Kept) -> Result<Option<Response>, Error> {
    let left = kept.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs().max(1));
    let Some(mut request) = kept.again.watch(kept.seen, left) else { return Ok(None) };
    let Ok(client) = HeaderValue::from_str(&kept.again.peer.remote.ip().to_string()) else { return Ok(None) };
    request.headers_mut().insert(ENCODING, HeaderValue::from_static(name(kept.encoding)));
    request.headers_mut().insert(CLIENT, client);
    kept.asked = Some(Instant::now());
    let response = successor.ask(request.map(drop)).await?;
    Ok(Some(response.map(|body| -> Body { body.map_err(BodyError::Upstream).boxed_unsync() })))
}

/// What the client of another process reads, as that one says.
pub(super) fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let said = headers.get(ENCODING)?;
    [Encoding::Json, Encoding::Protobuf].into_iter().find(|encoding| said == name(*encoding))
}

fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "json",
        Encoding::Protobuf => "protobuf",
    }
}
