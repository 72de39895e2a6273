use std::sync::Arc;

use super::super::tests::{ask, list_body, open, record, scope};
use crate::store::{Memory, Scope};

/// Lists of several resources at these versions, then etcd at another one; what is left.
async fn left(lists: &[(&str, &str, u64)], said_meanwhile: &[(&str, &str, u64)], etcd: u64) -> (Option<u64>, Vec<String>) {
    let knowledge = open(Arc::new(Memory::default()));
    let remember = async |lists: &[(&str, &str, u64)]| {
        for (group, resource, version) in lists {
            let mut ask = ask("");
            (ask.scope.group, ask.scope.resource) = ((*group).into(), (*resource).into());
            ask.started = u64::MAX;
            record(&knowledge, ask, &list_body(*version, &["x"], ""), true).await;
        }
    };
    remember(lists).await;
    let before = knowledge.versions();
    remember(said_meanwhile).await;
    let given_up = knowledge.check_history(etcd, &before).await.unwrap();
    let is_known = |(group, resource, _): &&(&str, &str, u64)| {
        let scope = Scope { group: (*group).into(), resource: (*resource).into(), ..scope() };
        knowledge.list(&scope).unwrap().is_some()
    };
    (given_up, lists.iter().filter(is_known).map(|(_, resource, _)| (*resource).to_owned()).collect())
}

#[tokio::test]
async fn what_is_of_another_history_is_given_up_whole() {
    let lists = [("", "pods", 900), ("apps", "deployments", 400), ("x.io", "widgets", 10)];
    assert_eq!(left(&lists, &[], 900).await, (None, vec!["pods".into(), "deployments".into(), "widgets".into()]));
    assert_eq!(left(&lists, &[], 500).await, (Some(900), vec![]), "what is below that version is no less of the other one");
    let meanwhile = [("", "pods", 500)];
    assert_eq!(left(&lists, &meanwhile, 500).await.0, None, "it was said anew, and nothing else proves anything");
    let meanwhile = [("apps", "deployments", 480)];
    assert_eq!(left(&lists, &meanwhile, 500).await, (Some(900), vec!["deployments".into()]), "said since");
}

#[tokio::test]
async fn events_and_custom_groups_prove_nothing() {
    let lists = [("", "events", 900), ("x.io", "widgets", 900), ("", "pods", 400)];
    assert_eq!(left(&lists, &[], 500).await.0, None);
}
