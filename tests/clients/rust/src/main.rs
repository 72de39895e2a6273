//! Lists and watches the ConfigMaps of its namespace by a reflector, and prints their names once it has them.
#![expect(clippy::print_stdout, reason = "what it is for")]

use anyhow::Result;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let client = Client::try_from(Config::incluster()?)?;
    let (store, writer) = reflector::store();
    let configmaps: Api<ConfigMap> = Api::default_namespaced(client);
    let watch = watcher(configmaps, watcher::Config::default()).default_backoff().reflect(writer);
    tokio::spawn(watch.applied_objects().for_each(async |event| {
        if let Err(error) = event {
            eprintln!("{error}");
        }
    }));
    store.wait_until_ready().await?;
    let mut names: Vec<String> = store.state().iter().map(|found| found.name_any()).collect();
    names.sort();
    println!("synced {} {}", names.len(), names.join(" "));
    std::future::pending().await
}
