//! The address that containers are told: in containers and init containers, of a Pod from the cloud and of a static one,
//! where their manifest leaves it to kubelet and where it names the API server's.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::cluster::{NAMESPACE, SAMPLE_IMAGE, eventually};

use crate::edge::Door;
use crate::rig::{KUBELET, MINUTE, Rig, seconds};

const HUB: &str = "169.254.2.1:10268";
/// What the manifest names: the Service's own address.
const NAMED: &str = "10.96.0.1:443";

/// A Pod whose init containers print their environment, and whose containers can be asked for theirs. What is called
/// `told` is told by kubelet, what is called `named` has the address in its manifest.
fn pod(name: &str, node: &str) -> String {
    let container = |name: &str, what: &str| {
        format!("  - name: {name}\n    image: {SAMPLE_IMAGE}\n    imagePullPolicy: Never\n    command: [/sample, {what}]\n")
    };
    let env = "    env:\n    - {name: KUBERNETES_SERVICE_HOST, value: 10.96.0.1}\n    - {name: KUBERNETES_SERVICE_PORT, value: '443'}\n";
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  nodeName: {node}\n  \
         automountServiceAccountToken: false\n  terminationGracePeriodSeconds: 1\n  tolerations: [{{operator: Exists}}]\n  \
         initContainers:\n{}{}{env}  containers:\n{}{}{env}",
        container("init-told", "env"),
        container("init-named", "env"),
        container("told", "pause"),
        container("named", "pause"),
    )
}

pub fn play(rig: &Rig) -> Result<()> {
    let node = rig.cluster.node_name().to_owned();
    let mirror = format!("static-{node}");
    let started = Instant::now();
    rig.cluster.apply(&pod("ordinary", &node))?;
    rig.cluster.put_static_pod("static", &pod("static", &node))?;
    for pod in ["ordinary", &mirror] {
        eventually(&format!("Pod {pod} is ready"), MINUTE, || {
            let path = "jsonpath={.status.phase} {.status.conditions[?(@.type==\"Ready\")].status}";
            let status = rig.cluster.kubectl(&["get", "pod", pod, "-n", NAMESPACE, "-o", path])?;
            ensure!(status == "Running True", "{status}");
            Ok(())
        })?;
    }
    rig.say("environment", &format!("a Pod and a static Pod are ready {} after they were made", seconds(started.elapsed())));
    told(rig, "ordinary", HUB)?;
    // Its manifest is a file of the node's: kubelet reads it past the hub.
    told(rig, &mirror, NAMED)?;
    seen(rig, &mirror)?;
    rig.cluster.remove_static_pod("static")?;
    rig.cluster.kubectl(&["delete", "pod", "ordinary", "-n", NAMESPACE, "--wait=false"])?;
    eventually("both Pods are gone", MINUTE, || {
        let left = rig.cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", "app!=sample", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// What the containers themselves have in their environment; `named`: where the manifest names an address.
fn told(rig: &Rig, pod: &str, named: &str) -> Result<()> {
    for (name, wanted) in [("told", HUB), ("named", named)] {
        let init = format!("init-{name}");
        let printed = rig.cluster.kubectl(&["logs", pod, "-n", NAMESPACE, "-c", &init])?;
        let asked = rig.cluster.kubectl(&["exec", pod, "-n", NAMESPACE, "-c", name, "--", "/sample", "env"])?;
        for (container, environment) in [(init.as_str(), printed), (name, asked)] {
            let value = |name: &str| environment.lines().find_map(|line| line.strip_prefix(name)).context(environment.clone());
            let got = format!("{}:{}", value("KUBERNETES_SERVICE_HOST=")?, value("KUBERNETES_SERVICE_PORT=")?);
            ensure!(got == wanted, "container {container} of Pod {pod} was told {got}, not {wanted}");
        }
    }
    rig.say("environment", &format!("{pod}: {HUB} in container and init container, {named} where the manifest has {NAMED}"));
    Ok(())
}

/// The mirror Pod as the cloud has it, and as kubelet reads it: the same one, with the hub's address where it names one.
/// That its status came to the cloud shows that kubelet has seen it: it writes none before.
fn seen(rig: &Rig, mirror: &str) -> Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{mirror}");
    let cloud: Value = serde_json::from_str(&rig.cluster.kubectl(&["get", "--raw", &path])?)?;
    let answer = rig.ask(Door::Loopback, KUBELET, "GET", &path, "")?;
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text);
    let kubelet: Value = serde_json::from_str(&answer.text)?;
    for pod in [&cloud, &kubelet] {
        ensure!(pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_string(), "no mirror: {pod}");
    }
    ensure!(cloud["metadata"]["uid"] == kubelet["metadata"]["uid"], "another Pod: {}", answer.text);
    for (pod, wanted) in [(&cloud, NAMED), (&kubelet, HUB)] {
        for (list, container) in [("initContainers", "init-told"), ("containers", "told")] {
            let env = env(pod, list, container)?;
            ensure!(env.is_empty(), "{container} of {mirror} has {env}, which its manifest has not");
        }
        for (list, container) in [("initContainers", "init-named"), ("containers", "named")] {
            let env = env(pod, list, container)?;
            ensure!(env == wanted, "{container} of {mirror} has {env}, not {wanted}");
        }
    }
    rig.say(
        "mirror",
        &format!("{mirror} names {NAMED} in the cloud, {HUB} as kubelet reads it, in container and init container"),
    );
    Ok(())
}

/// Host and port of the `env` in a container's manifest; empty if it has none.
fn env(pod: &Value, list: &str, container: &str) -> Result<String> {
    let containers = pod["spec"][list].as_array().with_context(|| format!("no {list}: {pod}"))?;
    let found = containers.iter().find(|found| found["name"] == container).with_context(|| format!("no {container}: {pod}"))?;
    let variables = found["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(variables.iter().filter_map(|variable| variable["value"].as_str()).collect::<Vec<_>>().join(":"))
}
