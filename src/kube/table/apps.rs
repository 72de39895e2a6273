//! What keeps Pods running.

use serde_json::Value;

use super::age::Now;
use super::column::{AGE, CONTAINERS, IMAGES, NAME, integer, text};
use super::printer::BuiltIn;
use super::value::{at, joined, labels, list, name, number, selector, selector_or_none};

pub(super) const DEPLOYMENTS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Ready", "Number of the pod with ready state"),
        text("Up-to-date", "Total number of non-terminating pods targeted by this deployment that have the desired template spec."),
        text("Available", "Total number of available non-terminating pods (ready for at least minReadySeconds) targeted by this deployment."),
        AGE,
        CONTAINERS,
        IMAGES,
        text("Selector", "Label selector for pods. Existing ReplicaSets whose pods are selected by this will be the ones affected by this deployment.").wide(),
    ],
    deployment,
);

pub(super) const DAEMON_SETS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        integer("Desired", "The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
        integer("Current", "The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
        integer("Ready", "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and ready."),
        integer("Up-to-date", "The total number of nodes that are running updated daemon pod"),
        integer("Available", "The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)"),
        text("Node Selector", "NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/"),
        AGE,
        CONTAINERS,
        IMAGES,
        text("Selector", "A label query over pods that are managed by the daemon set. Must match in order to be controlled. If empty, defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors").wide(),
    ],
    daemon_set,
);

pub(super) const STATEFUL_SETS: BuiltIn =
    BuiltIn::new(&[NAME, text("Ready", "Number of the pod with ready state"), AGE, CONTAINERS, IMAGES], stateful_set);

pub(super) const REPLICA_SETS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        integer("Desired", "Replicas is the number of desired pods. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset"),
        integer("Current", "Replicas is the most recently observed number of non-terminating pods. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset"),
        integer("Ready", "The number of non-terminating pods targeted by this ReplicaSet with a Ready Condition."),
        AGE,
        CONTAINERS,
        IMAGES,
        text("Selector", "Selector is a label query over pods that should match the replica count. If the selector is empty, it is defaulted to the labels present on the pod template. Label keys and values that must match in order to be controlled by this replica set. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors").wide(),
    ],
    replica_set,
);

/// Names and images of the containers in the template.
pub(super) fn containers(spec: &Value) -> [Value; 2] {
    let containers = list(spec, "template.spec.containers");
    [joined(containers, "name").into(), joined(containers, "image").into()]
}

fn ready(object: &Value) -> Value {
    format!("{}/{}", number(object, "status.readyReplicas"), number(object, "spec.replicas")).into()
}

fn deployment(object: &Value, now: Now) -> Vec<Value> {
    let spec = at(object, "spec");
    let [containers, images] = containers(spec);
    vec![
        name(object),
        ready(object),
        number(object, "status.updatedReplicas").into(),
        number(object, "status.availableReplicas").into(),
        now.age(object),
        containers,
        images,
        selector(at(spec, "selector")).into(),
    ]
}

fn daemon_set(object: &Value, now: Now) -> Vec<Value> {
    let (spec, status) = (at(object, "spec"), at(object, "status"));
    let [containers, images] = containers(spec);
    vec![
        name(object),
        number(status, "desiredNumberScheduled").into(),
        number(status, "currentNumberScheduled").into(),
        number(status, "numberReady").into(),
        number(status, "updatedNumberScheduled").into(),
        number(status, "numberAvailable").into(),
        labels(at(spec, "template.spec.nodeSelector")).into(),
        now.age(object),
        containers,
        images,
        selector_or_none(at(spec, "selector")).into(),
    ]
}

fn stateful_set(object: &Value, now: Now) -> Vec<Value> {
    let [containers, images] = containers(at(object, "spec"));
    vec![name(object), ready(object), now.age(object), containers, images]
}

fn replica_set(object: &Value, now: Now) -> Vec<Value> {
    let spec = at(object, "spec");
    let [containers, images] = containers(spec);
    vec![
        name(object),
        number(spec, "replicas").into(),
        number(object, "status.replicas").into(),
        number(object, "status.readyReplicas").into(),
        now.age(object),
        containers,
        images,
        selector_or_none(at(spec, "selector")).into(),
    ]
}
