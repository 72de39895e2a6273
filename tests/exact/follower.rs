//! A client that lists once and watches from there, and takes no event that does not follow from what it was told before.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use holdfast::kube::list::{Encoding, Limits, Piece, Splitter};
use holdfast::kube::object::{self, Meta};
use holdfast::kube::watch::{EventType, Frame, Framer};
use testkit::client::{Client, Streaming};

use crate::JSON;
use crate::compare::INITIAL_EVENTS_END;
use crate::objects::Resource;
use crate::random::Random;
use crate::requests::{METADATA, METADATA_LIST, WITH_INITIAL_EVENTS};

/// What it wants to know of.
#[derive(Clone)]
pub struct Scope {
    path: String,
    selector: &'static str,
    encoding: Encoding,
    metadata: bool,
    begins: Begins,
    /// The hub hides from it what [`HIDES`] says.
    ruled: bool,
}

/// How it comes to know what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// By a list, behind which it watches.
    List,
    /// By its watch, which says where that ends.
    Marked,
    /// By its watch, and it knows nothing of bookmarks.
    Plain,
}

/// The User-Agent of those that a rule of the hub's serves.
pub const RULED: &str = "ruled";
/// What the rule hides, as a label, and a selector that does the same.
pub const HIDES: (&str, &str) = ("tier", "2");
const AS_SELECTOR: &str = "labelSelector=tier!%3D2";

/// By namespace and name: what the object is, and its bytes in item form where it is whole.
pub type Objects = BTreeMap<(String, String), (Meta, Bytes)>;

pub struct Follower {
    pub scope: Scope,
    pub objects: Objects,
    /// What there is has been told, as far as that can be seen.
    is_complete: bool,
    version: u64,
    pub events: usize,
}

impl Scope {
    pub fn random(random: &mut Random, resource: &Resource) -> Self {
        let accepts = resource.accepts();
        let accept = accepts[random.below(accepts.len())];
        let namespace = if resource.namespaced && random.one_in(2) { "a" } else { "" };
        Self {
            path: resource.path(namespace, ""),
            selector: random.of(&["", "labelSelector=app%3Dweb", "labelSelector=tier+in+(1%2C2)%2Capp!%3Ddb"]),
            encoding: if accept == JSON { Encoding::Json } else { Encoding::Protobuf },
            metadata: random.one_in(4),
            begins: [Begins::List, Begins::List, Begins::Marked, Begins::Plain][random.below(4)],
            ruled: false,
        }
    }

    /// Of one that a rule serves: rules read JSON.
    pub fn ruled(self) -> Self {
        Self { ruled: true, selector: "", encoding: Encoding::Json, ..self }
    }

    /// What the cloud is to be asked for what its client is to know.
    pub fn of_clouds(self) -> Self {
        let selector = if self.ruled { AS_SELECTOR } else { self.selector };
        Self { ruled: false, selector, ..self }
    }

    fn fields(&self, metadata: [&'static str; 2]) -> Vec<(&'static str, &'static str)> {
        let agent = self.ruled.then_some(("user-agent", RULED));
        [("accept", self.accept(metadata))].into_iter().chain(agent).collect()
    }

    pub fn name(&self) -> String {
        let Self { path, selector, encoding, metadata, begins, ruled } = self;
        format!("{path}?{selector} {encoding:?} metadata: {metadata} begins: {begins:?} ruled: {ruled}")
    }

    fn accept(&self, metadata: [&'static str; 2]) -> &'static str {
        match (self.metadata, self.encoding) {
            (true, encoding) => metadata[usize::from(encoding == Encoding::Json)],
            (false, Encoding::Json) => JSON,
            (false, Encoding::Protobuf) => crate::PROTOBUF,
        }
    }

    fn item(&self, bytes: Bytes) -> ((String, String), (Meta, Bytes)) {
        let meta = object::meta(self.encoding, &bytes).unwrap();
        // A list of metadata says of each item what it is, an event does not.
        let bytes = if self.metadata { Bytes::new() } else { bytes };
        ((meta.namespace.clone(), meta.name.clone()), (meta, bytes))
    }

    /// What there is, and its version.
    pub async fn list(&self, client: &Client) -> (Objects, u64) {
        let target = format!("{}?{}", self.path, self.selector);
        let answer = client.request("GET", &target, &self.fields(METADATA_LIST), "").await.unwrap();
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        let (mut splitter, mut pieces) = (Splitter::new(self.encoding, Limits::ANSWER), Vec::new());
        splitter.feed(answer.body, &mut pieces).unwrap();
        let version = splitter.finish().unwrap().resource_version.parse().unwrap();
        let items = pieces.into_iter().filter_map(|piece| if let Piece::Item(bytes) = piece { Some(bytes) } else { None });
        (items.map(|bytes| self.item(bytes)).collect(), version)
    }
}

impl Follower {
    /// Lists, if its watch does not, and watches for hours.
    pub async fn begin(client: &Client, scope: Scope) -> (Self, Streaming) {
        let is_complete = scope.begins == Begins::List;
        let (objects, version) = if is_complete { scope.list(client).await } else { Default::default() };
        let from = match scope.begins {
            Begins::List => format!("resourceVersion={version}&allowWatchBookmarks=true"),
            Begins::Marked => format!("{WITH_INITIAL_EVENTS}&allowWatchBookmarks=true"),
            Begins::Plain => String::new(),
        };
        let Scope { path, selector, .. } = &scope;
        let target = format!("{path}?watch=1&timeoutSeconds=36000&{from}&{selector}");
        let stream = client.stream("GET", &target, &scope.fields(METADATA), "").await.unwrap();
        assert_eq!(stream.status, 200, "{target}");
        (Self { scope, objects, is_complete, version, events: 0 }, stream)
    }

    /// What it has otherwise: the place, its version here and in the list.
    pub fn lacks(&self, list: &Objects) -> String {
        let version = |objects: &Objects, place| objects.get(place).map(|(meta, _)| meta.resource_version.clone());
        let places: BTreeSet<_> = self.objects.keys().chain(list.keys()).collect();
        let pairs = places.into_iter().map(|place| (place, version(&self.objects, place), version(list, place)));
        let different: Vec<_> = pairs.filter(|(_, own, listed)| own != listed).collect();
        format!("told up to {}, {different:?}", self.version)
    }

    pub fn framer(&self) -> Framer {
        Framer::new(self.scope.encoding, Limits::ANSWER.max_item)
    }

    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, frame: &Frame) -> Result<(), String> {
        let (kind, full) = (frame.event.kind, &frame.event.object);
        let wrong = |why: &str| {
            Err(format!(
                "{why}: {kind:?} of {:?}: {}",
                object::version(self.scope.encoding, full),
                String::from_utf8_lossy(&frame.raw[..frame.raw.len().min(300)])
            ))
        };
        if kind == EventType::Error {
            return wrong("an error");
        }
        let version = object::version(self.scope.encoding, full).unwrap_or_default();
        if kind == EventType::Bookmark {
            if self.scope.begins == Begins::Plain {
                return wrong("nobody has asked for one");
            }
            self.is_complete |= full.windows(INITIAL_EVENTS_END.len()).any(|bytes| bytes == INITIAL_EVENTS_END);
        }
        if self.is_complete && version < self.version {
            return wrong(&format!("an earlier version than {}", self.version));
        }
        if self.is_complete {
            self.version = version;
        }
        self.events += 1;
        if kind == EventType::Bookmark {
            return Ok(());
        }
        let (_, item) = object::into_item(self.scope.encoding, full).map_err(|error| error.to_string())?;
        let (place, object) = self.scope.item(item);
        let before = self.objects.get(&place).map(|(meta, _)| meta.clone());
        let is_news = |before: &Meta| before.resource_version.parse::<u64>().unwrap() < version && before.uid == object.0.uid;
        match (kind, before) {
            (EventType::Added, None) => self.objects.insert(place, object),
            (EventType::Modified, Some(before)) if is_news(&before) => self.objects.insert(place, object),
            (EventType::Deleted, Some(before)) if is_news(&before) => self.objects.remove(&place),
            (_, before) => return wrong(&format!("after {before:?}")),
        };
        Ok(())
    }
}
