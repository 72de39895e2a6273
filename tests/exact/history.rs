//! The cluster's history goes back: its etcd is restored from an earlier state.

use std::time::Duration;

use serde_json::json;
use testkit::apiserver::{Apiserver, TOKEN};
use testkit::client::{Alpn, Client};
use testkit::hub::eventually;
use testkit::lab;

use crate::{cut, hub};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn names(client: &Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("{CONFIGMAPS}?labelSelector=kept&{query}")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    let names = list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
    names.collect()
}

async fn create(cloud: &Client, name: &str) {
    let object = json!({"metadata": {"name": name, "labels": {"kept": ""}}}).to_string();
    let answer = cloud.request("POST", CONFIGMAPS, &[("content-type", "application/json")], object).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn nothing_of_another_history_survives_a_restored_etcd() {
    let Some(lab) = lab() else { return };
    let mut server = Apiserver::start(&lab).await.unwrap();
    create(&server.client().await.unwrap(), "before").await;
    server.kill();
    server.snapshot().unwrap();
    server.run().await.unwrap();
    let cloud = server.client().await.unwrap();
    for number in 0..300 {
        create(&cloud, &format!("lost-{number}")).await;
    }
    let hub = hub(&server).await;
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    assert_eq!(names(&client, "").await.len(), 301);
    eventually("the list is remembered", Duration::from_secs(20), async || {
        Ok(hub.metric("holdfast_lists_remembered_total").await? >= 1.0)
    })
    .await
    .unwrap();
    cut(&mut server, &hub).await;
    assert_eq!(names(&client, "").await.len(), 301, "what the node knows");
    server.restore().unwrap();
    server.run().await.unwrap();
    eventually("it is noticed", Duration::from_secs(60), async || Ok(hub.log().contains("the cluster's history went back")))
        .await
        .unwrap();
    // From memory, as an informer reads: this version alone would not replace a later one.
    eventually("the list of now is remembered", Duration::from_secs(20), async || {
        assert_eq!(names(&client, "resourceVersion=0").await, ["before"]);
        Ok(hub.metric("holdfast_lists_remembered_total").await? >= 2.0)
    })
    .await
    .unwrap();
    cut(&mut server, &hub).await;
    assert_eq!(names(&client, "").await, ["before"], "no object of the lost history");
}
