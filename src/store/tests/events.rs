//! Events that wait for delivery.

use super::*;

fn entry(name: &str) -> Entry {
    Entry::new("/e".into(), name.into(), "application/json".into(), Credential::Node, b"{}".to_vec())
}

/// A file that was found damaged.
#[derive(Default)]
struct Damaged {
    store: Memory,
    found: std::sync::atomic::AtomicBool,
}

impl Store for Damaged {
    fn apply(&self, ops: &[Op], durable: bool) -> Result<(), StoreError> {
        if self.found.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(StoreError::Unreadable("damaged".into()));
        }
        self.store.apply(ops, durable)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
}

#[tokio::test]
async fn an_event_is_not_delivered_again_because_a_damaged_file_cannot_be_told() {
    let store = Arc::new(Damaged::default());
    let knowledge = open(store.clone());
    knowledge.accept(entry("e")).await.unwrap();
    let (sequence, _) = knowledge.entries(0, 1).unwrap().pop().unwrap();
    store.found.store(true, std::sync::atomic::Ordering::Relaxed);
    knowledge.settle(sequence).await.unwrap();
    assert!(knowledge.entries(0, 1).unwrap().is_empty());
    assert_eq!(open(store).entries(0, 9).unwrap().len(), 1, "a restart delivers it once more, for nobody can tell");
}

#[tokio::test]
async fn a_full_journal_keeps_what_it_has_and_refuses_more() {
    let knowledge = open_within(Arc::new(Memory::default()), Limits { journal_entries: 2, ..Limits::default() });
    let waiting = || {
        let entries = knowledge.entries(0, 9).unwrap();
        (entries[0].0, entries.into_iter().map(|(_, entry)| entry.name).collect::<Vec<_>>())
    };
    for name in ["a", "b"] {
        knowledge.accept(entry(name)).await.unwrap();
    }
    assert!(matches!(knowledge.accept(entry("b")).await, Err(NotAccepted::AlreadyExists)));
    assert!(matches!(knowledge.accept(entry("c")).await, Err(NotAccepted::Full(2))));
    let full = Why { reason: "journal full" };
    assert_eq!(knowledge.metrics().events_dropped.get_or_create(&full).get(), 1);
    let (oldest, names) = waiting();
    assert_eq!(names, ["a", "b"]);
    knowledge.settle(oldest).await.unwrap();
    knowledge.accept(entry("c")).await.unwrap();
    assert_eq!(waiting().1, ["b", "c"], "there is room again");
}

/// Who goes away while the disk is busy may come again, and is told what has become of it.
#[tokio::test]
async fn an_event_whose_author_went_away_is_kept_or_not_and_never_in_between() {
    for fails in [false, true] {
        let store = Arc::new(Failing::default());
        let knowledge = open(store.clone());
        let busy = hold(&store);
        let mut accepting = Box::pin(knowledge.accept(entry("e")));
        assert!(futures_util::poll!(&mut accepting).is_pending());
        // It is on its way to the disk.
        tokio::task::yield_now().await;
        drop(accepting);
        store.fail.store(fails, std::sync::atomic::Ordering::Relaxed);
        drop(busy);
        settle(&knowledge).await;
        store.fail.store(false, std::sync::atomic::Ordering::Relaxed);
        let again = knowledge.accept(entry("e")).await;
        assert_eq!(matches!(again, Err(NotAccepted::AlreadyExists)), !fails);
        assert_eq!(knowledge.entries(0, 9).unwrap().len(), 1);
    }
}
