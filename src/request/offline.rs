//! The store answers: authorize -> answer | watch | write | token.
//!
//! Exact or not at all: what the store does not know is 503, never 404; a caller gets
//! what the cloud has granted this same user before, and nothing else. What is written on this node meanwhile is seen
//! at once, and whoever has seen it lists again after the link's return: the cloud may never have it, or have had it
//! otherwise (`filter.rs`, [`By`](super::filter::By)).

mod answer;
mod authorize;
mod copies;
mod described;
mod document;
mod fields;
mod follow;
mod kinds;
mod newest;
mod presented;
mod shown;
mod table;
mod token;
mod watch;
mod window;
mod write;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};

use super::context::{Context, Own, Refusal, Request, Response, Whose};
use super::filter::Filters;
use crate::kube::layout::{Layout, Relayout};
use crate::runtime::drain::Ending;
use crate::state::link::Link;
use crate::store::Knowledge;
use crate::upstream::RequestBody;
pub use presented::{Patience, Presented};
pub use shown::{Stand, Walk, Watched, stand};

/// What the store is answered from, and by which rules.
pub struct Offline {
    /// `None`: nothing is remembered (working mode `cloud`).
    pub knowledge: Option<Arc<Knowledge>>,
    pub filters: Arc<Filters>,
    pub link: Arc<Link>,
    pub node_name: String,
    pub ending: Ending,
    /// Seconds that a watch without timeoutSeconds lasts at least; at most twice that.
    pub min_request_timeout: u64,
}

/// What has come has this long to become visible: what was seen a moment
/// ago must be answered from as well, but a disk that hangs costs the last second, not
/// the answer.
const FLUSH: Duration = Duration::from_millis(300);
/// And this much longer before it is said that the node does not know: a busy disk is no
/// reason to.
const FLUSH_OR_REFUSE: Duration = Duration::from_secs(1);

/// The largest body that is kept for the store's sake (an Event, a TokenRequest); of a larger one only the cloud knows.
const MAX_BODY: usize = 256 * 1024;
/// So much of it must be there within this: while it is read, its client costs memory.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What the store needs of a request, while the request itself goes to the cloud.
#[derive(Clone)]
pub struct Asked {
    uri: http::Uri,
    accept: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
    if_none_match: Option<HeaderValue>,
    /// `None`: too large to be kept.
    body: Option<Bytes>,
}

impl Asked {
    /// Reads the body, which is small for nearly every request that gets here; the request
    /// comes back whole.
    pub async fn of(request: Request) -> Result<(Self, Request), Refusal> {
        let (head, body) = request.into_parts();
        let field = |name| head.headers.get(name).cloned();
        let (accept, content_type, if_none_match) = (field(ACCEPT), field(CONTENT_TYPE), field(IF_NONE_MATCH));
        let mut asked = Self { uri: head.uri.clone(), accept, content_type, if_none_match, body: Some(Bytes::new()) };
        if body.is_end_stream() {
            return Ok((asked, Request::from_parts(head, body)));
        }
        let read = tokio::time::timeout(BODY_TIMEOUT, read(body)).await.map_err(|_| too_slow())?;
        let (kept, body) = read.map_err(|error| Refusal::bad_request(format!("the request's body: {error}")))?;
        asked.body = kept;
        Ok((asked, Request::from_parts(head, body)))
    }

    fn accept(&self) -> &str {
        text(self.accept.as_ref())
    }

    fn content_type(&self) -> &str {
        text(self.content_type.as_ref())
    }

    fn if_none_match(&self) -> &str {
        text(self.if_none_match.as_ref())
    }

    fn body(&self) -> Result<&Bytes, Refusal> {
        let too_large =
            || Refusal::unavailable(format!("the link to the cloud is down, and more than {MAX_BODY} bytes are not kept here"));
        self.body.as_ref().ok_or_else(too_large)
    }
}

/// A body that is small, and the same again for the cloud; of a larger one only the latter, which streams.
async fn read(mut body: RequestBody) -> Result<(Option<Bytes>, RequestBody), crate::upstream::Error> {
    let mut came = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        came.extend_from_slice(&data);
        if came.len() > MAX_BODY {
            let came = futures_util::stream::iter([Ok(Frame::data(came.freeze()))]);
            return Ok((None, Box::pin(StreamBody::new(came.chain(BodyStream::new(body))))));
        }
    }
    let came = came.freeze();
    Ok((Some(came.clone()), Box::pin(Full::new(came).map_err(|never| match never {}))))
}

fn too_slow() -> Refusal {
    let message = format!("the request's body did not come whole within {} s", BODY_TIMEOUT.as_secs());
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "Timeout", Whose::Client, message)
}

fn text(field: Option<&HeaderValue>) -> &str {
    field.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The cloud has answered a request that the store may have to answer next time:
/// keeps what only this request can be answered with, and forgets what is overtaken.
pub async fn keep(offline: &Offline, context: &Context, asked: &Asked, response: Response) -> Result<Response, Refusal> {
    if context.info.verb == "update"
        && response.status().is_success()
        && write::is_own_lease(offline, context)
        && let Some(knowledge) = &offline.knowledge
    {
        knowledge.forget_renewal();
    }
    if context.info.verb == "create"
        && context.info.resource == "events"
        && response.status().is_success()
        && !context.info.query.dry_run
        && let Some(knowledge) = &offline.knowledge
    {
        write::event_was_created(knowledge, context, asked);
    }
    let is_token = context.info.verb == "create" && context.info.subresource == "token";
    match &offline.knowledge {
        Some(knowledge) if is_token && response.status() == StatusCode::CREATED && !context.impersonated => {
            token::keep(knowledge, asked, response).await
        }
        _ => Ok(response),
    }
}

/// Answers from what the node knows.
pub async fn serve(offline: &Offline, context: &Context, asked: Asked) -> Result<Response, Refusal> {
    let Some(knowledge) = &offline.knowledge else {
        return Err(Refusal::unavailable("the link to the cloud is down, and nothing is remembered in this working mode"));
    };
    knowledge.see(&context.component);
    let mut flush = std::pin::pin!(knowledge.catch_up());
    let visible = tokio::time::timeout(FLUSH, flush.as_mut()).await.is_ok();
    if !visible && answer::is_kubelets_pods(context) {
        // One that was told more a moment ago is not told less.
        return match tokio::time::timeout(FLUSH_OR_REFUSE, flush).await {
            Ok(_) => answer(offline, knowledge, context, &asked).await,
            Err(_) => Err(Refusal::unavailable("the link to the cloud is down, and this node's disk is busy")),
        };
    }
    let began = tokio::time::Instant::now();
    let answer = answer(offline, knowledge, context, &asked).await;
    let only_reads = matches!(context.info.verb.as_str(), "get" | "list" | "watch");
    // What has waited for something else already does not wait again.
    if visible || answer.is_ok() || !only_reads || began.elapsed() >= FLUSH_OR_REFUSE {
        return answer;
    }
    match tokio::time::timeout(FLUSH_OR_REFUSE, flush).await {
        Ok(_) => self::answer(offline, knowledge, context, &asked).await,
        Err(_) => answer,
    }
}

async fn answer(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    authorize::authorize(knowledge, context)?;
    let mut response = known(offline, knowledge, context, asked).await?;
    response.extensions_mut().insert(Own);
    Ok(response)
}

async fn known(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    let info = &context.info;
    let laid_out = |response| laid_out(context.layout, response);
    match info.verb.as_str() {
        _ if info.is_discovery() => document::serve(knowledge, context, asked).map(laid_out),
        "get" => answer::get(offline, knowledge, context).await.map(laid_out),
        "list" => answer::list(offline, knowledge, context).await.map(laid_out),
        "watch" => watch::serve(offline, knowledge, context).await,
        "create" if info.subresource == "token" => token::serve(knowledge, asked),
        "create" => write::event(knowledge, context, asked).await,
        "patch" => write::change(offline, knowledge, context, asked).await.map(laid_out),
        "update" => write::lease(offline, knowledge, context, asked),
        _ => Err(Refusal::unavailable("the link to the cloud is down")),
    }
}

/// JSON as the client wants it laid out; anything else as it is.
fn laid_out(layout: Layout, mut response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    let Some(mut relayout) = Relayout::new(layout).filter(|_| is_json) else { return response };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(layout.content_type()));
    let mut lay_out = move |data: Bytes| {
        let mut out = Vec::with_capacity(data.len() * 2);
        relayout.feed(&data, &mut out);
        Bytes::from(out)
    };
    response.map(|body| body.map_frame(move |frame| frame.map_data(&mut lay_out)).boxed_unsync())
}

#[cfg(test)]
mod tests;
