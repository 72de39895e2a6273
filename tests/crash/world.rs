//! All that can be asked of a store, and what happens to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use holdfast::kube::list::Encoding;
use holdfast::kube::object;
use holdfast::runtime::metrics::Metrics;
use holdfast::store::record::{ListAsk, ObjectAsk, Subject, WatchAsk};
use holdfast::store::{
    Credential, Document, Entry, Found, Grant, Knowledge, Limits, ObjectKey, Parts, Reader, Recording, Scope, Sealer, Store,
    StoreError,
};

use crate::random::Random;

const COLLECTIONS: [&str; 3] = ["configmaps", "pods", "secrets"];
const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

pub fn open(store: Arc<dyn Store>) -> Result<Arc<Knowledge>, StoreError> {
    Knowledge::open(Parts {
        store,
        sealer: Sealer::new(&[1; 32]),
        metrics: Arc::new(Metrics::default()),
        limits: Limits::default(),
        tasks: tokio::runtime::Handle::current(),
    })
}

fn scope(resource: &str) -> Scope {
    Scope { version: "v1".into(), resource: resource.into(), namespace: "n".into(), ..Scope::default() }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey { scope: scope("widgets"), name: name.into() }
}

fn grant(name: &str) -> Grant {
    Grant { user: "u".into(), verb: "get".into(), thing: name.into() }
}

/// A version and the items.
type Collection = (u64, BTreeMap<String, String>);

/// What is known, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    collections: BTreeMap<&'static str, Collection>,
    /// `None`: known to be absent.
    objects: BTreeMap<&'static str, Option<String>>,
    documents: BTreeMap<&'static str, String>,
    grants: BTreeMap<&'static str, bool>,
    journal: Vec<(String, String)>,
}

impl World {
    /// What a store says.
    pub fn of(knowledge: &Knowledge) -> Result<Self, StoreError> {
        let mut world = Self::default();
        for resource in COLLECTIONS {
            let Some(view) = knowledge.list(&scope(resource))? else { continue };
            view.whole()?;
            let mut items = BTreeMap::new();
            view.visit(knowledge, None, &mut |_, item| {
                let name = object::meta(Encoding::Json, &item).unwrap().name;
                items.insert(name, String::from_utf8(item).unwrap());
                true
            })?;
            world.collections.insert(resource, (view.header.version_number(), items));
        }
        for name in NAMES {
            match knowledge.object(&key(name))? {
                Found::Object { item, .. } => drop(world.objects.insert(name, Some(String::from_utf8(item).unwrap()))),
                Found::Absent { .. } => drop(world.objects.insert(name, None)),
                Found::Lacking(_) | Found::Unknown => {}
            }
            if let Some(document) = knowledge.document(name)? {
                world.documents.insert(name, String::from_utf8(document.body).unwrap());
            }
            if let Some(granted) = knowledge.answer_to(&grant(name))? {
                world.grants.insert(name, granted);
            }
        }
        let entries = knowledge.entries(0, usize::MAX)?;
        world.journal = entries.into_iter().map(|(_, entry)| (entry.name, String::from_utf8(entry.body).unwrap())).collect();
        Ok(world)
    }

    /// What there is to know once `step` has been taken.
    pub fn after(&self, step: &Step) -> Self {
        let mut world = self.clone();
        match step.clone() {
            Step::List { resource, version, items, whole: true, .. } | Step::Stream { resource, version, items, whole: true } => {
                world.collections.insert(resource, (version, items));
            }
            Step::Event { resource, version, kind, name, item } => {
                let (current, items) = world.collections.get_mut(resource).unwrap();
                *current = version;
                match kind {
                    "DELETED" => drop(items.remove(name)),
                    _ => drop(items.insert(name.to_owned(), item)),
                }
            }
            Step::Object { name, item } => drop(world.objects.insert(name, item)),
            Step::Document { name, body } => drop(world.documents.insert(name, body)),
            Step::Right { name, granted: Some(granted) } => drop(world.grants.insert(name, granted)),
            Step::Right { name, granted: None } => drop(world.grants.remove(name)),
            Step::Accept { name, body } => world.journal.push((name, body)),
            Step::Deliver => drop(world.journal.remove(0)),
            Step::Discard { resource } => drop(world.collections.remove(resource)),
            Step::List { whole: false, .. } | Step::Stream { whole: false, .. } | Step::Sweep | Step::SettleDisk => {}
        }
        world
    }
}

/// What the cloud says, or a client asks for.
#[derive(Debug, Clone)]
pub enum Step {
    /// A list in so many pages; if not `whole`, the last one breaks off.
    List {
        resource: &'static str,
        version: u64,
        items: BTreeMap<String, String>,
        pages: usize,
        whole: bool,
    },
    /// A watch's initial events (`WatchList`); if not `whole`, it breaks off before the bookmark that ends them.
    Stream {
        resource: &'static str,
        version: u64,
        items: BTreeMap<String, String>,
        whole: bool,
    },
    /// Of a watch that has seen all before.
    Event {
        resource: &'static str,
        version: u64,
        kind: &'static str,
        name: &'static str,
        item: String,
    },
    Object {
        name: &'static str,
        item: Option<String>,
    },
    Document {
        name: &'static str,
        body: String,
    },
    Right {
        name: &'static str,
        granted: Option<bool>,
    },
    Accept {
        name: String,
        body: String,
    },
    /// The oldest Event is in the cloud.
    Deliver,
    Discard {
        resource: &'static str,
    },
    Sweep,
    SettleDisk,
}

fn item(name: &str, version: u64, random: &mut Random) -> String {
    // Now and then more than one batch of the list.
    let size = if random.one_in(25) { 90_000 } else { random.below(1500) };
    let padding = testkit::noise(size);
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"n","resourceVersion":"{version}"}},"data":{{"padding":"{padding}"}}}}"#
    )
}

impl Step {
    /// Whether its own end is a promise.
    pub fn is_promise(&self) -> bool {
        matches!(self, Self::Accept { .. } | Self::Deliver | Self::Discard { .. } | Self::SettleDisk)
    }

    /// One that may follow, with `version` as the cloud's.
    pub fn any(world: &World, version: u64, random: &mut Random) -> Self {
        let resource = random.of(&COLLECTIONS[..]);
        let name = random.of(&NAMES[..]);
        let known = world.collections.get(resource);
        match random.below(20) {
            0..=4 => {
                let names: Vec<_> = NAMES.into_iter().filter(|_| !random.one_in(3)).collect();
                let items = names.into_iter().map(|name| (name.to_owned(), item(name, version, random))).collect();
                let whole = !random.one_in(3);
                match random.below(2) {
                    0 => Self::Stream { resource, version, items, whole },
                    _ => Self::List { resource, version, items, pages: 1 + random.below(3), whole },
                }
            }
            5..=10 if known.is_some() => {
                let is_known = known.is_some_and(|(_, items)| items.contains_key(name));
                let kind = match is_known {
                    true => random.of(&["MODIFIED", "DELETED"]),
                    false => "ADDED",
                };
                Self::Event { resource, version, kind, name, item: item(name, version, random) }
            }
            11 | 12 => Self::Object { name, item: (!random.one_in(3)).then(|| item(name, version, random)) },
            13 => Self::Document { name, body: item(name, version, random) },
            14 => Self::Right { name, granted: [Some(true), Some(false), None][random.below(3)] },
            15 if !world.journal.is_empty() => Self::Deliver,
            16 if known.is_some() => Self::Discard { resource },
            17 => Self::Sweep,
            18 => Self::SettleDisk,
            _ => Self::Accept { name: format!("e-{version}"), body: "x".repeat(random.below(3000)) },
        }
    }

    /// Takes it. What it changes is visible a moment later.
    pub async fn take(&self, knowledge: &Arc<Knowledge>) -> Result<(), Box<dyn std::error::Error>> {
        match self.clone() {
            Self::List { resource, version, items, pages, whole } => {
                list(knowledge, (resource, version), &items, pages, whole).await;
            }
            Self::Stream { resource, version, items, whole } => {
                let mut body: String = items.values().map(|item| event("ADDED", item)).collect();
                if whole {
                    let end = r#""annotations":{"k8s.io/initial-events-end":"true"}"#;
                    body += &event("BOOKMARK", &format!(r#"{{"metadata":{{"resourceVersion":"{version}",{end}}}}}"#));
                }
                pass(knowledge.record(watch(resource, ""), false), &body, true).await;
            }
            Self::Event { resource, version, kind, item, .. } => {
                let (current, _) = World::of(knowledge)?.collections.remove(resource).ok_or("the collection is gone")?;
                debug_assert!(current < version);
                pass(knowledge.record(watch(resource, &current.to_string()), false), &event(kind, &item), true).await;
            }
            Self::Object { name, item: None } => knowledge.note_absent(&key(name)),
            Self::Object { name, item: Some(item) } => {
                let body = full(&item);
                let recording = knowledge.record(Subject::Object(ObjectAsk { key: key(name), reader: Reader::default() }), false);
                pass(recording, &body, true).await;
            }
            Self::Document { name, body } => {
                let head = Document { content_type: "text/plain".into(), ..Document::default() };
                let recording = knowledge.record(Subject::Document { name: name.into(), head }, false);
                pass(recording, &body, true).await;
            }
            Self::Right { name, granted: Some(true) } => knowledge.grant(&grant(name)),
            Self::Right { name, granted: Some(false) } => knowledge.deny(&grant(name)),
            Self::Right { name, granted: None } => knowledge.revoke(&grant(name)),
            Self::Accept { name, body } => {
                let target = "/api/v1/namespaces/n/events".into();
                let entry = Entry::new(target, name, "application/json".into(), Credential::Node, body.into_bytes());
                knowledge.accept(entry).await?;
            }
            Self::Deliver => {
                let (oldest, _) = knowledge.entries(0, 1)?.pop().ok_or("the Event is gone")?;
                knowledge.settle(oldest).await?;
            }
            Self::Discard { resource } => {
                let view = knowledge.list(&scope(resource))?.ok_or("the collection is gone")?;
                knowledge.discard(&view.header).await;
            }
            Self::Sweep => knowledge.sweep(|_| false).await?,
            Self::SettleDisk => _ = knowledge.settle_disk().await,
        }
        Ok(())
    }
}

/// Of all there is, if it goes on from nothing.
fn watch(resource: &str, from: &str) -> Subject {
    let (resource_version, send_initial_events) = (from.to_owned(), from.is_empty());
    Subject::Watch(WatchAsk { scope: scope(resource), resource_version, send_initial_events, reader: Reader::default() })
}

fn event(kind: &str, item: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", full(item))
}

fn full(item: &str) -> String {
    item.replacen('{', r#"{"kind":"K","apiVersion":"v1","#, 1)
}

async fn list(
    knowledge: &Arc<Knowledge>,
    (resource, version): (&str, u64),
    items: &BTreeMap<String, String>,
    pages: usize,
    whole: bool,
) {
    let items: Vec<&str> = items.values().map(String::as_str).collect();
    let size = items.len().div_ceil(pages).max(1);
    let pages: Vec<&[&str]> = if items.is_empty() { vec![&[]] } else { items.chunks(size).collect() };
    let token = |page: usize| if page == 0 { String::new() } else { format!("{version}-{page}") };
    for (page, items) in pages.iter().enumerate() {
        let last = page + 1 == pages.len();
        let next = if last { String::new() } else { format!(r#","continue":"{}""#, token(page + 1)) };
        let body = format!(
            r#"{{"kind":"KList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"{next}}},"items":[{}]}}"#,
            items.join(",")
        );
        let ask = ListAsk {
            scope: scope(resource),
            continue_token: token(page),
            quorum: true,
            reader: Reader::default(),
            started: u64::MAX,
        };
        pass(knowledge.record(Subject::List(ask), false), &body, whole || !last).await;
        come_to_rest(knowledge).await;
    }
}

/// Hands a body over as it comes from the network; not `whole`: the end is missing.
async fn pass(mut recording: Recording, body: &str, whole: bool) {
    let bytes = if whole { body.as_bytes() } else { &body.as_bytes()[..body.len() - 1] };
    for part in bytes.chunks(16 * 1024) {
        recording.push(&Bytes::copy_from_slice(part));
        tokio::task::yield_now().await;
    }
    if whole {
        recording.finish();
    }
}

/// Lets what takes answers apart run, then the writer. A write that fails is told to whom it concerns.
pub async fn come_to_rest(knowledge: &Knowledge) {
    for _ in 0..4 {
        for _ in 0..25 {
            tokio::task::yield_now().await;
        }
        let _ = knowledge.flush().await;
    }
}
