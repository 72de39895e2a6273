//! A cloud that describes a small API, and what is asked of it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::json;

use super::*;
use crate::runtime::metrics::Metrics;
use crate::store::record::Subject;
use crate::store::{Document, Limits, Memory, Op, Parts, Sealer, Store};

/// What the cloud says by path: its code, ETag and text.
type Said = BTreeMap<String, (u16, &'static str, String)>;

#[derive(Default)]
struct Cloud {
    said: Mutex<Said>,
    /// Paths whose bodies have passed, or that could not be read.
    passed: Mutex<Vec<String>>,
    passing: tokio::sync::Notify,
}

impl Cloud {
    fn says(&self, path: &str, code: u16, etag: &'static str, text: impl ToString) {
        self.said.lock().unwrap().insert(path.to_owned(), (code, etag, text.to_string()));
    }

    /// These groups, each in v1, and their schemas.
    fn has(&self, groups: &[&str], etag: &'static str) {
        self.said.lock().unwrap().clear();
        let listed = groups.iter().map(|name| json!({"name": name, "versions": [{"groupVersion": format!("{name}/v1")}]}));
        self.says("/api", 200, "", json!({"versions": ["v1"]}));
        self.says("/apis", 200, etag, json!({"groups": listed.collect::<Vec<_>>()}));
        self.says("/version", 200, "", "{}");
        self.says("/openapi/v2", 200, etag, "{}");
        let mut paths = serde_json::Map::new();
        for path in groups.iter().flat_map(|name| [format!("/apis/{name}"), format!("/apis/{name}/v1")]).chain(["/api/v1".into()])
        {
            self.says(&path, 200, "", "{}");
            self.says(&format!("/openapi/v3{path}"), 200, "h", "{}");
            paths.insert(path[1..].to_owned(), json!({"serverRelativeURL": format!("/openapi/v3{path}?hash=h")}));
        }
        self.says("/openapi/v3", 200, "", json!({"paths": paths}));
    }

    /// Answers, and lets it be remembered as the hub's own path does.
    fn answer(&self, knowledge: &Arc<Knowledge>, request: &Request<Body>) -> http::Response<Full<Bytes>> {
        let (path, field) =
            (request.uri().path().to_owned(), |name| request.headers().get(name).and_then(|value| value.to_str().ok()));
        let accept = field(ACCEPT).unwrap();
        let said = self.said.lock().unwrap().get(&path).cloned();
        let (code, etag, text) = said.unwrap_or((404, "", String::new()));
        // Lists have an ETag only in the aggregated form.
        let etag = if ["/api", "/apis"].contains(&&*path) && accept == JSON { "" } else { etag };
        let code = if code == 200 && !etag.is_empty() && field(IF_NONE_MATCH) == Some(etag) { 304 } else { code };
        if code != 304 {
            self.passed.lock().unwrap().push(path.clone());
            self.passing.notify_waiters();
        }
        if code == 200 {
            let head = Document { content_type: accept.to_owned(), etag: etag.to_owned(), ..Document::default() };
            let mut recording = knowledge.record(Subject::Document { name: name(&path, accept), head }, false);
            recording.push(&Bytes::from(text.clone()));
            recording.finish();
        }
        http::Response::builder().status(code).body(Full::from(text)).unwrap()
    }

    /// How often since it was last asked, and what was asked for.
    fn passed(&self) -> BTreeMap<String, usize> {
        let mut passed = BTreeMap::new();
        for path in std::mem::take(&mut *self.passed.lock().unwrap()) {
            *passed.entry(path).or_default() += 1;
        }
        passed
    }
}

fn discovery() -> (Arc<Cloud>, Arc<dyn Store>, Discovery) {
    let (cloud, store): (Arc<Cloud>, Arc<dyn Store>) = (Arc::default(), Arc::new(Memory::default()));
    let parts = Parts {
        store: store.clone(),
        sealer: Sealer::new(&[1; 32]),
        metrics: Arc::new(Metrics::default()),
        limits: Limits::default(),
        tasks: tokio::runtime::Handle::current(),
    };
    let knowledge = Knowledge::open(parts).unwrap();
    let (answering, remembering) = (cloud.clone(), knowledge.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(answering.answer(&remembering, &request)))
    });
    let client = Client::new(service, "default");
    (cloud, store, Discovery { client, link: Arc::new(Link::new(1)), knowledge })
}

async fn round(discovery: &Discovery, reading: &mut Reading) {
    discovery.round(reading).await;
    discovery.knowledge.catch_up().await.unwrap();
}

fn is_known(discovery: &Discovery, path: &str) -> bool {
    !discovery.knowledge.documents(path).unwrap().is_empty()
}

/// What passes in a round that finds nothing new.
const QUIET: [&str; 1] = ["/version"];

#[tokio::test]
async fn what_one_part_cannot_say_is_asked_for_again_alone() {
    let (cloud, _, discovery) = discovery();
    cloud.has(&["apps", "metrics.k8s.io"], "1");
    cloud.says("/api", 200, "1", json!({"versions": ["v1"]}));
    cloud.says("/apis/metrics.k8s.io/v1", 503, "", "");
    let mut reading = Reading::new();
    round(&discovery, &mut reading).await;
    for path in ["/version", "/api/v1", "/apis/apps", "/apis/apps/v1", "/apis/metrics.k8s.io", "/openapi/v2", "/openapi/v3"] {
        assert!(is_known(&discovery, path), "{path}");
    }
    assert!(is_known(&discovery, "/openapi/v3/apis/apps/v1") && !reading.is_complete());
    assert_eq!(discovery.knowledge.documents("/openapi/v2").unwrap().len(), 2, "in both forms");
    for _ in 0..2 {
        cloud.passed();
        round(&discovery, &mut reading).await;
        assert_eq!(cloud.passed().into_keys().collect::<Vec<_>>(), ["/apis/metrics.k8s.io/v1", "/version"]);
    }
    cloud.says("/apis/metrics.k8s.io/v1", 200, "", "{}");
    round(&discovery, &mut reading).await;
    assert!(is_known(&discovery, "/apis/metrics.k8s.io/v1") && reading.is_complete());
    cloud.passed();
    round(&discovery, &mut reading).await;
    assert_eq!(cloud.passed().into_keys().collect::<Vec<_>>(), QUIET);
}

#[tokio::test(start_paused = true)]
async fn a_dead_part_is_asked_for_as_calmly_as_what_is_well() {
    let (cloud, _, discovery) = discovery();
    cloud.has(&["apps", "metrics.k8s.io"], "1");
    cloud.says("/api", 200, "1", json!({"versions": ["v1"]}));
    cloud.says("/apis/metrics.k8s.io/v1", 503, "", "");
    cloud.says("/openapi/v2", 503, "", "");
    assert!(tokio::time::timeout(AGAIN * 10, discovery.follow()).await.is_err(), "it goes on");
    let passed = cloud.passed();
    assert!((9..=11).contains(&passed["/apis/metrics.k8s.io/v1"]), "{passed:?}");
    for path in ["/apis/apps/v1", "/api/v1"] {
        assert_eq!(passed[path], 1, "{path}");
    }
}

/// Waits for the end of a whole round that has begun since, and for what it has read to be known.
async fn next_round(cloud: &Cloud, knowledge: &Knowledge) {
    cloud.passed();
    // The one that is under way may have passed it already.
    let rounds = || cloud.passed.lock().unwrap().iter().filter(|path| *path == "/version").count();
    loop {
        let passing = cloud.passing.notified();
        if rounds() >= 3 {
            break;
        }
        passing.await;
    }
    knowledge.catch_up().await.unwrap();
}

/// A CustomResourceDefinition, or an APIService; and a change of one, which another hash of its schema tells.
#[tokio::test(start_paused = true)]
async fn what_the_api_comes_to_have_later_is_known_after_the_next_round_though_nobody_asks() {
    let (cloud, _, discovery) = discovery();
    let knowledge = discovery.knowledge.clone();
    cloud.has(&["apps"], "1");
    cloud.says("/api", 200, "1", json!({"versions": ["v1"]}));
    tokio::spawn(discovery.follow());
    let schema = |group: &str| format!("/openapi/v3/apis/{group}/v1");
    let text = |path: &str| {
        let document = knowledge.document(&name(path, JSON)).unwrap();
        document.map(|document| String::from_utf8(document.body).unwrap())
    };
    next_round(&cloud, &knowledge).await;
    assert_eq!(text(&schema("apps")).as_deref(), Some("{}"));
    let later = ["apps", "late.example.com", "metrics.k8s.io"];
    cloud.has(&later, "2");
    next_round(&cloud, &knowledge).await;
    for group in later {
        assert_eq!(text(&format!("/apis/{group}/v1")).as_deref(), Some("{}"), "{group}");
        assert_eq!(text(&schema(group)).as_deref(), Some("{}"), "{group}");
    }
    let paths = json!({"apis/late.example.com/v1": {"serverRelativeURL": format!("{}?hash=i", schema(later[1]))}});
    cloud.has(&later, "3");
    cloud.says("/openapi/v3", 200, "", json!({"paths": paths}));
    cloud.says(&schema(later[1]), 200, "i", r#"{"changed":1}"#);
    cloud.says("/apis/late.example.com/v1", 200, "", r#"{"changed":2}"#);
    next_round(&cloud, &knowledge).await;
    assert_eq!(text(&schema(later[1])).as_deref(), Some(r#"{"changed":1}"#));
    assert_eq!(text("/apis/late.example.com/v1").as_deref(), Some(r#"{"changed":2}"#));
}

#[tokio::test]
async fn what_the_cloud_does_not_list_any_more_is_not_known_any_more() {
    let (cloud, _, discovery) = discovery();
    cloud.has(&["apps", "old.example.com"], "1");
    let mut reading = Reading::new();
    round(&discovery, &mut reading).await;
    let gone = ["/apis/old.example.com", "/apis/old.example.com/v1", "/openapi/v3/apis/old.example.com/v1"];
    assert!(gone.iter().all(|path| is_known(&discovery, path)));
    // OpenAPI is late.
    let late = cloud.said.lock().unwrap()["/openapi/v3"].2.clone();
    cloud.has(&["apps"], "2");
    cloud.says("/openapi/v3", 200, "", late);
    round(&discovery, &mut reading).await;
    for path in gone {
        assert!(!is_known(&discovery, path), "{path}");
    }
    assert!(is_known(&discovery, "/apis/apps/v1") && is_known(&discovery, "/openapi/v3/apis/apps/v1") && reading.is_complete());
}

#[tokio::test]
async fn a_damaged_document_is_read_again_in_the_next_round() {
    let (cloud, store, discovery) = discovery();
    cloud.has(&["apps"], "1");
    cloud.says("/api", 200, "1", json!({"versions": ["v1"]}));
    let mut reading = Reading::new();
    for _ in 0..2 {
        round(&discovery, &mut reading).await;
    }
    let (document, knowledge) = (name("/apis/apps/v1", JSON), &discovery.knowledge);
    let key = ["d", &document].join("\0").into_bytes();
    store.apply(&[Op::Put(key, b"damaged".to_vec())], true).unwrap();
    assert!(knowledge.document(&document).is_err(), "somebody asks for it");
    knowledge.catch_up().await.unwrap();
    assert_eq!(knowledge.metrics().damaged_records.get(), 1);
    cloud.passed();
    round(&discovery, &mut reading).await;
    assert_eq!(cloud.passed().into_keys().collect::<Vec<_>>(), ["/apis/apps/v1", "/version"]);
    assert!(knowledge.document(&document).unwrap().is_some());
}

#[tokio::test]
async fn what_the_store_says_while_the_link_is_down_is_nothing_new() {
    let (_, _, discovery) = discovery();
    let service = tower::service_fn(|_: Request<Body>| {
        let answer = http::Response::builder().header("cache-status", "holdfast; hit; detail=offline");
        std::future::ready(Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::from("{}")).unwrap()))
    });
    let discovery = Discovery { client: Client::new(service, "default"), ..discovery };
    let mut reading = Reading::new();
    round(&discovery, &mut reading).await;
    assert!(!reading.groups && !reading.schemas && reading.due().len() == 1);
}
