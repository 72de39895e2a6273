//! Writes that can be honoured while the link is down: Events, and kubelet's own
//! heartbeat.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::{Asked, Offline};
use crate::kube::{media, object};
use crate::request::context::{Caller, Context, Refusal, Response, Whose, full};
use crate::store::{Credential, Entry, Knowledge, NotAccepted};

/// An Event goes into the journal, durably, and then gets its 201; the cloud gets it
/// after the link's return.
pub(super) async fn event(knowledge: &Knowledge, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    let content_type = asked.content_type();
    let encoding = media::encoding_of(content_type).ok_or_else(|| {
        Refusal::unavailable(format!("the link to the cloud is down, and an Event as {content_type:?} cannot be read here"))
    })?;
    let meta = object::sent_meta(encoding, &asked.body).map_err(|error| Refusal::bad_request(format!("the Event: {error}")))?;
    if meta.name.is_empty() {
        // Without a name of its own it could not be delivered just once.
        return Err(Refusal::unavailable("the link to the cloud is down, and only an Event with a name can be kept"));
    }
    let credential = match &context.caller {
        Caller::Node => Credential::Node,
        Caller::Bearer(bearer) => Credential::Token(bearer.token.to_string()),
        Caller::Nobody | Caller::Other => return Err(Refusal::unauthorized("no credential")),
    };
    let entry = Entry::new(context.target.clone(), meta.name.clone(), content_type.to_owned(), credential, asked.body.to_vec());
    knowledge.accept(entry).await.map_err(|error| refused(&error, &meta.name))?;
    Ok(echo(asked, StatusCode::CREATED))
}

fn refused(error: &NotAccepted, name: &str) -> Refusal {
    match error {
        NotAccepted::AlreadyExists => {
            Refusal::new(StatusCode::CONFLICT, "AlreadyExists", Whose::Client, format!("events {name:?} already exists"))
        }
        NotAccepted::TooLarge(_) => Refusal::unavailable(format!("the link to the cloud is down: {error}")),
        NotAccepted::Store(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Us, error.to_string())
        }
    }
}

/// Kubelet's renewal of its own node's lease: acknowledged as a sign of life on this
/// node. The next renewal after the link's return, at most ten seconds later, says
/// everything this one would have said.
pub(super) fn lease(offline: &Offline, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    let own = matches!(context.caller, Caller::Node)
        && context.info.name == offline.node_name
        && context.info.namespace == "kube-node-lease";
    if !own {
        return Err(Refusal::unavailable(
            "the link to the cloud is down: only this node's own lease can be renewed by its kubelet",
        ));
    }
    Ok(echo(asked, StatusCode::OK))
}

fn echo(asked: &Asked, status: StatusCode) -> Response {
    let mut response = Response::new(full(asked.body.clone()));
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::try_from(asked.content_type()) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}
