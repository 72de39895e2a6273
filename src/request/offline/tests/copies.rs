//! Watches of Tables of which nothing is known but the cloud's as they were.

use super::*;
use crate::kube::media;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";

/// The cloud's answer to a list, of this version.
async fn told(knowledge: &Arc<Knowledge>, query: &str, version: u64) {
    let (mut context, _) = asked(&format!("{MAPS}?{query}"));
    context.accepts = media::accepted(Some(TABLE));
    let body = format!(
        r#"{{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{{"resourceVersion":"{version}"}},"columnDefinitions":[],"rows":[]}}"#
    );
    let head = Document { content_type: "application/json".into(), ..Document::default() };
    remember(knowledge, Subject::Document { name: names::document(&context, None), head }, &body).await;
}

async fn watch(offline: &Offline, target: &str) -> Result<Response, u16> {
    let (mut context, asked) = asked(target);
    context.accepts = media::accepted(Some(TABLE));
    let knowledge = offline.knowledge.as_ref().unwrap();
    knowledge.grant(&context.grant(crate::store::NODE));
    // A paused clock leaps over what waits for the disk.
    knowledge.catch_up().await.unwrap();
    serve(offline, &context, asked).await.map_err(|refusal| refusal.code.as_u16())
}

/// What comes within two minutes, and whether it goes on then.
async fn minutes(offline: &Offline, version: u64) -> (String, bool) {
    let target = format!("{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=600&resourceVersion={version}");
    let mut body = watch(offline, &target).await.unwrap().into_body();
    let mut told = String::new();
    let all = async {
        while let Some(frame) = body.frame().await {
            told += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
        }
    };
    let goes_on = tokio::time::timeout(Duration::from_secs(130), all).await.is_err();
    (told, goes_on)
}

#[tokio::test(start_paused = true)]
async fn who_goes_on_from_a_copy_is_held_and_so_is_who_was_told_more() {
    let (_running, drains) = drain::channel();
    let offline = Offline { ending: drains.ending.clone(), ..offline(Arc::new(Memory::default())) };
    let knowledge = offline.knowledge.as_ref().unwrap();
    told(knowledge, "limit=500&resourceVersion=0", 7).await;
    told(knowledge, "resourceVersion=7", 9).await;
    // Others than are watched.
    told(knowledge, "labelSelector=a", 20).await;
    for version in [7, 9, 12] {
        assert_eq!(minutes(&offline, version).await, (String::new(), true), "{version}");
    }
    for version in [6, 8] {
        let (told, goes_on) = minutes(&offline, version).await;
        assert!(told.contains(r#""code":410"#) && !goes_on, "{version}: {told}");
    }
}

#[tokio::test]
async fn of_what_there_is_no_copy_nobody_watches() {
    let offline = offline(Arc::new(Memory::default()));
    let knowledge = offline.knowledge.as_ref().unwrap();
    told(knowledge, "limit=500&resourceVersion=0", 7).await;
    for target in [
        format!("{MAPS}?watch=1&resourceVersion=7&labelSelector=a"),
        format!("{MAPS}?watch=1&resourceVersion=7&fieldSelector=metadata.name%3Dp"),
        "/api/v1/configmaps?watch=1&resourceVersion=7".to_owned(),
        "/api/v1/namespaces/a/podtemplates?watch=1&resourceVersion=7".to_owned(),
        // All there is cannot be told one by one.
        format!("{MAPS}?watch=1"),
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
    ] {
        assert_eq!(watch(&offline, &target).await.err(), Some(503), "{target}");
    }
    assert!(watch(&offline, &format!("{MAPS}?watch=1&resourceVersion=7")).await.is_ok());
}
