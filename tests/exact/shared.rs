//! What clients that watch the same cost the link, through the hub and without it.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::apiserver::{Apiserver, OTHERS, TOKEN};
use testkit::client::{Alpn, Client, Streaming};
use testkit::hub::eventually;
use testkit::lab;

use crate::hub_over;
use crate::link::Link;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const OBJECTS: usize = 200;
const SIZE: usize = 5000;

/// Begins as informers do: lists from any version, and watches from there.
async fn begin(client: &Client) -> Streaming {
    let list = client.get(&format!("{MAPS}?resourceVersion=0")).await.unwrap();
    assert_eq!(list.status, 200, "{}", list.text());
    let list = list.json();
    assert!(list["items"].as_array().unwrap().len() >= OBJECTS);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{MAPS}?watch=true&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion={version}");
    client.stream("GET", &path, &[], "").await.unwrap()
}

async fn put(cloud: &Client, name: usize, time: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("n{name}")},
        "data": {"time": time, "text": testkit::noise(SIZE)}});
    let headers = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{MAPS}/n{name}?fieldManager=test&force=true");
    let answer = cloud.request("PATCH", &path, &headers, map.to_string()).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
}

/// Changes objects, and ends when each has been told all of it.
async fn change(cloud: &Client, watches: &mut [Streaming], time: &str) {
    let changes = async {
        for name in 0..OBJECTS {
            put(cloud, name, time).await;
        }
    };
    tokio::join!(changes, join_all(watches.iter_mut().map(follow)));
}

async fn follow(watch: &mut Streaming) {
    let mut told = 0;
    while told < OBJECTS {
        let event = tokio::time::timeout(Duration::from_secs(30), watch.event()).await.unwrap().unwrap().expect("no end");
        told += usize::from(event["type"] == "MODIFIED");
    }
}

#[tokio::test]
async fn three_that_watch_the_same_cost_the_link_little_more_than_one() {
    let Some(lab) = lab() else { return };
    let server = Apiserver::start(&lab).await.unwrap();
    let cloud = server.client().await.unwrap();
    for name in 0..OBJECTS {
        put(&cloud, name, "first").await;
    }
    let tokens = [TOKEN, OTHERS[0], OTHERS[1]];

    let direct = Link::to(server.address).await;
    let mut watches = Vec::new();
    for token in tokens {
        let client = Client::https(direct.server, server.pki.ca_pem(), "127.0.0.1", Alpn::H2).await.unwrap();
        watches.push(begin(&client.with_token(token)).await);
    }
    change(&cloud, &mut watches, "second").await;
    drop(watches);

    let link = Link::to(server.address).await;
    let hub = hub_over(&server, vec![link.url()]).await;
    let described = async || Ok(hub.log().contains("description is known"));
    eventually("the API's description is known", Duration::from_secs(60), described).await.unwrap();
    let objects = async || hub.metric("holdfast_store_objects").await;
    let (before, known) = (link.carried(), objects().await.unwrap());
    let mut watches = Vec::new();
    for token in tokens {
        watches.push(begin(&hub.pod(token, Alpn::H2).await.unwrap()).await);
        // The others come when the first one is at work.
        let is_known = async || Ok(objects().await? >= known + OBJECTS as f64);
        eventually("the list is remembered", Duration::from_secs(30), is_known).await.unwrap();
    }
    change(&cloud, &mut watches, "third").await;
    let through = link.carried() - before;
    let part = through as f64 / direct.carried() as f64;
    println!("three clients: {} KB directly, {} KB through the hub: {part:.2}", direct.carried() / 1000, through / 1000);
    assert!(part <= 0.40, "{part:.2}");
}
