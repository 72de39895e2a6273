use std::sync::Arc;

use super::super::tests::{ask, item, list_body, open, record, scope};
use crate::kube::list::Encoding;
use crate::kube::object;
use crate::kube::selector::Fields;
use crate::store::{Found, Header, Knowledge, ListView, Memory, ObjectKey, Scope, Store};

fn labelled(name: &str, app: &str, version: u64) -> String {
    item(name, version).replace(r#""namespace""#, &format!(r#""labels":{{"app":"{app}"}},"namespace""#))
}

fn shown(view: &ListView, knowledge: &Knowledge) -> Vec<String> {
    let mut names = Vec::new();
    let mut each = |_: &[u8], item: Vec<u8>| {
        names.push(object::meta(Encoding::Json, &item).unwrap().name);
        true
    };
    view.visit(knowledge, None, &mut each).unwrap();
    names
}

/// A collection of the whole namespace, and one of `app=web` that is newer.
async fn two_collections(store: Arc<dyn Store>) -> Arc<Knowledge> {
    let knowledge = open(store);
    let body = |version: u64, items: &[String]| list_body(version, &["?"], "").replace(&item("?", version), &items.join(","));
    let whole = [labelled("x", "web", 10), labelled("y", "db", 10), labelled("z", "web", 10)];
    record(&knowledge, ask(""), &body(10, &whole), true).await;
    let mut web = ask("");
    web.scope.label_selector = "app=web".into();
    record(&knowledge, web, &body(20, &[labelled("w", "web", 20), labelled("x", "web", 20)]), true).await;
    knowledge
}

fn configmaps() -> Fields {
    Fields::of("", "v1", "configmaps")
}

#[tokio::test]
async fn what_covers_a_scope_answers_for_it_and_the_newest_first() {
    let knowledge = two_collections(Arc::new(Memory::default())).await;
    let covering = |labels: &str, fields: &str, allowed: &dyn Fn(&Header) -> bool| {
        let wanted = Scope { label_selector: labels.into(), field_selector: fields.into(), ..scope() };
        let view = knowledge.covering(&wanted, &configmaps(), allowed, false).unwrap()?;
        Some((view.header.version_number(), shown(&view, &knowledge)))
    };
    let any = |_: &Header| true;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(covering("", "", &any), Some((10, names(&["x", "y", "z"]))), "one that selects is no whole");
    assert_eq!(covering("app=web", "", &any), Some((20, names(&["w", "x"]))));
    assert_eq!(covering("app in (web)", "metadata.name=x", &any), Some((20, names(&["x"]))));
    assert_eq!(covering("app=db", "", &any), Some((10, names(&["y"]))));
    assert_eq!(
        covering("app=web", "", &|known| known.version_number() <= 10),
        Some((10, names(&["x", "z"]))),
        "of the state asked for"
    );
    assert_eq!(covering("", "spec.unknown=x", &any), None, "nobody here can tell which these are");
    let elsewhere = Scope { namespace: String::new(), ..scope() };
    assert!(knowledge.covering(&elsewhere, &configmaps(), any, false).unwrap().is_none(), "one namespace is not all");
}

#[tokio::test]
async fn an_object_is_found_wherever_it_is_and_lacking_only_where_it_would_be() {
    let knowledge = two_collections(Arc::new(Memory::default())).await;
    let found =
        |knowledge: &Knowledge, name: &str| match knowledge.object(&ObjectKey { scope: scope(), name: name.into() }).unwrap() {
            Found::Object { item, .. } => object::meta(Encoding::Json, &item).unwrap().resource_version,
            Found::Lacking(_) | Found::Absent { .. } => "lacking".to_owned(),
            Found::Unknown => "unknown".to_owned(),
        };
    assert_eq!(found(&knowledge, "y"), "10");
    assert_eq!(found(&knowledge, "x"), "20", "the newer of two");
    assert_eq!(found(&knowledge, "w"), "20", "not there at version 10, there at 20");
    assert_eq!(found(&knowledge, "z"), "10", "no longer selected at 20, or gone: what was seen last");
    assert_eq!(found(&knowledge, "q"), "lacking");
    let selected = open(Arc::new(Memory::default()));
    let mut web = ask("");
    web.scope.label_selector = "app=web".into();
    record(&selected, web, &list_body(20, &["x"], ""), true).await;
    assert_eq!(found(&selected, "q"), "unknown", "it may be there and not be selected");
}

/// Metadata does not say by what else an object is selected, and no whole object is made of it.
#[tokio::test]
async fn metadata_is_found_among_whole_objects_and_covers_no_more_than_metadata() {
    const METADATA: &str = "PartialObjectMetadata;meta.k8s.io;v1";
    let knowledge = open(Arc::new(Memory::default()));
    let pods = |form: &str, field_selector: &str| Scope {
        resource: "pods".into(),
        form: form.into(),
        field_selector: field_selector.into(),
        ..scope()
    };
    let covering = |wanted: &Scope| {
        let view = knowledge.covering(wanted, &Fields::of("", "v1", "pods"), |_| true, false).unwrap()?;
        Some(view.header.version_number())
    };
    let told = |version: u64| list_body(version, &["x"], "").replace("ConfigMapList", "PartialObjectMetadataList");
    let mut metadata = ask("");
    metadata.scope = pods(METADATA, "");
    record(&knowledge, metadata.clone(), &list_body(9, &["x"], ""), true).await;
    assert_eq!(covering(&pods(METADATA, "")), None, "it was no metadata that came");
    record(&knowledge, metadata, &told(10), true).await;
    assert_eq!(covering(&pods(METADATA, "")), Some(10));
    assert_eq!(covering(&pods(METADATA, "metadata.name=x")), Some(10));
    assert_eq!(covering(&pods(METADATA, "spec.nodeName=n")), None);
    assert_eq!(covering(&pods("", "")), None);
    let mut whole = ask("");
    whole.scope = pods("", "");
    record(&knowledge, whole, &list_body(11, &["x"], ""), true).await;
    assert_eq!(covering(&pods(METADATA, "spec.nodeName=n")), Some(11));
    assert_eq!(covering(&pods(METADATA, "")), Some(11), "the newer one");
}
