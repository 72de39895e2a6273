//! Watches in every form, before and after their chain is another one.

use serde_json::{Value, json};

use super::*;
use crate::request::filter::Filters;
use crate::request::filter::testing::{ask, filters};
use crate::state::filters::Filter;
use crate::state::inputs::{Facts, Service};
use crate::state::rules::{Agents, RuleSet};

/// What a discarded Service is known by.
fn cloud() -> Value {
    json!({"namespace": "a", "name": "cloud", "resourceVersion": "9", "annotations": {"svc.openyurt.io/discard": "true"}})
}

fn plain() -> Value {
    json!({"namespace": "a", "name": "plain", "resourceVersion": "9"})
}

fn service(metadata: &Value) -> Value {
    json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {"type": "LoadBalancer"}})
}

fn discarding() -> Arc<Filters> {
    let filters = filters(RuleSet::new(Agents::parse("*"), &[Filter::DiscardCloudService]));
    serve(&filters, "sample");
    let known = |facts: &mut Facts| {
        let service = Service { kind: "LoadBalancer".into(), discard: Some("true".into()), ..Service::default() };
        facts.services = Some(Arc::new([(("a".to_owned(), "cloud".to_owned()), service)].into()));
    };
    filters.inputs.update(known);
    filters
}

/// Who is served from now on.
fn serve(filters: &Filters, component: &str) {
    filters.rules.apply(Some(&[("discardcloudservice".to_owned(), component.to_owned())].into()));
}

async fn chain(filters: &Arc<Filters>, whole: bool) -> Chain {
    let mut ask = ask("sample", ("", "services"), "watch");
    ask.whole = whole;
    filters.chain_for(ask).await.unwrap()
}

/// A watch that goes on from a version up to which its client was shown this.
fn watch_from(version: u64, chain: Chain, shown: Option<Shown>) -> Transform {
    let beginning = Beginning {
        shown,
        source: None,
        stands: crate::request::filter::Stands::default(),
        resource_version: version.to_string(),
        initial_events: false,
        hides_bookmarks: false,
    };
    Transform::watch(chain, Encoding::Json, false, beginning)
}

fn watch(chain: Chain, shown: Option<Shown>) -> Transform {
    watch_from(7, chain, shown)
}

/// What comes out.
fn frames(watch: &mut Transform, kind: &str, object: &Value) -> Result<Vec<Value>, FilterError> {
    let mut out = Vec::new();
    let event = json!({"type": kind, "object": object}).to_string() + "\n";
    watch.feed(event.into(), &mut out)?;
    Ok(out.iter().map(|frame| serde_json::from_slice(frame).unwrap()).collect())
}

/// The types of what comes out.
fn told(watch: &mut Transform, kind: &str, object: &Value) -> Result<Vec<String>, FilterError> {
    let frames = frames(watch, kind, object)?;
    Ok(frames.iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect())
}

/// The chain of a watch whose client was not shown `cloud` has become empty.
async fn emptied() -> (Transform, Arc<Filters>) {
    let filters = discarding();
    let mut shown = Shown::default();
    shown.note(crate::state::hidden::Hidden::key(&("a".to_owned(), "cloud".to_owned())), true);
    let mut watch = watch(chain(&filters, true).await, Some(shown));
    serve_now(&mut watch, &filters, "other").await;
    (watch, filters)
}

/// The same under an open watch.
async fn serve_now(watch: &mut Transform, filters: &Arc<Filters>, component: &str) {
    serve(filters, component);
    let Shape::Watch(open) = &mut watch.shape else { unreachable!() };
    let (chain, shown) = (open.chain.renewed().await.unwrap(), open.shown.take());
    watch.go_on_with(CaughtUp { chain, shown, frames: Vec::new(), stands: 0 });
}

#[tokio::test]
async fn what_was_hidden_is_new_to_the_client_of_a_chain_that_has_become_empty() {
    let (mut watch, _) = emptied().await;
    assert_eq!(told(&mut watch, "MODIFIED", &service(&cloud())).unwrap(), ["ADDED"]);
    assert_eq!(told(&mut watch, "MODIFIED", &service(&cloud())).unwrap(), ["MODIFIED"]);
}

#[tokio::test]
async fn what_is_deleted_while_nothing_is_hidden_is_deleted_once() {
    let (mut watch, filters) = emptied().await;
    assert_eq!(told(&mut watch, "MODIFIED", &service(&cloud())).unwrap(), ["ADDED"]);
    assert_eq!(told(&mut watch, "DELETED", &service(&cloud())).unwrap(), ["DELETED"]);
    serve_now(&mut watch, &filters, "sample").await;
    assert!(told(&mut watch, "ADDED", &service(&cloud())).unwrap().is_empty(), "a new one, which it never had");
}

#[tokio::test]
async fn an_event_that_nobody_knows_stops_a_filter_for_safety() {
    let filters = discarding();
    let mut guarded = watch(chain(&filters, true).await, None);
    assert!(told(&mut guarded, "RENAMED", &service(&plain())).is_err());
    let (mut emptied, _) = emptied().await;
    assert_eq!(told(&mut emptied, "RENAMED", &service(&plain())).unwrap(), ["RENAMED"]);
}

fn partial(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn row(metadata: &Value) -> Value {
    json!({"cells": ["x"], "object": partial(metadata)})
}

fn table(metadata: &Value) -> Value {
    let metadata_of_table = json!({"resourceVersion": metadata["resourceVersion"]});
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata_of_table, "columnDefinitions": null, "rows": [row(metadata)]})
}

#[tokio::test]
async fn a_watch_of_tables_and_one_of_metadata_are_filtered() {
    for form in [&partial as &dyn Fn(&Value) -> Value, &table] {
        let mut watch = watch(chain(&discarding(), false).await, None);
        let seen = cloud();
        assert!(told(&mut watch, "ADDED", &form(&seen)).unwrap().is_empty());
        assert_eq!(told(&mut watch, "ADDED", &form(&plain())).unwrap(), ["ADDED"]);
        let mut kept = seen.clone();
        kept["annotations"] = json!({});
        let hidden_still = told(&mut watch, "MODIFIED", &form(&kept)).unwrap();
        assert!(hidden_still.is_empty(), "in these forms the hub's own knowledge of the Service counts: {hidden_still:?}");
        assert_eq!(told(&mut watch, "DELETED", &form(&plain())).unwrap(), ["DELETED"]);
        assert!(told(&mut watch, "DELETED", &form(&seen)).unwrap().is_empty());
        let bookmark = form(&json!({"resourceVersion": "10"}));
        assert_eq!(told(&mut watch, "BOOKMARK", &bookmark).unwrap(), ["BOOKMARK"]);
    }
}

/// A list in each form, and a watch from there, and another from where that has ended.
#[tokio::test]
async fn what_was_hidden_is_known_wherever_a_watch_goes_on() {
    type Form = fn(&Value) -> Value;
    let list = |kind: &str, items: &str, item: Form| json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, items: [item(&cloud()), item(&plain())]});
    for (listed, whole, event) in [
        (list("ServiceList", "items", service), true, service as Form),
        (list("PartialObjectMetadataList", "items", partial), false, partial),
        (list("Table", "rows", row), false, table),
    ] {
        let filters = discarding();
        assert!(chain(&filters, whole).await.shown_at(9).is_err(), "nobody has listed");
        let list = Transform::list(chain(&filters, whole).await, Encoding::Json, false);
        list.all(listed.to_string().into()).unwrap();
        let mut version = 9;
        for now in [10, 12] {
            let chain = chain(&filters, whole).await;
            let shown = chain.shown_at(version).unwrap();
            let mut watch = watch_from(version, chain, shown);
            let at = |mut metadata: Value, version: u64| {
                metadata["resourceVersion"] = version.to_string().into();
                event(&metadata)
            };
            assert!(told(&mut watch, "MODIFIED", &at(cloud(), now - 1)).unwrap().is_empty(), "{listed}");
            assert_eq!(told(&mut watch, "MODIFIED", &at(plain(), now)).unwrap(), ["MODIFIED"], "{listed}");
            version = now;
        }
    }
}

/// The kube-apiserver says once, in the first event, which columns there are.
#[tokio::test]
async fn the_columns_of_a_hidden_row_come_with_the_first_that_is_shown() {
    let table = |metadata: &Value, columns: Value| {
        let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
        let rows = json!([{"cells": ["x"], "object": object}]);
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": columns, "rows": rows})
    };
    let mut watch = watch(chain(&discarding(), false).await, None);
    let columns = json!([{"name": "Name"}]);
    assert!(frames(&mut watch, "ADDED", &table(&cloud(), columns.clone())).unwrap().is_empty());
    let shown = frames(&mut watch, "ADDED", &table(&plain(), Value::Null)).unwrap();
    assert_eq!(shown[0]["object"], table(&plain(), columns));
    let again = frames(&mut watch, "MODIFIED", &table(&plain(), Value::Null)).unwrap();
    assert_eq!(again[0]["object"], table(&plain(), Value::Null));
}

#[tokio::test]
async fn what_the_hub_has_asked_for_itself_is_not_in_the_row_of_what_is_hidden() {
    let filters = discarding();
    let mut ask = ask("sample", ("", "services"), "watch");
    (ask.whole, ask.bare_rows) = (false, true);
    let mut watch = watch(filters.chain_for(ask).await.unwrap(), Some(Shown::default()));
    let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": cloud()});
    let rows = json!([{"cells": ["x"], "object": object}]);
    let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": null, "rows": rows});
    let deleted = frames(&mut watch, "MODIFIED", &table).unwrap();
    assert_eq!((&deleted[0]["type"], &deleted[0]["object"]["rows"][0]["object"]), (&json!("DELETED"), &Value::Null));
}

/// What is counted, by filter.
fn counted(filters: &Filters, label: &str) -> u64 {
    let figure = FilterLabel { filter: label.to_owned() };
    filters.metrics.filter_errors.get(&figure).map_or(0, |counter| counter.get())
}

/// A watch's whole body with one event in it, as a client reads it.
async fn read(filters: &Arc<Filters>, whole: bool, object: &Value) -> Result<(), BodyError> {
    let event = json!({"type": "ADDED", "object": object}).to_string() + "\n";
    let frames = futures_util::stream::iter([Ok::<_, crate::upstream::Error>(Frame::data(Bytes::from(event)))]);
    let transform = watch(chain(filters, whole).await, None);
    let body = Filtered::new(http_body_util::StreamBody::new(frames), transform, filters.metrics.clone());
    http_body_util::BodyExt::collect(body).await.map(drop)
}

#[tokio::test]
async fn a_refusal_counts_once_for_the_filter_that_refused() {
    let both = [Filter::DiscardCloudService, Filter::MasterService];
    let filters = filters(RuleSet::new(Agents::parse("*"), &both));
    filters.rules.apply(Some(&both.map(|filter| (filter.name().to_owned(), "sample".to_owned())).into()));
    filters.inputs.update(|facts| facts.services = Some(Arc::default()));
    let counts = || ["discardcloudservice", "masterservice", "body"].map(|label| counted(&filters, label));
    let damaged = json!({"namespace": "a", "name": "x", "resourceVersion": "9", "annotations": {"svc.openyurt.io/discard": 7}});
    read(&filters, true, &service(&damaged)).await.unwrap_err();
    assert_eq!(counts(), [1, 0, 0], "the second was never asked");
    let row = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": [{"cells": ["x"]}]});
    read(&filters, false, &row).await.unwrap_err();
    assert_eq!(counts(), [2, 1, 0], "neither can judge what is not there");
    read(&filters, true, &json!({"kind": 7})).await.unwrap_err();
    assert_eq!(counts(), [3, 2, 0], "neither can read this");
}
