//! A client that starts cold offline finds the API it knows, although nobody has asked for it before.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client, Response};
use testkit::hub::{Hub, eventually};
use testkit::lab;

use crate::{JSON, cut, hub};

/// What client-go asks for first.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const OPENAPI_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const OPENAPI_V3: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

async fn get(client: &Client, target: &str, headers: &[(&str, &str)]) -> Response {
    client.request("GET", target, headers, "").await.unwrap()
}

/// What a client asks, and the answer.
async fn asked(cloud: &Client) -> Vec<(String, &'static str, Response)> {
    let mut targets = vec![
        ("/version".to_owned(), JSON),
        ("/version?timeout=32s".to_owned(), "application/json, */*"),
        ("/api?timeout=32s".to_owned(), AGGREGATED),
        ("/apis?timeout=32s".to_owned(), AGGREGATED),
        ("/api".to_owned(), JSON),
        ("/apis".to_owned(), JSON),
        ("/api/v1".to_owned(), "application/json;q=0.8,application/yaml;q=0.1"),
        ("/apis/apps/v1".to_owned(), JSON),
        ("/apis/apiextensions.k8s.io/v1".to_owned(), ""),
        ("/openapi/v2?timeout=32s".to_owned(), OPENAPI_V2),
        ("/openapi/v2".to_owned(), JSON),
        ("/openapi/v3".to_owned(), JSON),
    ];
    let openapi = get(cloud, "/openapi/v3", &[("accept", JSON)]).await.json();
    for path in openapi["paths"].as_object().unwrap().values() {
        let url = path["serverRelativeURL"].as_str().unwrap();
        targets.extend([JSON, OPENAPI_V3].map(|form| (url.to_owned(), form)));
    }
    let mut all = Vec::new();
    for (target, accept) in targets {
        let answer = get(cloud, &target, &[("accept", accept)]).await;
        assert_eq!(answer.status, 200, "{target}");
        all.push((target, accept, answer));
    }
    all
}

#[tokio::test]
async fn who_starts_cold_offline_finds_the_api() {
    let Some(lab) = lab() else { return };
    let mut server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    let hub = hub(&server).await;
    eventually("the kube-apiserver has made its own Service", Duration::from_secs(30), async || {
        Ok(cloud.get("/api/v1/namespaces/default/services/kubernetes").await?.status == 200)
    })
    .await
    .unwrap();
    // One read of something else: the cloud knows who this is.
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    assert_eq!(get(&client, "/api/v1/namespaces/default/services", &[("accept", JSON)]).await.status, 200);
    eventually("the API's description is known", Duration::from_secs(60), async || {
        Ok(hub.log().contains("the API's description is known"))
    })
    .await
    .unwrap();
    let online = asked(&cloud).await;
    assert!(online.len() > 70, "{}", online.len());
    // What the hub asks again and again costs no body while nothing changes.
    for target in ["/api?timeout=32s", "/apis?timeout=32s", "/openapi/v2?timeout=32s"] {
        let (_, accept, answer) = online.iter().find(|(asked, ..)| asked == target).unwrap();
        let again = get(&cloud, target, &[("accept", accept), ("if-none-match", answer.header("etag"))]).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{target}");
    }
    cut(&mut server, &hub).await;

    for (target, accept, online) in &online {
        let offline = get(&client, target, &[("accept", accept)]).await;
        assert_eq!(offline.status, 200, "{target} {accept}: {}", offline.text());
        assert!(offline.body == online.body, "{target} {accept}: another body");
        for field in ["content-type", "etag"] {
            assert_eq!(offline.header(field), online.header(field), "{target} {accept}: {field}");
        }
        assert_eq!(offline.header("cache-status"), "holdfast; hit; detail=offline");
        if !online.header("etag").is_empty() {
            let again = get(&client, target, &[("accept", accept), ("if-none-match", online.header("etag"))]).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{target}");
        }
    }
    let moved = get(&client, "/openapi/v3/api/v1?hash=OLD", &[("accept", JSON)]).await;
    assert_eq!(moved.status, 301);
    assert_eq!(get(&client, moved.header("location"), &[("accept", JSON)]).await.status, 200, "{}", moved.header("location"));
    let never = get(&client, "/openapi/v3/api/v1", &[("accept", "application/x-never")]).await;
    assert_eq!(never.status, 406, "{}", never.text());
    let stranger = hub.pod("stranger", Alpn::H2).await.unwrap();
    assert_eq!(get(&stranger, "/api", &[("accept", JSON)]).await.status, 401);
    let resources = kubectl(&lab, &hub, &["api-resources"]);
    assert!(resources.contains("deployments") && resources.contains("customresourcedefinitions"), "{resources}");
    assert!(kubectl(&lab, &hub, &["explain", "pods.spec.nodeName"]).contains("scheduled"));
    let services = kubectl(&lab, &hub, &["get", "services", "-n", "default"]);
    assert!(services.contains("kubernetes"), "{services}");
}

/// kubectl without any memory of its own, through the hub.
fn kubectl(lab: &Path, hub: &Hub, arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(lab);
    command.arg("kubectl").arg(format!("--server=https://{}", hub.secure)).arg(format!("--token={TOKEN}"));
    command.arg(format!("--certificate-authority={}", hub.folder().join("ca.crt").display())).args(arguments);
    let output = command.env("HOME", home.path()).env_remove("KUBECONFIG").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
