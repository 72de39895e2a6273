//! What describes the API, read before anybody asks: a client that starts cold offline must find the API it knows.
//!
//! Receives the hub's own client, whose answers are remembered as they pass. Reads `/version`, `/api` and `/apis` with
//! what is below them, and `/openapi`, once the link is up. Later rounds ask by ETag whether `/api`, `/apis` and
//! `/openapi/v2` have changed, and read on only where one has: most are three answers without a body. A new CRD or
//! APIService changes the last two, another schema the last. (The list of `/openapi/v3` always comes with its body.)

use std::sync::Arc;
use std::time::Duration;

use ::kube::Client;
use ::kube::client::Body;
use anyhow::Context as _;
use http::header::{ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;

use crate::state::link::Link;
use crate::store::Knowledge;

/// Between two rounds.
const AGAIN: Duration = Duration::from_secs(120);
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

/// `/api`
#[derive(Deserialize)]
struct Versions {
    versions: Vec<String>,
}

/// `/apis`
#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    versions: Vec<GroupVersion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

/// `/openapi/v3`
#[derive(Deserialize)]
struct OpenApi {
    paths: std::collections::BTreeMap<String, OpenApiPath>,
}

#[derive(Deserialize)]
struct OpenApiPath {
    /// With the document's hash, which is its ETag.
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

impl Discovery {
    /// Reads for ever.
    pub async fn follow(self) {
        let mut complete = false;
        loop {
            self.link.is_back().await;
            match self.round(!complete).await {
                Ok(()) => {
                    if !std::mem::replace(&mut complete, true) {
                        tracing::info!("the API's description is known");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => {
                    complete = false;
                    tracing::debug!(error = format!("{error:#}"), "the API's description is not read");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// `all`: what is below has not been read yet, changed or not.
    async fn round(&self, all: bool) -> anyhow::Result<()> {
        let changed = self.refresh("/api", AGGREGATED).await? | self.refresh("/apis", AGGREGATED).await?;
        if all || changed {
            self.groups().await?;
        }
        let [protobuf, json] = OPENAPI_V2;
        let schemas = self.refresh("/openapi/v2", protobuf).await;
        if all || changed || matches!(schemas, Ok(true)) {
            self.refresh("/openapi/v2", json).await?;
            self.documents().await?;
        }
        schemas.map(drop)
    }

    /// The version, and discovery for clients that do not know its aggregated form.
    async fn groups(&self) -> anyhow::Result<()> {
        self.read("/version", JSON).await?;
        let api: Versions = serde_json::from_slice(&self.read("/api", JSON).await?).context("/api")?;
        let groups: Groups = serde_json::from_slice(&self.read("/apis", JSON).await?).context("/apis")?;
        let core = api.versions.into_iter().map(|version| format!("/api/{version}"));
        let others = groups.groups.into_iter().flat_map(|group| group.versions);
        // An API server behind the kube-apiserver may be away: what it has is missing, not the rest.
        let mut missing = None;
        for path in core.chain(others.map(|version| format!("/apis/{}", version.group_version))) {
            missing = self.read(&path, JSON).await.err().or(missing);
        }
        missing.map_or(Ok(()), Err)
    }

    /// Each document of `/openapi/v3`.
    async fn documents(&self) -> anyhow::Result<()> {
        let openapi: OpenApi = serde_json::from_slice(&self.read("/openapi/v3", JSON).await?).context("/openapi/v3")?;
        let mut missing = None;
        for path in openapi.paths.into_values() {
            for form in OPENAPI_V3 {
                missing = self.openapi(&path.url, form).await.err().or(missing);
            }
        }
        missing.map_or(Ok(()), Err)
    }

    /// One document of `/openapi/v3`, unless it is known.
    async fn openapi(&self, url: &str, form: &str) -> anyhow::Result<()> {
        let (path, hash) = url.split_once("?hash=").unwrap_or((url, ""));
        let etag = self.etag(path, form);
        if !hash.is_empty() && etag.is_some_and(|etag| etag.trim_matches('"') == hash) {
            return Ok(());
        }
        self.refresh(url, form).await.map(drop)
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

    async fn send(&self, request: http::request::Builder) -> anyhow::Result<http::Response<Body>> {
        Ok(self.client.send(request.body(Body::empty())?).await?)
    }

    /// Of the document that is known.
    fn etag(&self, path: &str, content_type: &str) -> Option<String> {
        self.knowledge.etag(&format!("{path}\0{content_type}")).filter(|etag| !etag.is_empty())
    }
}
