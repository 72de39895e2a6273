//! What may be written offline arrives, once; who is not known is refused.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::cluster::{Cut, NAMESPACE, eventually};

use crate::edge::Door;
use crate::rig::{GREETING, KUBELET, OPERATOR, Rig};

const EVENTS: &str = "/api/v1/namespaces/story/events";

fn event(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Event","metadata":{{"name":"{name}","namespace":"{NAMESPACE}"}},
        "involvedObject":{{"kind":"ConfigMap","namespace":"{NAMESPACE}","name":"greeting"}},
        "reason":"Told","message":"{name}","type":"Normal","source":{{"component":"test"}}}}"#
    )
}

pub fn play(rig: &Rig) -> Result<()> {
    let online = rig.operate("POST", EVENTS, &event("online.pod"))?;
    ensure!(online.status == 201, "an Event online: {} {}", online.status, online.text);
    rig.cut(Cut::SilentDrop)?;
    rig.wait_link(false)?;
    let node = rig.ask(Door::Loopback, KUBELET, "POST", EVENTS, &event("offline.node"))?;
    let pod = rig.ask(Door::Pods(&rig.operator), OPERATOR, "POST", EVENTS, &event("offline.pod"))?;
    ensure!(node.status == 201, "kubelet's Event: {} {}", node.status, node.text);
    ensure!(pod.status == 201, "the Pod's Event: {} {}", pod.status, pod.text);
    let again = rig.operate("POST", EVENTS, &event("offline.pod"))?;
    ensure!(again.status == 409, "the same Event again: {} {}", again.status, again.text);
    rig.say("Events offline", "201 for kubelet's and for the Pod's, 409 for the same one again");
    stranger(rig)?;
    rig.restore(Cut::SilentDrop)?;
    eventually("both Events in the cloud", Duration::from_secs(30), || told(rig).and_then(|told| expect(&told)))?;
    // Nothing more comes then.
    eventually("the journal is empty", Duration::from_secs(10), || {
        let metrics = rig.ask(Door::Admin, "test/1", "GET", "/metrics", "")?.text;
        ensure!(metrics.lines().any(|line| line == "holdfast_journal_entries 0"), "{metrics}");
        Ok(())
    })?;
    let told = told(rig)?;
    expect(&told)?;
    rig.say("Events restored", &format!("in the cloud, once each: {}", told.join(", ")));
    Ok(())
}

fn stranger(rig: &Rig) -> Result<()> {
    let mut tampered = rig.operator.clone();
    tampered.truncate(tampered.len() - 6);
    for token in ["garbage", tampered.as_str()] {
        let answer = rig.ask(Door::Pods(token), OPERATOR, "GET", GREETING, "")?;
        ensure!(answer.status == 401, "an unknown token got {}: {}", answer.status, answer.text);
    }
    rig.say("unknown tokens offline", "401");
    Ok(())
}

/// The tests' own Events in the cloud, each with its count.
fn told(rig: &Rig) -> Result<Vec<String>> {
    let format = "jsonpath={range .items[?(@.reason==\"Told\")]}{.message} {.count}{\"\\n\"}{end}";
    let found = rig.cluster.kubectl(&["get", "events", "-n", NAMESPACE, "-o", format])?;
    let mut found: Vec<_> = found.lines().map(|line| line.trim().to_owned()).collect();
    found.sort();
    Ok(found)
}

fn expect(told: &[String]) -> Result<()> {
    ensure!(told == ["offline.node", "offline.pod", "online.pod"], "{told:?}");
    Ok(())
}
