//! Pods.

use serde_json::Value;

use super::age::{Now, human, time};
use super::column::{AGE, NAME, text};
use super::printer::{BuiltIn, Completed};
use super::value::{at, condition, count, is_deleted, list, name, number, text as text_at, text_or};

pub(super) const PODS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        text("Status", "The aggregate status of the containers in this pod."),
        text("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
        AGE,
        text("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.").wide(),
        text("Node", "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename").wide(),
        text("Nominated Node", "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.").wide(),
        text("Readiness Gates", "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates").wide(),
    ],
    cells,
)
.completed(completed);

/// What the containers of a Pod say together.
struct Told {
    ready: i64,
    reason: String,
    restarts: Restarts,
}

#[derive(Default)]
struct Restarts {
    count: i64,
    /// When the last container ended that was started again.
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += number(container, "restartCount");
        self.last = self.last.max(time(text_at(container, "lastState.terminated.finishedAt")));
    }

    fn say(&self, now: Now) -> String {
        match self.last {
            Some(ended) if self.count != 0 => format!("{} ({} ago)", self.count, human(now.0 - ended)),
            _ => self.count.to_string(),
        }
    }
}

fn completed(pod: &Value) -> Option<Completed> {
    match text_at(pod, "status.phase") {
        "Succeeded" => Some(("Succeeded", "The pod has completed successfully.")),
        "Failed" => Some(("Failed", "The pod failed.")),
        _ => None,
    }
}

fn cells(pod: &Value, now: Now) -> Vec<Value> {
    let sidecars = list(pod, "spec.initContainers").iter().filter(|container| is_sidecar(container)).count();
    let all = list(pod, "spec.containers").len() + sidecars;
    let told = told(pod);
    let ip = list(pod, "status.podIPs").first().map_or("", |ip| text_at(ip, "ip"));
    vec![
        name(pod),
        format!("{}/{all}", told.ready).into(),
        told.reason.into(),
        told.restarts.say(now).into(),
        now.age(pod),
        if ip.is_empty() { "<none>" } else { ip }.into(),
        text_or(pod, "spec.nodeName", "<none>").into(),
        text_or(pod, "status.nominatedNodeName", "<none>").into(),
        gates(pod).into(),
    ]
}

/// An init container that runs beside the others.
fn is_sidecar(container: &Value) -> bool {
    text_at(container, "restartPolicy") == "Always"
}

fn told(pod: &Value) -> Told {
    let mut reason = text_or(pod, "status.reason", text_at(pod, "status.phase")).to_owned();
    let gated = |one: &Value| text_at(one, "type") == "PodScheduled" && text_at(one, "reason") == "SchedulingGated";
    if list(pod, "status.conditions").iter().any(gated) {
        reason = "SchedulingGated".to_owned();
    }
    let mut told = Told { ready: 0, reason, restarts: Restarts::default() };
    let (initialized, sidecars) = initial(pod, &mut told);
    if initialized || condition(pod, "Initialized") == Some("True") {
        told.restarts = sidecars;
        main(pod, &mut told);
    }
    if is_deleted(pod) && text_at(pod, "status.reason") == "NodeLost" {
        told.reason = "Unknown".to_owned();
    } else if is_deleted(pod) && completed(pod).is_none() {
        told.reason = "Terminating".to_owned();
    }
    told
}

/// The init containers: whether they are done, and the restarts of those that run on.
fn initial(pod: &Value, told: &mut Told) -> (bool, Restarts) {
    let specs = list(pod, "spec.initContainers");
    let mut sidecars = Restarts::default();
    for (index, container) in list(pod, "status.initContainerStatuses").iter().enumerate() {
        told.restarts.add(container);
        let spec = specs.iter().rfind(|spec| text_at(spec, "name") == text_at(container, "name"));
        let is_sidecar = spec.is_some_and(is_sidecar);
        if is_sidecar {
            sidecars.add(container);
        }
        let ended = at(container, "state.terminated");
        let waits = text_at(container, "state.waiting.reason");
        if ended.is_object() && number(ended, "exitCode") == 0 {
            continue;
        }
        if is_sidecar && at(container, "started") == true {
            told.ready += i64::from(at(container, "ready") == true);
            continue;
        }
        told.reason = match ended_for(ended) {
            Some(why) => format!("Init:{why}"),
            None if !waits.is_empty() && waits != "PodInitializing" => format!("Init:{waits}"),
            None => format!("Init:{index}/{}", specs.len()),
        };
        return (false, sidecars);
    }
    (true, sidecars)
}

/// Why a container has ended; `None`: it has not.
fn ended_for(ended: &Value) -> Option<String> {
    let (reason, signal) = (text_at(ended, "reason"), number(ended, "signal"));
    match () {
        () if !ended.is_object() => None,
        () if !reason.is_empty() => Some(reason.to_owned()),
        () if signal != 0 => Some(format!("Signal:{signal}")),
        () => Some(format!("ExitCode:{}", number(ended, "exitCode"))),
    }
}

/// The containers that are the Pod's purpose.
fn main(pod: &Value, told: &mut Told) {
    let mut running = false;
    for container in list(pod, "status.containerStatuses").iter().rev() {
        told.restarts.add(container);
        let waits = text_at(container, "state.waiting.reason");
        if !waits.is_empty() {
            told.reason = waits.to_owned();
        } else if let Some(why) = ended_for(at(container, "state.terminated")) {
            told.reason = why;
        } else if at(container, "ready") == true && at(container, "state.running").is_object() {
            running = true;
            told.ready += 1;
        }
    }
    if told.reason == "Completed" && running {
        let is_ready = |one: &Value| text_at(one, "type") == "Ready" && text_at(one, "status") == "True";
        let ready = list(pod, "status.conditions").iter().any(is_ready);
        told.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

fn gates(pod: &Value) -> String {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| condition(pod, text_at(gate, "conditionType")) == Some("True")).count();
    format!("{}/{}", count(open), gates.len())
}
