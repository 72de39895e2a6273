//! The path of a request, whole. Stages in order; docs/request.md uses the same words.

pub mod accept;
pub mod caller;
mod context;
pub mod dispatch;
pub mod filter;
mod held;
mod names;
pub mod offline;
pub mod remote;
pub mod respond;

use std::pin::pin;
use std::sync::Arc;

pub use held::{Succession, Turns};

use context::{Another, Context, Refusal, SHARED};
pub use context::{Bearer, Body, BodyError, Caller, Request, Response};
use dispatch::Route;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, Uri};
use http_body_util::{BodyExt as _, Collected, Limited};

use crate::kube;
use crate::kube::layout::Layout;
use crate::runtime::drain::Ending;
use crate::runtime::metrics::Metrics;
use crate::state::link::Link;
use crate::state::rules::Rules;

/// What the path is made of.
pub struct Path {
    pub callers: caller::Callers,
    pub remote: remote::Remote,
    pub offline: offline::Offline,
    pub link: Arc<Link>,
    pub rules: Arc<Rules>,
    pub metrics: Arc<Metrics>,
    pub ending: Ending,
    /// Of watches that have lost what brought them.
    pub held: Turns,
    /// Who takes this process's place.
    pub succession: Succession,
}

/// Serves one request: the only way through the hub, for clients and for its own
/// loops alike.
pub async fn serve(path: Arc<Path>, peer: Arc<accept::Peer>, request: Request) -> Response {
    let peer = accept::Peer::of_request(peer, request.headers());
    let mut begun = respond::Begun::new(&path, peer, &request);
    let mut again = held::Again::of(&path, begun.context(), request.headers());
    if begun.context().peer.is_predecessor() {
        let taken = Box::pin(taken_over(&path, begun.context(), again, request)).await;
        return begun.finish(taken);
    }
    let request = match &mut again {
        // What leaves HTTP is not read here.
        Some(again) if !remote::leaves_http(request.headers()) => again.marked(request, begun.context()),
        _ => request,
    };
    // What is rare on the way is boxed: every request pays for the size of this.
    let mut result = answer(&path, begun.context(), request).await;
    if let Some(again) = again {
        result = result.map(|response| held::hold(&path, begun.context(), again, response));
    }
    begun.finish(result)
}

/// The answer to what the process whose place this one has taken asks for one of its clients: it goes on with a watch.
async fn taken_over(
    path: &Arc<Path>,
    context: &mut Context,
    again: Option<held::Again>,
    request: Request,
) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    read(path, context, &head.uri, &head.headers).await?;
    (context.route, context.why) = (Route::Remote.label(), "taken over from the process before");
    let hidden = Limited::new(body, filter::LONGEST).collect().await.map(Collected::to_bytes);
    let hidden = hidden.map_err(|error| Refusal::bad_request(error.to_string()))?;
    if let Some(handed) = filter::Handed::read(&head.headers, &hidden) {
        path.remote.filters.are_handed(context, &handed);
        context.stood = Some(Box::new(handed.stood));
    }
    let taken = again.and_then(|again| held::take_over(path, context, again, &head.headers));
    taken.ok_or_else(|| Refusal::bad_request("only watches are taken over"))
}

/// What is asked, and who asks.
async fn read(path: &Path, context: &mut Context, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    context.info = kube::request::parse(&context.method, uri).map_err(|error| Refusal::bad_request(error.to_string()))?;
    remote::check_connection(headers)?;
    context.layout = layout(headers, context.info.query.pretty);
    context.caller = caller::identify(&path.callers, &context.peer, headers).await?;
    Ok(())
}

async fn answer(path: &Arc<Path>, context: &mut Context, request: Request) -> Result<Response, Refusal> {
    read(path, context, request.uri(), request.headers()).await?;
    let decision = dispatch::route(&dispatch::Facts {
        info: &context.info,
        caller: &context.caller,
        upgrade: remote::leaves_http(request.headers()),
        impersonated: context.impersonated,
        link_up: path.link.is_up(),
    });
    (context.route, context.why) = (decision.route.label(), decision.why);
    match decision.route {
        Route::Remote => remote::serve(&path.remote, context, request).await.map_err(remote::Failure::into_refusal),
        Route::Offline => {
            let (asked, _) = offline::Asked::of(request).await?;
            Box::pin(offline::serve(&path.offline, context, asked)).await
        }
        Route::Either => either(path, context, request).await,
        Route::Refuse => Err(Refusal::unavailable(format!("the link to the cloud is down: {}", decision.why))),
    }
}

fn layout(headers: &HeaderMap, pretty: Option<bool>) -> Layout {
    let field = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Layout::wanted(field(ACCEPT), pretty, field(USER_AGENT))
}

/// The cloud first; the store if the link is to blame, in the same request.
async fn either(path: &Arc<Path>, context: &mut Context, request: Request) -> Result<Response, Refusal> {
    let (asked, request) = offline::Asked::of(request).await?;
    if context.stood.as_ref().is_some_and(|stood| stood.local.is_some()) {
        (context.route, context.why) = ("offline", "its client has what was written on this node");
        let answer = Box::pin(offline::serve(&path.offline, context, asked)).await;
        // Nobody else leads it back from that.
        return answer.map_err(|refusal| if path.link.is_up() { filter::overtaken() } else { refusal });
    }
    if matches!(context.info.verb.as_str(), "list" | "watch") {
        let before = (context.route, context.why);
        if let Some(response) = known(path, context, &asked).await {
            return Ok(response);
        }
        (context.route, context.why) = before;
    }
    let failure = match first_answer(path, context, &asked, request).await {
        Ok(Answer::Clouds(response)) if response.extensions().get::<Another>().is_some() => {
            context.why = "told what the cloud tells another one";
            return Ok(response);
        }
        Ok(Answer::Clouds(response)) => return offline::keep(&path.offline, context, &asked, response).await,
        Ok(Answer::Stores(response)) => {
            (context.route, context.why) = ("offline", "a server failed under the request");
            return Ok(response);
        }
        Err(failure) if failure.is_link() => failure,
        Err(failure) => return Err(failure.into_refusal()),
    };
    tracing::info!(id = context.id, %failure, "the link failed under this request, the store answers");
    (context.route, context.why) = ("offline", "the link failed under the request");
    let may_have_happened = failure.was_sent() && !context.method.is_safe();
    let answer = Box::pin(offline::serve(&path.offline, context, asked)).await;
    // A refusal would say that nothing has happened.
    answer.map_err(|refusal| if may_have_happened { failure.into_refusal() } else { refusal })
}

/// A list of what the store is told as it changes, or the beginning of a watch, which then asks the cloud as one that has lost
/// what brought it. What the store cannot answer the cloud can, while there is a link.
async fn known(path: &Path, context: &mut Context, asked: &offline::Asked) -> Option<Response> {
    let answer = async {
        if !remote::leaves_to_store(&path.remote, context).await {
            return None;
        }
        (context.route, context.why) = (SHARED, "the store is told what changes");
        Box::pin(offline::serve(&path.offline, context, asked.clone())).await.ok()
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        () = path.link.falls() => None,
    }
}

enum Answer {
    Clouds(Response),
    Stores(Response),
}

/// The cloud's; or the store's, if a server has failed the read and another one has not answered yet. What the store does
/// not know is waited for.
async fn first_answer(
    path: &Path,
    context: &Context,
    asked: &offline::Asked,
    request: Request,
) -> Result<Answer, remote::Failure> {
    let mut cloud = pin!(remote::serve(&path.remote, context, request));
    let mut store = pin!(in_doubt(path, context, asked).fuse());
    let mut falls = pin!(path.link.falls());
    loop {
        tokio::select! {
            biased;
            answer = &mut cloud => return answer.map(Answer::Clouds),
            // Whatever it waits for: what filters go by, a connection, an answer.
            () = &mut falls, if context.method.is_safe() => return Err(remote::Failure::link_is_down()),
            answer = &mut store => match answer {
                Ok(response) => return Ok(Answer::Stores(response)),
                Err(refusal) => tracing::debug!(id = context.id, why = refusal.message, "the store cannot stand in"),
            },
        }
    }
}

/// What the store says once the cloud's answer is in doubt.
async fn in_doubt(path: &Path, context: &Context, asked: &offline::Asked) -> Result<Response, Refusal> {
    context.in_doubt.notified().await;
    Box::pin(offline::serve(&path.offline, context, asked.clone())).await
}
