//! What describes the API, read before anybody asks: a client that starts cold offline must find the API it knows.
//!
//! Receives the hub's own client, whose answers are remembered as they pass. Reads `/version`, `/api` and `/apis` with
//! what is below them, and `/openapi`, once the link is up. Later rounds ask by ETag whether `/api`, `/apis` and
//! `/openapi/v2` have changed, and read on only where one has: most are three answers without a body, and `/version`. A new
//! CRD or APIService changes the last two, another schema the last. (The list of `/openapi/v3` always comes with its body.)
//!
//! What cannot be read, for an API server behind the kube-apiserver may be away, and what the store has lost is asked for
//! again in the next round, alone. What `/apis` does not list any more is not there: its documents are dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use ::kube::client::Body;
use anyhow::Context as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::kube::discovery::{Groups, Versions};
use crate::state::link::Link;
use crate::store::Knowledge;

/// Between two rounds.
const AGAIN: Duration = Duration::from_secs(120);
/// Where not even the groups could be listed, or the link went down meanwhile.
const RETRY: Duration = Duration::from_secs(15);

const JSON: &str = "application/json";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Each document as whoever asks for it may want it.
const OPENAPI_V2: [&str; 2] = ["application/com.github.proto-openapi.spec.v2.v1.0+protobuf", JSON];
const OPENAPI_V3: [&str; 2] = ["application/com.github.proto-openapi.spec.v3.v1.0+protobuf", JSON];

pub struct Discovery {
    pub client: Client,
    pub link: Arc<Link>,
    pub knowledge: Arc<Knowledge>,
}

/// `/openapi/v3`
#[derive(Deserialize)]
struct OpenApi {
    paths: BTreeMap<String, OpenApiPath>,
}

#[derive(Deserialize)]
struct OpenApiPath {
    /// With the document's hash, which is its ETag.
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

/// A document in one representation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// With the hash that it is asked for, if it has one.
    target: String,
    accept: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has never been read, may have changed, or is lost.
    Due,
    /// The cloud has told it. What cannot be remembered stays so, and is not read again and again.
    Read,
    Known,
}

/// How far it is.
struct Reading {
    /// Whether the parts below `/api` and `/apis` are those that are listed there.
    groups: bool,
    /// Whether those below `/openapi/v3` are.
    schemas: bool,
    parts: BTreeMap<Part, State>,
}

impl Part {
    fn new(target: impl Into<String>, accept: &'static str) -> Self {
        Self { target: target.into(), accept }
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Whether a document with this ETag is the one of the hash that is asked for.
    fn is_of(&self, etag: &str) -> bool {
        let hash = self.target.split_once("?hash=").map_or("", |(_, hash)| hash);
        !hash.is_empty() && etag.trim_matches('"') == hash
    }

    /// In the store.
    fn name(&self) -> String {
        name(self.path(), self.accept)
    }
}

fn name(path: &str, content_type: &str) -> String {
    format!("{path}\0{content_type}")
}

impl Reading {
    fn new() -> Self {
        let [_, json] = OPENAPI_V2;
        Self { groups: false, schemas: false, parts: BTreeMap::from([(Part::new("/openapi/v2", json), State::Due)]) }
    }

    /// What there is below `root` is this.
    fn list(&mut self, root: &str, parts: impl IntoIterator<Item = (Part, State)>) {
        self.parts.retain(|part, _| !part.target.starts_with(root));
        self.parts.extend(parts);
    }

    /// Whether there is anything at a path, as far as `/api` and `/apis` say: the schemas of what is gone are gone.
    fn is_there(&self, path: &str) -> bool {
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let is_below = ["/api/", "/apis/"].iter().any(|root| path.starts_with(root));
        !is_below || self.parts.keys().any(|part| part.path() == path)
    }

    fn forget_what_is_gone(&mut self) {
        let gone: Vec<Part> = self.parts.keys().filter(|part| !self.is_there(part.path())).cloned().collect();
        for part in gone {
            self.parts.remove(&part);
        }
    }

    fn due(&self) -> Vec<Part> {
        self.parts.iter().filter(|(_, state)| **state == State::Due).map(|(part, _)| part.clone()).collect()
    }

    fn is_complete(&self) -> bool {
        self.groups && self.schemas && self.due().is_empty()
    }
}

impl Discovery {
    /// Reads for ever.
    pub async fn follow(self) {
        let (mut reading, mut complete) = (Reading::new(), false);
        loop {
            self.link.is_back().await;
            self.round(&mut reading).await;
            if reading.is_complete() && !std::mem::replace(&mut complete, true) {
                tracing::info!("the API's description is known");
            }
            let is_calm = reading.groups && self.link.is_up();
            tokio::time::sleep(if is_calm { AGAIN } else { RETRY }).await;
        }
    }

    /// Reads all that can be read and is not known as it is now.
    async fn round(&self, reading: &mut Reading) {
        for root in ["/api", "/apis"] {
            if self.refresh(root, AGGREGATED).await.unwrap_or_else(unread) {
                (reading.groups, reading.schemas) = (false, false);
            }
        }
        if !reading.groups {
            reading.groups = self.list_groups(reading).await.map_or_else(unread, |()| true);
        }
        self.refresh("/version", JSON).await.unwrap_or_else(unread);
        let [protobuf, json] = OPENAPI_V2;
        if self.refresh("/openapi/v2", protobuf).await.unwrap_or_else(unread) {
            reading.schemas = false;
            reading.parts.insert(Part::new("/openapi/v2", json), State::Due);
        }
        if !reading.schemas {
            reading.schemas = self.list_schemas(reading).await.map_or_else(unread, |()| true);
        }
        self.look_for_lost(reading);
        self.read_due(reading).await;
    }

    /// Discovery for clients that do not know its aggregated form; what is not listed is dropped.
    async fn list_groups(&self, reading: &mut Reading) -> anyhow::Result<()> {
        let api: Versions = serde_json::from_slice(&self.read("/api", JSON).await?).context("/api")?;
        let groups: Groups = serde_json::from_slice(&self.read("/apis", JSON).await?).context("/apis")?;
        let core = api.versions.into_iter().map(|version| format!("/api/{version}"));
        let others = groups.groups.into_iter().flat_map(|group| {
            let versions = group.versions.into_iter().map(|version| version.group_version);
            std::iter::once(group.name).chain(versions).map(|name| format!("/apis/{name}"))
        });
        let below = core.chain(others).map(|path| (Part::new(path, JSON), State::Due));
        let lists = ["/api", "/apis"].map(|path| (Part::new(path, JSON), State::Read));
        reading.list("/api", below.chain(lists));
        reading.forget_what_is_gone();
        Ok(self.knowledge.keep_documents(|path| reading.is_there(path)).await?)
    }

    /// The documents of `/openapi/v3`; those of a hash that is known are not read again.
    async fn list_schemas(&self, reading: &mut Reading) -> anyhow::Result<()> {
        let openapi: OpenApi = serde_json::from_slice(&self.read("/openapi/v3", JSON).await?).context("/openapi/v3")?;
        let parts = openapi.paths.into_values().flat_map(|path| OPENAPI_V3.map(|form| Part::new(path.url.clone(), form)));
        let state = |part: &Part| {
            let etag = self.knowledge.etag(&part.name());
            if etag.is_some_and(|etag| part.is_of(&etag)) { State::Known } else { State::Due }
        };
        let parts: Vec<_> = parts.map(|part| (part.clone(), state(&part))).collect();
        reading.list("/openapi/v3", parts.into_iter().chain([(Part::new("/openapi/v3", JSON), State::Read)]));
        // It may be later than `/apis` to see that a group is gone.
        reading.forget_what_is_gone();
        Ok(())
    }

    /// What was known and is no more (its row was damaged, or a write has failed) is to be read again.
    fn look_for_lost(&self, reading: &mut Reading) {
        for (part, state) in &mut reading.parts {
            let is_known = self.knowledge.etag(&part.name()).is_some();
            *state = match *state {
                State::Read if is_known => State::Known,
                State::Known if !is_known => State::Due,
                state => state,
            };
        }
    }

    /// Each part for itself: what one cannot say is no reason not to ask the others.
    async fn read_due(&self, reading: &mut Reading) {
        for part in reading.due() {
            if !self.link.is_up() {
                return;
            }
            match self.refresh(&part.target, part.accept).await {
                Ok(_) => drop(reading.parts.insert(part, State::Read)),
                Err(error) => drop(unread(error)),
            }
        }
    }

    /// Reads what is of use here, too.
    async fn read(&self, path: &str, accept: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.send(Request::get(path).header(ACCEPT, accept)).await.with_context(|| path.to_owned())?;
        anyhow::ensure!(response.status() == StatusCode::OK, "{path}: {}", response.status());
        Ok(response.into_body().collect().await?.to_bytes().to_vec())
    }

    /// Lets it be remembered, if it has changed; says whether.
    async fn refresh(&self, target: &str, accept: &str) -> anyhow::Result<bool> {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let mut request = Request::get(target).header(ACCEPT, accept).header(ACCEPT_ENCODING, "gzip");
        if let Some(etag) = self.etag(path, accept) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = self.send(request).await.with_context(|| target.to_owned())?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(false);
        }
        anyhow::ensure!(response.status() == StatusCode::OK, "{target}: {}", response.status());
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(true)
    }

    /// The cloud's answer: what the store says while the link is down is nothing new.
    async fn send(&self, request: http::request::Builder) -> anyhow::Result<http::Response<Body>> {
        let response = self.client.send(request.body(Body::empty())?).await?;
        let by_store = response.headers().get("cache-status").is_some_and(|by| by.as_bytes().starts_with(b"holdfast"));
        anyhow::ensure!(!by_store, "the link to the cloud is down");
        Ok(response)
    }

    /// Of the document that is known.
    fn etag(&self, path: &str, content_type: &str) -> Option<String> {
        self.knowledge.etag(&name(path, content_type)).filter(|etag| !etag.is_empty())
    }
}

/// Of what has not been read nothing has changed.
fn unread(error: anyhow::Error) -> bool {
    tracing::debug!(error = format!("{error:#}"), "a part of the API's description is not read");
    false
}

#[cfg(test)]
mod tests;
