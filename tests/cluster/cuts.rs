//! The link is cut in every way there is, and comes back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::cluster::Cut;

use crate::edge::{Answer, Door, Edge};
use crate::rig::{AT_ONCE, CONFIGMAPS, GREETING, KUBELET, MINUTE, OPERATOR, Rig, brief, seconds};

/// Reads right after the cut, while the hub still learns of it, and after.
const READS: usize = 12;
const WRITE: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"never"}}"#;

pub fn play(rig: &Rig) -> Result<()> {
    let mut before = "hello".to_owned();
    for how in Cut::ALL {
        let after = format!("changed during {how:?}");
        one(rig, how, &before, &after)?;
        before = after;
    }
    Ok(())
}

fn one(rig: &Rig, how: Cut, before: &str, after: &str) -> Result<()> {
    let (slowest, write) = reads(rig, how)?;
    rig.say(&format!("{how:?}: reads"), &format!("{} reads, none failed, the slowest took {}", READS * 3, seconds(slowest)));
    rig.say(&format!("{how:?}: first write"), &format!("{} after {}", write.status, seconds(write.took)));
    rig.wait_link(false)?;
    let write = rig.operate("POST", CONFIGMAPS, WRITE)?;
    ensure!(
        write.status == 503 && write.took < AT_ONCE,
        "{how:?}: a write got {} after {}: {}",
        write.status,
        seconds(write.took),
        write.text
    );
    rig.say(&format!("{how:?}: write"), &format!("503 after {}", seconds(write.took)));
    let (view, _) = rig.wait_sample(before, Duration::from_secs(5))?;
    rig.say(&format!("{how:?}: Pod"), &brief(&view));
    // A stopped server takes no changes; then it is the first thing that it does.
    let changed_during = how != Cut::StopServer;
    if changed_during {
        rig.greet(after)?;
    }
    let up = rig.restore(how)?;
    if !changed_during {
        rig.greet(after)?;
    }
    let (_, took) = rig.wait_sample(after, MINUTE)?;
    rig.say(
        &format!("{how:?}: restored"),
        &format!("link up after {}, the change is in the Pod {} later", seconds(up), seconds(took)),
    );
    Ok(())
}

/// Cuts, and reads on connections that were open and on new ones, as a Pod and as
/// kubelet; also tries to write, once. The slowest read, and the write.
fn reads(rig: &Rig, how: Cut) -> Result<(Duration, Answer)> {
    let node = format!("/api/v1/nodes/{}", rig.cluster.node_name());
    let pods = Door::Pods(&rig.operator);
    rig.block_on(async {
        let pod = Edge::connect(&rig.cluster, pods, OPERATOR).await?;
        let kubelet = Edge::connect(&rig.cluster, Door::Loopback, KUBELET).await?;
        let writer = Edge::connect(&rig.cluster, pods, OPERATOR).await?;
        for path in [GREETING, CONFIGMAPS] {
            ensure!(pod.ask("GET", path, "").await?.status == 200, "{path} before the cut");
        }
        ensure!(kubelet.ask("GET", &node, "").await?.status == 200, "the node before the cut");
        rig.cut(how)?;
        let write = writer.ask("POST", CONFIGMAPS, WRITE);
        let reads = async {
            let mut slowest = Duration::ZERO;
            for _ in 0..READS {
                let new = async {
                    let started = Instant::now();
                    let edge = Edge::connect(&rig.cluster, pods, OPERATOR).await?;
                    let answer = edge.ask("GET", CONFIGMAPS, "").await?;
                    Ok(Answer { took: started.elapsed(), ..answer })
                };
                let (one, two, three) = tokio::try_join!(pod.ask("GET", GREETING, ""), kubelet.ask("GET", &node, ""), new)?;
                for answer in [one, two, three] {
                    ensure!(answer.status == 200, "{how:?}: a read got {}: {}", answer.status, answer.text);
                    ensure!(answer.took <= AT_ONCE, "{how:?}: a read took {}", seconds(answer.took));
                    slowest = slowest.max(answer.took);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(slowest)
        };
        let (write, slowest) = tokio::try_join!(write, reads)?;
        // Whether a write that was sent has happened is not known: 504 is honest too.
        ensure!(matches!(write.status, 503 | 504), "{how:?}: a write got {}: {}", write.status, write.text);
        ensure!(write.took < Duration::from_secs(5), "{how:?}: a write took {}", seconds(write.took));
        Ok((slowest, write))
    })
}
