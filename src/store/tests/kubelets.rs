//! What kubelet has read stays as long as it is used, and no longer.

use super::*;

fn kubelet() -> Reader {
    Reader { agent: "kubelet".into(), node: true }
}

fn named(resource: &str, name: &str) -> Scope {
    Scope { resource: resource.into(), field_selector: format!("metadata.name={name}"), ..scope() }
}

/// A ConfigMap, a Pod and a Service by their names, and all ConfigMaps.
fn scopes() -> [Scope; 4] {
    [named("configmaps", "x"), named("pods", "x"), named("services", "x"), scope()]
}

async fn listed(limits: Limits) -> Arc<Knowledge> {
    let knowledge = open_within(Arc::new(Memory::default()), limits);
    for scope in scopes() {
        let ask = ListAsk { scope, reader: kubelet(), ..ask("") };
        record(&knowledge, ask, &list_body(10, &["x"], ""), true).await;
    }
    knowledge
}

fn is_known(knowledge: &Knowledge) -> [bool; 4] {
    scopes().map(|scope| knowledge.header(&scope).is_some())
}

fn days_online(knowledge: &Knowledge, days: std::ops::RangeInclusive<u64>) {
    days.for_each(|day| knowledge.note_online_at(grant::now() + day * DAY, DAY));
}

async fn sweep_later(knowledge: &Knowledge) {
    knowledge.sweep_garbage_at(grant::now() + 200 * DAY, AGES, |_| false).await.unwrap();
    settle(knowledge).await;
}

#[tokio::test]
async fn one_object_that_kubelet_does_not_use_any_more_is_garbage_and_a_cut_does_not_count() {
    let knowledge = listed(Limits::default()).await;
    sweep_later(&knowledge).await;
    assert_eq!(is_known(&knowledge), [true; 4], "the link was down all the time");
    days_online(&knowledge, 1..=30);
    sweep_later(&knowledge).await;
    assert_eq!(is_known(&knowledge), [true; 4], "not yet");
    days_online(&knowledge, 150..=150);
    sweep_later(&knowledge).await;
    assert_eq!(is_known(&knowledge), [false, true, true, true]);
}

#[tokio::test]
async fn what_kubelet_got_by_its_name_goes_as_everybodys_does() {
    let knowledge = listed(Limits::default()).await;
    let pod = ObjectKey { scope: Scope { resource: "pods".into(), ..scope() }, name: "p".into() };
    let body = |name: &str| item(name, 5).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    get(&knowledge, &key("single"), kubelet(), &body("single")).await;
    get(&knowledge, &pod, kubelet(), &body("p")).await;
    let is_known = |key: &ObjectKey| knowledge.object_record(&key.key()).is_some();
    days_online(&knowledge, 1..=90);
    sweep_later(&knowledge).await;
    assert!(is_known(&key("single")), "not yet");
    days_online(&knowledge, 91..=91);
    sweep_later(&knowledge).await;
    assert!(!is_known(&key("single")) && is_known(&pod));
}

#[tokio::test]
async fn one_object_that_kubelet_does_not_use_any_more_makes_room() {
    let knowledge = listed(Limits { cache_max_bytes: 40_000, ..Limits::default() }).await;
    let sweep = async || {
        knowledge.sweep(|_| false).await.unwrap();
        settle(&knowledge).await;
    };
    sweep().await;
    assert_eq!(is_known(&knowledge), [true; 4], "in use");
    days_online(&knowledge, 1..=3);
    sweep().await;
    assert_eq!(is_known(&knowledge), [false, true, true, true]);
}

#[tokio::test]
async fn what_is_answered_from_is_in_use() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let mut header = knowledge.header(&scope()).unwrap();
    header.used = 0;
    knowledge.drop_rows(vec![knowledge.set_header(0, header).unwrap()]).await.unwrap();
    settle(&knowledge).await;
    assert!(matches!(knowledge.object_here(&key("x")).unwrap(), Found::Object { .. }));
    knowledge.sweep(|_| false).await.unwrap();
    assert!(knowledge.header(&scope()).unwrap().used > 0);
    // An object by itself, too.
    let body = item("single", 50).replacen('{', r#"{"kind":"ConfigMap","apiVersion":"v1","#, 1);
    get(&knowledge, &key("single"), Reader::default(), &body).await;
    assert_eq!(knowledge.singles.used(&key("single").key()), 0);
    assert!(matches!(knowledge.object_here(&key("single")).unwrap(), Found::Object { .. }));
    knowledge.sweep(|_| false).await.unwrap();
    assert!(knowledge.singles.used(&key("single").key()) > 0);
}
