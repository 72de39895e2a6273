//! GET and LIST from the store.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use super::freshness::freshness;
use super::{Offline, document};
use crate::kube::list::{self, Encoding};
use crate::kube::media::{Form, Media};
use crate::kube::message::Edit;
use crate::kube::object::{self, TypeMeta};
use crate::request::context::{Body, BodyError, Context, Refusal, Response, Whose, full};
use crate::request::filter::{Chain, FilterError};
use crate::request::names;
use crate::store::{Found, Knowledge, ListView, StoreError};

/// Bytes read from the store at a time.
const PAGE: usize = 128 * 1024;

/// The item as the client is to see it; `None`: it is hidden.
fn filtered(chain: Option<&Chain>, encoding: Encoding, kind: &str, item: Vec<u8>) -> Result<Option<Vec<u8>>, FilterError> {
    Ok(match chain.map_or(Ok(Edit::Keep), |chain| chain.item(encoding, kind, &item))? {
        Edit::Keep => Some(item),
        Edit::Replace(item) => Some(item),
        Edit::Remove => None,
    })
}

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
                checked(knowledge, view).await?;
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
    if !info.query.continue_token.is_empty() {
        return Err(expired("the link to the cloud is down: a list cannot be continued, begin it again"));
    }
    let chain = offline.filters.chain(context).await?;
    offline.filters.told(context, chain.as_ref());
    let asks_for_items = !info.query.other && !info.query.pretty;
    for media in whole(context, chain.as_ref()).filter(|_| asks_for_items) {
        if let Some(view) = knowledge.list(&names::scope(info, media))? {
            version_allows(context, &view)?;
            return items(knowledge, context, media, Presented { view, chain }).await;
        }
    }
    document::serve_filtered(knowledge, context, chain).map_err(|refusal| refusal.unwrap_or_else(|| unknown(context)))
}

/// 410 with the reason that makes every client begin anew.
pub(super) fn expired(message: &str) -> Refusal {
    Refusal::new(StatusCode::GONE, "Expired", Whose::Cloud, message)
}

/// `resourceVersion` and `resourceVersionMatch`, as the API documents them.
fn version_allows(context: &Context, view: &ListView) -> Result<(), Refusal> {
    let query = &context.info.query;
    let asked: u64 = match query.resource_version.as_str() {
        "" | "0" => return Ok(()),
        version => version.parse().map_err(|_| Refusal::bad_request(format!("resourceVersion: Invalid value: {version:?}")))?,
    };
    let known = view.header.version_number();
    match query.resource_version_match.as_str() {
        "Exact" if known != asked => Err(expired("the link to the cloud is down: this version is not known")),
        "" | "NotOlderThan" if known < asked => Err(Refusal::unavailable(format!(
            "the link to the cloud is down: resourceVersion {asked} is newer than what this node knows, {known}"
        ))),
        _ => Ok(()),
    }
}

/// The collection, if it has all its items; else it is taken out. Counts where it may
/// block.
async fn checked(knowledge: &Arc<Knowledge>, view: ListView) -> Result<ListView, StoreError> {
    let header = view.header.clone();
    let count = move || view.whole().map(|()| view);
    let counted = tokio::task::spawn_blocking(count).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())));
    if matches!(counted, Err(StoreError::Damaged { .. })) {
        knowledge.discard(&header).await;
    }
    counted
}

/// A collection as one client is to see it.
pub(super) struct Presented {
    pub view: ListView,
    pub chain: Option<Chain>,
}

/// Some items, in the cloud's order.
pub(super) struct Page {
    pub shown: Presented,
    pub items: Vec<Vec<u8>>,
    /// The last item's key; `None`: there are no more.
    pub after: Option<Vec<u8>>,
}

impl Presented {
    /// The next items; runs where it may block.
    pub(super) async fn page(self, knowledge: &Arc<Knowledge>, after: Option<Vec<u8>>) -> Result<Page, StoreError> {
        let knowledge = knowledge.clone();
        let read = move || {
            let encoding = self.view.header.scope.encoding();
            let kind = self.view.header.kind.clone();
            let (mut items, mut bytes, mut last, mut failed) = (Vec::new(), 0, None, None);
            self.view.visit(&knowledge, after.as_deref(), &mut |key, item| {
                bytes += item.len();
                match filtered(self.chain.as_ref(), encoding, &kind, item) {
                    Ok(item) => items.extend(item),
                    Err(error) => failed = Some(StoreError::Backend(format!("filter: {error}"))),
                }
                last = (bytes >= PAGE).then(|| key.to_vec());
                last.is_none() && failed.is_none()
            })?;
            match failed {
                Some(error) => Err(error),
                None => Ok(Page { shown: self, items, after: last }),
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())))
    }

    /// Reads everything once, before any of it is said: how many bytes it will be. A
    /// damaged collection is taken out.
    pub(super) async fn measure(self, knowledge: &Arc<Knowledge>) -> Result<(Self, u64), StoreError> {
        let header = self.view.header.clone();
        let view = checked(knowledge, self.view).await?;
        let measured = Self { view, ..self }.sum(knowledge).await;
        if matches!(measured, Err(StoreError::Damaged { .. })) {
            knowledge.discard(&header).await;
        }
        measured
    }

    async fn sum(self, knowledge: &Arc<Knowledge>) -> Result<(Self, u64), StoreError> {
        let (mut shown, mut after, mut total) = (self, None, 0);
        loop {
            let page = shown.page(knowledge, after).await?;
            total +=
                page.items.iter().map(|item| list::proto_item_frame(item.len()).len() as u64 + item.len() as u64).sum::<u64>();
            (shown, after) = (page.shown, page.after);
            if after.is_none() {
                return Ok((shown, total));
            }
        }
    }
}

async fn items(knowledge: &Arc<Knowledge>, context: &Context, media: &Media, shown: Presented) -> Result<Response, Refusal> {
    let header = shown.view.header.clone();
    let (shown, total) = shown.measure(knowledge).await?;
    let envelope = header.envelope();
    let (head, tail) = match media.encoding {
        Encoding::Json => (list::envelope_json_head(&envelope), list::envelope_json_tail(&envelope)),
        Encoding::Protobuf => (list::envelope_proto_head(&envelope, total), list::envelope_proto_tail()),
    };
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(stream(knowledge.clone(), shown, media.encoding, Ends { head, tail }, sender));
    let mut response = Response::new(channel_body(receiver));
    content_type(&mut response, media, false);
    freshness(&mut response, context, header.updated);
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
    encoding: Encoding,
    ends: Ends,
    sender: mpsc::Sender<Result<Bytes, BodyError>>,
) {
    let (mut shown, mut after, mut first, mut chunk) = (shown, None, true, ends.head);
    loop {
        let page = match shown.page(&knowledge, after).await {
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
        (shown, after) = (page.shown, page.after);
        if after.is_none() {
            chunk.extend_from_slice(&ends.tail);
        }
        if sender.send(Ok(Bytes::from(std::mem::take(&mut chunk)))).await.is_err() || after.is_none() {
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
