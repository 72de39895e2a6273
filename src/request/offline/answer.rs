//! GET and LIST from the store.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, WARNING};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use super::fields::fields;
use super::newest::{self, Shown, newest};
use super::presented::{Cursor, Form, Measured, Patience, Presented, checked};
use super::table::table;
use super::window::{self, Window};
use super::{Offline, document, kinds};
use crate::kube::list::{self, Encoding, Envelope};
use crate::kube::media::{self, Media};
use crate::kube::object::{self, TypeMeta};
use crate::kube::request::RequestInfo;
use crate::kube::selector::{Fields, Selection};
use crate::kube::{metadata, table as tables};
use crate::request::context::{Body, BodyError, Caller, Context, Refusal, Response, Whose, freshness, full};
use crate::request::filter::{By, Chain, FilterError};
use crate::request::names;
use crate::store::{Document, Found, Header, Knowledge, ListView, ObjectRecord, StoreError, Written};

fn unfiltered(error: &FilterError) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", Whose::Us, format!("filter: {error}"))
}

/// The representations that the client takes and its filters read, best first, each as what is to be known for it.
pub(super) fn offered(knowledge: &Knowledge, context: &Context, chain: Option<&Chain>) -> Vec<(Media, Form)> {
    let json_alone = chain.is_some_and(Chain::wants_json);
    let of_list = context.info.verb == "list";
    let form = |media: &Media| match &media.form {
        media::Form::Full => Some(Form::Whole),
        media::Form::As(form) if metadata::is_form(form, of_list) => Some(Form::Metadata),
        // There are no Tables in protobuf.
        media::Form::As(form) if tables::is_form(form) && media.encoding == Encoding::Json => {
            let table = table(knowledge, &context.info)?;
            Some(if of_list { Form::Rows(table) } else { Form::Tables(table) })
        }
        media::Form::As(_) => None,
    };
    // What is known as metadata, or whole.
    let of = |media: &Media, form: &Form| if matches!(form, Form::Metadata) { media.form.clone() } else { media::Form::Full };
    let offered = |media: &Media| {
        let shown = form(media)?;
        Some((Media { encoding: media.encoding, form: of(media, &shown) }, shown))
    };
    let reads = |media: &&Media| !json_alone || media.encoding == Encoding::Json;
    context.accepts.iter().filter(reads).filter_map(offered).collect()
}

pub(super) async fn get(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context) -> Result<Response, Refusal> {
    let info = &context.info;
    let asked = window::version(&info.query)?;
    let chain = offline.filters.chain(context).await?;
    let offered = offered(knowledge, context, chain.as_ref());
    let (shown, found) = newest(knowledge, info, &offered)?;
    let written = newest::is_overtaken(knowledge, info, &found)?;
    if matches!(found, Found::Object { .. }) && written.is_none() {
        is_as_new(info, asked, &found)?;
    }
    match (shown, found) {
        (Some(shown), Found::Object { record, item }) if written.is_none() => {
            object(context, chain.as_ref(), shown, (record, item))
        }
        (_, found) => match copy(knowledge, context, chain.as_ref(), &found)? {
            Some(copy) => document::serve_filtered(context, copy, chain),
            None => Err(why_not(knowledge, context, (asked, written), found).await?),
        },
    }
}

/// A copy of what the cloud has said of the object in exactly this form, if nothing else was said since.
fn copy(knowledge: &Knowledge, context: &Context, chain: Option<&Chain>, found: &Found) -> Result<Option<Document>, StoreError> {
    let Some(copy) = document::remembered(knowledge, context, chain) else { return Ok(None) };
    let record = ObjectRecord { at: copy.at, ..ObjectRecord::default() };
    let as_found = Found::Object { record, item: Vec::new() };
    let is_last = newest::at(found) <= copy.at && newest::is_overtaken(knowledge, &context.info, &as_found)?.is_none();
    Ok(Some(copy).filter(|_| is_last))
}

/// Why there is no object to answer with.
async fn why_not(
    knowledge: &Arc<Knowledge>,
    context: &Context,
    (asked, written): (u64, Option<Written>),
    found: Found,
) -> Result<Refusal, Refusal> {
    let info = &context.info;
    if let Some(written) = written {
        let what = if written.there { "written" } else { "deleted" };
        return Ok(Refusal::unavailable(format!(
            "the link to the cloud is down, and {} {} was {what} through this node since it was read: how it is now is not known here",
            info.resource, info.name
        )));
    }
    // What nobody can be answered in is told first.
    if matches!(found, Found::Unknown) || context.accepts.is_empty() {
        return Ok(unknown(knowledge, context));
    }
    is_as_new(info, asked, &found)?;
    Ok(why_absent(knowledge, info, found).await?)
}

/// Whether what is known of the object is not older than the version that is asked for.
fn is_as_new(info: &RequestInfo, asked: u64, found: &Found) -> Result<(), Refusal> {
    match newest::version(found) {
        Some(known) => window::at_least(asked, known),
        None if asked == 0 => Ok(()),
        None => Err(Refusal::unavailable(format!(
            "the link to the cloud is down, and this node does not know whether {} {} was there at resourceVersion {asked}",
            info.resource, info.name
        ))),
    }
}

fn object(
    context: &Context,
    chain: Option<&Chain>,
    (media, form): &Shown,
    (record, item): (ObjectRecord, Vec<u8>),
) -> Result<Response, Refusal> {
    let types = TypeMeta { api_version: record.api_version, kind: record.kind };
    let item = form.of(chain, media.encoding, &types, item).map_err(|error| unfiltered(&error))?;
    let item = item.ok_or_else(|| Refusal::no_such(&context.info).known_at(record.at))?;
    let item = form.first(item).map_err(|error| unfiltered(&error.into()))?;
    let mut body = object::from_item(media.encoding, &form.types(types), &item);
    if media.encoding == Encoding::Json {
        body.push(b'\n');
    }
    let mut response = Response::new(full(body));
    content_type(&mut response, media, false);
    freshness(&mut response, context, record.at);
    Ok(response)
}

/// 404, if that is the last that is known of the object and not damage that hides it.
async fn why_absent(knowledge: &Arc<Knowledge>, info: &RequestInfo, absent: Found) -> Result<Refusal, StoreError> {
    let (absent, at) = match absent {
        Found::Lacking(view) => {
            let view = checked(knowledge, *view).await?;
            let at = view.header.updated;
            (Found::Lacking(Box::new(view)), at)
        }
        Found::Absent { at } => (absent, at),
        other => (other, 0),
    };
    let elsewhere = newest::elsewhere(knowledge, info, &absent)?;
    Ok(elsewhere.map_or_else(|| Refusal::no_such(info).known_at(at), |encoding| known_as(info, encoding)))
}

fn known_as(info: &RequestInfo, encoding: Encoding) -> Refusal {
    Refusal::unavailable(format!(
        "the link to the cloud is down, and this node knows {} {} as {}, not in the representation that is asked for",
        info.resource,
        info.name,
        Media { encoding, form: media::Form::Full }.content_type(false)
    ))
}

/// Why there is no answer.
pub(super) fn unknown(knowledge: &Knowledge, context: &Context) -> Refusal {
    let info = &context.info;
    if context.accepts.is_empty() {
        let message = "the link to the cloud is down: application/json and application/vnd.kubernetes.protobuf are what the node answers in";
        return Refusal::not_acceptable(message);
    }
    let wants_metadata = |form: &media::Form| matches!(form, media::Form::As(form) if metadata::form_of_items(form).is_some());
    let form = context.accepts.iter().map(|media| &media.form).find(|form| wants_metadata(form)).unwrap_or(&media::Form::Full);
    let known = [Encoding::Json, Encoding::Protobuf].into_iter().find(|encoding| {
        let media = Media { encoding: *encoding, form: form.clone() };
        match info.verb.as_str() {
            "get" => matches!(knowledge.object(&names::object(info, &media)), Ok(Found::Object { .. })),
            _ => {
                let fields = Fields::of(&info.api_group, &info.api_version, &info.resource);
                matches!(knowledge.covering(&names::scope(info, &media), &fields, |_| true, false), Ok(Some(_)))
            }
        }
    });
    let what = format!("{} {}", info.resource, info.name);
    let message =
        || format!("the link to the cloud is down, and this node does not know {what} in this scope and representation");
    known.map_or_else(|| Refusal::unavailable(message()), |encoding| known_as(info, encoding))
}

pub(super) fn content_type(response: &mut Response, media: &Media, watch: bool) {
    if let Ok(value) = HeaderValue::try_from(media.content_type(watch)) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
}

pub(super) async fn list(offline: &Offline, knowledge: &Arc<Knowledge>, context: &Context) -> Result<Response, Refusal> {
    let info = &context.info;
    let selection = selection(context)?;
    let fields = fields(knowledge, info, &selection).await;
    window::is_allowed(&info.query)?;
    let window = Window::of(info).or_else(|refusal| is_selectable(&fields, &selection).and(Err(refusal)))?;
    let chain = offline.filters.chain(context).await?;
    let gone = knowledge.gone_here();
    let asks_for_items = !info.query.other;
    let mut refused = None;
    for (media, form) in offered(knowledge, context, chain.as_ref()).into_iter().filter(|_| asks_for_items) {
        let allowed =
            |known: &Header| window.allows(known.version_number()).is_ok() && !(is_kubelets_pods(context) && known.is_behind());
        if let Some(view) = knowledge.covering(&names::scope(info, &media), &fields, allowed, window.limit.is_some())? {
            if let Err(refusal) = window.allows(view.header.version_number()) {
                // Another representation may be of the state that is asked for.
                refused.get_or_insert(refusal.known_at(view.header.updated));
                continue;
            }
            let mut view = safe(offline, knowledge, context, view).await?;
            view.header.kind = kinds::list_kind(knowledge, info, &view.header).await;
            let view = with_local(knowledge, view).await?;
            offline.filters.told(context, chain.as_ref(), told_by(&view, gone));
            return items(knowledge, context, &media, Presented { view, chain, form }, (&window, &selection)).await;
        }
    }
    if let Some(refusal) = refused {
        return Err(refusal);
    }
    is_selectable(&fields, &selection)?;
    offline.filters.told(context, chain.as_ref(), By::Cloud);
    let copy = document::remembered(knowledge, context, chain.as_ref()).ok_or_else(|| unknown(knowledge, context))?;
    let mut copy = document::serve_filtered(context, copy, chain)?;
    warn_of_what_is_missing(knowledge, context, &mut copy);
    Ok(copy)
}

/// A copy of what the cloud has answered has nothing of what was written on this node: kubectl prints that.
fn warn_of_what_is_missing(knowledge: &Knowledge, context: &Context, copy: &mut Response) {
    if context.component != "kubectl" {
        return;
    }
    let media = Media { encoding: Encoding::Json, form: media::Form::Full };
    let waiting = knowledge.events_here(&names::scope(&context.info, &media));
    let text = format!("299 holdfast \"Events that wait on this node for the link are not in this copy: {waiting}\"");
    if let (Ok(value), true) = (HeaderValue::try_from(text), waiting > 0) {
        copy.headers_mut().append(WARNING, value);
    }
}

/// Kubelet ends the containers of what is missing in its list: where something may be missing there is none.
pub(super) async fn safe(
    offline: &Offline,
    knowledge: &Arc<Knowledge>,
    context: &Context,
    view: ListView,
) -> Result<ListView, Refusal> {
    if !is_kubelets_pods(context) {
        return Ok(view);
    }
    if view.header.is_behind() {
        return Err(Refusal::unavailable("the link to the cloud is down, and there were newer Pods than this node could keep"));
    }
    let (knowledge, node) = (knowledge.clone(), offline.node_name.clone());
    let media = Media { encoding: view.header.scope.encoding(), form: media::Form::Full };
    let wanted = names::scope(&context.info, &media);
    let look = move || view.may_lack_pods(&knowledge, &wanted, &node).map(|lacks| (view, lacks));
    let looked = tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())));
    match looked? {
        (view, false) => Ok(view),
        (_, true) => Err(Refusal::unavailable(
            "the link to the cloud is down, and this node has heard of newer Pods than are in this list",
        )),
    }
}

pub(super) fn is_kubelets_pods(context: &Context) -> bool {
    let info = &context.info;
    matches!(context.caller, Caller::Node) && info.api_group.is_empty() && info.resource == "pods" && info.verb != "get"
}

/// The collection with what was written on this node.
pub(super) async fn with_local(knowledge: &Arc<Knowledge>, view: ListView) -> Result<ListView, StoreError> {
    if !view.header.scope.may_be_written_here() {
        return Ok(view);
    }
    let knowledge = knowledge.clone();
    let read = move || view.with_local(&knowledge);
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())))
}

/// Who tells the client of it. `gone`: as much as it was before.
pub(super) fn told_by(view: &ListView, gone: u64) -> By {
    if view.written_here().is_empty() { By::Cloud } else { By::Node { gone } }
}

/// Refuses what is no selector.
pub(super) fn selection(context: &Context) -> Result<Selection, Refusal> {
    let query = &context.info.query;
    Selection::parse(&query.label_selector, &query.field_selector).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// Refuses to select by a field by which the kube-apiserver does not.
pub(super) fn is_selectable(fields: &Fields, selection: &Selection) -> Result<(), Refusal> {
    match selection.fields.fields().find_map(|field| fields.refusal(field)) {
        Some(refusal) => Err(Refusal::bad_request(refusal)),
        None => Ok(()),
    }
}

/// Among which items the kube-apiserver looks: of the newest state it has an index of what is each node's (of two
/// resources: `IndexFields` of their strategies in k8s.io/kubernetes/pkg/registry), and sees no others behind the last one.
fn looked_among(view: &ListView, window: &Window, selection: &Selection) -> Selection {
    let scope = &view.header.scope;
    let is_indexed = matches!((&*scope.group, &*scope.resource), ("", "pods") | ("resource.k8s.io", "resourceslices"));
    let fields = &selection.fields;
    let node = fields.exactly("spec.nodeName").or_else(|| fields.exactly("spec.host"));
    match node.filter(|_| is_indexed && window.is_of_newest()) {
        Some(node) => Selection::of_field("spec.nodeName", node),
        None => Selection::default(),
    }
}

/// What the list says of the state it is of, and of what there is behind its last item.
fn envelope(knowledge: &Knowledge, measured: &Measured, window: &Window, selection: &Selection) -> Result<Envelope, StoreError> {
    let view = &measured.shown.view;
    let TypeMeta { api_version, kind } = measured.shown.list_types();
    // Metadata and Tables are built-in types, whatever they are of.
    let sorted_keys = view.header.sorted_keys && matches!(measured.shown.form, Form::Whole);
    let mut envelope = Envelope { api_version, kind, sorted_keys, ..view.header.envelope() };
    let full = window.limit == Some(measured.items);
    if let Some(last) = measured.last.as_deref().filter(|_| full) {
        // One object by its name is not looked for behind itself; in several namespaces there may be others.
        let one = selection.fields.exactly("metadata.name").is_some() && !view.place(last).contains(&b'/');
        if one && window.after.is_none() {
            return Ok(envelope);
        }
        let behind = view.count_after(knowledge, last, &looked_among(view, window, selection))?;
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
    let envelope = envelope(knowledge, &measured, window, selection)?;
    let Measured { shown, bytes, items, .. } = measured;
    let ends = Ends::of(&shown.form, media.encoding, &envelope, bytes);
    // As Go writes a list that nobody has put anything in.
    let ends = if items == 0 && media.encoding == Encoding::Json && shown.form.is_null_without_items() {
        ends.around_null()
    } else {
        ends
    };
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(stream(knowledge.clone(), shown, from, ends, sender));
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

impl Ends {
    /// `bytes`: of the items in protobuf with their frames.
    fn of(form: &Form, encoding: Encoding, envelope: &Envelope, bytes: u64) -> Self {
        let (head, tail) = match (encoding, form) {
            (Encoding::Json, Form::Rows(table)) => {
                (list::envelope_table_head(envelope, &table.columns()), list::envelope_json_tail(envelope))
            }
            (Encoding::Json, _) => (list::envelope_json_head(envelope), list::envelope_json_tail(envelope)),
            (Encoding::Protobuf, _) => (list::envelope_proto_head(envelope, bytes), list::envelope_proto_tail()),
        };
        Self { head, tail }
    }

    /// The same of a JSON list with `null` for an array of items.
    fn around_null(mut self) -> Self {
        self.head.pop();
        self.head.extend_from_slice(b"null");
        self.tail.remove(0);
        self
    }
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
    let patience = Patience::begin();
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
        match patience.with(sender.send(Ok(Bytes::from(std::mem::take(&mut chunk))))).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return,
            None => {
                drop(shown);
                let _ = sender.send(Err(BodyError::Store(Patience::TOO_SLOW.to_owned()))).await;
                return;
            }
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
