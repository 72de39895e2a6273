//! Where the client of a watch stands, on a disk that is busy.

use super::super::shown::BUSY;
use super::*;
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::request::filter::By;
use crate::state::hidden::Hidden;
use crate::state::link::Link;
use crate::store::Happened;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const AT_7: &str = r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}"#;
const TO_9: &str = concat!(
    r#"{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","#,
    r#""metadata":{"name":"c","namespace":"a","resourceVersion":"9"}}}"#,
    "\n"
);

/// What it is told next goes into its own collection: that must not stay behind it.
#[tokio::test]
async fn a_client_is_led_on_to_what_its_own_collection_has() {
    const ALL: &str = "/api/v1/configmaps";
    let of_all = |version: &str| AT_7.replace("\"7\"", &format!("\"{version}\""));
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    remember(knowledge, Subject::List(list_ask(MAPS)), AT_7).await;
    let context = Context::of_node(&format!("{MAPS}?watch=1&resourceVersion=7"));
    let stand = stand(&offline, &Link::new(1), &context, Encoding::Json, 7).await.expect("it stands where its own list does");
    let newer = async || stand.newer(&offline).await.map(|known| known.version());
    remember(knowledge, Subject::List(list_ask(ALL)), &of_all("8")).await;
    assert_eq!(newer().await, None, "of all namespaces more is known");
    remember(knowledge, Subject::List(list_ask(MAPS)), &of_all("9")).await;
    assert_eq!(newer().await, Some(9));
}

/// A client has been told of what the disk takes only now.
#[tokio::test(start_paused = true)]
async fn what_a_client_was_told_last_is_waited_for() {
    for (link_is_up, disk_recovers) in [(true, true), (true, false), (false, true), (false, false)] {
        let store = Arc::new(Busy::default());
        let offline = offline(store.clone());
        let knowledge = offline.knowledge.as_ref().unwrap();
        remember(knowledge, Subject::List(list_ask(MAPS)), AT_7).await;
        let release = keep_busy(&store);
        let ListAsk { scope, reader, .. } = list_ask(MAPS);
        let ask = WatchAsk { scope, resource_version: "7".into(), send_initial_events: false, reader };
        let mut recording = knowledge.record(Subject::Watch(ask), false);
        recording.push(&Bytes::from_static(TO_9.as_bytes()));

        let link = Link::new(1);
        link.set(0, link_is_up);
        let context = Context::of_node(&format!("{MAPS}?watch=1&resourceVersion=9"));
        let mut stand = std::pin::pin!(stand(&offline, &link, &context, Encoding::Json, 9));
        assert!(futures_util::poll!(&mut stand).is_pending());
        tokio::time::advance(FLUSH_OR_REFUSE * 2).await;
        assert!(futures_util::poll!(&mut stand).is_pending(), "longer than a refusal waits");
        if !link_is_up {
            tokio::time::advance(BUSY * 100).await;
            assert!(futures_util::poll!(&mut stand).is_pending(), "nothing else could be done");
        }
        if disk_recovers {
            release.send(()).unwrap();
        } else {
            tokio::time::advance(BUSY).await;
            link.set(0, true);
        }
        assert_eq!(stand.await.map(|stand| stand.shown.version()), disk_recovers.then_some(9));
    }
}

/// The store may be ahead of a client by what others were told.
#[tokio::test]
async fn one_from_which_something_is_hidden_lacks_what_it_would_have_been_shown() {
    const RULE: &str =
        "- {name: hide, match: {resources: [configmaps], labelSelector: {matchLabels: {hide: 'yes'}}}, drop: true}";
    let object = |name: &str, hide: &str, version: u64| {
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"a","labels":{{"hide":"{hide}"}},"resourceVersion":"{version}"}}}}"#
        )
    };
    let offline = offline(Arc::new(Memory::default()));
    offline.filters.rules.apply(Some(&[("rules".to_owned(), RULE.to_owned())].into()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    let all = [("dark", "yes"), ("dim", "yes"), ("light", "no"), ("white", "no")].map(|(name, hide)| object(name, hide, 7));
    let list = AT_7.replace("[]", &format!("[{}]", all.join(",")));
    remember(knowledge, Subject::List(list_ask(MAPS)), &list).await;
    let ListAsk { scope, reader, .. } = list_ask(MAPS);
    let ask = WatchAsk { scope, resource_version: "7".into(), send_initial_events: false, reader };
    let happened =
        [("MODIFIED", "dark", "yes"), ("MODIFIED", "dim", "no"), ("MODIFIED", "light", "yes"), ("DELETED", "dark", "yes")];
    let event = |(version, (kind, name, hide)): (u64, &(&str, &str, &str))| {
        format!("{{\"type\":\"{kind}\",\"object\":{}}}\n", object(name, hide, version))
    };
    let events: String = (8..).zip(&happened).map(event).collect();
    remember(knowledge, Subject::Watch(ask), &events).await;

    // The users' rules leave the hub's own requests alone.
    let context = Context::of_client(&format!("{MAPS}?watch=1&resourceVersion=7"));
    let chain = offline.filters.chain(&context).await.unwrap().unwrap();
    offline.filters.told(&Context::of_client(MAPS), Some(&chain), By::Cloud);
    let told = async || {
        let stand = stand(&offline, &Link::new(1), &context, Encoding::Json, 7).await?;
        let event = |event: &Happened| {
            let meta = object::meta(Encoding::Json, &event.item).unwrap();
            (event.kind.as_str().to_owned(), meta.name)
        };
        Some(stand.lacks.iter().map(event).collect::<Vec<_>>())
    };
    assert_eq!(told().await, None, "nobody knows what was hidden from it");
    chain.hides_at(7, ["dark", "dim"].map(|name| Hidden::key(&("a".to_owned(), name.to_owned()))));
    let pair = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(told().await, Some(vec![pair("ADDED", "dim"), pair("DELETED", "light")]));
}
