//! What there is in the cluster.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::client::Client;
use testkit::hub::eventually;

use crate::random::Random;
use crate::status;
use crate::{JSON, PROTOBUF};

pub struct Resource {
    /// `/api/v1`, `/apis/batch/v1`
    group: &'static str,
    pub name: &'static str,
    pub namespaced: bool,
    /// The kind, and how many of it there are.
    pub kind: &'static str,
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

pub const RESOURCES: [Resource; 29] = [
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
            "status.podIPs=10.1.0.1",
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
            "involvedObject.namespace=a",
            "involvedObject.uid=u-1",
            "involvedObject.apiVersion=v1",
            "involvedObject.resourceVersion!=7",
            "involvedObject.fieldPath=",
            "type=Warning",
            "reason=Started",
            "source=kubelet",
            "reportingComponent=",
        ],
    ),
    namespaced("/apis/batch/v1", "jobs", "Job", 12, &["status.successful=1", "status.successful=0", "status.failed=0"]),
    namespaced("/apis/apps/v1", "replicasets", "ReplicaSet", 12, &["status.replicas=0", "metadata.namespace!=a"]),
    namespaced(
        "/api/v1",
        "replicationcontrollers",
        "ReplicationController",
        9,
        &["status.replicas=0", "status.replicas!=2", "spec.replicas=0"],
    ),
    namespaced("/apis/apps/v1", "deployments", "Deployment", 6, &["metadata.namespace=a"]),
    namespaced("/apis/apps/v1", "daemonsets", "DaemonSet", 6, &["metadata.namespace=a"]),
    namespaced("/apis/apps/v1", "statefulsets", "StatefulSet", 6, &["metadata.namespace=a"]),
    namespaced("/apis/batch/v1", "cronjobs", "CronJob", 6, &["metadata.namespace=a"]),
    namespaced("/api/v1", "serviceaccounts", "ServiceAccount", 6, &["metadata.namespace=a"]),
    namespaced("/api/v1", "endpoints", "Endpoints", 9, &["metadata.namespace=a"]),
    namespaced("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", 6, &["metadata.namespace=a"]),
    namespaced("/apis/discovery.k8s.io/v1", "endpointslices", "EndpointSlice", 9, &["metadata.namespace=a"]),
    namespaced("/apis/networking.k8s.io/v1", "ingresses", "Ingress", 6, &["metadata.namespace=a"]),
    namespaced("/apis/coordination.k8s.io/v1", "leases", "Lease", 6, &["metadata.namespace=a"]),
    namespaced(
        "/apis/events.k8s.io/v1",
        "events",
        "Event",
        0,
        &[
            "regarding.kind=Pod",
            "regarding.name!=p-1",
            "regarding.namespace=a",
            "regarding.uid=u-1",
            "regarding.apiVersion=v1",
            "regarding.resourceVersion!=7",
            "regarding.fieldPath=",
            "reason=Started",
            "reportingController=",
            "reportingController=example.com/reporter",
            "type=Warning",
            "involvedObject.kind=Pod",
            "source=kubelet",
        ],
    ),
    namespaced("/api/v1", "limitranges", "LimitRange", 3, &["metadata.namespace=a"]),
    namespaced("/apis/rbac.authorization.k8s.io/v1", "roles", "Role", 3, &["metadata.namespace=a"]),
    Resource {
        group: "/apis/rbac.authorization.k8s.io/v1",
        name: "clusterroles",
        namespaced: false,
        kind: "ClusterRole",
        count: 3,
        fields: &["metadata.namespace="],
    },
    Resource {
        group: "/apis/certificates.k8s.io/v1",
        name: "certificatesigningrequests",
        namespaced: false,
        kind: "CertificateSigningRequest",
        count: 6,
        fields: &["spec.signerName=example.com/one", "spec.signerName!=example.com/one", "spec.username=x"],
    },
    Resource {
        group: "/apis/resource.k8s.io/v1",
        name: "resourceslices",
        namespaced: false,
        kind: "ResourceSlice",
        count: 6,
        fields: &["spec.nodeName=n-1", "spec.nodeName=", "spec.driver=one.example.com", "spec.pool.name=x"],
    },
    Resource {
        group: "/api/v1",
        name: "persistentvolumes",
        namespaced: false,
        kind: "PersistentVolume",
        count: 6,
        fields: &["metadata.namespace="],
    },
    namespaced(
        "/apis/example.com/v1",
        "widgets",
        "Widget",
        20,
        &[
            "metadata.namespace=c",
            "spec.color=red",
            "spec.color!=red,spec.count=1",
            r"spec.color=a\,b\=c",
            r"spec.color!=a\,b\=c,spec.on=true",
            "spec.color=a,b=c",
            "spec.count=",
            "spec.on=true",
            "spec.text=x",
        ],
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
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// As `openssl req` writes one, in base64.
const SIGNING_REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlHU01FWUNBUUF3RXpFUk1BOEdBMVVFQXd3SWMyOXRaV0p2Wkhrd0tqQUZCZ01yWlhBRElRRExxV05QaStXVQo4NDBOczJaeU5kM0cxRkpPYWN0RU9EUmswN0hOeWsxVHhLQUFNQVVHQXl0bGNBTkJBTlRYUXFBQ2hTZk8zQ1RRCkVUQUIrc1hvWG83MkFMd1NSSUxqQ2x0dzRSb0Znd0xIdXFRTW9OcDJDTmo5emRleDRScFhBSVN2YlRIV2M1d2IKNy9iNmN3UT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

impl Resource {
    /// `jobs.batch`, `pods`
    pub fn with_group(&self) -> String {
        match self.group.strip_prefix("/apis/").and_then(|group| group.split('/').next()) {
            Some(group) => format!("{}.{group}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Empty: of all namespaces, or the collection.
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let namespace = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        let name = if name.is_empty() { String::new() } else { format!("/{name}") };
        format!("{}{namespace}/{}{name}", self.group, self.name)
    }

    pub fn accepts(&self) -> &'static [&'static str] {
        if self.is_custom() { &[JSON] } else { &[JSON, PROTOBUF] }
    }

    /// Whether the node makes Tables of it (docs/tables.md).
    pub fn has_table(&self) -> bool {
        !matches!(self.kind, "ReplicationController" | "CertificateSigningRequest" | "ResourceSlice")
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
            if let Some(status) = status::of(resource, random, &made) {
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

pub fn labels(random: &mut Random) -> Value {
    let mut labels = json!({});
    for (key, values) in [("app", ["web", "db", "web"]), ("tier", ["1", "2", "30"]), ("example.com/owner", ["x", "", "y"])] {
        if !random.one_in(3) {
            labels[key] = values[random.below(3)].into();
        }
    }
    labels
}

pub fn object(resource: &Resource, random: &mut Random, number: usize) -> Value {
    let text = random.of(&["plain", "\u{e9}\u{1F980}", "<&>\u{2028}\"\\", ""]);
    let containers = json!([{"name": "c", "image": format!("image-{number}")}, {"name": "d", "image": "<d>"}]);
    let template =
        json!({"metadata": {"labels": {"r": "s"}}, "spec": {"containers": containers, "nodeSelector": {"z": "1", "a": "2"}}});
    let expressions = json!([
        {"key": "r", "operator": "In", "values": ["t", "s"]},
        {"key": "q", "operator": "NotIn", "values": ["s"]},
        {"key": "r", "operator": "Exists"},
        {"key": "p", "operator": "DoesNotExist"},
    ]);
    let mut selector = json!({"matchLabels": {"r": "s"}});
    if random.one_in(2) {
        selector["matchExpressions"] = expressions;
    }
    let addresses: Vec<String> = (0..random.below(5)).map(|number| format!("10.9.{number}.1")).collect();
    let mut object = match resource.kind {
        "ConfigMap" if random.one_in(4) => json!({"binaryData": {"b": "AAEC"}}),
        "ConfigMap" => json!({"data": {"text": text, "number": number.to_string()}, "immutable": random.one_in(2)}),
        "Secret" => json!({"type": random.of(&["Opaque", "example.com/other"]), "data": {"v": "c2VjcmV0"}}),
        "Service" => service(random),
        "Pod" => pod(random, &containers),
        "Event" => event(resource, random, number, text),
        "Job" => {
            let mut spec = json!({"template": {"spec": {"restartPolicy": "Never", "containers": containers}}});
            let others = [json!({}), json!({"parallelism": 3}), json!({"completions": 4}), json!({"suspend": true})];
            for (name, value) in others[random.below(4)].as_object().unwrap() {
                spec[name] = value.clone();
            }
            json!({"spec": spec})
        }
        "CronJob" => {
            let template = json!({"spec": {"restartPolicy": "Never", "containers": containers}});
            let mut spec =
                json!({"schedule": "5 * * * *", "suspend": random.one_in(2), "jobTemplate": {"spec": {"template": template}}});
            if random.one_in(2) {
                spec["timeZone"] = "Europe/Berlin".into();
            }
            json!({"spec": spec})
        }
        "ReplicaSet" | "Deployment" => json!({"spec": {"replicas": random.below(3), "selector": selector, "template": template}}),
        "DaemonSet" => json!({"spec": {"selector": selector, "template": template}}),
        "StatefulSet" => json!({"spec": {"serviceName": "s", "selector": selector, "template": template}}),
        "ServiceAccount" => json!({"secrets": [{"name": "x"}]}),
        "Endpoints" => {
            let addresses: Vec<_> = addresses.iter().map(|ip| json!({"ip": ip})).chain([json!({"ip": "fd00::1"})]).collect();
            let ports = if random.one_in(2) { json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]) } else { json!([]) };
            json!({"subsets": if random.one_in(4) { json!([]) } else { json!([{"addresses": addresses, "ports": ports}]) }})
        }
        "EndpointSlice" => {
            let ports = [json!([]), json!([{"name": "a", "port": 1}, {"name": "b"}]), json!([{"name": "", "port": null}])];
            let four = json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}, {"name": "c"}, {"name": "d", "port": 4}]);
            let ports = if random.one_in(4) { four } else { ports[random.below(3)].clone() };
            let endpoints: Vec<_> = addresses.iter().map(|ip| json!({"addresses": [ip]})).collect();
            json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints})
        }
        "Ingress" => {
            let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
            let hosts = ["a.example", "", "b.example", "c.example", "d.example"].into_iter().take(random.below(6));
            let rules: Vec<_> = hosts.map(|host| json!({"host": host})).collect();
            let mut spec = json!({"defaultBackend": backend, "rules": rules});
            if random.one_in(2) {
                spec["ingressClassName"] = "class".into();
                spec["tls"] = json!([{"hosts": ["a.example"]}]);
            }
            json!({"spec": spec})
        }
        "LimitRange" => json!({"spec": {"limits": []}}),
        "Role" | "ClusterRole" => json!({"rules": []}),
        "ReplicationController" => json!({"spec": {"replicas": random.below(3), "selector": {"r": "s"}, "template": template}}),
        "CertificateSigningRequest" => {
            let signer = random.of(&["example.com/one", "example.com/two"]);
            json!({"spec": {"request": SIGNING_REQUEST, "signerName": signer, "usages": ["client auth"]}})
        }
        "ResourceSlice" => {
            let pool = json!({"name": "pool", "generation": 1, "resourceSliceCount": 1});
            let driver = random.of(&["one.example.com", "two.example.com"]);
            let place = [json!({"nodeName": "n-1"}), json!({"nodeName": "n-2"}), json!({"allNodes": true})];
            let mut spec = place[random.below(3)].clone();
            (spec["driver"], spec["pool"]) = (driver.into(), pool);
            json!({"spec": spec})
        }
        "Lease" => json!({"spec": {"holderIdentity": random.of(&["one", "<two>"])}}),
        "PersistentVolume" => json!({"spec": {
            "capacity": {"storage": random.of(&["1024Mi", "5Gi"])},
            "accessModes": random.of(&[&["ReadWriteMany", "ReadWriteOnce"][..], &["ReadOnlyMany"][..]]),
            "storageClassName": random.of(&["", "fast"]),
            "hostPath": {"path": "/x"},
        }}),
        "PersistentVolumeClaim" => json!({"spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": random.of(&["", "fast"]),
            "volumeName": random.of(&["", "volume"]),
        }}),
        "Widget" | "Gadget" => {
            let mut spec = json!({"color": random.of(&["red", "blue", "a,b=c"]), "text": text, "on": random.one_in(2)});
            if random.one_in(2) {
                spec["count"] = random.below(2).into();
                spec["size"] =
                    [json!(1), json!(1.5), json!(1e9), json!(0.000_001), json!(123_456_789.5)][random.below(5)].clone();
                spec["parts"] = json!([{"type": "A", "value": text}, {"type": "B", "value": "b"}]);
                spec["at"] = random.of(&["2026-01-01T00:00:00Z", "no time"]).into();
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

fn service(random: &mut Random) -> Value {
    let mut spec = match random.below(5) {
        0 => json!({"clusterIP": "None"}),
        1 => json!({"type": "ExternalName", "externalName": "example.com"}),
        2 => json!({"type": "LoadBalancer"}),
        _ => json!({"type": random.of(&["ClusterIP", "NodePort"])}),
    };
    if spec["type"] != "ExternalName" {
        spec["ports"] = json!([{"name": "a", "port": 80}, {"name": "b", "port": 53, "protocol": "UDP"}]);
    }
    if random.one_in(3) {
        spec["externalIPs"] = json!(["192.0.2.1", "192.0.2.2"]);
    }
    if random.one_in(2) {
        spec["selector"] = json!({"b": "1", "a": "2"});
    }
    json!({"spec": spec})
}

fn pod(random: &mut Random, containers: &Value) -> Value {
    let mut spec = json!({
        "nodeName": random.of(&["n-1", "n-2", ""]),
        "hostNetwork": random.one_in(2),
        "restartPolicy": random.of(&["Always", "Never"]),
        "containers": containers,
    });
    if random.one_in(3) {
        spec["initContainers"] = json!([{"name": "i", "image": "i"}, {"name": "s", "image": "s", "restartPolicy": "Always"}]);
    }
    if random.one_in(3) {
        spec["readinessGates"] = json!([{"conditionType": "example.com/a"}, {"conditionType": "example.com/b"}]);
    }
    json!({"spec": spec})
}

fn event(resource: &Resource, random: &mut Random, number: usize, text: &str) -> Value {
    let mut event = json!({
        "involvedObject": {
            "kind": random.of(&["Pod", "Node"]), "name": random.of(&["p-1", "p-2", ""]), "namespace": resource.place(number).0,
            "uid": random.of(&["u-1", ""]), "apiVersion": random.of(&["v1", ""]), "resourceVersion": random.of(&["7", ""]),
        },
        "type": random.of(&["Normal", "Warning"]),
        "reason": random.of(&["Started", "Killed"]),
        "message": format!(" {text}"),
        "source": {"component": random.of(&["kubelet", "", "scheduler"]), "host": random.of(&["", "n-1"])},
    });
    if random.one_in(2) {
        event["firstTimestamp"] = "2026-01-01T00:00:00Z".into();
        event["count"] = random.below(3).into();
        event["involvedObject"]["fieldPath"] = "spec.containers{c}".into();
    }
    match random.below(3) {
        0 => event["lastTimestamp"] = "2026-01-02T00:00:00Z".into(),
        1 => {
            event["eventTime"] = "2026-01-02T00:00:00.123456Z".into();
            event["reportingComponent"] = "example.com/reporter".into();
            event["reportingInstance"] = "instance".into();
            event["action"] = "Acting".into();
            event["series"] = json!({"count": 5, "lastObservedTime": "2026-01-03T00:00:00.500000Z"});
        }
        _ => {}
    }
    event
}

/// Widgets are selected by fields of their own, Gadgets are in no namespace.
async fn define_custom_resources(cloud: &Client) {
    let properties = json!({"color": {"type": "string"}, "text": {"type": "string"}, "count": {"type": "integer"}, "on": {"type": "boolean"},
            "size": {"type": "number"}, "at": {"type": "string"},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}, "value": {"type": "string"}}}}});
    let columns = json!([
        {"name": "Color", "type": "string", "jsonPath": ".spec.color", "description": "its <color>"},
        {"name": "Text", "type": "string", "jsonPath": ".spec['text']", "priority": 1},
        {"name": "Count", "type": "integer", "jsonPath": ".spec.count", "format": "int32"},
        {"name": "As text", "type": "string", "jsonPath": ".spec.count"},
        {"name": "Size", "type": "number", "jsonPath": ".spec.size"},
        {"name": "Size as text", "type": "string", "jsonPath": ".spec.size"},
        {"name": "On", "type": "boolean", "jsonPath": ".spec.on"},
        {"name": "On as text", "type": "string", "jsonPath": ".spec.on"},
        {"name": "Part", "type": "string", "jsonPath": ".spec.parts[?(@.type==\"B\")].value"},
        {"name": "First", "type": "string", "jsonPath": ".spec.parts[0].value"},
        {"name": "Parts", "type": "string", "jsonPath": ".spec.parts"},
        {"name": "Wrong", "type": "integer", "jsonPath": ".spec.color"},
        {"name": "Owner", "type": "string", "jsonPath": ".metadata.labels.example\\.com/owner"},
        {"name": "At", "type": "date", "jsonPath": ".spec.at"},
    ]);
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let fields = json!([{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.count"}, {"jsonPath": ".spec.on"}]);
    for (plural, kind, scope, fields, columns) in
        [("widgets", "Widget", "Namespaced", fields, columns), ("gadgets", "Gadget", "Cluster", json!([]), json!([]))]
    {
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}, "selectableFields": fields,
            "additionalPrinterColumns": columns});
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

pub async fn send(cloud: &Client, method: &str, path: &str, object: &Value, status: u16) -> Value {
    let headers = [("content-type", JSON), ("accept", JSON)];
    let answer = cloud.request(method, path, &headers, object.to_string()).await.unwrap();
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
    answer.json()
}
