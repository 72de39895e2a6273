//! What is read without the cloud: 5,000 Pods of 5 KB, beside what a real kube-apiserver makes of them from its watch
//! cache, and one small object, beside the same read through the hub while the link is up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client};
use testkit::hub::{Hub, HubOptions, eventually};

use crate::footprint::attach;
use crate::load::{download, gets, median};
use crate::process;
use crate::rig::Rig;
use crate::table::{Report, head, megabytes, millis};

const PODS: usize = 5000;
const WORKERS: usize = 8;
const GETS: usize = 1000;
/// Until what came is remembered.
const SETTLE: Duration = Duration::from_secs(2);
/// Until the hub has read discovery and OpenAPI, and is quiet.
const READ: Duration = Duration::from_secs(15);
/// From the kube-apiserver's memory, as informers ask.
const LIST: &str = "/api/v1/namespaces/default/pods?resourceVersion=0";
const ONE: &str = "/api/v1/namespaces/default/pods/pod-00000";
const FORMS: [(&str, &str); 2] = [("JSON", "application/json"), ("protobuf", "application/vnd.kubernetes.protobuf")];

pub(crate) async fn measure(rig: &Rig, report: &mut Report) -> anyhow::Result<()> {
    let Some(lab) = std::env::var_os("HOLDFAST_LAB") else {
        report.text("Without the cloud, beside a real kube-apiserver: skipped: needs HOLDFAST_LAB (`make lab`).");
        return Ok(());
    };
    let mut cloud = Apiserver::start(Path::new(&lab)).await?;
    fill(&cloud).await?;
    let binary = &rig.binary.display().to_string();
    let flags = vec!["--v=1".to_owned()];
    let mut hub = Hub::start(HubOptions { binary, servers: vec![cloud.url()], pki: &cloud.pki, flags }).await?;
    let kubelet = attach(&hub).await?;
    tokio::time::sleep(READ).await;
    let attached = process::resident(hub.pid().unwrap_or_default())?;
    report.at_most("memory, kubelet attached, beside a real kube-apiserver", megabytes(attached), 12.0, "MB");
    drop(kubelet);
    let rounds = if rig.quick { 2 } else { 7 };
    let mut direct = Vec::new();
    for (_, accept) in FORMS {
        direct.push(lists(&form(cloud.client().await?, accept), rounds).await?);
    }
    let online = remember(&hub).await?;
    cloud.kill();
    eventually("the link is down", Duration::from_secs(30), async || {
        Ok(hub.metric("node_yurthub_server_healthy_status").await? == 0.0)
    })
    .await?;
    let pid = hub.pid().unwrap_or_default();
    process::reset_peak(pid)?;
    let mut rows = vec![head(&["5,000 Pods", "from", "MB", "median", "MB/s"])];
    for ((name, accept), direct) in FORMS.into_iter().zip(&direct) {
        let offline = lists(&form(client(&hub).await?, accept), rounds).await?;
        for (from, (bytes, took)) in [("kube-apiserver", direct), ("holdfast, offline", &offline)] {
            let (size, rate) = (megabytes(*bytes as u64), megabytes(*bytes as u64) / took * 1e3);
            let row = [name.to_owned(), from.to_owned(), format!("{size:.1}"), format!("{took:.0} ms"), format!("{rate:.0}")];
            rows.push(row.to_vec());
        }
        report.at_most(&format!("offline LIST of 5,000 Pods, {name} (the kube-apiserver's)"), offline.1, direct.1, "ms");
    }
    report.table("Lists without the cloud", &rows);
    report.at_most("memory while the Pods are listed offline", megabytes(process::peak(pid)?), 20.0, "MB");
    let offline = p50(&hub).await?;
    report.at_most("offline GET, p50 (online through the hub + 0.2 ms)", offline, online + 0.2, "ms");
    hub.kill();
    Ok(())
}

async fn fill(cloud: &Apiserver) -> anyhow::Result<()> {
    let mut running = tokio::task::JoinSet::new();
    for worker in 0..WORKERS {
        let client = cloud.client().await?;
        running.spawn(async move {
            for index in (worker..PODS).step_by(WORKERS) {
                let headers = [("content-type", "application/json"), ("accept", "application/vnd.kubernetes.protobuf")];
                let answer = client.request("POST", "/api/v1/namespaces/default/pods", &headers, pod(index).to_string()).await?;
                ensure!(answer.status == 201, "Pod {index}: {} {}", answer.status, answer.text());
            }
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

/// One of some 5 KB.
fn pod(index: usize) -> Value {
    let variable = |line: usize| json!({"name": format!("SETTING_{line:02}"), "value": format!("value {line} of Pod {index}, of ordinary length")});
    let environment: Vec<Value> = (0..40).map(variable).collect();
    json!({
        "metadata": {"name": format!("pod-{index:05}"), "labels": {"app": "bench", "shard": (index % 10).to_string()}},
        "spec": {"nodeName": format!("node-{}", index % 100), "containers": [{"name": "main", "image": "registry.example/program:v1", "env": environment}]},
    })
}

async fn client(hub: &Hub) -> anyhow::Result<Client> {
    Ok(hub.pod(TOKEN, Alpn::H2).await?.with_header("user-agent", "bench/v1 (linux/amd64)"))
}

fn form(client: Client, accept: &str) -> Client {
    client.with_header("accept", accept)
}

/// How long the list is, and how many milliseconds it takes.
async fn lists(client: &Client, rounds: usize) -> anyhow::Result<(usize, f64)> {
    let (mut length, mut times) = (0, Vec::new());
    for _ in 0..rounds {
        let (bytes, took) = download(client, LIST).await?;
        length = bytes;
        times.push(millis(took));
    }
    Ok((length, median(&times)))
}

/// Lets the hub remember both lists, and returns what a GET takes while the link is up.
async fn remember(hub: &Hub) -> anyhow::Result<f64> {
    for (_, accept) in FORMS {
        let client = form(client(hub).await?, accept);
        eventually("the list is remembered", Duration::from_secs(60), async || {
            // One that comes faster than the disk is does not count. What is kept is packed.
            let bytes = hub.metric("holdfast_store_bytes").await?;
            let (length, _) = download(&client, "/api/v1/namespaces/default/pods").await?;
            tokio::time::sleep(SETTLE).await;
            Ok(hub.metric("holdfast_store_bytes").await? - bytes > length as f64 / 10.0)
        })
        .await?;
    }
    p50(hub).await
}

async fn p50(hub: &Hub) -> anyhow::Result<f64> {
    let client = Arc::new(form(client(hub).await?, FORMS[0].1));
    gets(&[Arc::clone(&client)], ONE, 1, 50).await?;
    Ok(millis(gets(&[client], ONE, 1, GETS).await?.percentile(50)))
}
