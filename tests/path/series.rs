//! An Event that happens again while the link is down: how often comes to the cloud, and not each time.

use serde_json::json;
use testkit::client::Client;
use testkit::fake::Fault;

use super::*;

const EVENTS: &str = "/api/v1/namespaces/story/events";

/// How often an Event has happened, as recorders of client-go say it.
async fn happens(client: &Client, name: &str, count: u64) -> testkit::client::Response {
    let patch = json!({"count": count, "lastTimestamp": "2026-01-01T00:00:09Z", "message": format!("{count} times")});
    let headers = [("content-type", "application/strategic-merge-patch+json"), ("accept", "application/json")];
    client.request("PATCH", &format!("{EVENTS}/{name}"), &headers, patch.to_string()).await.unwrap()
}

async fn post(client: &Client, name: &str) -> u16 {
    let event = event("story", name).to_string();
    client.request("POST", EVENTS, &[("content-type", "application/json")], event).await.unwrap().status.as_u16()
}

/// One that the cloud has let create Events and change them.
async fn recorder(rig: &Rig) -> Client {
    for verb in ["patch", "list", "watch", "delete", "deletecollection"] {
        rig.fake.allow(SAMPLE, verb, "events", "story", "*");
    }
    let client = rig.pod().await;
    assert_eq!(post(&client, "online").await, 201);
    assert_eq!(happens(&client, "online", 2).await.status, 200);
    client
}

async fn counted(rig: &Rig, name: &str, count: u64) {
    let is_counted = async || Ok(rig.fake.get("events", "story", name).is_some_and(|event| event["count"] == count));
    eventually(&format!("{name} has happened {count} times"), SECONDS(30), is_counted).await.unwrap();
}

#[tokio::test]
async fn an_event_that_happens_a_hundred_times_offline_is_told_once_and_how_often() {
    let mut rig = Rig::start().await;
    let client = recorder(&rig).await;
    assert_eq!(client.get(EVENTS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    assert_eq!(post(&client, "again").await, 201);
    for count in 2..=100 {
        let answer = happens(&client, "again", count).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["count"]), (200, &count.into()), "{}", answer.text());
    }
    let shown = |list: &serde_json::Value, name: &str| {
        let events = list["items"].as_array().unwrap();
        events.iter().find(|event| event["metadata"]["name"] == name).unwrap()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown(&client.get(EVENTS).await.unwrap().json(), "again"), "100 times");
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    rig.link_is(0.0).await;
    let client = rig.pod().await;
    assert_eq!(shown(&client.get(EVENTS).await.unwrap().json(), "again"), "100 times", "it was on disk");
    // And of one that the cloud has.
    assert_eq!(happens(&client, "again", 101).await.status, 200);
    assert_eq!(happens(&client, "online", 3).await.status, 200);
    assert_eq!(shown(&client.get(EVENTS).await.unwrap().json(), "online"), "3 times");
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 3.0);
    rig.fake.clear_requests();
    rig.restore().await;
    counted(&rig, "again", 101).await;
    counted(&rig, "online", 3).await;
    eventually("nothing waits", SECONDS(5), async || Ok(rig.hub.metric("holdfast_journal_entries").await? == 0.0)).await.unwrap();
    let mut told: Vec<_> = rig.fake.requests().into_iter().filter(|request| request.path_and_query.starts_with(EVENTS)).collect();
    told.retain(|request| request.method != "GET");
    let told: Vec<_> = told.iter().map(|request| (request.method.as_str(), &*request.path_and_query)).collect();
    let [again, online] = ["again", "online"].map(|name| format!("{EVENTS}/{name}"));
    assert_eq!(told, [("POST", EVENTS), ("PATCH", &*again), ("PATCH", &*online)]);
}

#[tokio::test]
async fn who_watches_is_told_that_an_event_has_happened_again() {
    let rig = Rig::start().await;
    let client = recorder(&rig).await;
    let list = client.get(EVENTS).await.unwrap().json();
    rig.remembered(1.0).await;
    let target = format!("{EVENTS}?watch=1&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().unwrap());
    assert_eq!(client.stream("GET", &target, &[], "").await.unwrap().status, 200);
    rig.cut(Fault::Refuse).await;
    let mut watch = client.stream("GET", &target, &[], "").await.unwrap();
    let mut told = async || {
        let event = watch.event().await.unwrap().unwrap();
        (event["type"].as_str().unwrap().to_owned(), event["object"]["count"].clone())
    };
    assert_eq!(post(&client, "again").await, 201);
    assert_eq!(told().await, ("ADDED".to_owned(), serde_json::Value::Null));
    assert_eq!(happens(&client, "again", 2).await.status, 200);
    assert_eq!(told().await, ("MODIFIED".to_owned(), 2.into()));
    assert_eq!(happens(&client, "online", 5).await.status, 200);
    assert_eq!(told().await, ("MODIFIED".to_owned(), 5.into()));
}

#[tokio::test]
async fn what_is_not_known_of_an_event_is_not_changed() {
    let rig = Rig::start().await;
    let client = recorder(&rig).await;
    assert_eq!(client.get(EVENTS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(happens(&client, "nobodys", 2).await.status, 404, "the list says that it is not there: its recorder creates it");
    assert_eq!(happens(&kubelet, "online", 3).await.status, 403, "the cloud has not granted it to this one before");
    let patch = async |kind: &str, query: &str, patch: serde_json::Value| {
        let path = format!("{EVENTS}/online{query}");
        client.request("PATCH", &path, &[("content-type", kind)], patch.to_string()).await.unwrap()
    };
    let strategic = "application/strategic-merge-patch+json";
    for (kind, query, of, why) in [
        (strategic, "", json!({"metadata": {"labels": {"a": "b"}}}), "metadata"),
        (strategic, "", json!({"count": null}), "takes"),
        (strategic, "?dryRun=All", json!({"count": 3}), "try"),
        ("application/json-patch+json", "", json!([{"op": "replace", "path": "/count", "value": 3}]), "json-patch"),
    ] {
        let answer = patch(kind, query, of).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
    }
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 0.0);
}

/// It would go back behind that.
#[tokio::test]
async fn a_change_that_waits_is_not_delivered_behind_a_later_one() {
    let rig = Rig::start().await;
    let client = recorder(&rig).await;
    let kubelet = rig.hub.kubelet().await.unwrap();
    assert_eq!(client.get(EVENTS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    rig.cut(Fault::Refuse).await;
    assert_eq!(happens(&client, "online", 3).await.status, 200);
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    assert_eq!(happens(&kubelet, "online", 4).await.status, 200);
    let dropped = async || Ok(rig.hub.metric(r#"holdfast_events_dropped_total{reason="overtaken"}"#).await? == 1.0);
    eventually("the older one is given up", SECONDS(10), dropped).await.unwrap();
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 0.0);
    assert_eq!(rig.fake.get("events", "story", "online").unwrap()["count"], 4);
}

/// It happens again, and the node answers with all of it.
async fn is_counted(client: &Client, name: &str, count: u64) {
    let answer = happens(client, name, count).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["count"]), (200, &count.into()), "{name}: {}", answer.text());
    assert_eq!(answer.json()["involvedObject"]["namespace"], "story");
}

/// Nobody has read it: the cloud has answered who wrote it.
#[tokio::test]
async fn an_event_that_has_begun_before_the_cut_goes_on_being_counted() {
    let mut rig = Rig::start().await;
    let client = recorder(&rig).await;
    assert_eq!(post(&client, "quiet").await, 201);
    rig.cut(Fault::Refuse).await;
    assert_eq!(happens(&client, "before-the-hub", 2).await.status, 503, "of this one the node knows nothing");
    for count in 3..=9 {
        is_counted(&client, "online", count).await;
    }
    rig.hub.kill();
    rig.hub.run().await.unwrap();
    rig.link_is(0.0).await;
    let client = rig.pod().await;
    // The one waits, and how it began; the other one has not happened in the cut.
    is_counted(&client, "online", 10).await;
    is_counted(&client, "quiet", 2).await;
    rig.restore().await;
    counted(&rig, "online", 10).await;
    counted(&rig, "quiet", 2).await;
    // What was delivered is known in the next cut.
    rig.cut(Fault::Refuse).await;
    let answer = happens(&rig.pod().await, "online", 11).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["count"]), (200, &11.into()), "{}", answer.text());
}

/// A cut may be longer than the hour for which the cloud keeps an Event.
#[tokio::test]
async fn an_event_that_has_expired_meanwhile_is_told_anew_and_how_often_it_has_happened() {
    let rig = Rig::start().await;
    let client = recorder(&rig).await;
    for name in ["again", "taken"] {
        assert_eq!(post(&client, name).await, 201);
    }
    rig.cut(Fault::Refuse).await;
    for (name, count) in [("online", 3), ("online", 4), ("again", 2), ("taken", 2)] {
        assert_eq!(happens(&client, name, count).await.status, 200);
        rig.fake.delete("events", "story", name);
    }
    rig.fake.remove_token(TOKEN);
    rig.restore().await;
    // Somebody tells the cloud of this one between the PATCH and the POST.
    let taken = format!("{EVENTS}/taken");
    rig.fake.fault_at(&taken, Fault::Status(404));
    rig.fake.put("events", "story", "taken", json!({"count": 1}));
    rig.fake.clear_requests();
    rig.fake.add_token(TOKEN, SAMPLE, &[]);
    let says = |request: &testkit::fake::Recorded, name: &str| {
        request.method == "POST" && String::from_utf8_lossy(&request.body).contains(name)
    };
    let is_taken = async || Ok(rig.fake.requests().iter().any(|request| says(request, "taken")));
    eventually("it is told anew, and there", SECONDS(10), is_taken).await.unwrap();
    rig.fake.heal().unwrap();
    for (name, count) in [("online", 4), ("again", 2), ("taken", 2)] {
        counted(&rig, name, count).await;
    }
    let online = rig.fake.get("events", "story", "online").unwrap();
    assert_eq!((&online["involvedObject"]["namespace"], &online["message"]), (&"story".into(), &"4 times".into()));
    eventually("nothing waits", SECONDS(5), async || Ok(rig.hub.metric("holdfast_journal_entries").await? == 0.0)).await.unwrap();
    assert_eq!(rig.hub.total("holdfast_events_dropped_total").await.unwrap(), 0.0);
    assert_eq!(rig.hub.total("holdfast_events_delivered_total").await.unwrap(), 3.0);
    let told = rig.fake.requests();
    let created: Vec<_> = told.iter().filter(|request| says(request, "online") || says(request, "again")).collect();
    assert_eq!(created.len(), 2);
    for request in created {
        let event: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(event["metadata"]["resourceVersion"], serde_json::Value::Null, "what the cloud had given it is not said");
    }
}

#[tokio::test]
async fn an_event_that_was_deleted_is_not_known_by_what_was_told_of_it_before() {
    for target in [format!("{EVENTS}/online"), EVENTS.to_owned()] {
        let rig = Rig::start().await;
        let client = recorder(&rig).await;
        assert_eq!(client.request("DELETE", &target, &[], "").await.unwrap().status, 200);
        rig.cut(Fault::Refuse).await;
        let answer = happens(&client, "online", 3).await;
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
    }
}

/// Nor by what waits to be changed of it: it would be brought back.
#[tokio::test]
async fn an_event_that_was_deleted_is_not_brought_back_by_a_change_that_waits() {
    for target in [format!("{EVENTS}/online"), EVENTS.to_owned()] {
        let rig = Rig::start().await;
        let client = recorder(&rig).await;
        rig.cut(Fault::Refuse).await;
        assert_eq!(happens(&client, "online", 3).await.status, 200);
        rig.fake.remove_token(TOKEN);
        rig.restore().await;
        let kubelet = rig.hub.kubelet().await.unwrap();
        assert_eq!(kubelet.request("DELETE", &target, &[], "").await.unwrap().status, 200);
        let given_up = async || Ok(rig.hub.metric(r#"holdfast_events_dropped_total{reason="overtaken"}"#).await? == 1.0);
        eventually("it is given up", SECONDS(10), given_up).await.unwrap();
        assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 0.0, "{target}");
        assert!(rig.fake.get("events", "story", "online").is_none());
        rig.fake.add_token(TOKEN, SAMPLE, &[]);
        rig.cut(Fault::Refuse).await;
        assert_eq!(happens(&client, "online", 4).await.status, 503, "{target}: it is not known any more");
    }
}
