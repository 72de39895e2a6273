//! Writes that can be honoured while the link is down: Events, and kubelet's own
//! heartbeat.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::{Asked, Offline};
use crate::kube::list::Encoding;
use crate::kube::media::Media;
use crate::kube::request::RequestInfo;
use crate::kube::typed::{self, Change, Typed};
use crate::kube::{media, object};
use crate::request::context::{Caller, Context, Refusal, Response, Whose, full};
use crate::request::names;
use crate::store::{Credential, Entry, Knowledge, NotAccepted, ObjectKey};

/// An Event goes into the journal, durably, and then gets its 201; the cloud gets it
/// after the link's return, and until then the node shows it (`store/local.rs`).
pub(super) async fn event(knowledge: &Knowledge, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    let content_type = asked.content_type();
    let encoding = media::encoding_of(content_type).ok_or_else(|| {
        Refusal::unavailable(format!("the link to the cloud is down, and an Event as {content_type:?} cannot be read here"))
    })?;
    let body = asked.body()?;
    let meta = object::sent_meta(encoding, body).map_err(|error| Refusal::bad_request(format!("the Event: {error}")))?;
    if meta.name.is_empty() {
        // Without a name of its own it could not be delivered just once.
        return Err(Refusal::unavailable("the link to the cloud is down, and only an Event with a name can be kept"));
    }
    is_no_trial(context)?;
    is_event(context, encoding, body)?;
    is_of_path(context, &meta)?;
    let credential = credential(context)?;
    let entry = Entry::new(context.target.to_string(), meta.name.clone(), content_type.to_owned(), credential, body.to_vec());
    let event = entry.read().map_err(|error| Refusal::bad_request(format!("the Event: {error}")))?;
    // Who gets 201 here must not get a refusal from the cloud, where nobody hears it.
    let faults = event.faults_of_event(&context.info.namespace, context.info.group_version() == "events.k8s.io/v1");
    if !faults.is_empty() {
        return Err(Refusal::invalid("", "Event", &meta.name, faults));
    }
    knowledge.accept(entry).await.map_err(|error| refused(&error, &context.info, &meta.name))?;
    Ok(echo(asked, body, StatusCode::CREATED))
}

/// An Event has happened again: that is kept in the journal as well, the last time on top of those before, and goes to the
/// cloud behind the Event. Its client is answered as with a GET: with what this node knows of the Event, or not at all.
pub(super) async fn change(
    offline: &Offline,
    knowledge: &Arc<Knowledge>,
    context: &Context,
    asked: &Asked,
) -> Result<Response, Refusal> {
    let (info, content_type, body) = (&context.info, asked.content_type(), asked.body()?);
    is_no_trial(context)?;
    let change = Change::read(&info.api_group, content_type, body);
    let change =
        change.map_err(|error| Refusal::unavailable(format!("the link to the cloud is down, and of this patch: {error}")))?;
    super::answer::get(offline, knowledge, context).await?;
    let unknown = || Refusal::unavailable("the link to the cloud is down, and this node does not know this Event as a whole");
    let (event, at) = knowledge.event_here(&key(info, &info.name))?.ok_or_else(unknown)?;
    let changed = event.clone().changed(&change);
    let faults = changed.faults_of_event(&info.namespace, info.group_version() == "events.k8s.io/v1");
    if !faults.is_empty() {
        return Err(Refusal::invalid("", "Event", &info.name, faults));
    }
    let credential = credential(context)?;
    let entry = Entry::change(context.target.to_string(), info.name.clone(), content_type.to_owned(), credential, body.to_vec());
    knowledge.accept(entry.with_event(&event, at)).await.map_err(|error| refused(&error, info, &info.name))?;
    super::answer::get(offline, knowledge, context).await
}

fn key(info: &RequestInfo, name: &str) -> ObjectKey {
    let scope = names::scope(info, &Media { encoding: Encoding::Json, form: media::Form::Full });
    ObjectKey { scope, name: name.to_owned() }
}

/// The cloud has been told of an Event anew: what waits to be changed of one of this name is older.
pub(super) fn event_was_created(knowledge: &Knowledge, context: &Context, asked: &Asked) {
    let encoding = media::encoding_of(asked.content_type());
    let meta = encoding.zip(asked.body.as_ref()).and_then(|(encoding, body)| object::sent_meta(encoding, body).ok());
    if let Some(meta) = meta {
        knowledge.overtake_change(&key(&context.info, &meta.name), context.started);
    }
}

/// By which it goes to the cloud.
fn credential(context: &Context) -> Result<Credential, Refusal> {
    match &context.caller {
        Caller::Node => Ok(Credential::Node),
        Caller::Bearer(bearer) => Ok(Credential::Token(bearer.token.to_string())),
        Caller::Nobody | Caller::Other => Err(Refusal::unauthorized("no credential")),
    }
}

fn is_no_trial(context: &Context) -> Result<(), Refusal> {
    if context.info.query.dry_run {
        return Err(Refusal::unavailable("the link to the cloud is down, and only the cloud can try what it would do"));
    }
    Ok(())
}

fn refused(error: &NotAccepted, info: &RequestInfo, name: &str) -> Refusal {
    match error {
        NotAccepted::AlreadyExists => {
            let message = format!("events {name:?} already exists");
            Refusal::new(StatusCode::CONFLICT, "AlreadyExists", Whose::Client, message).about(info, name)
        }
        // Without Retry-After, and with a Status: client-go's recorder does not try this one again.
        NotAccepted::TooLarge(_) | NotAccepted::Full(_) | NotAccepted::Anothers => {
            Refusal::unavailable(format!("the link to the cloud is down: {error}"))
        }
        NotAccepted::Store(_) => {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Us, error.to_string())
        }
    }
}

/// The kube-apiserver's own check: an object is of the type that its path says, if it says any.
fn is_event(context: &Context, encoding: Encoding, body: &[u8]) -> Result<(), Refusal> {
    let sent = object::sent_type(encoding, body).map_err(|error| Refusal::bad_request(format!("the Event: {error}")))?;
    if !matches!(sent.kind.as_str(), "" | "Event") {
        let version = sent.api_version.rsplit('/').next().unwrap_or_default();
        return Err(Refusal::bad_request(format!("{} in version {version:?} cannot be handled as a Event", sent.kind)));
    }
    let expected = context.info.group_version();
    if sent.api_version.is_empty() || sent.api_version == expected {
        return Ok(());
    }
    let (sent, why) = (sent.api_version, "does not match the expected API version");
    Err(Refusal::bad_request(format!("the API version in the data ({sent}) {why} ({expected})")))
}

/// The kube-apiserver's own check: an object is where its path says.
fn is_of_path(context: &Context, meta: &object::Meta) -> Result<(), Refusal> {
    if meta.namespace.is_empty() || meta.namespace == context.info.namespace {
        return Ok(());
    }
    Err(Refusal::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Kubelet's renewal of its own node's lease: acknowledged as a sign of life on this
/// node, and shown to whoever reads it here. The next renewal after the link's return, at most ten seconds later, says
/// everything this one would have said.
pub(super) fn lease(offline: &Offline, knowledge: &Knowledge, context: &Context, asked: &Asked) -> Result<Response, Refusal> {
    if !is_own_lease(offline, context) {
        return Err(Refusal::unavailable(
            "the link to the cloud is down: only this node's own lease can be renewed by its kubelet",
        ));
    }
    let (mut meta, lease) = read_lease(context, asked)?;
    is_of_path(context, &meta)?;
    meta.namespace.clone_from(&context.info.namespace);
    knowledge.renew(meta, lease);
    Ok(echo(asked, asked.body()?, StatusCode::OK))
}

/// Whether it is kubelet's own, of this node.
pub(super) fn is_own_lease(offline: &Offline, context: &Context) -> bool {
    let info = &context.info;
    matches!(context.caller, Caller::Node)
        && (&*info.resource, &*info.namespace, &*info.name) == ("leases", "kube-node-lease", &*offline.node_name)
}

fn read_lease(context: &Context, asked: &Asked) -> Result<(object::Meta, Typed), Refusal> {
    let content_type = asked.content_type();
    let unreadable =
        || Refusal::unavailable(format!("the link to the cloud is down, and a Lease as {content_type:?} cannot be read here"));
    let encoding = media::encoding_of(content_type).ok_or_else(unreadable)?;
    let of = typed::of(&context.info.api_group, &context.info.resource).ok_or_else(unreadable)?;
    let wrong = |error: object::ObjectError| Refusal::bad_request(format!("the Lease: {error}"));
    let body = asked.body()?;
    let meta = object::sent_meta(encoding, body).map_err(wrong)?;
    let item = object::sent_item(encoding, body).map_err(wrong)?;
    Ok((meta, Typed::read(of, encoding, item).map_err(|error| wrong(error.into()))?))
}

fn echo(asked: &Asked, body: &Bytes, status: StatusCode) -> Response {
    let mut response = Response::new(full(body.clone()));
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::try_from(asked.content_type()) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}
