//! Memory with kubelet attached and with a thousand watches and ten thousand, and the binary's size.

use std::time::Duration;

use testkit::client::{Alpn, Client, Streaming};
use testkit::hub::{Hub, NODE};

use crate::cloud::WATCHED;
use crate::process;
use crate::rig::{HAPROXY, NGINX, Rig};
use crate::table::{Report, head, megabytes};
use crate::way::Way;

/// Memory is read once things are quiet.
const QUIET: Duration = Duration::from_secs(2);
const WATCHES: usize = 1000;
/// Objects that can be watched.
const OBJECTS: usize = 1000;

/// What kubelet lists and then watches.
const KUBELET: [&str; 12] = [
    "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1",
    "/api/v1/nodes?fieldSelector=metadata.name%3Dedge-1",
    "/api/v1/services",
    "/apis/node.k8s.io/v1/runtimeclasses",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt",
    "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dkube-proxy",
    "/api/v1/namespaces/kube-system/configmaps?fieldSelector=metadata.name%3Dcoredns",
    "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dkube-root-ca.crt",
    "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dapplication",
    "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dapplication",
    "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dregistry",
];

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let mut rows = vec![head(&["process", "resident", "of that its own"])];
    let mut hub = rig.fresh_hub()?;
    hub.run().await?;
    tokio::time::sleep(QUIET).await;
    row(&mut rows, "holdfast, idle", hub.pid())?;
    let kubelet = attach(&hub).await?;
    renew(&hub).await?;
    tokio::time::sleep(QUIET).await;
    let attached = row(&mut rows, "holdfast, kubelet attached", hub.pid())?;
    drop((kubelet, hub));
    let spread = watched(rig, &mut rows, "holdfast, 1,000 watches on 10 connections", Alpn::H2, (10, WATCHES)).await?;
    let single = watched(rig, &mut rows, "holdfast, 1,000 watches on 1 connection", Alpn::H2, (1, WATCHES)).await?;
    let http1 = watched(rig, &mut rows, "holdfast, 1,000 watches over HTTP/1.1", Alpn::H1, (WATCHES, WATCHES)).await?;
    let many = watched(rig, &mut rows, "holdfast, 10,000 watches on 10 connections", Alpn::H2, (10, 10 * WATCHES)).await?;
    for way in rig.ways().into_iter().filter(|way| [NGINX, HAPROXY].contains(&way.name)) {
        let watches = open(&way, Alpn::H2, (10, WATCHES)).await?;
        tokio::time::sleep(QUIET).await;
        row(&mut rows, &format!("{}, 1,000 watches on 10 connections", way.name), way.pid)?;
        drop(watches);
    }
    let size = std::fs::metadata(&rig.binary)?.len();
    report.table("Memory", &rows);
    report.at_most("memory, kubelet attached", megabytes(attached), 12.0, "MB");
    report.at_most("memory, 1,000 watches on 10 connections", megabytes(spread), 20.0, "MB");
    report.at_most("memory, 1,000 watches on 1 connection", megabytes(single), 20.0, "MB");
    report.at_most("memory, 1,000 watches over HTTP/1.1", megabytes(http1), 40.0, "MB");
    let each = |resident: u64, watches: usize| (megabytes(resident) - megabytes(attached)) * 1e3 / watches as f64;
    let (of_1000, of_10000) = (each(spread, WATCHES), each(many, 10 * WATCHES));
    report.text(&format!("A watch takes {of_1000:.1} KB where there are 1,000, {of_10000:.1} KB where there are 10,000."));
    report.at_most("binary", megabytes(size), 12.0, "MB");
    Ok(())
}

fn row(rows: &mut Vec<Vec<String>>, name: &str, pid: Option<u32>) -> anyhow::Result<u64> {
    let pid = pid.ok_or_else(|| anyhow::anyhow!("{name}: not running"))?;
    let (resident, own) = (process::resident(pid)?, process::anonymous(pid)?);
    rows.push(vec![name.to_owned(), format!("{:.1} MB", megabytes(resident)), format!("{:.1} MB", megabytes(own))]);
    Ok(resident)
}

/// Lists and watches as kubelet does: HTTP/1.1 on the loopback port, protobuf first, a connection
/// for each watch.
pub(crate) async fn attach(hub: &Hub) -> anyhow::Result<Vec<(Client, Streaming)>> {
    let accept = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let mut open = Vec::new();
    for path in KUBELET {
        let client = hub.kubelet().await?;
        client.request("GET", path, &accept, "").await?;
        let mark = if path.contains('?') { '&' } else { '?' };
        let target = format!("{path}{mark}watch=true&allowWatchBookmarks=true&timeoutSeconds=600");
        let watch = client.stream("GET", &target, &accept, "").await?;
        anyhow::ensure!(watch.status == 200, "{path}: {}", watch.status);
        open.push((client, watch));
    }
    Ok(open)
}

/// Ten renewals of the node's lease, each with the version of the one before.
async fn renew(hub: &Hub) -> anyhow::Result<()> {
    let client = hub.kubelet().await?;
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}");
    for _ in 0..10 {
        let lease = client.get(&path).await?;
        let answer = client.request("PUT", &path, &[("content-type", "application/json")], lease.body).await?;
        anyhow::ensure!(answer.status == 200, "lease: {} {}", answer.status, answer.text());
    }
    Ok(())
}

async fn watched(rig: &Rig, rows: &mut Vec<Vec<String>>, name: &str, alpn: Alpn, counts: (usize, usize)) -> anyhow::Result<u64> {
    let mut hub = rig.fresh_hub()?;
    hub.run().await?;
    let watches = open(&rig.way_through(&hub), alpn, counts).await?;
    tokio::time::sleep(QUIET).await;
    let resident = row(rows, name, hub.pid())?;
    drop(watches);
    Ok(resident)
}

/// So many watches on so many connections, each of one object, which comes first: nginx does not even pass on the head of an
/// answer before its body begins.
async fn open(way: &Way, alpn: Alpn, (connections, watches): (usize, usize)) -> anyhow::Result<Vec<(Client, Vec<Streaming>)>> {
    let mut open = Vec::new();
    for connection in 0..connections {
        let client = way.client(alpn).await?;
        let paths: Vec<String> = (0..watches / connections)
            .map(|index| (connection * watches / connections + index) % OBJECTS)
            .map(|index| format!("{WATCHED}?fieldSelector=metadata.name%3Dbench-{index:06}&watch=true&resourceVersion=1"))
            .collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let watches = client.watches(&paths).await?;
        open.push((client, watches));
    }
    Ok(open)
}
