//! Who was shown what was written here, and what came of it.

use super::*;

#[tokio::test]
async fn a_watch_is_led_back_from_an_event_that_was_refused_and_goes_on() {
    let store = Arc::new(Memory::default());
    let mut offline = offline(store.clone());
    let (_begins, draining) = drain::channel();
    offline.ending = draining.ending;
    let knowledge = offline.knowledge.as_ref().unwrap();
    let target = "/api/v1/namespaces/a/events";
    let body = r#"{"kind":"EventList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
    remember(knowledge, Subject::List(list_ask(target)), body).await;
    let context = Context::of_node(&format!("{target}?watch=1&resourceVersion=7"));
    let mut watch = watch::serve(&offline, knowledge, &context).await.unwrap().into_body();
    let mut says = async |said: &str| {
        let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        assert!(text.contains(said), "{text}");
    };
    let mut entries = Vec::new();
    for name in ["e1", "e2", "e3"] {
        let body = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#).into_bytes();
        let entry = Entry::new(target.into(), name.into(), "application/json".into(), Credential::Node, body);
        knowledge.accept(entry.clone()).await.unwrap();
        says(name).await;
        entries.push(entry);
    }
    knowledge.note_delivered(1);
    knowledge.settle(1).await.unwrap();
    // Of what the cloud has taken it tells by itself.
    knowledge.note_refused(2, entries.remove(1));
    knowledge.settle(2).await.unwrap();
    says(r#"DELETED","object":{"kind":"Event","apiVersion":"v1","metadata":{"name":"e2""#).await;
    // What is damaged is known to nobody.
    let row = [&b"e"[..], &3_u64.to_be_bytes()].concat();
    store.apply(&[Op::Put(row, b"damaged".to_vec())], true).unwrap();
    assert!(knowledge.entries(2, 1).unwrap().is_empty());
    says("410").await;
    assert!(watch.frame().await.is_none());
    let resumed = watch::serve(&offline, knowledge, &context).await;
    assert_eq!(resumed.err().map(|refusal| refusal.code.as_u16()), Some(410), "nor does another one go on from there");
}
