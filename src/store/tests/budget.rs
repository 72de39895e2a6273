//! What goes when there is too much, and what stays.

use super::*;

/// A slow link: others have listed much before it ends.
#[tokio::test]
async fn a_sweep_leaves_what_is_still_arriving() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits::default());
    let long: Vec<String> = (0..300).map(|index| format!("{}-{index:03}", "n".repeat(1000))).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let mut in_pages = knowledge.record(Subject::List(ask("")), false);
    in_pages.push(&Bytes::from(list_body(10, &long, "page2")));
    in_pages.finish();
    sweep_behind_many_lists(&knowledge).await;
    record(&knowledge, ask("page2"), &list_body(10, &["z"], ""), true).await;
    assert_eq!(known(&knowledge).unwrap().1.len(), long.len() + 1, "in pages");

    let body = list_body(20, &long, "");
    let (first, rest) = body.split_at(body.len() - 10);
    let mut slow = knowledge.record(Subject::List(ask("")), false);
    slow.push(&Bytes::copy_from_slice(first.as_bytes()));
    sweep_behind_many_lists(&knowledge).await;
    slow.push(&Bytes::copy_from_slice(rest.as_bytes()));
    slow.finish();
    settle(&knowledge).await;
    assert_eq!(known(&knowledge).unwrap(), ("20".into(), names(&long)));
}

async fn sweep_behind_many_lists(knowledge: &Arc<Knowledge>) {
    settle(knowledge).await;
    for version in 1..=65 {
        let other = ListAsk { scope: Scope { namespace: "other".into(), ..scope() }, ..ask("") };
        record(knowledge, other, &list_body(version, &["x"], ""), true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(knowledge).await;
}

/// Pages that nobody goes on with are remains once they are given up.
#[tokio::test]
async fn a_sweep_takes_pages_that_are_given_up() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x"], "page2"), true).await;
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(knowledge.item_ids().unwrap().len(), 1);
    knowledge.pages.give_up(std::time::Instant::now() + std::time::Duration::from_secs(600));
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    assert!(knowledge.item_ids().unwrap().is_empty());
}

#[tokio::test]
async fn over_the_budget_the_least_recently_used_goes_whole() {
    let knowledge = open(Arc::new(Memory::default()));
    let big = testkit::noise(300_000);
    for (index, resource) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        let mut ask = ask("");
        ask.scope.resource = resource.into();
        ask.reader.node = index == 0;
        let body = list_body(10, &["x"], "")
            .replace(r#""namespace":"a""#, &format!(r#""namespace":"a","annotations":{{"big":"{big}"}}"#));
        record(&knowledge, ask, &body, true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let kept: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .filter(|resource| knowledge.list(&Scope { resource: (*resource).into(), ..scope() }).unwrap().is_some())
        .collect();
    assert_eq!(kept.len(), 3, "{kept:?}");
    assert!(kept.contains(&"a"), "pinned");
}

#[tokio::test]
async fn lists_of_nothing_by_ever_other_selectors_are_bounded() {
    let limits = Limits { cache_max_bytes: 1 << 20, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    for number in 0..100 {
        let mut ask = ask("");
        ask.scope.label_selector = format!("job-name=j-{number}");
        record(&knowledge, ask, &list_body(10, &[], ""), true).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let kept = knowledge.catalogue().headers.len();
    assert!((1..=64).contains(&kept), "{kept}");
}

#[tokio::test]
async fn more_objects_than_allowed_are_given_up_whole_and_what_a_pinned_agent_read_stays() {
    let limits = Limits { cache_max_objects: 8, ..Limits::default() };
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    for (resource, agent) in [("a", "named"), ("b", "any"), ("c", "any")] {
        let mut ask = ask("");
        (ask.scope.resource, ask.reader.agent) = (resource.into(), agent.into());
        record(&knowledge, ask, &list_body(10, &["x", "y", "z"], ""), true).await;
    }
    knowledge.sweep(|agent| agent == "named").await.unwrap();
    settle(&knowledge).await;
    let known = |resource: &str| knowledge.list(&Scope { resource: resource.into(), ..scope() }).unwrap().is_some();
    let kept = ["a", "b", "c"].map(known);
    assert!(kept[0] && (kept[1] ^ kept[2]), "{kept:?}");
    let mut larger = ask("");
    larger.scope.resource = "d".into();
    record(&knowledge, larger, &list_body(10, &["1", "2", "3", "4", "5", "6", "7", "8", "9"], ""), true).await;
    assert!(!known("d"), "what can never fit does not push out the rest");
}

#[tokio::test]
async fn what_only_agents_have_read_that_are_not_seen_any_more_goes_whole() {
    let knowledge = open(Arc::new(Memory::default()));
    let reader = |agent: &str| Reader { agent: agent.into(), node: agent == "kubelet" };
    let collections = [("a", vec!["left"]), ("b", vec!["left", "stays"]), ("c", vec!["left", "kubelet"]), ("d", vec!["named"])];
    for (resource, agents) in &collections {
        for agent in agents {
            let mut ask = ask("");
            (ask.scope.resource, ask.reader) = ((*resource).into(), reader(agent));
            record(&knowledge, ask, &list_body(10, &["x"], ""), true).await;
            knowledge.see(agent);
        }
    }
    let key = |name: &str| ObjectKey { scope: Scope { resource: "e".into(), ..scope() }, name: name.into() };
    let body = |name: &str| item(name, 5).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    for (name, agents) in [("one", vec!["left"]), ("both", vec!["stays", "left"]), ("node", vec!["kubelet", "left"])] {
        for agent in agents {
            get(&knowledge, &key(name), reader(agent), &(body(name) + &" ".repeat(agent.len()))).await;
        }
    }
    let known = || {
        let list = |resource: &str| knowledge.list(&Scope { resource: resource.into(), ..scope() }).unwrap().is_some();
        let object = |name: &str| matches!(knowledge.object(&key(name)).unwrap(), Found::Object { .. });
        (["a", "b", "c", "d"].map(list), ["one", "both", "node"].map(object))
    };
    let pins = |agent: &str| agent == "named";
    let later = grant::now() + 31 * DAY;
    // Everybody but one is seen again, a month later.
    let row = |agent: &str, at: u64| {
        let key = keys::raw(keys::AGENT, agent.as_bytes());
        Op::Put(key.clone(), knowledge.sealer().seal(&key, &at.to_be_bytes()))
    };
    knowledge.drop_rows(vec![row("stays", later), row("kubelet", later)]).await.unwrap();
    settle(&knowledge).await;
    knowledge.sweep_garbage_at(grant::now() + 29 * DAY, AGES, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([true; 4], [true; 3]), "not yet");
    knowledge.sweep_garbage_at(later, AGES, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([false, true, true, true], [false, true, true]));
    assert!(knowledge.snapshot().unwrap().read(&keys::raw(keys::AGENT, b"left")).unwrap().is_none(), "and is forgotten");
    knowledge.sweep_garbage_at(grant::now() + 91 * DAY, Ages { unseen: u64::MAX, ..AGES }, pins).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(known(), ([false, true, true, true], [false, false, true]), "single, and nobody has asked for it");
}

#[tokio::test]
async fn pods_that_are_gone_go_though_they_are_kubelets() {
    let knowledge = open(Arc::new(Memory::default()));
    let kubelet = Reader { agent: "kubelet".into(), node: true };
    let pods = Scope { resource: "pods".into(), namespace: String::new(), ..scope() };
    let of_node = Scope { field_selector: "spec.nodeName=n-1".into(), ..pods.clone() };
    let pod = |name: &str, node: &str, version: u64| {
        item(name, version).replacen('{', r#"{"kind":"Pod","apiVersion":"v1","#, 1).replacen(
            "}}",
            &format!(r#"}},"spec":{{"nodeName":"{node}"}}}}"#),
            1,
        )
    };
    let key = |name: &str| ObjectKey { scope: Scope { namespace: "a".into(), ..pods.clone() }, name: name.into() };
    let all = [("gone", "n-1", 5), ("here", "n-1", 5), ("elsewhere", "n-2", 5), ("newer", "n-1", 11)];
    for (name, node, version) in all {
        get(&knowledge, &key(name), kubelet.clone(), &pod(name, node, version)).await;
    }
    let is_known = |name: &str| {
        let snapshot = knowledge.snapshot().unwrap();
        snapshot.read(&key(name).key()).unwrap().is_some()
    };
    knowledge.sweep_garbage_at(grant::now(), AGES, |_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(all.map(|(name, ..)| is_known(name)), [true; 4], "no list says anything");
    let list = ListAsk { scope: of_node, reader: kubelet, ..ask("") };
    record(&knowledge, list, &list_body(10, &["here"], "").replace("ConfigMap", "Pod"), true).await;
    knowledge.sweep_garbage_at(grant::now(), AGES, |_| false).await.unwrap();
    settle(&knowledge).await;
    assert_eq!(all.map(|(name, ..)| is_known(name)), [false, true, true, true]);
}

#[tokio::test]
async fn what_is_watched_is_in_use() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let mut header = knowledge.header(&scope()).unwrap();
    header.used = 0;
    knowledge.drop_rows(vec![knowledge.set_header(0, header).unwrap()]).await.unwrap();
    watch(&knowledge, "10", false, &event("BOOKMARK", "", 11)).await;
    assert!(knowledge.list(&scope()).unwrap().unwrap().header.used + 60 > grant::now());
}

#[tokio::test]
async fn single_objects_stay_within_their_part_and_kubelets_stay() {
    let knowledge = open(Arc::new(Memory::default()));
    let key = |name: &str| ObjectKey { scope: scope(), name: name.into() };
    let body = |name: &str| {
        let padding = "x".repeat(10_000);
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"1"}},"data":{{"p":"{padding}"}}}}"#
        )
    };
    for index in 0..60 {
        let name = format!("o-{index}");
        let ask = record::ObjectAsk { key: key(&name), reader: Reader { node: index == 0, ..Reader::default() } };
        let mut recording = knowledge.record(Subject::Object(ask), false);
        recording.push(&Bytes::from(body(&name)));
        recording.finish();
        settle(&knowledge).await;
    }
    knowledge.sweep(|_| false).await.unwrap();
    settle(&knowledge).await;
    let known = |index: usize| matches!(knowledge.object(&key(&format!("o-{index}"))).unwrap(), Found::Object { .. });
    let kept = (0..60).filter(|index| known(*index)).count();
    assert!(known(0), "kubelet's");
    assert!((15..=26).contains(&kept), "{kept} of 10 KB in a quarter of 1 MiB");
}
