//! A small API server for tests: real enough for clients and proxies, and able to misbehave.
//!
//! It keeps objects in memory, serves them over TLS with HTTP/2 and HTTP/1.1 in the byte style of
//! the real server, records every request, and has [`Fault`]s that can be switched on and off while
//! it runs. It admits anything: no validation, no defaulting, no controllers.
//!
//! Invariant: every method takes effect before it returns; nothing needs a pause after it. It runs
//! as tasks of the runtime it was started on, and ends when dropped.

mod access;
mod body;
mod fault;
mod json;
mod line;
mod list;
mod media;
mod oddities;
mod proto;
mod request;
mod resource;
mod selector;
mod server;
mod special;
mod stamp;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod watch;
mod write;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Version};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch as channel;

pub use self::access::User;
pub use self::fault::Fault;
pub use self::state::Damage;

use self::access::{Access, Rule};
use self::body::{Reply, reply};
use self::fault::{Faults, Scope};
use self::media::Media;
use self::request::{Call, Query, Target};
use self::resource::Resource;
use self::server::Door;
use self::state::State;
use self::status::Failure;
use self::tls::LateVerifier;
use crate::pki::{Identity, Pki};

/// How the server is set up.
pub struct FakeOptions {
    /// Port 0 for any.
    pub listen: SocketAddr,
    /// The authority of server and clients; a new one if none.
    pub pki: Option<Arc<Pki>>,
    /// The serving certificate; one for `localhost`, `kubernetes.default` and 127.0.0.1 if none.
    pub identity: Option<Identity>,
    /// Whose client certificates count, if not those of `pki`. PEM.
    pub client_ca_pem: Option<String>,
    /// Offer h2 before http/1.1.
    pub http2: bool,
    /// The HTTP/2 setting of that name.
    pub max_concurrent_streams: u32,
    /// Requests without credentials are `system:anonymous`, not refused with 401.
    pub anonymous: bool,
    /// Compress bodies over 128 KiB for clients that take gzip.
    pub gzip: bool,
    /// How often watches get a bookmark, if they ask for any.
    pub bookmark_every: Duration,
    /// The kube-apiserver's gate of that name: a bookmark ends the initial events of a watch, whether or not it has asked for
    /// them; without the gate none does, and to ask is forbidden.
    pub watch_list: bool,
    /// How many of the latest requests are kept.
    pub keep_requests: usize,
}

impl Default for FakeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            pki: None,
            identity: None,
            client_ca_pem: None,
            http2: true,
            max_concurrent_streams: 250,
            anonymous: false,
            gzip: false,
            bookmark_every: Duration::from_secs(60),
            watch_list: true,
            keep_requests: 100_000,
        }
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    /// The common name of a client certificate that verifies.
    pub client_cn: Option<String>,
    pub version: Version,
    pub body: Bytes,
}

impl Recorded {
    /// A header's text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// How many connections there are and were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    pub live: usize,
    pub accepted: u64,
}

/// A running server.
pub struct Fake {
    shared: Arc<Shared>,
    pki: Arc<Pki>,
    runtime: Handle,
    acceptor: tokio::task::JoinHandle<()>,
}

/// What connections, watches and the handle share.
struct Shared {
    state: Mutex<State>,
    access: Mutex<Access>,
    faults: Faults,
    door: Door,
    addr: SocketAddr,
    recorded: Mutex<VecDeque<Recorded>>,
    /// The path and query of every request whose answer has not ended.
    open: Mutex<Vec<String>>,
    keep_requests: usize,
    /// The version of the last change.
    changed: channel::Sender<u64>,
    tls: Mutex<Arc<ServerConfig>>,
    verifier: Arc<LateVerifier>,
    http2: bool,
    max_concurrent_streams: u32,
    anonymous: bool,
    gzip: bool,
    bookmark_every: Duration,
    watch_list: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fake {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound, or a given certificate cannot be read.
    pub async fn start(options: FakeOptions) -> anyhow::Result<Self> {
        let pki = options.pki.unwrap_or_else(|| Arc::new(Pki::new()));
        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "::1"];
        let identity = options.identity.unwrap_or_else(|| pki.server(&names));
        let verifier = LateVerifier::new(options.client_ca_pem.as_deref().unwrap_or(pki.ca_pem()))?;
        let tls = tls::server_config(&identity, Arc::clone(&verifier), options.http2)?;
        let door = Door::default();
        let addr = door.open(options.listen)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new()),
            access: Mutex::default(),
            faults: Faults::default(),
            door,
            addr,
            recorded: Mutex::default(),
            open: Mutex::default(),
            keep_requests: options.keep_requests,
            changed: channel::Sender::new(0),
            tls: Mutex::new(tls),
            verifier,
            http2: options.http2,
            max_concurrent_streams: options.max_concurrent_streams,
            anonymous: options.anonymous,
            gzip: options.gzip,
            bookmark_every: options.bookmark_every,
            watch_list: options.watch_list,
        });
        let acceptor = tokio::spawn(server::run(Arc::clone(&shared)));
        let fake = Self { shared, pki, runtime: Handle::current(), acceptor };
        fake.populate();
        Ok(fake)
    }

    /// What every cluster has.
    fn populate(&self) {
        for name in ["default", "kube-system"] {
            self.put("namespaces", "", name, json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}));
            self.put("serviceaccounts", name, "default", json!({}));
        }
        let spec = json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "type": "ClusterIP",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]});
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let service = json!({"metadata": {"labels": labels}, "spec": spec, "status": {"loadBalancer": {}}});
        self.put("services", "default", "kubernetes", service);
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("https://{}", self.shared.addr)
    }

    /// The authority of [`FakeOptions::pki`]; that of the server unless it was given a certificate.
    pub fn ca_pem(&self) -> &str {
        self.pki.ca_pem()
    }

    /// The authority itself, for client certificates.
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// New connections get this serving certificate.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn set_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        let config = tls::server_config(identity, Arc::clone(&self.shared.verifier), self.shared.http2)?;
        *lock(&self.shared.tls) = config;
        Ok(())
    }

    /// Every request since the start or the last [`Fake::clear_requests`], in order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.recorded).iter().cloned().collect()
    }

    /// Forgets the requests.
    pub fn clear_requests(&self) {
        lock(&self.shared.recorded).clear();
    }

    /// How many requests for just this path and query have come whose answers have not ended.
    pub fn open(&self, path_and_query: &str) -> usize {
        lock(&self.shared.open).iter().filter(|open| *open == path_and_query).count()
    }

    /// Connections open now and accepted ever.
    pub fn connections(&self) -> Connections {
        let (live, accepted) = self.shared.door.counts();
        Connections { live, accepted }
    }

    /// Stores an object, whatever was there; returns its version. `resource` is `configmaps`,
    /// `v1/configmaps` or `GROUP/VERSION/PLURAL`; `namespace` is empty for cluster-scoped ones.
    pub fn put(&self, resource: &str, namespace: &str, name: &str, object: Value) -> u64 {
        let resource = Resource::from_short(resource);
        self.shared.write(|state| state.put(&resource, namespace, name, object).rv)
    }

    /// [`Fake::put`] by API path, `/api/v1/namespaces/NS/configmaps/NAME`.
    ///
    /// # Errors
    /// When the path names no object.
    pub fn put_path(&self, path: &str, object: Value) -> anyhow::Result<u64> {
        let target = named(path)?;
        Ok(self.shared.write(|state| state.put(&target.resource, target.home(), &target.name, object).rv))
    }

    /// [`Fake::put`] of an object whose bytes come damaged, in lists, alone and in events: `damage` is done to its item
    /// form in each encoding.
    pub fn put_damaged(&self, resource: &str, names: (&str, &str), object: Value, damage: Damage) -> u64 {
        let resource = Resource::from_short(resource);
        self.shared.write(|state| state.put_damaged(&resource, names, object, damage).rv)
    }

    /// Removes an object; returns the version of that, or nothing if there was none.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> Option<u64> {
        let resource = Resource::from_short(resource);
        self.shared.write(|state| state.remove(&resource, namespace, name)).map(|object| object.rv)
    }

    /// [`Fake::delete`] by API path.
    ///
    /// # Errors
    /// When the path names no object.
    pub fn delete_path(&self, path: &str) -> anyhow::Result<Option<u64>> {
        let target = named(path)?;
        let removed = self.shared.write(|state| state.remove(&target.resource, target.home(), &target.name));
        Ok(removed.map(|object| object.rv))
    }

    /// An object as stored.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self.shared.state().read(&Resource::from_short(resource), namespace, name);
        found.map(|object| object.value.clone())
    }

    /// The newest version.
    pub fn resource_version(&self) -> u64 {
        self.shared.state().rv()
    }

    /// Goes back to an earlier version that was not compacted, as a cluster whose etcd is restored. To be done while
    /// nobody watches.
    pub fn rewind(&self, version: u64) {
        self.shared.write(|state| state.rewind(version));
    }

    /// Forgets all history: older versions now answer 410.
    pub fn compact(&self) {
        self.shared.state().compact();
    }

    /// Accepts a bearer token as this user's.
    pub fn add_token(&self, token: &str, user: &str, groups: &[&str]) {
        let user = User::new(user, groups.iter().map(|group| (*group).to_owned()));
        self.shared.access().add_token(token, user, None);
    }

    /// Accepts the token no longer.
    pub fn remove_token(&self, token: &str) {
        self.shared.access().remove_token(token);
    }

    /// Lets a user, or a group, do something. `*` stands for anything; a subresource is
    /// `pods/log`, a path that is no resource is given as the resource.
    pub fn allow(&self, user: &str, verb: &str, resource: &str, namespace: &str, name: &str) {
        self.shared.access().add_rule(Rule {
            user: user.to_owned(),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        });
    }

    /// Takes back all that was allowed.
    pub fn forbid_all(&self) {
        self.shared.access().clear_rules();
    }

    /// Puts a fault in force for everything, until [`Fake::heal`].
    pub fn fault(&self, fault: Fault) {
        let door = &self.shared.door;
        match fault {
            Fault::GoAway => door.lines().iter().for_each(|line| line.go_away()),
            Fault::Garbage | Fault::GarbageTls => door.meet(Some(fault)),
            Fault::Freeze => door.lines().iter().for_each(|line| line.freeze()),
            Fault::Silence => {
                door.meet(Some(fault));
                door.lines().iter().for_each(|line| line.freeze());
            }
            Fault::Reset => {
                door.meet(Some(fault));
                door.lines().iter().for_each(|line| line.cut(true));
            }
            Fault::Refuse => {
                door.close();
                door.lines().iter().for_each(|line| line.cut(false));
            }
            _ => self.shared.faults.add(Scope::All, fault),
        }
    }

    /// Puts a fault in force for the next request whose path and query start with `prefix`. A fault of connections then
    /// meets the one that it came on.
    pub fn fault_next(&self, prefix: &str, fault: Fault) {
        self.shared.faults.add(Scope::Next(prefix.to_owned()), fault);
    }

    /// Puts a fault in force for requests whose path and query start with `prefix`, until [`Fake::heal`].
    pub fn fault_at(&self, prefix: &str, fault: Fault) {
        self.shared.faults.add(Scope::Prefix(prefix.to_owned()), fault);
    }

    /// Ends all faults: frozen connections go on, and it listens again on the same port.
    ///
    /// # Errors
    /// When the port was taken in the meantime.
    pub fn heal(&self) -> anyhow::Result<()> {
        self.shared.faults.clear();
        self.shared.door.meet(None);
        if !self.shared.door.is_open() {
            let _inside = self.runtime.enter();
            self.shared.door.open(self.shared.addr)?;
        }
        self.shared.door.lines().iter().for_each(|line| line.thaw());
        Ok(())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.shared.door.close();
        self.shared.door.lines().iter().for_each(|line| line.cut(false));
    }
}

fn named(path: &str) -> anyhow::Result<Target> {
    let target = Target::parse(&Method::GET, path, &Query::default()).filter(|target| !target.name.is_empty());
    target.ok_or_else(|| anyhow::anyhow!("{path} is not the path of an object"))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn access(&self) -> MutexGuard<'_, Access> {
        lock(&self.access)
    }

    fn tls_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&lock(&self.tls))
    }

    fn authority(&self) -> String {
        self.addr.to_string()
    }

    fn record(&self, request: Recorded) {
        let mut recorded = lock(&self.recorded);
        recorded.push_back(request);
        if recorded.len() > self.keep_requests {
            recorded.pop_front();
        }
    }

    /// Changes the state, then wakes the watches.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        self.changed.send_replace(state.rv());
        result
    }

    /// The kind of a resource: that of its objects, or a guess.
    fn kind_of(&self, resource: &Resource) -> String {
        let table = self.state().table(resource, "");
        let kind = table.values().next().and_then(|object| object.value["kind"].as_str());
        kind.map_or_else(|| resource.kind(), str::to_owned)
    }

    fn get_object(&self, call: &Call, target: &Target) -> Result<Reply, Failure> {
        let media = Media::negotiate_read(&call.headers, proto::supports(&target.resource), false)?;
        let object = self.state().read(&target.resource, target.home(), &target.name);
        let object = object.ok_or_else(|| Failure::not_found(&target.resource, &target.name))?;
        Ok(reply(200, media.read_type(call.header("accept")), media.object(&target.resource, &object)))
    }
}
