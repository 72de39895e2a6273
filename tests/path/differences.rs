//! More has changed than the hub has in memory at a time.

use serde_json::json;
use testkit::fake::Fault;

use crate::held::{Watching, counted, event};
use crate::{Rig, hidden};

/// Objects, and bytes of each: some megabytes.
const COUNT: usize = 40;
const SIZE: usize = 256 << 10;

/// To who does not want, or is not to see, what is hidden.
fn is_shown(index: usize) -> bool {
    !index.is_multiple_of(10)
}

fn name(index: usize) -> String {
    format!("large-{index:02}")
}

/// A text that says what it is of.
fn text(of: &str) -> String {
    format!("{of}:{}", "x".repeat(SIZE))
}

fn put(rig: &Rig, index: usize, of: &str) {
    let hide = if is_shown(index) { "no" } else { "yes" };
    let object = json!({"metadata": {"labels": {"hide": hide}}, "data": {"text": text(of)}});
    rig.fake.put("configmaps", "story", &name(index), object);
}

/// The cloud forgets how they all have changed: the last ones first, so that no order but that of the versions will do.
fn change(rig: &Rig) -> Vec<(usize, &'static str, &'static str)> {
    let mut told = Vec::new();
    for index in (0..COUNT).rev().filter(|index| index % 5 != 1) {
        put(rig, index, "new");
        told.push((index, "MODIFIED", "new"));
    }
    put(rig, COUNT + 1, "new");
    told.push((COUNT + 1, "ADDED", "new"));
    for index in (0..COUNT).filter(|index| index % 5 == 1) {
        rig.fake.delete("configmaps", "story", &name(index));
        told.push((index, "DELETED", "old"));
    }
    rig.fake.compact();
    told
}

/// `watching`: what is shown, or all.
async fn is_told(rig: &Rig, mut watching: Watching, is_in: impl Fn(usize) -> bool) {
    rig.cut(Fault::Refuse).await;
    let changes = change(rig);
    rig.restore().await;
    for (index, kind, of) in changes.into_iter().filter(|(index, ..)| is_in(*index)) {
        let (told, told_name, told_text) = watching.next().await;
        assert_eq!((&*told, told_name), (kind, name(index)));
        assert!(told_text == text(of), "{told} {}: {told_text:.8}", name(index));
    }
    put(rig, 2, "newer");
    assert_eq!(watching.next().await, event("MODIFIED", &name(2), &text("newer")));
    assert_eq!(counted(rig, "the difference was told").await, 1.0);
}

#[tokio::test]
async fn it_is_told_in_order_and_whole() {
    let rig = Rig::start().await;
    (0..COUNT).for_each(|index| put(&rig, index, "old"));
    let watching = Watching::begin(&rig, &rig.pod().await, "").await;
    is_told(&rig, watching, |_| true).await;
}

#[tokio::test]
async fn what_is_not_selected_is_not_told() {
    let rig = Rig::start().await;
    (0..COUNT).for_each(|index| put(&rig, index, "old"));
    let watching = Watching::begin(&rig, &rig.pod().await, "labelSelector=hide%3Dno").await;
    is_told(&rig, watching, is_shown).await;
}

#[tokio::test]
async fn what_a_rule_hides_is_not_told() {
    let rig = hidden::rig(&[], "my-agent").await;
    (0..COUNT).for_each(|index| put(&rig, index, "old"));
    let lists = rig.hub.metric("holdfast_lists_remembered_total").await.unwrap();
    let (_, version, _) = hidden::page(&rig, "").await;
    rig.remembered(lists + 1.0).await;
    let stream = hidden::watch_from(&rig, &version).await;
    is_told(&rig, Watching { stream, version: version.parse().unwrap(), last: String::new() }, is_shown).await;
}
