//! What damage on the disk does, and what it never does.

use super::*;

#[tokio::test]
async fn damage_that_a_get_meets_is_taken_out_and_what_is_whole_answers() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    let harm = |row_key: Vec<u8>| {
        let mut row = store.snapshot().unwrap().read(&row_key).unwrap().unwrap();
        row[3] ^= 1;
        store.apply(&[Op::Put(row_key, row)], true).unwrap();
    };
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    knowledge.note_absent(&key("x"));
    settle(&knowledge).await;
    harm(key("x").key());
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Object { .. }), "of the collection");
    settle(&knowledge).await;
    assert_eq!(store.snapshot().unwrap().read(&key("x").key()).unwrap(), None);
    harm(keys::item(knowledge.list(&scope()).unwrap().unwrap().header.id, "a", "x"));
    assert!(matches!(knowledge.object(&key("x")).unwrap(), Found::Unknown));
    settle(&knowledge).await;
    assert_eq!(known(&knowledge), None);
    assert_eq!(knowledge.metrics().damaged_records.get(), 2);
}

#[tokio::test]
async fn a_damaged_item_is_noticed_and_takes_its_collection_out() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let view = knowledge.list(&scope()).unwrap().unwrap();
    damage(&store, &keys::item(view.header.id, "a", "x"));
    let view = knowledge.list(&scope()).unwrap().unwrap();
    assert!(matches!(view.visit(&knowledge, None, &mut |_, _| true), Err(StoreError::Damaged { .. })));
    knowledge.discard(&view.header).await;
    assert_eq!(known(&knowledge), None);
}

/// What is said of `names` when the file is as it is now; `false`: something that is not so.
async fn is_honest(path: &std::path::Path, names: &[String]) -> bool {
    let Ok((disk, None)) = Disk::open(path) else { return true };
    let store: Arc<dyn Store> = Arc::new(disk);
    let limits = Limits::default();
    let (sealer, metrics, tasks) = (Sealer::new(&[1; 32]), Arc::new(Metrics::default()), tokio::runtime::Handle::current());
    let Ok(knowledge) = Knowledge::open(Parts { store, sealer, metrics, limits, tasks }) else { return true };
    if let Ok(Some(view)) = knowledge.list(&scope())
        && view.whole().is_ok()
    {
        let mut items = Vec::new();
        let mut each = |_: &[u8], item: Vec<u8>| {
            items.push(String::from_utf8(item).unwrap());
            true
        };
        let all: Vec<String> = names.iter().map(|name| item(name, 10)).collect();
        if view.visit(&knowledge, None, &mut each).is_ok() && items != all {
            return false;
        }
    }
    names.iter().all(|name| match knowledge.object(&ObjectKey { scope: scope(), name: name.clone() }) {
        Ok(Found::Object { item: found, .. }) => found == item(name, 10).as_bytes(),
        Ok(Found::Lacking(view)) => view.whole().is_err(),
        Ok(Found::Absent { .. }) => false,
        Ok(Found::Unknown) | Err(_) => true,
    })
}

/// Damages the row, as it is while the hub runs.
fn damage(store: &Arc<dyn Store>, key: &[u8]) {
    let mut row = store.snapshot().unwrap().read(key).unwrap().unwrap();
    row[3] ^= 1;
    store.apply(&[Op::Put(key.to_vec(), row)], true).unwrap();
}

#[tokio::test]
async fn a_head_that_is_damaged_is_written_anew() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let listed = known(&knowledge);
    damage(&store, &scope().key());
    assert_eq!(known(&knowledge), None);
    assert_eq!(knowledge.metrics().damaged_records.get(), 1, "it is said");
    settle(&knowledge).await;
    assert_eq!(known(&knowledge), listed);
    assert_eq!(known(&open(store)), listed);
}

#[tokio::test]
async fn a_watch_of_a_collection_that_was_taken_out_is_sent_back_to_list() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
    let id = knowledge.list(&scope()).unwrap().unwrap().header.id;
    damage(&store, &keys::item(id, "a", "x"));
    knowledge.object(&key("x")).unwrap();
    settle(&knowledge).await;
    assert!(knowledge.sends_back(&scope(), 10, false).await);
    assert!(!knowledge.sends_back(&scope(), 10, false).await, "once");
}

#[tokio::test]
async fn a_right_that_is_damaged_is_written_anew_when_the_cloud_grants_it_again() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let knowledge = open(store.clone());
    let grant = Grant { user: "u".into(), verb: "get".into(), thing: "t".into() };
    let digest = crate::kube::token::TokenDigest([7; 32]);
    let say = async || {
        knowledge.grant(&grant);
        knowledge.know_token(digest, "u", None);
        knowledge.flush().await.unwrap();
    };
    say().await;
    for kind in [keys::GRANT, keys::TOKEN] {
        let mut key = Vec::new();
        let mut each = |found: &[u8], _: &[u8]| {
            key = found.to_vec();
            true
        };
        store.snapshot().unwrap().scan(&[kind], &mut each).unwrap();
        damage(&store, &key);
    }
    knowledge.granted(&grant).unwrap_err();
    knowledge.token(digest).unwrap_err();
    say().await;
    assert!(knowledge.granted(&grant).unwrap() && knowledge.token(digest).unwrap().is_some());
}

/// What is found damaged is a state that may have been replaced by then, or be about to.
#[tokio::test]
async fn a_list_that_comes_while_an_older_one_is_taken_out_stands() {
    // What is written whole, and what is changed in place.
    for (turns, before) in (0..30).flat_map(|turns| [(turns, &["x"][..]), (turns, &["w", "x"])]) {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        record(&knowledge, ask(""), &list_body(10, before, ""), true).await;
        let view = knowledge.list(&scope()).unwrap().unwrap();
        store.apply(&[Op::Put(keys::item(view.header.id, "a", "x"), b"damaged".to_vec())], true).unwrap();
        let mut list = knowledge.record(Subject::List(ask("")), false);
        list.push(&Bytes::from(list_body(20, &["x", "y"], "")));
        list.finish();
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        knowledge.object(&key("x")).unwrap();
        settle(&knowledge).await;
        let listed = Some(("20".to_owned(), names(&["x", "y"])));
        assert_eq!(known(&knowledge), listed, "after {turns} turns, {before:?}");
        knowledge.discard(&view.header).await;
        assert_eq!(known(&knowledge), listed, "another one was damaged");
    }
}

/// Wherever the file is damaged: what is there is said, or nothing. redb's own pages have
/// checksums that are looked at only after a crash.
#[tokio::test]
async fn damage_anywhere_in_the_file_never_makes_a_list_shorter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.redb");
    let names: Vec<String> = (0..200).map(|index| format!("x-{index:03}")).collect();
    let (disk, _) = Disk::open(&path).unwrap();
    let knowledge = open(Arc::new(disk));
    let body = list_body(10, &names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    record(&knowledge, ask(""), &body, true).await;
    knowledge.settle_disk().await.unwrap();
    drop(knowledge);
    let good = std::fs::read(&path).unwrap();
    assert!(is_honest(&path, &names).await);
    let bad = folder.path().join("bad.redb");
    // Empty pages have nothing to damage.
    let places = (17..good.len() - 64).step_by(211).filter(|at| good[*at..at + 64].iter().any(|byte| *byte != 0));
    for at in places {
        let mut bytes = good.clone();
        bytes[at..at + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&bad, bytes).unwrap();
        let (bad, names) = (bad.clone(), names.clone());
        // A panic of the database is no answer either.
        let honest = tokio::spawn(async move { is_honest(&bad, &names).await }).await.unwrap_or(true);
        assert!(honest, "damaged at {at}");
    }
}
