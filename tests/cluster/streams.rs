//! A thousand watches through an API server that allows a hundred streams on a
//! connection: none waits for another, and neither does a read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::edge::{Door, Edge};
use crate::rig::{AT_ONCE, GREETING, OPERATOR, Rig, seconds};

const CONNECTIONS: usize = 4;
const WATCHES: usize = 250;
const PATH: &str = "/api/v1/namespaces/story/configmaps?watch=1&timeoutSeconds=600&fieldSelector=metadata.name%3Dgreeting";

pub fn play(rig: &Rig) -> Result<()> {
    rig.block_on(async {
        let started = Instant::now();
        let mut edges = Vec::new();
        let mut watches = Vec::new();
        for _ in 0..CONNECTIONS {
            let edge = Edge::connect(&rig.cluster, Door::Pods(&rig.operator), OPERATOR).await?;
            watches.extend(edge.client.watches(&[PATH; WATCHES]).await?);
            edges.push(edge);
        }
        let opened = started.elapsed();
        let mut slowest = Duration::ZERO;
        for edge in &edges {
            let answer = edge.ask("GET", GREETING, "").await?;
            ensure!(
                answer.status == 200 && answer.took < AT_ONCE,
                "a GET among watches: {} after {}",
                answer.status,
                seconds(answer.took)
            );
            slowest = slowest.max(answer.took);
        }
        rig.say(
            "streams",
            &format!(
                "{} watches opened in {}, then a GET answered in {}; the hub takes {:.1} MB",
                watches.len(),
                seconds(opened),
                seconds(slowest),
                rig.hub_memory()?
            ),
        );
        rig.greet("told to a thousand")?;
        let started = Instant::now();
        for watch in &mut watches {
            let told = async {
                loop {
                    let event = watch.event().await?.context("the watch ended")?;
                    if event["object"]["data"]["text"] == "told to a thousand" {
                        return anyhow::Ok(());
                    }
                }
            };
            tokio::time::timeout(Duration::from_secs(20), told).await.context("a watch was not told")??;
        }
        rig.say("streams", &format!("a change reached all {} watches in {}", watches.len(), seconds(started.elapsed())));
        Ok(())
    })
}
