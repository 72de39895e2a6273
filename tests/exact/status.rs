//! What the servers of a cluster say of its objects.

use serde_json::{Value, json};

use crate::objects::Resource;
use crate::random::Random;

/// What a container may say of itself.
fn container_status(name: &str, random: &mut Random) -> Value {
    let ended = json!({"exitCode": random.below(3), "signal": random.below(2), "reason": random.of(&["", "Completed", "Error"]),
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": random.of(&["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"])});
    let states = [
        json!({}),
        json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
        json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
        json!({"waiting": {"reason": random.of(&["CrashLoopBackOff", "PodInitializing", ""])}}),
        json!({"terminated": ended}),
    ];
    json!({
        "name": name, "image": "i", "imageID": "i", "ready": random.one_in(2), "started": random.one_in(2),
        "restartCount": random.below(3),
        "state": states[random.below(5)],
        "lastState": if random.one_in(2) { json!({"terminated": ended}) } else { json!({}) },
    })
}

fn conditions(random: &mut Random, kinds: &[&str]) -> Value {
    let some = kinds.iter().filter_map(|kind| {
        let status = random.of(&["True", "False", "Unknown"]);
        random.one_in(2).then(|| json!({"type": kind, "status": status, "reason": "R"}))
    });
    some.collect()
}

/// What has come of an object.
pub fn of(resource: &Resource, random: &mut Random, made: &Value) -> Option<Value> {
    match resource.kind {
        "Node" => Some(json!({
            "conditions": conditions(random, &["Ready", "DiskPressure"]),
            "addresses": [{"type": random.of(&["InternalIP", "ExternalIP"]), "address": "192.0.2.9"}],
            "nodeInfo": {"machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "", "osImage": "<os>",
                "containerRuntimeVersion": "c://1", "kubeletVersion": "v1.34.4", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
        })),
        "Deployment" => Some(
            json!({"replicas": 3, "updatedReplicas": random.below(3), "readyReplicas": 2, "availableReplicas": random.below(3)}),
        ),
        "DaemonSet" => Some(json!({"desiredNumberScheduled": 5, "currentNumberScheduled": random.below(3), "numberReady": 3,
            "updatedNumberScheduled": random.below(3), "numberAvailable": 1, "numberMisscheduled": 0})),
        "StatefulSet" => Some(json!({"replicas": 1, "readyReplicas": random.below(2)})),
        "CronJob" if random.one_in(2) => {
            Some(json!({"lastScheduleTime": "2026-01-01T00:00:00Z", "active": [{"kind": "Job", "name": "j"}]}))
        }
        "Service" if made["spec"]["type"] != "LoadBalancer" => None,
        "Ingress" | "Service" if random.one_in(2) => {
            let points = json!([{"ip": "192.0.2.7"}, {"hostname": "balancer.example.com"}, {"ip": "192.0.2.10"}]);
            Some(json!({"loadBalancer": {"ingress": points}}))
        }
        "PersistentVolumeClaim" if random.one_in(2) => {
            Some(json!({"phase": "Bound", "accessModes": ["ReadWriteOnce", "ReadWriteMany"], "capacity": {"storage": "2048Mi"}}))
        }
        "Pod" => {
            let ip = random.of(&["10.1.0.1", "10.1.0.2"]);
            let mut status =
                json!({"phase": random.of(&["Running", "Pending", "Failed", "Succeeded"]), "podIP": ip, "podIPs": [{"ip": ip}]});
            if random.one_in(2) {
                status["containerStatuses"] = json!([container_status("c", random), container_status("d", random)]);
                status["initContainerStatuses"] = json!([container_status("i", random), container_status("s", random)]);
                status["conditions"] = conditions(random, &["Ready", "Initialized", "example.com/a", "example.com/b"]);
                status["reason"] = random.of(&["", "", "Evicted", "NodeLost"]).into();
            }
            Some(status)
        }
        "Job" => Some(json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": random.below(2)})),
        "ReplicaSet" => Some(json!({"replicas": random.below(2)})),
        "ReplicationController" => Some(json!({"replicas": random.below(3)})),
        _ => None,
    }
}
