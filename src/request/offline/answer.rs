//! GET and LIST from the store.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use super::freshness::freshness;
use super::presented::{Cursor, Measured, Presented, checked, filtered};
use super::window::{self, Window};
use super::{Offline, document};
use crate::kube::list::{self, Encoding, Envelope};
use crate::kube::media::{Form, Media};
use crate::kube::object::{self, TypeMeta};
use crate::kube::selector::{Fields, Selection};
use crate::request::context::{Body, BodyError, Context, Refusal, Response, Whose, full};
use crate::request::filter::{Chain, FilterError};
use crate::request::names;
use crate::store::{Found, Knowledge, StoreError};

fn unfiltered(error: &FilterError) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Us, format!("filter: {error}"))
}

/// The representations of whole objects that the client takes and its filters read.
pub(super) fn whole<'a>(context: &'a Context, chain: Option<&Chain>) -> impl Iterator<Item = &'a Media> + use<'a> {
    let json_alone = chain.is_some_and(Chain::wants_json);
    let reads = move |media: &&Media| !json_alone || media.encoding == Encoding::Json;
    context.accepts.iter().filter(|media| media.form == Form::Full).filter(reads)
}

pub(super) async fn get(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context) -> Result<Response, Refusal> {
    let info = &context.info;
    let chain = offline.filters.chain(context).await?;
    let mut absent = false;
    for media in whole(context, chain.as_ref()) {
        match knowledge.object(&names::object(info, media))? {
            Found::Object { record, item } => {
                // Whole, whatever it is called.
                let item = filtered(chain.as_ref(), media.encoding, "", item).map_err(|error| unfiltered(&error))?;
                let item = item.ok_or_else(|| Refusal::no_such(info))?;
                let types = TypeMeta { api_version: record.api_version, kind: record.kind };
                let mut body = object::from_item(media.encoding, &types, &item);
                if media.encoding == Encoding::Json {
                    body.push(b'\n');
                }
                let mut response = Response::new(full(body));
                content_type(&mut response, media, false);
                freshness(&mut response, context, record.at);
                return Ok(response);
            }
            Found::Absent { .. } => absent = true,
            Found::Lacking(view) => {
                checked(knowledge, *view).await?;
                absent = true;
            }
            Found::Unknown => {}
        }
    }
    if absent {
        return Err(Refusal::no_such(info));
    }
    document::serve_filtered(knowledge, context, chain).map_err(|refusal| refusal.unwrap_or_else(|| unknown(context)))
}

pub(super) fn unknown(context: &Context) -> Refusal {
    let info = &context.info;
    Refusal::unavailable(format!(
        "the link to the cloud is down, and this node does not know {} {} in this scope and representation",
        info.resource, info.name
    ))
}

pub(super) fn content_type(response: &mut Response, media: &Media, watch: bool) {
    if let Ok(value) = HeaderValue::try_from(media.content_type(watch)) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
}

pub(super) async fn list(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context) -> Result<Response, Refusal> {
    let info = &context.info;
    let selection = selection(context)?;
    window::is_allowed(&info.query)?;
    let window = Window::of(info).or_else(|refusal| is_selectable(context, &selection).and(Err(refusal)))?;
    let chain = offline.filters.chain(context).await?;
    offline.filters.told(context, chain.as_ref());
    let asks_for_items = !info.query.other && !info.query.pretty;
    for media in whole(context, chain.as_ref()).filter(|_| asks_for_items) {
        let allowed = |version| window.allows(version).is_ok();
        if let Some(view) = knowledge.covering(&names::scope(info, media), allowed, window.limit.is_some())? {
            window.allows(view.header.version_number())?;
            return items(knowledge, context, media, Presented { view, chain }, (&window, &selection)).await;
        }
    }
    is_selectable(context, &selection)?;
    document::serve_filtered(knowledge, context, chain).map_err(|refusal| refusal.unwrap_or_else(|| unknown(context)))
}

/// Refuses what is no selector.
pub(super) fn selection(context: &Context) -> Result<Selection, Refusal> {
    let query = &context.info.query;
    Selection::parse(&query.label_selector, &query.field_selector).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Refuses to select by a field by which the kube-apiserver does not.
pub(super) fn is_selectable(context: &Context, selection: &Selection) -> Result<(), Refusal> {
    let info = &context.info;
    let fields = Fields::of(&info.api_group, &info.api_version, &info.resource);
    match selection.fields.fields().find_map(|field| fields.refusal(field)) {
        Some(refusal) => Err(Refusal::bad_request(refusal)),
        None => Ok(()),
    }
}

/// What the list says of the state it is of, and of what there is behind its last item.
fn envelope(measured: &Measured, window: &Window, selection: &Selection) -> Result<Envelope, StoreError> {
    let view = &measured.shown.view;
    let mut envelope = view.header.envelope();
    let full = window.limit == Some(measured.items);
    if let Some(last) = measured.last.as_deref().filter(|_| full) {
        // One object by its name is not looked for behind itself; in several namespaces there may be others.
        let one = selection.fields.exactly("metadata.name").is_some() && !view.place(last).contains(&b'/');
        if one && window.after.is_none() {
            return Ok(envelope);
        }
        let behind = view.count_after(last)?;
        envelope.continue_token =
            (behind > 0).then(|| window::token(&view.header.scope.resource, view.header.version_number(), view.place(last)));
        envelope.remaining_item_count = (behind > 0 && view.is_unselected()).then_some(behind);
    }
    Ok(envelope)
}

async fn items(
    knowledge: &Arc<Knowledge>,
    context: &Context,
    media: &Media,
    shown: Presented,
    (window, selection): (&Window, &Selection),
) -> Result<Response, Refusal> {
    let updated = shown.view.header.updated;
    let after = window.after.as_ref().map(|place| shown.view.key(place.as_bytes()));
    let from = Cursor { after, left: window.limit.unwrap_or(u64::MAX) };
    let measured = shown.measure(knowledge, from.clone()).await?;
    let envelope = envelope(&measured, window, selection)?;
    let Measured { shown, bytes, .. } = measured;
    let (head, tail) = match media.encoding {
        Encoding::Json => (list::envelope_json_head(&envelope), list::envelope_json_tail(&envelope)),
        Encoding::Protobuf => (list::envelope_proto_head(&envelope, bytes), list::envelope_proto_tail()),
    };
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(stream(knowledge.clone(), shown, from, Ends { head, tail }, sender));
    let mut response = Response::new(channel_body(receiver));
    content_type(&mut response, media, false);
    freshness(&mut response, context, updated);
    Ok(response)
}

/// What stands around the items.
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

async fn stream(
    knowledge: Arc<Knowledge>,
    shown: Presented,
    from: Cursor,
    ends: Ends,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
) {
    let encoding = shown.view.header.scope.encoding();
    let (mut shown, mut cursor, mut first, mut chunk) = (shown, Some(from), true, ends.head);
    while let Some(from) = cursor {
        let page = match shown.page(&knowledge, from).await {
            Ok(page) => page,
            Err(error) => {
                let _ = sender.send(Err(BodyError::Store(error.to_string()))).await;
                return;
            }
        };
        for item in &page.items {
            match encoding {
                Encoding::Json if first => {}
                Encoding::Json => chunk.push(b','),
                Encoding::Protobuf => chunk.extend_from_slice(&list::proto_item_frame(item.len())),
            }
            first = false;
            chunk.extend_from_slice(item);
        }
        (shown, cursor) = (page.shown, page.next);
        if cursor.is_none() {
            chunk.extend_from_slice(&ends.tail);
        }
        if sender.send(Ok(Bytes::from(std::mem::take(&mut chunk)))).await.is_err() {
            return;
        }
    }
}

/// A body fed by a task.
pub(super) fn channel_body(receiver: mpsc::Receiver<Result<Bytes, BodyError>>) -> Body {
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let next = receiver.recv().await?;
        Some((next.map(Frame::data), receiver))
    });
    StreamBody::new(frames).boxed_unsync()
}
