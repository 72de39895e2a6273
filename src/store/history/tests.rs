use std::sync::Arc;

use super::super::tests::{ask, list_body, open, record, scope};
use super::{Cluster, Node, Stood};
use crate::store::{Knowledge, Memory, Scope};

type Lists<'a> = &'a [(&'a str, &'a str, u64)];

fn stood(version: u64) -> Stood {
    Stood { version, node: None }
}

/// Lists of several resources at these versions, others meanwhile, then where etcd stood and stands; what is left.
async fn left(lists: Lists<'_>, meanwhile: Lists<'_>, (last, now): (u64, u64)) -> (Option<u64>, Vec<String>) {
    let knowledge = open(Arc::new(Memory::default()));
    let remember = async |lists: Lists<'_>| {
        for (group, resource, version) in lists {
            let mut ask = ask("");
            (ask.scope.group, ask.scope.resource) = ((*group).into(), (*resource).into());
            ask.started = u64::MAX;
            record(&knowledge, ask, &list_body(*version, &["x"], ""), true).await;
        }
    };
    remember(lists).await;
    let before = knowledge.versions();
    remember(meanwhile).await;
    let given_up = knowledge.check_history(&stood(now), &stood(last), &before).await.unwrap();
    let is_known = |(group, resource, _): &&(&str, &str, u64)| {
        let scope = Scope { group: (*group).into(), resource: (*resource).into(), ..scope() };
        knowledge.list(&scope).unwrap().is_some()
    };
    (given_up, lists.iter().filter(is_known).map(|(_, resource, _)| (*resource).to_owned()).collect())
}

#[tokio::test]
async fn what_is_of_another_history_is_given_up_whole() {
    let lists = [("", "nodes", 900), ("apps", "deployments", 400), ("x.io", "widgets", 10)];
    assert_eq!(left(&lists, &[], (0, 900)).await, (None, vec!["nodes".into(), "deployments".into(), "widgets".into()]));
    assert_eq!(left(&lists, &[], (0, 500)).await, (Some(900), vec![]), "what is below that version is no less of the other one");
    assert_eq!(left(&lists[1..], &[], (600, 500)).await, (Some(600), vec![]), "etcd itself stood further");
    assert_eq!(left(&lists, &[("", "nodes", 500)], (0, 500)).await.0, None, "it was said anew, and nothing else proves anything");
    let meanwhile = [("apps", "deployments", 480)];
    assert_eq!(left(&lists, &meanwhile, (0, 500)).await, (Some(900), vec!["deployments".into()]), "said since");
}

/// One that is built anew has overtaken the old one.
#[tokio::test]
async fn another_cluster_is_known_by_two_uids() {
    let cluster = |node: &str, service: &str| Cluster { node: node.into(), service: service.into() };
    for (now, is_another) in
        [(cluster("n2", "s2"), true), (cluster("n2", "s1"), false), (cluster("n1", "s2"), false), (cluster("n2", ""), false)]
    {
        assert_eq!(now.is_another(&cluster("n1", "s1")), is_another, "{now:?}");
    }
    assert!(!cluster("n1", "s1").is_another(&Cluster::default()), "nothing was known");

    let store = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    knowledge.note_cluster(&cluster("n1", "s1"));
    knowledge.give_up(900, &knowledge.versions()).await.unwrap();
    assert!(knowledge.list(&scope()).unwrap().is_none());
    assert_eq!(open(store).cluster(), cluster("n1", "s1"), "in the next life of the hub, too");
}

/// Each may be in an etcd of its own.
#[tokio::test]
async fn other_resources_prove_nothing() {
    let lists = [("", "events", 900), ("coordination.k8s.io", "leases", 900), ("x.io", "nodes", 900), ("", "nodes", 400)];
    assert_eq!(left(&lists, &[], (500, 500)).await.0, None);
}

#[tokio::test]
async fn where_etcd_stood_is_known_after_a_restart() {
    let store = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    let both = |knowledge: &Knowledge| (knowledge.last_version(), open(store.clone()).last_version());
    assert_eq!(both(&knowledge), (0, 0));
    let check = async |version, last| {
        knowledge.check_history(&stood(version), &stood(last), &knowledge.versions()).await.unwrap();
        knowledge.flush().await.unwrap();
    };
    check(500, 0).await;
    assert_eq!(both(&knowledge), (500, 500));
    check(501, 500).await;
    assert_eq!(both(&knowledge), (500, 500), "written seldom");
    check(400, 501).await;
    assert_eq!(both(&knowledge), (400, 400), "and at once where it goes back");
}

/// What was written at a version that was passed, and was not there then, is of another history.
#[tokio::test]
async fn a_history_that_has_overtaken_the_known_one_gives_itself_away() {
    let at = |version: u64, uid: &str, node: u64| Stood { version, node: Some(Node { uid: uid.into(), version: node }) };
    let last = at(500, "n", 450);
    for (now, is_another) in [
        (at(900, "n", 450), false),
        (at(900, "n", 501), false),
        (at(900, "m", 700), false),
        (at(900, "n", 400), true),
        (at(900, "n", 500), true),
        (at(900, "m", 480), true),
        (stood(900), false),
    ] {
        let knowledge = open(Arc::new(Memory::default()));
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        let given_up = knowledge.check_history(&now, &last, &knowledge.versions()).await.unwrap();
        assert_eq!(given_up, is_another.then_some(500), "{now:?}");
        assert_eq!(knowledge.list(&scope()).unwrap().is_none(), is_another, "{now:?}");
        assert_eq!(knowledge.check_history(&now, &stood(500), &knowledge.versions()).await.unwrap(), None, "no Node was known");
    }
}
