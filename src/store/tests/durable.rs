//! When what was written is made durable, and what that costs.

use std::sync::atomic::Ordering;

use super::*;

/// A list of 3 MB comes in a dozen commits: what counts before is made durable once, its own parts each second at most.
#[tokio::test]
async fn the_parts_of_a_list_are_not_made_durable_one_by_one() {
    let store = Arc::new(Failing::default());
    let knowledge = open_within(store.clone(), Limits::default());
    record(&knowledge, ask(""), &list_body(1, &["known"], ""), true).await;
    let names: Vec<String> = (0..30).map(|index| format!("{index:02}-{}", testkit::noise(100_000 + index))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (before, began) = (store.durable.load(Ordering::Relaxed), std::time::Instant::now());
    record(&knowledge, ask(""), &list_body(2, &names, ""), true).await;
    let commits = store.durable.load(Ordering::Relaxed) - before;
    assert!(commits >= 1, "what was known before");
    assert!(commits <= 2 + began.elapsed().as_secs() as usize, "{commits}");
}
