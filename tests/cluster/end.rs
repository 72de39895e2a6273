//! SIGTERM: what is open ends as it should, and so does the hub.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::edge::{Door, Edge};
use crate::rig::{CONFIGMAPS, KUBELET, OPERATOR, Rig, seconds};

pub fn play(rig: &mut Rig) -> Result<()> {
    let path = format!("{CONFIGMAPS}?watch=1&timeoutSeconds=600");
    let nodes = format!("/api/v1/nodes?watch=1&timeoutSeconds=600&fieldSelector=metadata.name%3D{}", rig.cluster.node_name());
    let (edges, watches) = rig.block_on(async {
        let pod = Edge::connect(&rig.cluster, Door::Pods(&rig.operator), OPERATOR).await?;
        let kubelet = Edge::connect(&rig.cluster, Door::Loopback, KUBELET).await?;
        let mut watches = pod.client.watches(&[path.as_str(); 20]).await?;
        watches.extend(kubelet.client.watches(&[nodes.as_str()]).await?);
        anyhow::Ok(([pod, kubelet], watches))
    })?;
    let started = Instant::now();
    rig.terminate_hub()?;
    let count = watches.len();
    rig.block_on(async {
        for watch in watches {
            let end = tokio::time::timeout(Duration::from_secs(30), watch.finish());
            end.await.context("a watch goes on")?.context("a watch broke off")?;
        }
        anyhow::Ok(())
    })?;
    let watches_ended = started.elapsed();
    let status = rig.hub_ended(Duration::from_secs(30))?;
    ensure!(status.success(), "the hub ended with {status}");
    drop(edges);
    rig.say(
        "SIGTERM",
        &format!(
            "{count} watches ended properly within {}, the hub with {status} after {}",
            seconds(watches_ended),
            seconds(started.elapsed())
        ),
    );
    Ok(())
}
