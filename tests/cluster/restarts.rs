//! While the link is silent, things end and start again: the Pod's container, the hub,
//! the kubelet with nothing left of the Pod.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::cluster::{Cut, eventually};

use crate::edge::Door;
use crate::rig::{AT_ONCE, CONFIGMAPS, GREETING, KUBELET, MINUTE, Rig, brief, seconds};

pub fn play(rig: &mut Rig) -> Result<()> {
    let before = format!("changed during {:?}", Cut::StopServer);
    container(rig, &before)?;
    rig.greet("changed during the restarts")?;
    rig.wait_sample("changed during the restarts", MINUTE)?;
    // The sample asks for protobuf; what is asked for in JSON is known as of the last time.
    for path in [GREETING, CONFIGMAPS] {
        let answer = rig.operate("GET", path, "")?;
        ensure!(answer.status == 200, "{path} before the cut: {} {}", answer.status, answer.text);
    }
    rig.cut(Cut::SilentDrop)?;
    rig.wait_link(false)?;
    hub(rig, "changed during the restarts")?;
    kubelet(rig, "changed during the restarts")?;
    rig.greet("after everything")?;
    rig.restore(Cut::SilentDrop)?;
    let (_, took) = rig.wait_sample("after everything", MINUTE)?;
    rig.say("restored", &format!("the change is in the Pod after {}", seconds(took)));
    Ok(())
}

fn container(rig: &Rig, before: &str) -> Result<()> {
    rig.cut(Cut::SilentDrop)?;
    let restarted = rig.restart_sample()?;
    let (view, took) = rig.wait_sample(before, MINUTE)?;
    rig.say(
        "container killed offline",
        &format!("another one after {}, synced {} later: {}", seconds(restarted), seconds(took), brief(&view)),
    );
    rig.greet("changed while the container restarted")?;
    let up = rig.restore(Cut::SilentDrop)?;
    let (_, took) = rig.wait_sample("changed while the container restarted", MINUTE)?;
    rig.say("restored", &format!("link up after {}, the change is in the Pod {} later", seconds(up), seconds(took)));
    Ok(())
}

fn hub(rig: &mut Rig, before: &str) -> Result<()> {
    rig.kill_hub()?;
    let ready = rig.start_hub()?;
    let node = format!("/api/v1/nodes/{}", rig.cluster.node_name());
    let mut slowest = Duration::ZERO;
    for path in [GREETING, CONFIGMAPS] {
        let answer = rig.operate("GET", path, "")?;
        ensure!(answer.status == 200 && answer.text.contains(before), "{path}: {} {}", answer.status, answer.text);
        slowest = slowest.max(answer.took);
    }
    let answer = rig.ask(Door::Loopback, KUBELET, "GET", &node, "")?;
    ensure!(answer.status == 200, "the node: {} {}", answer.status, answer.text);
    slowest = slowest.max(answer.took);
    ensure!(slowest <= AT_ONCE, "a read took {}", seconds(slowest));
    rig.say(
        "hub killed offline",
        &format!("ready again after {}, reads answered, the slowest after {}", seconds(ready), seconds(slowest)),
    );
    let restarted = rig.restart_sample()?;
    let (_, took) = rig.wait_sample(before, MINUTE)?;
    rig.say("container killed again", &format!("another one after {}, synced {} later", seconds(restarted), seconds(took)));
    Ok(())
}

fn kubelet(rig: &mut Rig, before: &str) -> Result<()> {
    rig.cluster.stop_kubelet()?;
    rig.cluster.remove_pod_containers()?;
    ensure!(rig.sample_id().is_err(), "a sample container is left");
    let started = Instant::now();
    rig.cluster.start_kubelet("http://127.0.0.1:10261")?;
    let took = eventually("the Pod runs again", MINUTE, || {
        rig.sample_id()?;
        Ok(started.elapsed())
    })?;
    let (view, synced) = rig.wait_sample(before, MINUTE)?;
    rig.say(
        "kubelet restarted offline, containers gone",
        &format!("Pod runs after {}, synced {} later: {}", seconds(took), seconds(synced), brief(&view)),
    );
    Ok(())
}
