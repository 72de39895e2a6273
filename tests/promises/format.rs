//! Stores of every released version are read; a newer one is left alone.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast::kube::token;
use holdfast::runtime::metrics::Metrics;
use holdfast::store::record::{ListAsk, ObjectAsk, Subject};
use holdfast::store::{
    Credential, Disk, Document, Entry, Found, Grant, Knowledge, Limits, ObjectKey, Op, Parts, Reader, Scope, Sealer, Store as _,
};

use super::*;

/// Of the format that is written now.
const VERSION: u32 = 2;
/// The key of the fixtures.
const KEY: [u8; 32] = *b"tests/fixtures/store, every file";
/// From version 2 on what repeats itself is packed.
const ITEMS: [&str; 3] = [
    r#"{"metadata":{"name":"a","namespace":"n"}}"#,
    r#"{"metadata":{"name":"b","namespace":"n"}}"#,
    r#"{"metadata":{"name":"c","namespace":"n"},"data":{"a":"the same text","b":"the same text","c":"the same text","d":"the same text","e":"the same text"}}"#,
];
const OBJECT: &str =
    r#"{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"n","resourceVersion":"7"},"data":{"k":"dg=="}}"#;
const TOKEN: &str = "a token";
/// The year 2100.
const EXPIRES: u64 = 4_102_444_800;

fn knowledge(path: &Path) -> Arc<Knowledge> {
    let (disk, aside) = Disk::open(path).unwrap();
    assert_eq!(aside, None);
    Knowledge::open(Parts {
        store: Arc::new(disk),
        sealer: Sealer::new(&KEY),
        metrics: Arc::new(Metrics::default()),
        limits: Limits::default(),
        tasks: tokio::runtime::Handle::current(),
    })
    .unwrap()
}

fn fixture(version: u32) -> PathBuf {
    Path::new("tests/fixtures/store").join(format!("{version}.redb.gz"))
}

fn scope(resource: &str) -> Scope {
    Scope { version: "v1".into(), resource: resource.into(), namespace: "n".into(), ..Scope::default() }
}

fn object() -> ObjectKey {
    ObjectKey { scope: scope("secrets"), name: "s".into() }
}

fn grant() -> Grant {
    Grant { user: "u".into(), verb: "list".into(), thing: "configmaps".into() }
}

fn document(body: &str) -> Document {
    Document { content_type: "application/json".into(), etag: "\"e\"".into(), body: body.into(), ..Document::default() }
}

fn entry() -> Entry {
    Entry::new("/events".into(), "e".into(), "application/json".into(), Credential::Token(TOKEN.into()), b"{}".to_vec())
}

#[tokio::test]
async fn every_row_of_each_version_is_read() {
    for version in 1..=VERSION {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("holdfast.redb");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(fixture(version)).unwrap()).read_to_end(&mut bytes).unwrap();
        std::fs::write(&path, bytes).unwrap();
        let knowledge = knowledge(&path);
        has_every_row(&knowledge, version);
        let row = knowledge.snapshot().unwrap().read(b"v").unwrap().unwrap();
        let format = knowledge.sealer().open_row(b"v", row).unwrap();
        assert_eq!(format, format!("holdfast store {VERSION}").into_bytes(), "an older hub leaves it alone from now on");
    }
}

/// With `HOLDFAST_WRITE_FIXTURES` what is written becomes the fixture of this version, if it has none yet.
#[tokio::test]
async fn every_row_that_this_version_writes_it_reads_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.redb");
    write_every_row(&knowledge(&path)).await;
    if std::env::var_os("HOLDFAST_WRITE_FIXTURES").is_some() {
        let file = std::fs::File::create_new(fixture(VERSION)).expect("a fixture is made once");
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        std::io::copy(&mut std::fs::File::open(&path).unwrap(), &mut gzip).unwrap();
        gzip.finish().unwrap();
    }
    // As after kill -9: the writer is not asked to end.
    let copy = folder.path().join("copy.redb");
    std::fs::copy(&path, &copy).unwrap();
    has_every_row(&knowledge(&copy), VERSION);
}

fn has_every_row(knowledge: &Knowledge, version: u32) {
    let view = knowledge.list(&scope("configmaps")).unwrap().unwrap();
    view.whole().unwrap();
    let mut items = Vec::new();
    let mut each = |_: &[u8], item: Vec<u8>| {
        items.push(String::from_utf8(item).unwrap());
        true
    };
    view.visit(knowledge, None, &mut each).unwrap();
    let header = &view.header;
    assert_eq!((header.kind.as_str(), header.resource_version.as_str(), header.pinned), ("ConfigMapList", "10", true));
    assert_eq!(items, if version == 1 { &ITEMS[..2] } else { &ITEMS });
    let Found::Object { record, item } = knowledge.object(&object()).unwrap() else { panic!("the object") };
    assert_eq!((record.kind.as_str(), record.resource_version.as_str()), ("Secret", "7"));
    assert!(OBJECT.ends_with(std::str::from_utf8(&item[1..]).unwrap()), "{item:?}");
    let absent = ObjectKey { name: "absent".into(), ..object() };
    assert!(matches!(knowledge.object(&absent).unwrap(), Found::Absent { .. }));
    let found = knowledge.document("/api").unwrap().unwrap();
    assert_eq!((found.content_type.as_str(), found.etag.as_str(), &*found.body), ("application/json", "\"e\"", &b"{}"[..]));
    assert_eq!(knowledge.answer_to(&grant()).unwrap(), Some(true));
    let known = knowledge.token(token::digest(TOKEN)).unwrap().unwrap();
    assert_eq!((known.user.as_str(), known.expires), ("u", Some(EXPIRES)));
    assert_eq!(knowledge.issued(&[7; 32]).unwrap().unwrap().body, b"issued");
    let (_, found) = knowledge.entries(0, 9).unwrap().pop().unwrap();
    assert_eq!((found.target.as_str(), found.name.as_str(), found.credential), ("/events", "e", entry().credential));
    assert_eq!(found.body, b"{}");
}

async fn write_every_row(knowledge: &Arc<Knowledge>) {
    let list = ListAsk {
        scope: scope("configmaps"),
        continue_token: String::new(),
        quorum: true,
        reader: Reader { node: true, ..Reader::default() },
        started: 0,
    };
    let body = format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"10"}},"items":[{}]}}"#,
        ITEMS.join(",")
    );
    let answers = [
        (Subject::List(list), &*body),
        (Subject::Object(ObjectAsk { key: object(), reader: Reader::default() }), OBJECT),
        (Subject::Document { name: "/api".into(), head: document("") }, "{}"),
    ];
    for (subject, body) in answers {
        let mut recording = knowledge.record(subject, false);
        recording.push(&Bytes::copy_from_slice(body.as_bytes()));
        recording.finish();
    }
    knowledge.note_absent(&ObjectKey { name: "absent".into(), ..object() });
    knowledge.grant(&grant());
    knowledge.know_token(token::digest(TOKEN), "u", Some(EXPIRES));
    knowledge.keep_issued(&[7; 32], &document("issued"));
    let list = async || Ok(knowledge.list(&scope("configmaps"))?.is_some() && knowledge.document("/api")?.is_some());
    eventually("it is remembered", SECONDS(10), list).await.unwrap();
    knowledge.accept(entry()).await.unwrap();
}

#[tokio::test]
async fn a_newer_format_is_left_untouched_beside_an_empty_store() {
    let fake = Fake::start(FakeOptions::default()).await.unwrap();
    // As a hub leaves its store at its end, and as kill -9 leaves it.
    for is_closed in [true, false] {
        let mut hub = Hub::prepare(options_for(&fake)).unwrap();
        let path = hub.store_file();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(hub.folder().join("root/store.key"), KEY).unwrap();
        let newer = newer(is_closed);
        std::fs::write(&path, &newer).unwrap();
        hub.run().await.unwrap();
        let aside = path.with_extension("unreadable-1");
        assert!(std::fs::read(&aside).unwrap() == newer, "closed: {is_closed}: {} was changed", aside.display());
        let log = hub.log();
        assert!(log.contains("newer format") && log.contains("unreadable-1") && log.contains("an empty one begun"), "{log}");
        let kubelet = hub.kubelet().await.unwrap();
        kubelet.get("/api/v1/services").await.unwrap();
        let remembers = async || Ok(hub.metric("holdfast_lists_remembered_total").await? > 0.0);
        eventually("the empty one is used", SECONDS(10), remembers).await.unwrap();
    }
}

/// A store of a version to come.
fn newer(is_closed: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.redb");
    let (disk, _) = Disk::open(&path).unwrap();
    let row = Sealer::new(&KEY).seal(b"v", format!("holdfast store {}", VERSION + 1).as_bytes());
    disk.apply(&[Op::Put(b"v".to_vec(), row), Op::Put(b"?".to_vec(), b"unknown here".to_vec())], true).unwrap();
    if is_closed {
        drop(disk);
    }
    std::fs::read(path).unwrap()
}
