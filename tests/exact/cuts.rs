//! Whatever becomes of the link, a client that has listed once never lists again: its watch leads it to the cloud's state.
//!
//! Several writers change what is watched while the links to the cloud are cut, fall silent and come back, one of the two or
//! both, and the kube-apiserver begins anew without its past; and other processes take the hub's place. `HOLDFAST_CUTS` sets how often.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use holdfast::kube::watch::Framer;
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client, Streaming};
use testkit::hub::{Hub, eventually};
use testkit::lab;

use crate::follower::{Follower, HIDES, RULED, Scope};
use crate::link::{Link, State};
use crate::random::Random;
use crate::watches::{change, watched};
use crate::{hub_with, number, objects, seed};

const CUTS: u64 = 100;
const CLIENTS: usize = 30;
const WRITERS: usize = 3;

/// A client at work, and what is wrong with what it was told, once something is.
struct Following {
    follower: Arc<Mutex<Follower>>,
    wrong: Arc<OnceLock<String>>,
}

struct World {
    server: Apiserver,
    /// By each of them the hub reaches the server.
    links: [Link; 2],
    hub: Hub,
    /// Read by each process anew.
    _rules: tempfile::NamedTempFile,
    writers: Vec<(Client, Random)>,
    clients: Vec<Following>,
    /// Watches that were told a difference, and that were another's, by processes that others have taken over from.
    told: f64,
    shared: f64,
    heirs: usize,
}

#[tokio::test]
async fn through_a_hundred_cuts_no_client_lists_again() {
    let Some(lab) = lab() else { return };
    let cuts = number("HOLDFAST_CUTS").unwrap_or(CUTS);
    let mut random = Random::new(seed("cuts"));
    let mut world = World::begin(&lab, &mut random).await;
    for cut in 0..cuts {
        world.write(&mut random).await;
        match random.below(24) {
            0 | 1 => world.server_begins_anew(&mut random).await,
            2 => world.falls_silent(&[0, 1], &mut random).await,
            3 => world.falls_silent(&[random.below(2)], &mut random).await,
            4..7 => world.is_down().await,
            // The hub goes over to the other.
            7..11 => world.links[random.below(2)].is_up(false, &world.hub).await,
            11 => {
                world.is_down().await;
                world.is_taken_over().await;
            }
            12 => world.is_taken_over().await,
            // They may be back before anybody has noticed.
            _ => world.set(State::Cut),
        }
        world.write(&mut random).await;
        world.set(State::Up);
        if random.one_in(3) || cut + 1 == cuts {
            world.is_known_everywhere(cut).await;
        }
    }
    let events: usize = world.clients.iter().map(|client| client.follower.lock().unwrap().events).sum();
    world.count().await;
    let (told, shared) = (world.told, world.shared);
    assert!(cuts < CUTS || told > 0.0, "no difference was ever told");
    assert!(shared > 0.0, "no watch was ever shared");
    assert!(cuts < CUTS || world.heirs > 0, "no process was ever followed by another");
    println!(
        "{cuts} cuts, {} processes more, {events} events to {CLIENTS} clients, {told} differences, {shared} times a watch was another's",
        world.heirs
    );
}

/// A rule that hides some of what there is from some clients.
fn configuration(resources: &[&objects::Resource]) -> String {
    let resources: Vec<_> = resources.iter().map(|resource| resource.with_group()).collect();
    let (key, value) = HIDES;
    let rule = serde_json::json!({"name": "hides", "drop": true,
        "match": {"components": [RULED], "resources": resources, "labelSelector": {"matchLabels": {key: value}}}});
    serde_json::json!({"apiVersion": "holdfast.dev/v1alpha1", "kind": "HubConfiguration", "filters": [rule]}).to_string()
}

impl World {
    async fn begin(lab: &std::path::Path, random: &mut Random) -> Self {
        let server = Apiserver::start(lab).await.unwrap();
        let cloud = server.client().await.unwrap();
        objects::create(&cloud, random).await;
        let links = [Link::to(server.address).await, Link::to(server.address).await];
        let resources: Vec<_> = watched().collect();
        let rules = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(rules.path(), configuration(&resources)).unwrap();
        let flags = vec![format!("--config={}", rules.path().display())];
        let hub = hub_with(&server, links.iter().map(Link::url).collect(), flags).await;
        let mut clients = Vec::new();
        for number in 0..CLIENTS {
            let alpn = if random.one_in(3) { Alpn::H1 } else { Alpn::H2 };
            let client = hub.pod(TOKEN, alpn).await.unwrap();
            let scope = match clients.last() {
                // It shares the watch of the one before.
                Some(Following { follower, .. }) if number % 3 == 2 => follower.lock().unwrap().scope.clone(),
                _ => {
                    let scope = Scope::random(random, resources[number % resources.len()]);
                    if random.one_in(3) { scope.ruled() } else { scope }
                }
            };
            clients.push(Following::begin(&client, scope).await);
        }
        let mut world =
            Self { server, links, hub, _rules: rules, writers: Vec::new(), clients, told: 0.0, shared: 0.0, heirs: 0 };
        world.meet(random).await;
        world
    }

    /// Writers come to the server.
    async fn meet(&mut self, random: &mut Random) {
        self.writers.clear();
        for _ in 0..WRITERS {
            let seed = u64::try_from(random.below(1 << 30)).unwrap();
            self.writers.push((self.server.client().await.unwrap(), Random::new(seed)));
        }
    }

    async fn write(&mut self, random: &mut Random) {
        let times = random.below(12);
        join_all(self.writers.iter_mut().map(|(client, random)| change(client, random, times))).await;
    }

    fn set(&self, state: State) {
        self.links.iter().for_each(|link| link.set(state));
    }

    /// As the hub has noticed.
    async fn is_down(&self) {
        join_all(self.links.iter().map(|link| link.is_up(false, &self.hub))).await;
    }

    /// The hub notices of these links.
    async fn falls_silent(&mut self, which: &[usize], random: &mut Random) {
        which.iter().for_each(|link| self.links[*link].set(State::Silent));
        self.write(random).await;
        join_all(which.iter().map(|link| self.links[*link].verdict(false, &self.hub))).await;
    }

    /// Another process takes the hub's place.
    async fn is_taken_over(&mut self) {
        self.count().await;
        self.hub.hand_over().await.unwrap();
        self.heirs += 1;
    }

    /// What the process that serves has counted.
    async fn count(&mut self) {
        self.told += self.hub.metric("holdfast_watches_held_total{reason=\"the difference was told\"}").await.unwrap();
        self.shared += self.hub.metric("holdfast_watches_shared_total").await.unwrap();
    }

    /// It does not know any more what has happened before.
    async fn server_begins_anew(&mut self, random: &mut Random) {
        self.set(State::Cut);
        self.write(random).await;
        self.server.kill();
        self.server.run().await.unwrap();
        self.meet(random).await;
        let (cloud, _) = &self.writers[0];
        for resource in watched() {
            // That of custom resources is begun behind its readiness.
            let path = resource.path("", "") + "?limit=1";
            let is_served = async || Ok(cloud.get(&path).await?.status == 200);
            eventually("the kube-apiserver serves it again", Duration::from_secs(40), is_served).await.unwrap();
        }
    }

    /// What the hub says of what it could not remember.
    fn not_known(&self) -> String {
        let says_so = |line: &&str| ["not remembered", "not know", "cannot be told"].iter().any(|words| line.contains(words));
        self.hub.log().lines().filter(says_so).collect::<Vec<_>>().join("\n")
    }

    /// Waits until each client has what there is.
    async fn is_known_everywhere(&self, cut: u64) {
        let cloud = self.server.client().await.unwrap();
        for Following { follower, wrong } in &self.clients {
            let scope = follower.lock().unwrap().scope.clone();
            let (list, _) = scope.clone().of_clouds().list(&cloud).await;
            let known = eventually("its client knows what there is", Duration::from_secs(40), async || {
                Ok(wrong.get().is_some() || follower.lock().unwrap().objects == list)
            });
            let known = known.await.err().map(|error| format!("{error}: {}", follower.lock().unwrap().lacks(&list)));
            let wrong = wrong.get().cloned().or(known);
            assert!(wrong.is_none(), "{} in cut {cut}: {}\n{}", scope.name(), wrong.unwrap_or_default(), self.not_known());
        }
    }
}

impl Following {
    async fn begin(client: &Client, scope: Scope) -> Self {
        let (follower, stream) = Follower::begin(client, scope).await;
        let framer = follower.framer();
        let (follower, wrong) = (Arc::new(Mutex::new(follower)), Arc::new(OnceLock::new()));
        let (takes, ended) = (follower.clone(), wrong.clone());
        tokio::spawn(async move {
            let why = follow(&takes, framer, stream).await.err().unwrap_or_else(|| "its watch has ended".to_owned());
            let _ = ended.set(why);
        });
        Self { follower, wrong }
    }
}

/// Until the stream ends.
async fn follow(follower: &Mutex<Follower>, mut framer: Framer, mut stream: Streaming) -> Result<(), String> {
    while let Some(chunk) = stream.chunk().await.map_err(|error| error.to_string())? {
        let mut frames = Vec::new();
        framer.feed(chunk, &mut frames).map_err(|error| error.to_string())?;
        let mut follower = follower.lock().unwrap();
        frames.iter().try_for_each(|frame| follower.take(frame))?;
    }
    Ok(())
}
