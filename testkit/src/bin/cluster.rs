//! A real cluster by hand, and the check that the driver keeps its promises.
//!
//! `cluster check` brings one up with a node that talks to the API server
//! directly, follows the sample Pod, tries every cut, and says how long each
//! step took. `cluster up` does the same up to the Pod and stays until its
//! standard input ends. Both leave nothing behind, however they end.
#![expect(clippy::print_stdout, reason = "a command that reports to whoever runs it")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use testkit::cluster::{Cluster, Cut, NAMESPACE, Options, eventually, sample_workload};

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("up") => up(),
        Some("check") => check(),
        _ => bail!("usage: cluster up|check"),
    }
}

fn up() -> Result<()> {
    let (cluster, ip) = with_sample()?;
    println!("files in {}, the sample Pod at {ip}; ends with standard input", cluster.dir().display());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs one step and says how long it took.
fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work();
    println!("{:>6.1} s  {step}{}", started.elapsed().as_secs_f64(), if result.is_ok() { "" } else { ": FAILED" });
    result
}

fn with_sample() -> Result<(Cluster, String)> {
    let mut cluster = timed("servers", || Cluster::start(Options { http2_max_streams: Some(100), ..Options::default() }))?;
    timed("containerd and images", || cluster.start_containerd())?;
    timed("node ready", || {
        cluster.serve_kubernetes_service()?;
        cluster.start_kubelet_directly()?;
        cluster.wait_node_ready(MINUTE)
    })?;
    timed("apply", || cluster.apply(&sample_workload(cluster.node_name())))?;
    let ip = timed("sample Pod synced", || wait_synced(&cluster))?;
    Ok((cluster, ip))
}

fn wait_synced(cluster: &Cluster) -> Result<String> {
    let synced = eventually("synced sample Pod", MINUTE, || {
        let ip = cluster.sample_ip()?;
        let view = cluster.sample_view(&ip)?;
        ensure!(view["synced"] == true && view["secret"] == "open", "{view}");
        ensure!(view["forbidden"].as_str().is_some_and(|error| error.contains("cannot get resource")), "{view}");
        ensure!(view["configmaps"]["greeting"]["text"] == "hello", "{view}");
        Ok(ip)
    });
    if synced.is_err() {
        println!("{}", cluster.kubectl(&["describe", "pods", "-n", NAMESPACE]).unwrap_or_default());
        println!("{}\n{}", cluster.log_tail("kubelet"), cluster.log_tail("containerd"));
    }
    synced
}

fn check() -> Result<()> {
    let (mut cluster, ip) = with_sample()?;
    timed("a token", || cluster.token(NAMESPACE, "sample"))?;
    timed("logs through the kubelet", || {
        let logs = cluster.kubectl(&["logs", "-n", NAMESPACE, "deploy/sample"])?;
        ensure!(logs.contains("synced with"), "{logs}");
        Ok(())
    })?;
    timed("Pod reaches 169.254.2.1 of the node", || reach_hub_address(&cluster))?;
    for how in Cut::ALL {
        timed(&format!("cut {how:?} and restore"), || try_cut(&cluster, how, &ip))?;
    }
    timed("API server killed and started", || {
        cluster.kill_apiserver();
        ensure!(probe(&cluster).is_err(), "the API server answers though it is killed");
        cluster.start_apiserver()?;
        probe(&cluster)
    })?;
    timed("node rebooted, sample Pod synced", || {
        cluster.reboot_node()?;
        cluster.start_containerd()?;
        ensure!(cluster.ctr(&["tasks", "ls", "-q"])?.trim().is_empty(), "a container outlived the reboot");
        ensure!(cluster.sample_view(&ip).is_err(), "the Pod answers though the node was rebooted");
        cluster.start_kubelet_directly()?;
        eventually("another start", MINUTE, || wait_synced(&cluster)).map(drop)
    })?;
    timed("containers removed, sample Pod synced", || {
        cluster.stop_kubelet()?;
        cluster.remove_pod_containers()?;
        ensure!(cluster.ctr(&["containers", "ls", "-q"])?.trim().is_empty(), "a container is left");
        cluster.start_kubelet_directly()?;
        eventually("another start", MINUTE, || wait_synced(&cluster)).map(drop)
    })?;
    timed("kubelet through a plain proxy, new sample Pod synced", || follow_proxy(&mut cluster))?;
    timed("removal", || {
        drop(cluster);
        Ok(())
    })
}

/// The kubelet without credentials, behind something that has the node's: the
/// hub's place, held by `kubectl proxy`.
fn follow_proxy(cluster: &mut Cluster) -> Result<()> {
    cluster.stop_kubelet()?;
    let (lab, kubeconfig) = (cluster.dir().join("bin/lab"), cluster.dir().join("probe.conf"));
    let mut proxy = cluster.edge_command(&lab.to_string_lossy());
    proxy.args(["kubectl", "proxy", "--port=10261", "--kubeconfig"]).arg(kubeconfig);
    let mut proxy = proxy.stdout(Stdio::null()).spawn()?;
    let old = cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "name"])?;
    cluster.start_kubelet("http://127.0.0.1:10261")?;
    cluster.kubectl(&["delete", "-n", NAMESPACE, "--timeout=30s", old.trim()])?;
    wait_synced(cluster)?;
    ensure!(cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "name"])? != old, "the Pod is the old one");
    proxy.kill()?;
    proxy.wait()?;
    Ok(())
}

fn probe(cluster: &Cluster) -> Result<()> {
    cluster.probe_from_edge("/readyz", Duration::from_secs(2)).map(drop)
}

/// A listener of the node's on 169.254.2.1, asked from the sample Pod's namespace.
fn reach_hub_address(cluster: &Cluster) -> Result<()> {
    let status = cluster.edge_command("ip").args(["addr", "add", "169.254.2.1/32", "dev", "lo"]).status()?;
    ensure!(status.success(), "cannot add the address");
    let mut listener = cluster.edge_command("busybox").args(["nc", "-l", "-p", "9999"]).stdin(Stdio::null()).spawn()?;
    let tasks = cluster.ctr(&["tasks", "ls"])?;
    let id = tasks.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned();
    let reached = eventually("connection", Duration::from_secs(5), || {
        let line = "busybox nc -w 2 169.254.2.1 9999 </dev/null";
        let status = cluster.pod_command(&id, "sh")?.args(["-c", line]).status()?;
        ensure!(status.success(), "no connection from the Pod");
        Ok(())
    });
    listener.kill()?;
    listener.wait()?;
    reached
}

fn try_cut(cluster: &Cluster, how: Cut, ip: &str) -> Result<()> {
    probe(cluster)?;
    // An established connection, idle but for what is written to its input.
    let mut idle = connection(cluster)?;
    cluster.cut(how)?;
    let started = Instant::now();
    let cut = probe(cluster);
    let took = started.elapsed().as_secs_f64();
    match cut {
        Ok(()) => bail!("{how:?}: the API server still answers"),
        Err(error) => println!("          {took:.1} s until: {}", last_line(&error)),
    }
    ensure!(cluster.sample_view(ip).is_ok(), "{how:?} cut the Pod off from its own node");
    let ended = idle.try_wait()?.is_some();
    ensure!(ended == (how == Cut::Reset), "{how:?}: established connection ended: {ended}");
    if how != Cut::StopServer {
        cluster.kubectl(&["get", "--raw", "/readyz"])?;
    }
    idle.kill()?;
    idle.wait()?;
    cluster.restore(how)?;
    eventually("restored link", MINUTE, || probe(cluster))
}

/// An established TCP connection from the edge to the API server.
fn connection(cluster: &Cluster) -> Result<Child> {
    let address = cluster.server_url().replace("https://", "");
    let (host, port) = address.split_once(':').unwrap_or_default();
    let mut command: Command = cluster.edge_command("busybox");
    let child = command.args(["nc", host, port]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let owner = format!("pid={},", child.id());
    eventually("established connection", Duration::from_secs(5), || {
        let output = cluster.edge_command("ss").args(["-Htnp", "state", "established"]).output()?;
        ensure!(String::from_utf8_lossy(&output.stdout).contains(&owner), "no connection");
        Ok(())
    })?;
    Ok(child)
}

fn last_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .lines()
        .last()
        .unwrap_or_default()
        .chars()
        .rev()
        .take(110)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}
