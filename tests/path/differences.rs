//! The difference between what a client was shown and what there is: more than the hub has in memory at a time, and in parts.

use serde_json::json;
use testkit::fake::Fault;
use testkit::hub::eventually;
use tokio::time::timeout;

use crate::held::{self, Watching, counted, event, listed};
use crate::{Rig, SECONDS, hidden};

/// Objects, and bytes of each: some megabytes.
const COUNT: usize = 40;
const SIZE: usize = 256 << 10;
/// So many of them that they could be held, and are not.
const SOME: usize = 12;

/// To who does not want, or is not to see, what is hidden.
fn is_shown(index: usize) -> bool {
    !index.is_multiple_of(10)
}

fn name(index: usize) -> String {
    format!("large-{index:02}")
}

/// A text that says what it is of: of the old ones a short one, for a list that comes faster than the disk is not remembered.
fn text(of: &str) -> String {
    format!("{of}:{}", "x".repeat(if of == "old" { 1024 } else { SIZE }))
}

/// A hub, and the old ones.
async fn filled(rig: Rig, count: usize) -> Rig {
    (0..count).for_each(|index| put(&rig, index, "old"));
    // The cloud has not answered meanwhile.
    rig.link_is(1.0).await;
    rig
}

/// They have been listed, and the node remembers it.
async fn are_remembered(rig: &Rig, count: usize) {
    let objects = async || Ok(rig.hub.metric("holdfast_store_objects").await? >= count as f64);
    eventually("they are remembered", SECONDS(10), objects).await.unwrap();
}

fn put(rig: &Rig, index: usize, of: &str) {
    let hide = if is_shown(index) { "no" } else { "yes" };
    let object = json!({"metadata": {"labels": {"hide": hide}}, "data": {"text": text(of)}});
    rig.fake.put("configmaps", "story", &name(index), object);
}

/// The cloud forgets how they all have changed: the last ones first, so that no order but that of the versions will do. What it
/// has forgotten to have deleted nobody knows the time of: that comes first.
fn change(rig: &Rig) -> Vec<(usize, &'static str, &'static str)> {
    let is_gone = |index: &usize| index % 5 == 1;
    let mut told: Vec<_> = (0..COUNT).filter(is_gone).map(|index| (index, "DELETED", "old")).collect();
    for index in (0..COUNT).rev().filter(|index| !is_gone(index)) {
        put(rig, index, "new");
        told.push((index, "MODIFIED", "new"));
    }
    for index in (0..COUNT).filter(is_gone) {
        rig.fake.delete("configmaps", "story", &name(index));
    }
    put(rig, COUNT + 1, "new");
    told.push((COUNT + 1, "ADDED", "new"));
    rig.fake.compact();
    told
}

/// The next event, and what its text is of.
async fn next(watching: &mut Watching) -> (String, String, String) {
    let (kind, name, told) = watching.next().await;
    let of = told.split(':').next().unwrap_or_default().to_owned();
    assert!(told == text(&of), "{kind} {name}: {told:.8}");
    (kind, name, of)
}

/// `watching`: what is shown, or all.
async fn is_told(rig: &Rig, mut watching: Watching, is_in: impl Fn(usize) -> bool) {
    rig.cut(Fault::Refuse).await;
    let changes = change(rig);
    rig.restore().await;
    for (index, kind, of) in changes.into_iter().filter(|(index, ..)| is_in(*index)) {
        assert_eq!(next(&mut watching).await, (kind.to_owned(), name(index), of.to_owned()));
    }
    put(rig, 2, "newer");
    assert_eq!(next(&mut watching).await, event("MODIFIED", &name(2), "newer"));
    assert_eq!(counted(rig, "the difference was told").await, 1.0);
}

#[tokio::test]
async fn it_is_told_in_order_and_whole() {
    let rig = filled(Rig::start().await, COUNT).await;
    let watching = Watching::begin(&rig, &rig.pod().await, "").await;
    are_remembered(&rig, COUNT).await;
    is_told(&rig, watching, |_| true).await;
}

#[tokio::test]
async fn what_is_not_selected_is_not_told() {
    let rig = filled(Rig::start().await, COUNT).await;
    let watching = Watching::begin(&rig, &rig.pod().await, "labelSelector=hide%3Dno").await;
    are_remembered(&rig, (0..COUNT).filter(|index| is_shown(*index)).count()).await;
    is_told(&rig, watching, is_shown).await;
}

#[tokio::test]
async fn what_a_rule_hides_is_not_told() {
    let rig = filled(hidden::rig(&[], "my-agent").await, COUNT).await;
    let (_, version, _) = hidden::page(&rig, "").await;
    are_remembered(&rig, COUNT).await;
    let stream = hidden::watch_from(&rig, &version).await;
    is_told(&rig, Watching { stream, version: version.parse().unwrap(), last: String::new() }, is_shown).await;
}

/// Two who read nothing yet while each is being told what has changed.
async fn being_told(rig: &Rig) -> ([Watching; 2], Vec<(usize, &'static str, &'static str)>) {
    let client = rig.pod().await;
    let watching = [Watching::begin(rig, &client, "").await, Watching::begin(rig, &rig.pod().await, "").await];
    are_remembered(rig, COUNT).await;
    rig.cut(Fault::Refuse).await;
    let changes = change(rig);
    rig.restore().await;
    let told = async || Ok(counted(rig, "the difference was told").await >= 2.0);
    eventually("they are being told", SECONDS(20), told).await.unwrap();
    (watching, changes)
}

/// Another process has the store then: who reads is waited for, and who does not has to list.
#[tokio::test]
async fn who_is_still_told_when_the_hub_is_to_be_replaced_is_told_all_if_it_reads() {
    let mut rig = filled(Rig::start().await, COUNT).await;
    let ([mut reads, mut stalls], changes) = being_told(&rig).await;
    let read = async {
        for (index, kind, of) in &changes {
            assert_eq!(next(&mut reads).await, event(kind, &name(*index), of));
        }
    };
    let (_, handed) = tokio::join!(read, rig.hub.hand_over());
    handed.unwrap();
    put(&rig, 0, "after");
    assert_eq!(next(&mut reads).await.1, name(0), "the new process goes on");
    let mut expected = changes.into_iter();
    let status = loop {
        let event = timeout(SECONDS(20), stalls.stream.event()).await.expect("an event").unwrap().unwrap();
        if event["type"] == "ERROR" {
            break event["object"].clone();
        }
        let (index, kind, _) = expected.next().unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!(kind), &json!(name(index))));
    };
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    assert!(expected.next().is_some(), "more than a client that reads nothing has got");
    assert!(stalls.stream.event().await.unwrap().is_none(), "an end");
}

#[tokio::test]
async fn what_could_be_held_is_told_as_well() {
    let rig = filled(Rig::start().await, SOME).await;
    let mut watching = Watching::begin(&rig, &rig.pod().await, "").await;
    are_remembered(&rig, SOME).await;
    rig.cut(Fault::Refuse).await;
    rig.fake.delete("configmaps", "story", "greeting");
    (0..SOME).rev().for_each(|index| put(&rig, index, "new"));
    rig.fake.compact();
    rig.restore().await;
    assert_eq!(watching.next().await, event("DELETED", "greeting", "hello"));
    for index in (0..SOME).rev() {
        assert_eq!(next(&mut watching).await, event("MODIFIED", &name(index), "new"));
    }
}

/// Of what nobody knows the time of no version says that it was told.
#[tokio::test]
async fn what_the_store_has_told_of_a_difference_is_not_told_again() {
    let rig = Rig::start().await;
    let client = rig.pod().await;
    let version = listed(&rig, &client, "").await;
    let mut first = Watching::from(&client, version, "").await;
    rig.cut(Fault::Refuse).await;
    rig.fake.delete("configmaps", "story", "greeting");
    rig.fake.compact();
    rig.restore().await;
    assert_eq!(first.next().await, event("DELETED", "greeting", "hello"));
    rig.cut(Fault::Refuse).await;
    let mut second = Watching::from(&client, version, "").await;
    assert_eq!(second.next().await, event("DELETED", "greeting", "hello"));
    rig.restore().await;
    held::put(&rig, "later", "1");
    for watching in [&mut first, &mut second] {
        assert_eq!(watching.next().await, event("ADDED", "later", "1"));
    }
}
