//! The link is up: the node and its Pod work through the hub as they would without.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::cluster::{NAMESPACE, eventually};

use crate::rig::{MINUTE, Rig, brief, seconds};

pub fn play(rig: &mut Rig) -> Result<()> {
    node_and_pod(rig)?;
    heartbeat(rig)?;
    logs_and_exec(rig)?;
    forward(rig)
}

fn node_and_pod(rig: &mut Rig) -> Result<()> {
    let started = Instant::now();
    rig.cluster.start_kubelet("http://127.0.0.1:10261")?;
    rig.cluster.wait_node_ready(MINUTE)?;
    rig.say("node", &format!("registered and Ready through the hub after {}", seconds(started.elapsed())));
    let (view, took) = rig.wait_sample("hello", MINUTE)?;
    ensure!(view["host"] == "https://169.254.2.1:10268", "the Pod was told another address: {}", view["host"]);
    let started = "{.items[?(@.reason==\"Started\")].source.component}";
    let said_by = eventually("kubelet's Event of the Pod's start", MINUTE, || {
        let said_by = rig.cluster.kubectl(&["get", "events", "-n", NAMESPACE, "-o", &format!("jsonpath={started}")])?;
        ensure!(said_by.contains("kubelet"), "Started is said by {said_by:?}");
        Ok(said_by)
    })?;
    rig.say("Events", &format!("the Pod's start is in the cloud, as {said_by} says"));
    rig.say("Pod", &format!("synced {} later with {}; {}", seconds(took), view["host"], brief(&view)));
    Ok(())
}

/// Kubelet's lease, as the cloud has it.
fn lease(rig: &Rig) -> Result<String> {
    let name = rig.cluster.node_name();
    rig.cluster.kubectl(&["get", "lease", "-n", "kube-node-lease", name, "-o", "jsonpath={.spec.renewTime}"])
}

fn heartbeat(rig: &Rig) -> Result<()> {
    let first = eventually("the lease", Duration::from_secs(25), || lease(rig))?;
    let second = eventually("renewal of the lease", Duration::from_secs(25), || {
        let now = lease(rig)?;
        ensure!(now != first, "still {now}");
        Ok(now)
    })?;
    rig.say("lease", &format!("renewed in the cloud: {first}, then {second}"));
    Ok(())
}

/// What a program that cannot run twice says of itself: proof that it ran in the Pod.
fn exec(mut kubectl: Command) -> Result<String> {
    let output = kubectl.args(["exec", "-n", NAMESPACE, "deploy/sample", "--", "/sample"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(said.contains("address already in use"), "exec ended with {}: {said}", output.status);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

fn logs(mut kubectl: Command) -> Result<String> {
    let output = kubectl.args(["logs", "-n", NAMESPACE, "deploy/sample"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(said.contains("synced with"), "logs: {said}{}", String::from_utf8_lossy(&output.stderr));
    Ok(said.trim().to_owned())
}

fn logs_and_exec(rig: &Rig) -> Result<()> {
    rig.say("logs", &logs(rig.cluster.kubectl_command())?);
    rig.say("exec", &exec(rig.cluster.kubectl_command())?);
    rig.say("logs through the hub", &logs(rig.hub_kubectl())?);
    rig.say("exec through the hub", &exec(rig.hub_kubectl())?);
    let mut command = rig.hub_kubectl();
    let mut follower = command.args(["logs", "-f", "deploy/sample"]).stdout(Stdio::piped()).spawn()?;
    let mut first = String::new();
    let read = BufReader::new(follower.stdout.take().context("no output")?).read_line(&mut first);
    follower.kill()?;
    follower.wait()?;
    read?;
    ensure!(first.contains("synced with"), "logs -f: {first:?}");
    rig.say("logs -f through the hub", first.trim());
    Ok(())
}

fn forward(rig: &Rig) -> Result<()> {
    let mut command = rig.hub_kubectl();
    let mut forwarder =
        command.args(["port-forward", "deploy/sample", "18080:8080"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let got = eventually("port-forward", Duration::from_secs(15), || rig.cluster.http_get_from_edge("http://127.0.0.1:18080/"));
    forwarder.kill()?;
    forwarder.wait()?;
    let mut said = String::new();
    forwarder.stderr.take().context("no output")?.read_to_string(&mut said)?;
    let got = got.context(said)?;
    ensure!(got.contains("\"synced\":true"), "{got}");
    rig.say("port-forward through the hub", &format!("{} bytes of the Pod's own page", got.len()));
    Ok(())
}
