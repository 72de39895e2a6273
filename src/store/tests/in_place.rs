//! A list of what is known already writes what has become another, and nothing else.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::stand::Cloud;
use super::*;
use crate::store::collection::version_number;

/// Item rows that were written, and that were deleted.
fn take_written(store: &Failing) -> (usize, usize) {
    let ops = std::mem::take(&mut *store.applied.lock().unwrap());
    let is_item = |key: &[u8]| key.first() == Some(&keys::ITEM);
    let put = ops.iter().filter(|op| matches!(op, Op::Put(key, _) if is_item(key))).count();
    let gone = ops.iter().filter(|op| matches!(op, Op::Delete(key) | Op::DeletePrefix(key) if is_item(key))).count();
    (put, gone)
}

/// Numbers of items and the version of each.
fn body(version: u64, items: impl IntoIterator<Item = (usize, u64)>) -> String {
    list_of(version, items.into_iter().map(|(name, own)| item(&format!("n-{name:04}"), own)), "")
}

/// What `versions` says of them.
fn state(items: impl IntoIterator<Item = (usize, u64)>) -> stand::State {
    items.into_iter().map(|(name, own)| (format!("n-{name:04}"), own)).collect()
}

/// A list of which so much has come.
fn begin(knowledge: &Arc<Knowledge>, body: &str) -> Recording {
    let mut recording = knowledge.record(Subject::List(ask("")), false);
    recording.push(&Bytes::copy_from_slice(body.as_bytes()));
    recording
}

/// The rest of it comes.
async fn end(knowledge: &Knowledge, mut recording: Recording, rest: &str) {
    recording.push(&Bytes::copy_from_slice(rest.as_bytes()));
    recording.finish();
    quiet(knowledge).await;
}

fn versions(knowledge: &Knowledge) -> Option<(u64, stand::State)> {
    let view = knowledge.list(&scope()).unwrap()?;
    view.whole().unwrap();
    let mut state = stand::State::new();
    let visit = &mut |_: &[u8], item: Vec<u8>| {
        let meta = crate::kube::object::meta(Encoding::Json, &item).unwrap();
        assert_eq!(item, super::item(&meta.name, version_number(&meta.resource_version)).into_bytes());
        state.insert(meta.name, version_number(&meta.resource_version));
        true
    };
    view.visit(knowledge, None, visit).unwrap();
    Some((view.header.version_number(), state))
}

#[tokio::test]
async fn only_what_has_become_another_is_written() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    let before = (0..100).map(|name| (name, 5));
    record(&knowledge, ask(""), &body(10, before.clone()), true).await;
    assert_eq!(take_written(&store), (100, 0));
    record(&knowledge, ask(""), &body(20, before), true).await;
    assert_eq!((take_written(&store), versions(&knowledge).unwrap().0), ((0, 0), 20));
    // One is another, one is gone, one is new.
    let own = |name| match name {
        7 => 25,
        100 => 26,
        _ => 5,
    };
    let after: Vec<(usize, u64)> = (1..101).map(|name| (name, own(name))).collect();
    record(&knowledge, ask(""), &body(30, after.clone()), true).await;
    assert_eq!(take_written(&store), (2, 1));
    assert_eq!(versions(&knowledge), Some((30, state(after.clone()))));
    // What events have brought is known as well.
    watch(&knowledge, "30", false, &(event("MODIFIED", "n-0009", 31) + &event("DELETED", "n-0008", 32))).await;
    take_written(&store);
    let now = after.into_iter().filter(|(name, _)| *name != 8).map(|(name, own)| (name, if name == 9 { 31 } else { own }));
    record(&knowledge, ask(""), &body(32, now), true).await;
    assert_eq!((take_written(&store), versions(&knowledge).unwrap().0), ((0, 0), 32));
    assert_eq!(versions(&open(store)).unwrap().0, 32, "after a restart");
}

#[tokio::test]
async fn what_is_another_altogether_is_written_whole() {
    let store = Arc::new(Failing::default());
    let knowledge = open_within(store.clone(), Limits::default());
    let all = |version| (0..1500).map(move |name| (name, version));
    record(&knowledge, ask(""), &body(10, all(5)), true).await;
    take_written(&store);
    record(&knowledge, ask(""), &body(20, all(5).take(10)), true).await;
    assert_eq!(take_written(&store), (10, 1), "more are gone than go in one batch");
    counts(&knowledge);
    // Half of them are as they were, the others are large and have become others.
    let large = |name: usize, version: u64| {
        let text = format!(r#""text":"{}","metadata""#, testkit::noise(30_000 + name));
        item(&format!("n-{name:04}"), version).replace(r#""metadata""#, &text)
    };
    let list = |version: u64, changed: u64| {
        list_of(version, (0..80).map(|name| large(name, if name % 2 == 0 { 5 } else { changed })), "")
    };
    record(&knowledge, ask(""), &list(30, 6), true).await;
    take_written(&store);
    record(&knowledge, ask(""), &list(40, 7), true).await;
    assert_eq!(take_written(&store), (80, 1));
    counts(&knowledge);
    let view = knowledge.list(&scope()).unwrap().unwrap();
    view.whole().unwrap();
    let mut items = Vec::new();
    view.visit(&knowledge, None, &mut |_, item| {
        items.push(String::from_utf8(item).unwrap());
        true
    })
    .unwrap();
    assert!(items == (0..80).map(|name| large(name, if name % 2 == 0 { 5 } else { 7 })).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_written_in_place_is_there_whole_or_not_at_all() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &body(10, [(1, 5), (2, 5), (3, 5)]), true).await;
    store.fail.store(true, Ordering::Relaxed);
    record(&knowledge, ask(""), &body(20, [(1, 5), (2, 15), (4, 15)]), true).await;
    store.fail.store(false, Ordering::Relaxed);
    assert_eq!(versions(&knowledge), Some((10, state([(1, 5), (2, 5), (3, 5)]))));
    assert!(knowledge.header(&scope()).unwrap().is_behind(), "its client has seen 20");
    record(&knowledge, ask(""), &body(20, [(1, 5), (2, 15), (4, 15)]), true).await;
    assert_eq!(versions(&knowledge), Some((20, state([(1, 5), (2, 15), (4, 15)]))));
}

#[tokio::test]
async fn a_list_in_place_lets_a_watch_be_sent_back_again() {
    let knowledge = open(Arc::new(Memory::default()));
    for version in [10, 20] {
        record(&knowledge, ask(""), &body(version, [(1, 5), (2, 5)]), true).await;
        assert!(knowledge.sends_back(&scope(), version + 2, false).await);
        assert!(!knowledge.sends_back(&scope(), version + 2, false).await, "its list was not kept");
    }
}

/// A client that lists is overtaken by another one's watch: what is known then is newer, and has no gap.
#[tokio::test]
async fn a_list_that_events_have_overtaken_leaves_no_mark() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &body(10, [(1, 5), (2, 5)]), true).await;
    let later = body(20, [(1, 5), (2, 5)]);
    let (half, rest) = later.split_at(later.len() * 3 / 4);
    let list = begin(&knowledge, half);
    quiet(&knowledge).await;
    watch(&knowledge, "10", false, &event("MODIFIED", "n-0001", 21)).await;
    end(&knowledge, list, rest).await;
    assert!(!knowledge.header(&scope()).unwrap().is_behind());
    assert_eq!(versions(&knowledge), Some((21, state([(1, 21), (2, 5)]))));
}

#[tokio::test]
async fn a_watch_whose_initial_events_are_overtaken_goes_on() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &body(10, [(1, 5), (2, 5)]), true).await;
    let asked =
        WatchAsk { scope: scope(), resource_version: String::new(), send_initial_events: true, reader: Reader::default() };
    let mut initial = knowledge.record(Subject::Watch(asked), false);
    initial.push(&Bytes::from(event("ADDED", "n-0001", 5) + &event("ADDED", "n-0002", 5)));
    quiet(&knowledge).await;
    watch(&knowledge, "10", false, &event("MODIFIED", "n-0001", 22)).await;
    let news = event("MODIFIED", "n-0001", 22) + &event("MODIFIED", "n-0002", 23);
    initial.push(&Bytes::from(format!("{END}\n{news}")));
    quiet(&knowledge).await;
    assert!(!knowledge.header(&scope()).unwrap().is_behind());
    assert_eq!(versions(&knowledge), Some((23, state([(1, 22), (2, 23)]))));
}

/// What was known of a collection is forgotten while a list of it comes: what was dropped of that is on the disk.
#[tokio::test]
async fn a_list_whose_collection_is_forgotten_meanwhile_is_whole_all_the_same() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &body(10, (0..9).map(|name| (name, 5))), true).await;
    let later = body(20, (1..10).map(|name| (name, if name < 8 { 5 } else { 15 })));
    let (half, rest) = later.split_at(later.len() / 2);
    let list = begin(&knowledge, half);
    quiet(&knowledge).await;
    take_written(&store);
    knowledge.contents.forget(0, knowledge.header(&scope()).unwrap().id);
    end(&knowledge, list, rest).await;
    assert_eq!(take_written(&store), (9, 1));
    assert_eq!(versions(&knowledge), Some((20, state((1..10).map(|name| (name, if name < 8 { 5 } else { 15 }))))));
    counts(&knowledge);
}

/// A row that the disk has lost without a trace is not found to be deleted.
#[tokio::test]
async fn a_list_heals_what_the_disk_has_lost() {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    record(&knowledge, ask(""), &body(10, (0..9).map(|name| (name, 5))), true).await;
    let id = knowledge.header(&scope()).unwrap().id;
    store.apply(&[Op::Delete(keys::item(id, "a", "n-0000"))], true).unwrap();
    record(&knowledge, ask(""), &body(20, (1..9).map(|name| (name, 5))), true).await;
    assert_eq!(versions(&knowledge), Some((20, state((1..9).map(|name| (name, 5))))));
    counts(&knowledge);
}

/// Two come when nothing is known and are written whole, one after the other; a third one has begun in between.
#[tokio::test]
async fn what_another_list_has_written_whole_meanwhile_is_compared_too() {
    let knowledge = open(Arc::new(Memory::default()));
    let before = body(10, (0..9).map(|name| (name, 5)));
    let (first, second) = (begin(&knowledge, &before), begin(&knowledge, &before));
    quiet(&knowledge).await;
    end(&knowledge, first, "").await;
    let after = |name| (name, if name < 5 { 5 } else { 15 });
    let list = body(20, (1..10).map(after));
    let (half, rest) = list.split_at(list.len() / 2);
    let third = begin(&knowledge, half);
    quiet(&knowledge).await;
    end(&knowledge, second, "").await;
    end(&knowledge, third, rest).await;
    assert_eq!(versions(&knowledge), Some((20, state((1..10).map(after)))));
    counts(&knowledge);
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Delete(usize),
    List {
        how: How,
        meanwhile: Meanwhile,
    },
    /// A watch from the store's version on brings all there is by now.
    Watch,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Whole,
    InPages,
    BrokenOff,
    /// The disk is full.
    Failing,
    /// An item stands there twice.
    Twice,
}

/// What a watch brings while the list comes.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// What the list has as well.
    Known,
    /// What has happened since.
    News(usize),
    /// Another client lists, too.
    Another,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![4 => Just(How::Whole), 1 => Just(How::InPages), 1 => Just(How::BrokenOff), 1 => Just(How::Failing), 1 => Just(How::Twice)];
    let meanwhile = prop_oneof![
        4 => Just(Meanwhile::Nothing),
        1 => Just(Meanwhile::Known),
        1 => (0..6_usize).prop_map(Meanwhile::News),
        1 => Just(Meanwhile::Another),
    ];
    prop_oneof![
        4 => (0..6_usize).prop_map(Step::Put),
        2 => (0..6_usize).prop_map(Step::Delete),
        4 => (how, meanwhile).prop_map(|(how, meanwhile)| Step::List { how, meanwhile }),
        1 => Just(Step::Watch),
    ]
}

async fn tell(knowledge: &Arc<Knowledge>, cloud: &Cloud) {
    let Some(at) = knowledge.version(&scope()) else { return };
    watch(knowledge, &at.to_string(), false, &cloud.events[at as usize + 1..].concat()).await;
}

/// A list is asked for, and what happens `meanwhile` happens between its two halves.
async fn list(knowledge: &Arc<Knowledge>, store: &Failing, cloud: &mut Cloud, how: How, meanwhile: Meanwhile) {
    let mut body = cloud.list();
    if let (How::Twice, Some((name, version))) = (how, cloud.now().iter().next()) {
        body = body.replace("\"items\":[", &format!("\"items\":[{},", item(name, *version)));
    }
    let in_pages = matches!(how, How::InPages).then(|| pages(cloud)).flatten();
    let first = in_pages.as_ref().map_or(&body, |(first, _)| first);
    let (half, rest) = first.split_at(first.len() * 3 / 4);
    let recording = begin(knowledge, half);
    quiet(knowledge).await;
    match meanwhile {
        Meanwhile::Nothing => {}
        Meanwhile::Known => tell(knowledge, cloud).await,
        Meanwhile::Another => record(knowledge, ask(""), &cloud.list(), true).await,
        Meanwhile::News(name) => {
            cloud.step(Some((name, true)));
            tell(knowledge, cloud).await;
        }
    }
    store.fail.store(matches!(how, How::Failing), Ordering::Relaxed);
    match how {
        How::BrokenOff => drop(recording),
        _ => end(knowledge, recording, rest).await,
    }
    quiet(knowledge).await;
    if let Some((_, second)) = in_pages {
        record(knowledge, ask("page2"), &second, true).await;
    }
    store.fail.store(false, Ordering::Relaxed);
    quiet(knowledge).await;
}

fn pages(cloud: &Cloud) -> Option<(String, String)> {
    let items: Vec<String> = cloud.now().iter().map(|(name, version)| item(name, *version)).collect();
    let (first, second) = items.split_at(items.len() / 2);
    let page = |items: &[String], token| list_of(cloud.version(), items.to_vec(), token);
    (!second.is_empty()).then(|| (page(first, "page2"), page(second, "")))
}

async fn play(steps: &[Step]) {
    let store = Arc::new(Failing::default());
    let knowledge = open(store.clone());
    let (mut cloud, mut is_clear) = (Cloud::default(), false);
    for step in steps {
        match step {
            Step::Put(index) => cloud.step(Some((*index, true))),
            Step::Delete(index) => cloud.step(Some((*index, false))),
            Step::List { how, meanwhile } => {
                list(&knowledge, &store, &mut cloud, *how, *meanwhile).await;
                match (how, meanwhile) {
                    // It has fewer rows than its list had items: nothing is answered from it before there is another list.
                    (How::Twice, _) => is_clear = false,
                    (How::Whole | How::InPages, Meanwhile::Nothing) => is_clear = true,
                    _ => {}
                }
            }
            Step::Watch => tell(&knowledge, &cloud).await,
        }
        if is_clear {
            let (version, state) = versions(&knowledge).unwrap();
            assert_eq!(state, cloud.states[version as usize], "as of {version}");
            counts(&knowledge);
        }
    }
    record(&knowledge, ask(""), &cloud.list(), true).await;
    assert_eq!(versions(&knowledge), Some((cloud.version(), cloud.now().clone())));
    counts(&knowledge);
}

/// The head says what there is.
fn counts(knowledge: &Knowledge) {
    let header = knowledge.header(&scope()).unwrap();
    assert_eq!((header.items, header.bytes), rows_of(knowledge, &keys::items(header.id)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn what_is_known_is_what_there_was(steps in proptest::collection::vec(step(), 0..24)) {
        run(play(&steps));
    }
}
