//! A real kube-apiserver that asks for rights, the hub before it, and namespaces with Pods in them.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::Client;
use testkit::hub::{Hub, HubOptions, eventually};

use crate::pod::Pod;

/// A group of custom resources, `widgets` in version v1.
const GROUP: &str = "example.org";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const CREATED: u16 = 201;
/// For what happens by itself.
pub const SOON: Duration = Duration::from_secs(30);

pub struct Rig {
    pub hub: Hub,
    /// The program with all of Kubernetes in it.
    lab: PathBuf,
    server: Apiserver,
    cloud: Client,
    /// Where the hub's log was at the cut.
    cut_at: usize,
}

impl Rig {
    /// None where it cannot run.
    pub async fn start() -> Option<Self> {
        let lab = testkit::lab()?;
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            testkit::skipped("root, to mount a Pod's token");
            return None;
        }
        let server = Apiserver::with(&lab, &["--authorization-mode=Node,RBAC"]).await.unwrap();
        let cloud = server.client().await.unwrap();
        define_widgets(&cloud).await;
        let servers = vec![server.url()];
        let options = HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: &server.pki, flags: Vec::new() };
        let hub = Hub::start(options).await.unwrap();
        eventually("the API's description is known", SOON, async || Ok(hub.log().contains("the API's description is known")))
            .await
            .unwrap();
        Some(Self { hub, lab, server, cloud, cut_at: 0 })
    }

    /// A new namespace with three ConfigMaps, Services and Widgets that each of its ServiceAccounts may read; returns a Pod in
    /// it.
    pub async fn namespace(&self, name: &str) -> Pod {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await;
        let kinds = [
            (format!("/api/v1/namespaces/{name}/configmaps"), json!({"data": {"text": "text"}})),
            (format!("/api/v1/namespaces/{name}/services"), json!({"spec": {"ports": [{"port": 80}]}})),
            (
                format!("/apis/{GROUP}/v1/namespaces/{name}/widgets"),
                json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Widget", "spec": {"size": 3}}),
            ),
        ];
        for (path, mut object) in kinds {
            for letter in ["a", "b", "c"] {
                object["metadata"] = json!({"name": format!("{name}-{letter}")});
                self.create(&path, &object).await;
            }
        }
        let resources = ["configmaps", "secrets", "services", "widgets"];
        let rules = json!([
            {"apiGroups": ["", GROUP], "resources": resources, "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
        ]);
        let role = json!({"metadata": {"name": "reader"}, "rules": rules});
        self.create(&format!("{RBAC}/namespaces/{name}/roles"), &role).await;
        let group = "rbac.authorization.k8s.io";
        let binding = json!({
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "reader"},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": format!("system:serviceaccounts:{name}")}],
        });
        self.create(&format!("{RBAC}/namespaces/{name}/rolebindings"), &binding).await;
        self.pod(name, "sample").await
    }

    /// A Pod in a namespace, with a ServiceAccount of its own.
    pub async fn pod(&self, namespace: &str, account: &str) -> Pod {
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.create(&accounts, &json!({"metadata": {"name": account}})).await;
        let request = json!({"spec": {"expirationSeconds": 3600}});
        let token = self.create(&format!("{accounts}/{account}/token"), &request).await;
        let token = token["status"]["token"].as_str().unwrap();
        Pod::new(self.hub.secure, self.server.pki.ca_pem(), namespace, token)
    }

    async fn create(&self, path: &str, object: &Value) -> Value {
        create(&self.cloud, path, object).await
    }

    /// Ends the cloud, and waits until the hub has noticed.
    pub async fn cut(&mut self) {
        self.server.kill();
        eventually("the link is down", SOON, async || Ok(self.hub.metric("node_yurthub_server_healthy_status").await? == 0.0))
            .await
            .unwrap();
        self.cut_at = self.hub.log().len();
    }

    /// The cloud is there again, and the hub has noticed.
    pub async fn restore(&mut self) {
        self.server.run().await.unwrap();
        eventually("the link is up", SOON, async || Ok(self.hub.metric("node_yurthub_server_healthy_status").await? == 1.0))
            .await
            .unwrap();
    }

    /// Creates a ConfigMap in the cloud.
    pub async fn config_map(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        create(&self.server.client().await.unwrap(), &path, &json!({"metadata": {"name": name}})).await;
    }

    /// Deletes one there.
    pub async fn deletes(&self, namespace: &str, name: &str) {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
        let answer = self.server.client().await.unwrap().request("DELETE", &path, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }

    /// How often each Event of a namespace has happened, as the cloud has it.
    pub async fn counts_of_events(&self, namespace: &str) -> anyhow::Result<Vec<u64>> {
        let list = self.server.client().await?.get(&format!("/api/v1/namespaces/{namespace}/events")).await?.json();
        let mut counts: Vec<u64> =
            list["items"].as_array().into_iter().flatten().filter_map(|event| event["count"].as_u64()).collect();
        counts.sort_unstable();
        Ok(counts)
    }

    /// Ends the hub and starts it again, as a node's restart does.
    pub async fn restart(&mut self) {
        self.hub.signal("TERM").unwrap();
        self.hub.ended(SOON).await.unwrap();
        self.hub.run().await.unwrap();
    }

    /// Runs kubectl in a Pod, without any memory of its own.
    pub fn kubectl(&self, pod: &Pod, arguments: &str) -> Result<String, String> {
        pod.output(&self.lab, &format!("kubectl {arguments}"))
    }

    /// With which helm asks the cloud itself, as somebody who may do everything.
    pub fn direct(&self) -> String {
        let ca = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
        format!("--kube-apiserver={} --kube-token={TOKEN} --kube-ca-file={ca}", self.server.url())
    }

    /// Waits until this many watches of a resource are open, the hub's own left out.
    pub async fn watches(&self, resource: &str, count: usize) {
        let of_them = format!(r#"verb="watch",resource="{resource}""#);
        eventually(&format!("{count} watches of {resource} are open"), SOON, async || {
            let text = Client::http1(self.hub.admin).await?.get("/metrics").await?.text();
            let open = text.lines().filter(|line| {
                line.starts_with("node_yurthub_in_flight_requests_collector{")
                    && line.contains(&of_them)
                    && !line.contains(r#"client="holdfast""#)
                    && !line.ends_with(" 0")
            });
            Ok(open.count() == count)
        })
        .await
        .unwrap();
    }

    /// The verbs of the reads of a namespace's objects that the node has answered with 200, in order.
    pub fn answered_offline(&self, namespace: &str, resource: &str) -> Vec<String> {
        let log = self.hub.log()[self.cut_at..].to_owned();
        let path = format!("/namespaces/{namespace}/{resource}");
        let lines =
            log.lines().filter(|line| line.contains(&path) && line.contains(r#"route="offline""#) && line.contains("status=200"));
        lines.filter_map(|line| line.split_once("verb=\"")?.1.split_once('"')).map(|(verb, _)| verb.to_owned()).collect()
    }
}

async fn create(cloud: &Client, path: &str, object: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    let answer = cloud.request("POST", path, &headers, object.to_string()).await.unwrap();
    assert_eq!(answer.status, CREATED, "{path}: {}", answer.text());
    answer.json()
}

/// Before the hub begins, which reads what the API is made of when it does.
async fn define_widgets(cloud: &Client) {
    let spec = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let definition = json!({
        "metadata": {"name": format!("widgets.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }],
        },
    });
    create(cloud, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let path = format!("/apis/{GROUP}/v1/widgets");
    eventually("widgets are served", SOON, async || Ok(cloud.get(&path).await?.status == 200)).await.unwrap();
    let described = format!("/openapi/v3/apis/{GROUP}/v1");
    eventually("widgets are described", SOON, async || Ok(cloud.get(&described).await?.status == 200)).await.unwrap();
}
