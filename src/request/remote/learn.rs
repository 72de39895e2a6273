//! What the head of the cloud's answer teaches: whose token it was, what is granted,
//! and whether the body is to be remembered.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG};
use http::response::Parts;

use crate::kube::layout::Layout;
use crate::kube::list::Encoding;
use crate::kube::media::{self, Form, Media};
use crate::kube::metadata;
use crate::request::context::{Caller, Context, MISSED, Refusal, Whose};
use crate::request::filter::{Chain, resumes};
use crate::request::names;
use crate::state::rules::Rules;
use crate::store::record::{ListAsk, ObjectAsk, Subject, WatchAsk};
use crate::store::{Document, Knowledge, Reader, Recording, Scope};

/// Who may read by itself, and is told what is told to another one.
pub(super) fn from_review(knowledge: &Knowledge, context: &Context, scope: Option<&Scope>) {
    knowledge.see(&context.component);
    rights(knowledge, context, StatusCode::OK);
    scope.into_iter().for_each(|scope| knowledge.note_reader(scope, &reader(context)));
}

fn reader(context: &Context) -> Reader {
    Reader { agent: context.component.clone(), node: matches!(context.caller, Caller::Node) }
}

/// Notes rights, and begins to remember the body if it is worth it. `version`: from which a watch goes on.
pub(super) fn from_head(
    knowledge: &Arc<Knowledge>,
    rules: &Rules,
    context: &Context,
    chain: Option<&Chain>,
    parts: &Parts,
    version: &str,
) -> Option<Recording> {
    if context.impersonated {
        return None;
    }
    knowledge.see(&context.component);
    rights(knowledge, context, parts.status);
    if !is_remembered(rules, context) {
        return None;
    }
    let subject = subject(knowledge, context, chain, parts, version)?;
    let gzip = match parts.headers.get(CONTENT_ENCODING).map(http::HeaderValue::as_bytes) {
        None | Some(b"identity") => false,
        Some(b"gzip") => true,
        Some(_) => return None,
    };
    Some(knowledge.record(subject, gzip))
}

/// Refuses a watch that goes on from beyond what the node has kept, with the 410 that makes its client list: then the node
/// has it all again.
pub(super) async fn may_go_on(
    knowledge: &Knowledge,
    rules: &Rules,
    context: &Context,
    chain: Option<&Chain>,
) -> Result<(), Refusal> {
    let is_kept = || is_remembered(rules, context) && !context.info.query.other;
    if context.info.verb != "watch" || !resumes(context) || !is_kept() {
        return Ok(());
    }
    let Some(media) = asked_for(context, chain) else { return Ok(()) };
    let version = context.info.query.resource_version.parse().unwrap_or(0);
    let is_kubelets = matches!(context.caller, Caller::Node);
    if knowledge.sends_back(&names::scope(&context.info, media), version, is_kubelets).await {
        return Err(Refusal::new(StatusCode::GONE, "Expired", Whose::Client, MISSED));
    }
    Ok(())
}

pub(super) fn is_remembered(rules: &Rules, context: &Context) -> bool {
    !context.impersonated && context.user().is_some() && rules.current().cache_agents.contains(&context.component)
}

/// The cloud's yes or no, kept for when it cannot be asked.
fn rights(knowledge: &Knowledge, context: &Context, status: StatusCode) {
    let Some(user) = context.user() else { return };
    match status {
        StatusCode::UNAUTHORIZED => {
            if let Caller::Bearer(bearer) = &context.caller {
                knowledge.forget_token(bearer.digest);
            }
        }
        StatusCode::FORBIDDEN if context.info.is_discovery() => knowledge.deny(&context.grant(user)),
        // Of a write it may be admission that refuses (NodeRestriction, a quota, a webhook): this object, and no right.
        StatusCode::FORBIDDEN if !context.method.is_safe() => {}
        // Whoever may do the wider may do this: that it was granted before does not hold any more either.
        StatusCode::FORBIDDEN => context.grants(user).iter().for_each(|grant| knowledge.revoke(grant)),
        // These come after authorization: NotFound and Gone are answers to somebody
        // who may ask.
        status if status.is_success() || matches!(status.as_u16(), 304 | 404 | 409 | 410) => {
            if let Caller::Bearer(bearer) = &context.caller {
                knowledge.know_token(bearer.digest, &bearer.user, bearer.expires);
            }
            knowledge.grant(&context.grant(user));
        }
        _ => {}
    }
}

fn subject(knowledge: &Knowledge, context: &Context, chain: Option<&Chain>, parts: &Parts, version: &str) -> Option<Subject> {
    let info = &context.info;
    if context.method != http::Method::GET {
        return None;
    }
    note_absence(knowledge, context, parts.status);
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let whole = context.accepts.iter().all(|media| media.form == Form::Full);
    if info.is_read() && whole {
        let encoding = media::encoding_of(content_type)?;
        return resource_subject(context, parts.status, Media { encoding, form: Form::Full }, version);
    }
    if let Some(metadata) = media::encoding_of(content_type).and_then(|encoding| metadata_of_many(context, encoding)) {
        return resource_subject(context, parts.status, metadata.clone(), version);
    }
    let once = info.is_discovery() || (info.is_read() && info.verb != "watch");
    if parts.status != StatusCode::OK || !once || is_laid_out(context) {
        return None;
    }
    let etag = parts.headers.get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let head = Document { content_type: content_type.to_owned(), etag: etag.to_owned(), ..Document::default() };
    let name = if info.is_discovery() { names::discovery(info, content_type) } else { names::document(context, chain) };
    Some(Subject::Document { name, head })
}

/// The cloud's own 404: the object is not there in whatever form it was asked for.
fn note_absence(knowledge: &Knowledge, context: &Context, status: StatusCode) {
    let info = &context.info;
    // Who asks for no newest state may be told of an old one.
    if status == StatusCode::NOT_FOUND && info.is_read() && info.verb == "get" && info.query.resource_version.is_empty() {
        let encoding = context.accepts.first().map_or(Encoding::Json, |media| media.encoding);
        knowledge.note_absent(&names::object(info, &Media { encoding, form: Form::Full }));
    }
}

/// As what a list or a watch in this encoding is remembered; `None`: not as a collection.
pub(super) fn known_as(context: &Context, encoding: Encoding) -> Option<Media> {
    let whole = context.accepts.iter().all(|media| media.form == Form::Full);
    if whole { Some(Media { encoding, form: Form::Full }) } else { metadata_of_many(context, encoding).cloned() }
}

/// What a client asks for first, if that is remembered as a collection.
pub(super) fn asked_for<'a>(context: &'a Context, chain: Option<&Chain>) -> Option<&'a Media> {
    // As it will be asked for, and so remembered.
    let json_alone = chain.is_some_and(Chain::wants_json);
    let first = context.accepts.iter().find(|media| !json_alone || media.encoding == Encoding::Json);
    first.filter(|media| media.form == Form::Full || is_metadata(media))
}

fn is_metadata(media: &Media) -> bool {
    matches!(&media.form, Form::As(form) if metadata::form_of_items(form).is_some())
}

/// What a list or a watch is answered in, if that is metadata: what it is asked for in first in this encoding.
pub(super) fn metadata_of_many(context: &Context, encoding: Encoding) -> Option<&Media> {
    let is_of_many = matches!(context.info.verb.as_str(), "list" | "watch");
    let first = context.accepts.iter().find(|media| media.encoding == encoding);
    first.filter(|media| is_of_many && is_metadata(media))
}

/// Whether the text is laid out for people: it is remembered as programs are told it.
fn is_laid_out(context: &Context) -> bool {
    context.info.verb != "watch" && context.layout != Layout::Compact
}

fn resource_subject(context: &Context, status: StatusCode, media: Media, version: &str) -> Option<Subject> {
    let info = &context.info;
    if info.query.other || is_laid_out(context) {
        return None;
    }
    let scope = || names::scope(info, &media);
    let reader = reader(context);
    match info.verb.as_str() {
        "get" => {
            let key = names::object(info, &media);
            (status == StatusCode::OK).then_some(Subject::Object(ObjectAsk { key, reader }))
        }
        "list" if status == StatusCode::OK => {
            let quorum = info.query.resource_version.is_empty();
            let exact = info.query.resource_version_match == "Exact";
            (!exact).then(|| {
                Subject::List(ListAsk {
                    scope: scope(),
                    continue_token: info.query.continue_token.clone(),
                    quorum,
                    reader,
                    started: started(context),
                })
            })
        }
        "watch" if status == StatusCode::OK => Some(Subject::Watch(WatchAsk {
            scope: scope(),
            resource_version: if info.query.goes_on() { version.to_owned() } else { String::new() },
            send_initial_events: info.query.begins_with_all() && info.query.allow_watch_bookmarks,
            reader,
        })),
        _ => None,
    }
}

/// Unix milliseconds at which the request began.
fn started(context: &Context) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(context.started.elapsed()).as_millis()).unwrap_or(u64::MAX)
}
