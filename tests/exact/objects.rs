//! What there is in the cluster.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::client::Client;
use testkit::hub::eventually;

use crate::random::Random;
use crate::{JSON, PROTOBUF};

pub struct Resource {
    /// `/api/v1`, `/apis/batch/v1`
    group: &'static str,
    pub name: &'static str,
    pub namespaced: bool,
    /// The kind, and how many of it there are.
    kind: &'static str,
    pub count: usize,
    /// Fields by which it may be asked for, right and wrong ones.
    pub fields: &'static [&'static str],
}

const fn namespaced(
    group: &'static str,
    name: &'static str,
    kind: &'static str,
    count: usize,
    fields: &'static [&'static str],
) -> Resource {
    Resource { group, name, namespaced: true, kind, count, fields }
}

pub const RESOURCES: [Resource; 11] = [
    namespaced("/api/v1", "configmaps", "ConfigMap", 40, &["metadata.namespace=a", "data.x=y"]),
    namespaced(
        "/api/v1",
        "pods",
        "Pod",
        40,
        &[
            "spec.nodeName=n-1",
            "spec.nodeName!=n-1",
            "status.phase=Running",
            "status.phase!=Running,spec.nodeName=n-2",
            "spec.hostNetwork=true",
            "spec.restartPolicy=Always",
            "spec.serviceAccountName=",
            "spec.schedulerName=default-scheduler",
            "status.podIP=10.1.0.1",
            "status.nominatedNodeName=",
            "spec.host=n-1",
            "spec.image=x",
        ],
    ),
    namespaced("/api/v1", "secrets", "Secret", 20, &["type=Opaque", "type!=Opaque,metadata.namespace=b", "data=x"]),
    namespaced("/api/v1", "services", "Service", 20, &["spec.type=ClusterIP", "spec.clusterIP=None", "spec.ports=1"]),
    namespaced(
        "/api/v1",
        "events",
        "Event",
        20,
        &[
            "involvedObject.kind=Pod",
            "involvedObject.name!=p-1",
            "type=Warning",
            "reason=Started",
            "source=kubelet",
            "reportingComponent=",
        ],
    ),
    namespaced("/apis/batch/v1", "jobs", "Job", 12, &["status.successful=1", "status.successful=0", "status.failed=0"]),
    namespaced("/apis/apps/v1", "replicasets", "ReplicaSet", 12, &["status.replicas=0", "metadata.namespace!=a"]),
    namespaced(
        "/apis/example.com/v1",
        "widgets",
        "Widget",
        20,
        &["metadata.namespace=c", "spec.color=red", "spec.color!=red,spec.count=1", "spec.count=", "spec.on=true", "spec.text=x"],
    ),
    Resource {
        group: "/apis/example.com/v1",
        name: "gadgets",
        namespaced: false,
        kind: "Gadget",
        count: 6,
        fields: &["metadata.namespace=", "spec.color=red"],
    },
    Resource {
        group: "/api/v1",
        name: "nodes",
        namespaced: false,
        kind: "Node",
        count: 8,
        fields: &["spec.unschedulable=true", "spec.unschedulable=false", "metadata.namespace=", "spec.podCIDR=x"],
    },
    Resource {
        group: "/api/v1",
        name: "namespaces",
        namespaced: false,
        kind: "Namespace",
        count: 0,
        fields: &["status.phase=Active", "status.phase!=Active", "name=a"],
    },
];

pub const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

impl Resource {
    /// Empty: of all namespaces, or the collection.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let namespace = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{}{namespace}/{}{name}", self.group, self.name)
    }

    pub fn accepts(&self) -> &'static [&'static str] {
        if self.is_custom() { &[JSON] } else { &[JSON, PROTOBUF] }
    }

    fn is_custom(&self) -> bool {
        self.group.contains("example.com")
    }

    /// Where the object of this number is; some sort between each other's namespaces.
    pub fn place(&self, number: usize) -> (String, String) {
        let initial = &self.name[..1];
        if self.namespaced {
            (NAMESPACES[number % 3].to_owned(), format!("{initial}-{}", number / 3))
        } else {
            (String::new(), format!("{initial}-{number}"))
        }
    }
}

pub async fn create(cloud: &Client, random: &mut Random) {
    for namespace in NAMESPACES {
        let object = json!({"metadata": {"name": namespace, "labels": labels(random)}});
        post(cloud, "/api/v1/namespaces", &object).await;
    }
    define_custom_resources(cloud).await;
    for resource in &RESOURCES {
        for number in 0..resource.count {
            let (namespace, name) = resource.place(number);
            let mut object = object(resource, random, number);
            object["metadata"]["name"] = name.as_str().into();
            object["metadata"]["labels"] = labels(random);
            if random.one_in(8) {
                object["metadata"]["finalizers"] = json!(["example.com/kept"]);
            }
            let made = post(cloud, &resource.path(&namespace, ""), &object).await;
            let path = resource.path(&namespace, &name);
            if let Some(status) = status(resource, random) {
                let mut object = made;
                object["status"] = status;
                send(cloud, "PUT", &format!("{path}/status"), &object, 200).await;
            }
            if random.one_in(10) {
                // With a finalizer it stays, marked.
                send(cloud, "DELETE", &path, &json!({"gracePeriodSeconds": 0}), 200).await;
            }
        }
    }
    let large = json!({"metadata": {"name": "large"}, "data": {"text": "x\u{e9}\u{1F980}".repeat(140_000)}});
    post(cloud, "/api/v1/namespaces/b/configmaps", &large).await;
}

fn labels(random: &mut Random) -> Value {
    let mut labels = json!({});
    for (key, values) in [("app", ["web", "db", "web"]), ("tier", ["1", "2", "30"]), ("example.com/owner", ["x", "", "y"])] {
        if !random.one_in(3) {
            labels[key] = values[random.below(3)].into();
        }
    }
    labels
}

fn object(resource: &Resource, random: &mut Random, number: usize) -> Value {
    let text = random.of(&["plain", "\u{e9}\u{1F980}", "<&>\u{2028}\"\\", ""]);
    let containers = json!([{"name": "c", "image": format!("image-{number}")}]);
    let mut object = match resource.kind {
        "ConfigMap" => json!({"data": {"text": text, "number": number.to_string()}, "immutable": random.one_in(2)}),
        "Secret" => json!({"type": random.of(&["Opaque", "example.com/other"]), "data": {"v": "c2VjcmV0"}}),
        "Service" if random.one_in(3) => json!({"spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
        "Service" => json!({"spec": {"type": random.of(&["ClusterIP", "NodePort"]), "ports": [{"port": 80}]}}),
        "Pod" => json!({"spec": {
            "nodeName": random.of(&["n-1", "n-2", ""]),
            "hostNetwork": random.one_in(2),
            "restartPolicy": random.of(&["Always", "Never"]),
            "containers": containers,
        }}),
        "Event" => json!({
            "involvedObject": {"kind": random.of(&["Pod", "Node"]), "name": random.of(&["p-1", "p-2"]), "namespace": resource.place(number).0},
            "type": random.of(&["Normal", "Warning"]),
            "reason": random.of(&["Started", "Killed"]),
            "message": text,
            "source": {"component": random.of(&["kubelet", "", "scheduler"])},
        }),
        "Job" => json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": containers}}}}),
        "ReplicaSet" => json!({"spec": {
            "selector": {"matchLabels": {"r": "s"}},
            "template": {"metadata": {"labels": {"r": "s"}}, "spec": {"containers": containers}},
        }}),
        "Widget" | "Gadget" => {
            let mut spec = json!({"color": random.of(&["red", "blue"]), "text": text, "on": random.one_in(2)});
            if random.one_in(2) {
                spec["count"] = random.below(2).into();
            }
            json!({"apiVersion": "example.com/v1", "kind": resource.kind, "spec": spec})
        }
        _ => json!({"spec": {"unschedulable": random.one_in(2)}}),
    };
    object["metadata"] = json!({"annotations": {"text": text}});
    if random.one_in(3) {
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
        object["metadata"]["ownerReferences"] = json!([owner]);
    }
    object
}

fn status(resource: &Resource, random: &mut Random) -> Option<Value> {
    match resource.kind {
        "Pod" => {
            let ip = random.of(&["10.1.0.1", "10.1.0.2"]);
            Some(json!({"phase": random.of(&["Running", "Pending", "Failed"]), "podIP": ip, "podIPs": [{"ip": ip}]}))
        }
        "Job" => Some(json!({"startTime": "2026-01-01T00:00:00Z", "succeeded": random.below(2)})),
        "ReplicaSet" => Some(json!({"replicas": random.below(2)})),
        _ => None,
    }
}

/// Widgets are selected by fields of their own, Gadgets are in no namespace.
async fn define_custom_resources(cloud: &Client) {
    let properties =
        json!({"color": {"type": "string"}, "text": {"type": "string"}, "count": {"type": "integer"}, "on": {"type": "boolean"}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let fields = json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.count"}, {"jsonPath": ".spec.on"}]);
    for (plural, kind, scope, fields) in
        [("widgets", "Widget", "Namespaced", fields), ("gadgets", "Gadget", "Cluster", json!([]))]
    {
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "selectableFields": fields});
        let definition = json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "names": {"plural": plural, "kind": kind}, "scope": scope, "versions": [version]},
        });
        post(cloud, DEFINITIONS, &definition).await;
        eventually("custom resources are served and described", Duration::from_secs(30), async || {
            let described = cloud.get("/openapi/v3/apis/example.com/v1").await?.text().contains(&format!("/{plural}/"));
            Ok(described && cloud.get(&format!("/apis/example.com/v1/{plural}")).await?.status == 200)
        })
        .await
        .unwrap();
    }
}

async fn post(cloud: &Client, path: &str, object: &Value) -> Value {
    send(cloud, "POST", path, object, 201).await
}

async fn send(cloud: &Client, method: &str, path: &str, object: &Value, status: u16) -> Value {
    let headers = [("content-type", JSON), ("accept", JSON)];
    let answer = cloud.request(method, path, &headers, object.to_string()).await.unwrap();
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    answer.json()
}
