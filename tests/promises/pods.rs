//! Kubelet's Pods never become fewer by a fault: it kills what is missing from its list.
//!
//! Pods come and go at random, and so do the link, the hub (kill -9), room on its disk and the cloud's history; lists come
//! whole, in pages, and broken in every way, and others read the same Pods in scopes and encodings of their own. Each list
//! that kubelet gets must be what the cloud had at the version it names, that must not be older than the last complete
//! answer, and no Pod may be missing that anybody was told of from later; anything else is to be an error. The seed is
//! printed; `HOLDFAST_SEED` plays it again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;
use holdfast::kube::list::{Encoding, Limits, Piece, Splitter};
use holdfast::kube::object;
use holdfast::kube::watch::{EventType, Framer};
use testkit::client::{Alpn, Client, Response};
use testkit::disk::SmallDisk;
use testkit::fake::Fault;
use testkit::skipped;

use super::*;
use crate::random::Random;

const PODS: &str = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";
const STEPS: usize = 90;
/// Bytes of the disk that the node's knowledge is on.
const DISK: usize = 4 << 20;
/// Stories that were lost once: a list that had just been told was not yet known when the link broke; another collection
/// than kubelet's own was as old, but not known to be; somebody else had been told of more.
const REGRESSIONS: [(u64, usize); 3] = [(1_795_668_052_567, 12), (1_795_709_781_288, 13), (3, 16)];
/// Kinds of steps. A story of 12 knows no full disk, one of 13 nobody who reads otherwise than kubelet, and in one of 16 a
/// cut lasts longer: whom the node owes an error has one until its end.
const KINDS: usize = 18;
/// What a client waits for a whole answer while a server misbehaves, and while the link is cut.
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(5);
/// What was remembered longer ago survives kill -9 without a promise; docs/store-format.md.
const DURABLE_WITHIN: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn kubelets_pods_never_become_fewer_by_a_fault_in_json() {
    tell(Encoding::Json).await;
}

#[tokio::test]
async fn kubelets_pods_never_become_fewer_by_a_fault_in_protobuf() {
    tell(Encoding::Protobuf).await;
}

async fn tell(encoding: Encoding) {
    let Some(disk) = SmallDisk::mount(DISK) else { return skipped("root, to mount a small disk") };
    drop(disk);
    let given = std::env::var("HOLDFAST_SEED").ok().map(|text| text.parse().expect("HOLDFAST_SEED is a number"));
    let stories = match given {
        Some(seed) => vec![(seed, KINDS)],
        None => REGRESSIONS.into_iter().chain([(random::seed(), KINDS)]).collect(),
    };
    for (seed, kinds) in stories {
        Story::play(encoding, seed, kinds).await;
    }
}

/// Somebody with a right of its own goes on from versions that never were, and lists from them: where it stands is no news of
/// the Pods.
#[tokio::test]
async fn what_others_say_that_they_have_seen_takes_no_pods_from_kubelet() {
    let rig = Rig::start(FakeOptions::default()).await;
    rig.fake.add_token("agent", "agent", &[]);
    for verb in ["list", "watch"] {
        rig.fake.allow("agent", verb, "pods", "*", "*");
    }
    rig.put_pod("p-1");
    let kubelet = rig.hub.kubelet().await.unwrap();
    let known = kubelet.get(PODS).await.unwrap();
    rig.remembered(1.0).await;
    let agent = rig.hub.pod("agent", Alpn::H2).await.unwrap();
    let mut watches = Vec::new();
    for asked in ["watch=1", "watch=1", "watch=1&allowWatchBookmarks=true", "limit=1"] {
        let watch = agent.stream("GET", &format!("{PODS}&{asked}&resourceVersion=999999"), &[], "").await.unwrap();
        // The first watch is sent back to list, if the node has kubelet's by then.
        assert!(matches!(watch.status.as_u16(), 200 | 410 | 504), "{asked}: {}", watch.status);
        watches.push(watch);
    }
    assert!(watches.iter().any(|watch| watch.status == 200), "none is open");
    // What is on its way to the store is there before the Event's answer.
    rig.post_event("known").await;
    rig.fake.fault(Fault::Refuse);
    let answer = kubelet.get(PODS).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body), (200, known.body));
}

struct Story {
    rig: Rig,
    disk: SmallDisk,
    full: bool,
    encoding: Encoding,
    random: Random,
    /// The cloud's Pods at each version at which they changed.
    history: BTreeMap<u64, BTreeSet<String>>,
    told: Vec<Told>,
    /// What somebody else was told.
    told_else: Vec<(Told, BTreeSet<String>)>,
    cut: bool,
    lists: usize,
    events: usize,
    refused: usize,
    log: Vec<String>,
}

/// A complete answer.
struct Told {
    at: Instant,
    version: u64,
    /// There was no room for it on the disk, or there may have been none.
    homeless: bool,
}

impl Story {
    async fn play(encoding: Encoding, seed: u64, kinds: usize) {
        println!("HOLDFAST_SEED={seed} {encoding:?}");
        let disk = SmallDisk::mount(DISK).unwrap();
        let flags = vec![format!("--disk-cache-path={}", disk.path().display())];
        let rig = Rig::with(FakeOptions { http2: !seed.is_multiple_of(3), ..FakeOptions::default() }, flags).await;
        let history = BTreeMap::from([(0, BTreeSet::new())]);
        let (told, told_else, random) = (Vec::new(), Vec::new(), Random::new(seed));
        let log = vec![format!("HOLDFAST_SEED={seed} {encoding:?}")];
        let (cut, full, lists, events, refused) = (false, false, 0, 0, 0);
        let mut story = Self { rig, disk, full, encoding, random, history, told, told_else, cut, lists, events, refused, log };
        (0..4).for_each(|_| story.change());
        story.rig.post_event("online").await;
        story.list(LONG).await;
        for step in 0..STEPS {
            story.step(step, kinds).await;
        }
        println!("{} lists were complete, {} events, {} errors", story.lists, story.events, story.refused);
        assert!(story.lists > STEPS / 12, "too few answers for a test: {:#?}", story.log);
    }

    async fn step(&mut self, step: usize, kinds: usize) {
        match self.random.below(kinds) {
            0 | 1 => self.change(),
            2 | 3 if !self.cut => self.spoiled().await,
            4 | 5 | 16.. if self.cut => self.restore().await,
            4 if !self.cut => self.cut(),
            5 | 6 if !self.cut => self.watch().await,
            7 if self.random.one_in(2) => self.kill(step).await,
            8 => self.somebody_lists().await,
            12 => self.fill_or_free(),
            13..16 if !self.cut => self.somebody_reads().await,
            _ => self.list(LONG).await,
        }
    }

    fn note(&mut self, what: impl std::fmt::Debug) {
        self.log.push(format!("{what:?}"));
    }

    /// A Pod comes, or one goes.
    fn change(&mut self) {
        let mut pods = self.history.values().next_back().unwrap().clone();
        let name = format!("p-{}", self.random.below(8));
        let version = if pods.contains(&name) && self.random.one_in(2) {
            pods.remove(&name);
            self.rig.fake.delete("pods", "story", &name).unwrap()
        } else {
            pods.insert(name.clone());
            self.rig.put_pod(&name)
        };
        self.note(("the cloud has", version, &pods));
        self.history.insert(version, pods);
    }

    fn cut(&mut self) {
        let fault = *self.random.of(&[&Fault::Refuse, &Fault::Reset, &Fault::Silence]);
        self.note(("cut", fault));
        self.rig.fake.fault(fault);
        self.cut = true;
    }

    async fn restore(&mut self) {
        self.note("restored");
        self.rig.fake.heal().unwrap();
        self.rig.link_is(1.0).await;
        self.cut = false;
    }

    fn fill_or_free(&mut self) {
        self.full = !self.full;
        self.note(("the disk is full", self.full));
        if !self.full {
            return self.disk.free().unwrap();
        }
        self.disk.fill().unwrap();
        let now = Instant::now();
        let told = self.told.iter_mut().chain(self.told_else.iter_mut().map(|(told, _)| told));
        told.filter(|told| told.at + DURABLE_WITHIN > now).for_each(|told| told.homeless = true);
    }

    fn told(&mut self, version: u64) {
        self.told.push(self.told_now(version));
    }

    fn told_now(&self, version: u64) -> Told {
        Told { at: Instant::now(), version, homeless: self.full }
    }

    /// A list that meets a server's fault.
    async fn spoiled(&mut self) {
        let at = self.random.below(600);
        let faults = [
            Fault::TruncateBody(at),
            Fault::StallBody(at),
            Fault::WrongContentLength,
            Fault::BadChunk,
            Fault::StallHeaders,
            Fault::Reset,
            Fault::GoAway,
            Fault::Garbage,
            Fault::Status([403, 410, 429, 500, 503][self.random.below(5)]),
        ];
        let fault = *self.random.of(&faults.each_ref());
        self.note(fault);
        self.rig.fake.fault_at("/api/v1/pods", fault);
        self.list(SHORT).await;
        self.rig.fake.heal().unwrap();
    }

    /// Somebody else's list, of which kubelet's is a part.
    async fn somebody_lists(&mut self) {
        let client = self.rig.hub.kubelet().await.unwrap();
        let headers = [("user-agent", "flanneld/v1"), ("accept", accept(self.encoding))];
        let asked = client.request("GET", "/api/v1/pods", &headers, "");
        let _ = tokio::time::timeout(LONG, asked).await;
    }

    /// Somebody reads all Pods of a namespace, some of the node's or one, in this encoding or the other.
    async fn somebody_reads(&mut self) {
        let name = format!("p-{}", self.random.below(8));
        let encoding = *self.random.of(&[&Encoding::Json, &Encoding::Protobuf]);
        let paths = [
            "/api/v1/pods".to_owned(),
            "/api/v1/namespaces/story/pods".to_owned(),
            format!("/api/v1/namespaces/story/pods/{name}"),
            format!("/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1,metadata.name%3D{name}"),
        ];
        let path = paths[self.random.below(paths.len())].as_str();
        self.change();
        let client = self.rig.hub.kubelet().await.unwrap();
        let headers = [("user-agent", "agent/v1"), ("accept", accept(encoding))];
        let answer = tokio::time::timeout(LONG, client.request("GET", path, &headers, "")).await;
        // The link holds, or the answer is of no use here.
        let Ok(Ok(answer)) = answer else { return };
        if answer.status != 200 || !answer.header("cache-status").is_empty() {
            return;
        }
        let (version, names) = if path.ends_with(&name) && !path.contains('?') {
            let (_, item) = object::into_item(encoding, &answer.body).unwrap();
            let meta = object::meta(encoding, &item).unwrap();
            (meta.resource_version.parse().unwrap(), BTreeSet::from([meta.name]))
        } else {
            let page = Page::of(encoding, &answer).unwrap();
            (page.version, page.names)
        };
        self.note(("somebody read", encoding, path, version, &names));
        // What is queued is not known yet, and may never be where there is no room.
        if !self.full {
            self.told_else.push((self.told_now(version), names));
        }
    }

    /// kill -9, and a new start.
    async fn kill(&mut self, step: usize) {
        let promised = self.cut && self.random.one_in(2) && {
            let answer = self.rig.try_event(&format!("e-{step}")).await;
            answer.status == 201
        };
        let killed = Instant::now();
        self.rig.hub.kill();
        // The last second may be lost, and what there was no room for.
        let is_kept = |told: &Told| !told.homeless && (promised || told.at + DURABLE_WITHIN < killed);
        self.told.retain(is_kept);
        self.told_else.retain(|(told, _)| is_kept(told));
        self.note(("killed", promised, self.least()));
        self.rig.hub.run().await.unwrap();
    }

    /// The version that no list may be older than.
    fn least(&self) -> u64 {
        self.told.iter().map(|told| told.version).max().unwrap_or(0)
    }

    /// Kubelet lists, in one piece or in pages.
    async fn list(&mut self, patience: Duration) {
        let client = self.rig.hub.kubelet().await.unwrap();
        let query = self.random.of(&["", "", "&resourceVersion=0", "&limit=2"]);
        let (mut names, mut versions, mut token) = (BTreeSet::new(), BTreeSet::new(), String::new());
        loop {
            let path = format!("{PODS}{query}{}", if token.is_empty() { String::new() } else { format!("&continue={token}") });
            let headers = [("accept", accept(self.encoding))];
            let answer = tokio::time::timeout(patience, client.request("GET", &path, &headers, "")).await;
            let Some(answer) = self.accepted(answer.map_err(anyhow::Error::from).flatten()) else {
                self.refused += 1;
                return;
            };
            let page = Page::of(self.encoding, &answer);
            let page = page.unwrap_or_else(|error| panic!("{error}: {answer:?}\n{:#?}", self.log));
            names.extend(page.names);
            versions.insert(page.version);
            token = page.token;
            if token.is_empty() {
                break;
            }
            match self.random.below(4) {
                0 => self.change(),
                1 => self.rig.fake.compact(),
                2 if !self.cut => self.cut(),
                _ => {}
            }
        }
        self.lists += 1;
        self.note(("listed", query, &versions, &names));
        let version = *versions.first().unwrap();
        assert_eq!(versions.len(), 1, "pages of one version: {:#?}", self.log);
        let (_, truth) = self.history.range(..=version).next_back().unwrap();
        assert_eq!(&names, truth, "as the cloud had it at {version}: {:#?}", self.log);
        assert!(version >= self.least(), "{version} is older than what was told, {}: {:#?}", self.least(), self.log);
        for (told, others) in self.told_else.iter().filter(|(told, _)| told.version > version) {
            assert!(others.is_subset(&names), "{others:?} were there at {}: {:#?}", told.version, self.log);
        }
        self.told(version);
    }

    /// The answer, unless it is an error and says so.
    fn accepted(&mut self, answer: anyhow::Result<Response>) -> Option<Response> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.note(error);
                return None;
            }
        };
        let status = answer.status.as_u16();
        if status != 200 {
            self.note((status, answer.text()));
            assert!(matches!(status, 401 | 403 | 410 | 429 | 500..), "absent is what the cloud has not: {:#?}", self.log);
            return None;
        }
        Some(answer)
    }

    /// Kubelet lists, and follows what changes from there on.
    async fn watch(&mut self) {
        self.list(LONG).await;
        let client = self.rig.hub.kubelet().await.unwrap();
        let path = format!("{PODS}&watch=1&resourceVersion={}", self.least());
        let headers = [("accept", accept(self.encoding))];
        if let Err(error) = self.follow(&client, &path, &headers).await {
            self.note(("the watch was of no use", error));
        }
    }

    async fn follow(&mut self, client: &Client, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut watch = tokio::time::timeout(LONG, client.stream("GET", path, headers, "")).await??;
        anyhow::ensure!(watch.status == 200, "{}", watch.status);
        self.change();
        let newest = *self.history.keys().next_back().unwrap();
        let mut framer = Framer::new(self.encoding, 1 << 20);
        while self.least() < newest {
            let data = tokio::time::timeout(LONG, watch.chunk()).await??.unwrap_or_default();
            anyhow::ensure!(!data.is_empty(), "ended");
            let mut frames = Vec::new();
            framer.feed(data, &mut frames)?;
            for event in frames.into_iter().map(|frame| frame.event) {
                anyhow::ensure!(matches!(event.kind, EventType::Added | EventType::Modified | EventType::Deleted));
                let (_, item) = object::into_item(self.encoding, &event.object)?;
                let meta = object::meta(self.encoding, &item)?;
                self.note((event.kind.as_str(), &meta.name, &meta.resource_version));
                self.events += 1;
                self.told(meta.resource_version.parse()?);
            }
        }
        Ok(())
    }
}

fn accept(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
    }
}

/// A list, or a part of one, as kubelet reads it.
struct Page {
    names: BTreeSet<String>,
    version: u64,
    token: String,
}

impl Page {
    fn of(encoding: Encoding, answer: &Response) -> anyhow::Result<Self> {
        let mut splitter = Splitter::new(encoding, Limits { max_item: 1 << 20, max_head: 1 << 16 });
        let mut pieces = Vec::new();
        splitter.feed(Bytes::clone(&answer.body), &mut pieces)?;
        let envelope = splitter.finish()?;
        let mut names = BTreeSet::new();
        for piece in pieces {
            if let Piece::Item(item) = piece {
                names.insert(object::meta(encoding, &item)?.name);
            }
        }
        let (version, token) = (envelope.resource_version.parse()?, envelope.continue_token.unwrap_or_default());
        Ok(Self { names, version, token })
    }
}
