//! Another process takes this one's place, and its clients' watches with it.
//!
//! From when this one may leave no watch is told more of what the store is not told as well. It waits for that other process,
//! and asks it, or goes on here if that one does not come. The other one answers at once: it goes on with it as with a watch
//! of its own that has lost what brought it.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Kept, away};
use crate::kube::list::Encoding;
use crate::request::Path;
use crate::request::accept::CLIENT;
use crate::request::context::{Body, BodyError, Response};
use crate::upstream::{Error, Successor};

/// What a client reads, from one process to the next.
const ENCODING: HeaderName = HeaderName::from_static("holdfast-encoding");

/// Who has taken this process's place, once somebody has.
#[derive(Default)]
pub struct Succession(watch::Sender<Option<Arc<Successor>>>);

/// Ready once this process may leave.
pub(super) type Leaving = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) fn leaving(path: &Path) -> Leaving {
    let mut ending = path.ending.clone();
    Box::pin(async move { ending.leaving().await })
}

/// Returns once it is known whether this process leaves, or has it been asked to end.
pub(super) async fn is_decided(path: &Path) {
    let mut ending = path.ending.clone();
    if path.succession.now().is_none() && ending.is_leaving() {
        tokio::select! {
            () = path.succession.comes() => {}
            () = ending.stays_or_ends() => {}
        }
    }
}

impl Succession {
    /// Clients' watches are left to this one from now on.
    pub fn is(&self, successor: Arc<Successor>) {
        self.0.send_replace(Some(successor));
    }

    pub(super) fn now(&self) -> Option<Arc<Successor>> {
        self.0.borrow().clone()
    }

    async fn comes(&self) {
        if self.0.subscribe().wait_for(Option::is_some).await.is_err() {
            std::future::pending().await
        }
    }
}

/// What the successor answers to a watch from where its client stands; `None`: it cannot be asked for.
pub(super) async fn ask(path: &Path, successor: &Successor, kept: &mut Kept) -> Result<Option<Response>, Error> {
    let left = kept.until.map(|until| until.saturating_duration_since(Instant::now()).as_secs().max(1));
    let Some(mut request) = kept.again.watch(kept.seen, left) else { return Ok(None) };
    let Ok(client) = HeaderValue::from_str(&kept.again.peer.remote.ip().to_string()) else { return Ok(None) };
    request.headers_mut().insert(ENCODING, HeaderValue::from_static(name(kept.encoding)));
    request.headers_mut().insert(CLIENT, client);
    let handed = away::context(kept, path).await.and_then(|context| path.remote.filters.to_hand(&context));
    let body = handed.map(|handed| handed.write(request.headers_mut())).unwrap_or_default();
    kept.asked = Some(Instant::now());
    let response = successor.ask(request.map(|_| body)).await?;
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
