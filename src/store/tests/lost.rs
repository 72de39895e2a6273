//! What could not be kept is known to be missing.

use super::*;

#[tokio::test]
async fn a_write_that_fails_leaves_no_half_collection() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    record(&knowledge, ask(""), &list_body(20, &["x", "y"], ""), true).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(known(&knowledge).unwrap(), ("10".into(), names(&["x"])));
    record(&knowledge, ask(""), &list_body(30, &["z"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap(), ("30".into(), names(&["z"])), "goes on once the disk does");
}

fn is_behind(knowledge: &Knowledge) -> bool {
    knowledge.list(&scope()).unwrap().unwrap().header.is_behind()
}

/// Their client goes by them all the same.
#[tokio::test]
async fn initial_events_that_are_not_kept_are_missed() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { cache_max_objects: 2, ..Limits::default() });
    let added = event("ADDED", "x", 3) + &event("ADDED", "y", 4);
    let too_many = added.clone() + &event("ADDED", "z", 5) + END + "\n";
    let broken_off = added.clone() + &event("UNHEARD-OF", "x", 20);
    for told in [too_many, broken_off] {
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        assert!(!is_behind(&knowledge));
        watch(&knowledge, "", true, &told).await;
        assert!(is_behind(&knowledge), "{told}");
    }
    record(&knowledge, ask(""), &list_body(11, &["x"], ""), true).await;
    watch(&knowledge, "", true, &added).await;
    assert!(!is_behind(&knowledge), "cut: the client has not got them all either");
}

#[tokio::test]
async fn a_watch_whose_initial_events_are_older_goes_on_all_the_same() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(30, &["x"], ""), true).await;
    watch(&knowledge, "", true, &(event("ADDED", "old", 3) + END + "\n" + &event("ADDED", "y", 29) + &event("ADDED", "z", 31)))
        .await;
    assert_eq!(known(&knowledge).unwrap(), ("31".into(), names(&["x", "z"])));
    assert!(!is_behind(&knowledge));
    assert_eq!(knowledge.item_ids().unwrap().len(), 1, "nothing is left of the older ones");
}

#[tokio::test]
async fn a_list_that_is_not_kept_is_missed() {
    let limits = Limits { cache_max_objects: 2, queue_bytes: 4096, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    let name = "n".repeat(1000);
    let too_large = list_body(20, &[name.as_str(); 5], "");
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    record(&knowledge, ask(""), &list_body(9, &["x"], ""), true).await;
    record(&knowledge, ask(""), &list_body(20, &["x", "y"], "")[..100], false).await;
    assert!(!is_behind(&knowledge), "one that is older or was cut says nothing");
    record(&knowledge, ask(""), &list_body(20, &["x", "y", "z"], ""), true).await;
    assert!(is_behind(&knowledge), "over the budget");
    record(&knowledge, ask(""), &list_body(21, &["x"], ""), true).await;
    assert!(!is_behind(&knowledge));
    let mut behind = knowledge.record(Subject::List(ask("")), false);
    behind.push(&Bytes::from(too_large));
    behind.finish();
    settle(&knowledge).await;
    assert!(is_behind(&knowledge), "the store is behind");
    let reason = Why { reason: "store behind" };
    assert_eq!(knowledge.metrics().lists_not_remembered.get_or_create(&reason).get(), 1);
}

#[tokio::test]
async fn a_list_whose_first_items_cannot_be_written_is_missed() {
    let store = Arc::new(Failing::default());
    let knowledge = open_within(store.clone(), Limits::default());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let long: Vec<String> = (0..300).map(|index| format!("{}-{index:03}", "n".repeat(1000))).collect();
    let body = list_body(20, &long.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let (first, rest) = body.split_at(body.len() - 10);
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut list = knowledge.record(Subject::List(ask("")), false);
    list.push(&Bytes::copy_from_slice(first.as_bytes()));
    settle(&knowledge).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(!is_behind(&knowledge));
    list.push(&Bytes::copy_from_slice(rest.as_bytes()));
    list.finish();
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap().0, "10");
    assert!(is_behind(&knowledge));
}

#[tokio::test]
async fn what_a_failed_write_has_lost_is_missed() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    store.fail.store(true, std::sync::atomic::Ordering::Relaxed);
    watch(&knowledge, "10", false, &event("ADDED", "y", 11)).await;
    store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(known(&knowledge).unwrap().0, "10");
    assert!(!matches!(knowledge.object(&key("y")).unwrap(), Found::Lacking(_)));
    let fields = crate::kube::selector::Fields::of("", "v1", "configmaps");
    assert!(knowledge.covering(&scope(), &fields, |_| true, false).unwrap().unwrap().header.is_behind());
    record(&knowledge, ask(""), &list_body(12, &["x"], ""), true).await;
    assert!(matches!(knowledge.object(&key("y")).unwrap(), Found::Lacking(_)));
}
