//! An ordinary in-cluster program: it takes its configuration from where kubelet puts
//! it, lists and watches the ConfigMaps of its namespace, reads one Secret that it may
//! read and one that it may not, and serves what it saw.
//!
//! `GET :PORT/` answers `{"host","synced","configmaps":{NAME:{KEY:VALUE}},"secret",
//! "secretError","forbidden"}`. Environment beside what kubelet sets: NAMESPACE, SECRET
//! and FORBIDDEN (names of the two Secrets), PORT.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt as _};
use serde::Serialize;

const BETWEEN_READS: Duration = Duration::from_secs(1);

#[derive(Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    host: String,
    synced: bool,
    configmaps: BTreeMap<String, BTreeMap<String, String>>,
    secret: String,
    secret_error: String,
    forbidden: String,
}

/// Runs until it is killed.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(follow())
}

async fn follow() -> Result<()> {
    let config = Config::incluster().context("in-cluster configuration")?;
    let host = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = Client::try_from(config)?;
    let namespace = variable("NAMESPACE")?;
    let view = Arc::new(Mutex::new(View { host, ..View::default() }));
    let (store, writer) = reflector::store();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, variable("PORT")?.parse()?))?;
    let (seen, maps) = (view.clone(), store.clone());
    std::thread::spawn(move || serve(&listener, &seen, &maps));
    let configmaps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let watch = watcher(configmaps, watcher::Config::default()).default_backoff().reflect(writer);
    let watch = watch.try_for_each(async |_| Ok(()));
    let synced = async {
        if store.wait_until_ready().await.is_ok() {
            locked(&view).synced = true;
        }
        std::future::pending::<()>().await
    };
    let secrets = Api::namespaced(client, &namespace);
    let secrets = read_secrets(&secrets, &view);
    tokio::select! {
        ended = watch => ended.context("the watch of ConfigMaps"),
        () = synced => Ok(()),
        ended = secrets => ended,
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("environment variable {name}"))
}

fn locked(view: &Mutex<View>) -> std::sync::MutexGuard<'_, View> {
    view.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_secrets(secrets: &Api<Secret>, view: &Mutex<View>) -> Result<()> {
    let (allowed, forbidden) = (variable("SECRET")?, variable("FORBIDDEN")?);
    loop {
        let (read, refused) = (secrets.get(&allowed).await, secrets.get(&forbidden).await);
        {
            let mut view = locked(view);
            (view.secret, view.secret_error) = match read {
                Ok(secret) => (text(&secret), String::new()),
                Err(error) => (String::new(), reason(error)),
            };
            view.forbidden = refused.map_or_else(reason, |_| "read".to_owned());
        }
        tokio::time::sleep(BETWEEN_READS).await;
    }
}

/// In the server's own words, if it is the server that refused.
fn reason(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    }
}

fn text(secret: &Secret) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get("value"));
    value.map(|value| String::from_utf8_lossy(&value.0).into_owned()).unwrap_or_default()
}

/// Answers whatever is asked with what is seen now.
fn serve(listener: &TcpListener, view: &Mutex<View>, store: &reflector::Store<ConfigMap>) {
    for stream in listener.incoming().flatten() {
        let mut now = locked(view).clone();
        let maps = store.state().into_iter();
        now.configmaps = maps.map(|map| (map.name_any(), map.data.clone().unwrap_or_default())).collect();
        // Whoever asked may have left; there are others.
        let _ = answer(stream, &now);
    }
}

fn answer(mut stream: TcpStream, view: &View) -> Result<()> {
    stream.set_read_timeout(Some(BETWEEN_READS))?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let body = serde_json::to_string(view)?;
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )?;
    Ok(())
}
