//! The trail from one process of the hub to the next: a row, written at an orderly end, read once at the next start. With it
//! goes how much of what was written on this node is shown no more, so that the count goes on.
//!
//! Its events say which state of a collection they have changed, so that one whose collection is another by then leads
//! nowhere.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{Event, Events, Kept};
use crate::kube::watch::EventType;
use crate::store::knowledge::now_ms;
use crate::store::writer::Batch;
use crate::store::{Knowledge, Op, journal, keys};

/// Bytes are in base64.
#[derive(Default, Serialize, Deserialize)]
struct Row {
    items: Vec<String>,
    events: Vec<Line>,
    #[serde(default)]
    gone_here: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    of: String,
    before: (u64, u64),
    to: u64,
    /// The type of the event, and the place of its item.
    happened: Vec<(String, usize)>,
}

impl Events {
    fn row(&self) -> Row {
        let (mut row, mut places) = (Row::default(), HashMap::new());
        for event in &self.events {
            let mut happened = Vec::new();
            for Kept { kind, item } in &event.happened {
                let place = *places.entry(Arc::as_ptr(item)).or_insert_with(|| {
                    row.items.push(BASE64.encode(item));
                    row.items.len() - 1
                });
                happened.push((kind.as_str().to_owned(), place));
            }
            let before = (*event.before.start(), *event.before.end());
            row.events.push(Line { of: BASE64.encode(&event.of), before, to: event.to, happened });
        }
        row
    }

    /// `None`: it is no such row.
    fn of(row: Row) -> Option<Self> {
        let items: Vec<Arc<[u8]>> =
            row.items.iter().map(|item| BASE64.decode(item).ok().map(Arc::from)).collect::<Option<_>>()?;
        let mut events = VecDeque::new();
        for Line { of, before, to, happened } in row.events {
            let kept = |(kind, place): &(String, usize)| {
                Some(Kept { kind: EventType::from_name(kind), item: items.get(*place)?.clone() })
            };
            let happened = happened.iter().map(kept).collect::<Option<_>>()?;
            events.push_back(Event { of: BASE64.decode(of).ok()?, before: before.0..=before.1, to, happened });
        }
        // Each once, as long as some event has it.
        let in_use = items.iter().filter(|item| Arc::strong_count(item) > 1).map(|item| item.len());
        let bytes = in_use.sum::<usize>() + events.iter().map(Event::bytes_without_items).sum::<usize>();
        let mut read = Self { events, bytes };
        drop(items);
        read.trim();
        Some(read)
    }
}

impl Knowledge {
    /// Writes it for the next process: the last thing a hub does. By itself, for where there is no room for it nothing else
    /// is to be lost.
    pub async fn leave_trail(&self) {
        // The Lease as it was renewed is in memory alone; and who settles an entry may have been ended behind the disk.
        let settled =
            |sequence: &u64| self.snapshot().and_then(|rows| rows.read(&journal::key(*sequence))).is_ok_and(|row| row.is_none());
        let waiting = self.journal().sequences();
        let gone = u64::from(self.renewed().is_some()) + waiting.iter().filter(|sequence| settled(sequence)).count() as u64;
        let gone_here = self.gone_here() + gone;
        let row = Row { gone_here, ..self.trail.lock().row() };
        let row = serde_json::to_vec(&row).expect("texts and numbers");
        let ops = vec![Op::Put(keys::TRAIL.to_vec(), self.sealer().seal(keys::TRAIL, &row))];
        if let Err(error) = self.writer().apply(Batch { ops, durable: true, ..Batch::default() }).await {
            tracing::debug!(%error, "the last events are not known to the next process");
        }
    }

    /// Reads what the process before has written; what is damaged is nothing.
    pub(in crate::store) fn load_trail(&self) {
        let there = self.snapshot().and_then(|snapshot| snapshot.read(keys::TRAIL)).ok().flatten();
        let is_there = there.is_some();
        let row = there.and_then(|row| self.sealer().open_row(keys::TRAIL, row).ok());
        let row = row.and_then(|row| serde_json::from_slice::<Row>(&row).ok());
        // Without it nobody is to take what another process has counted for this one's count.
        self.journal().left += row.as_ref().map_or_else(now_ms, |row| row.gone_here);
        if let Some(events) = row.and_then(Events::of) {
            *self.trail.lock() = events;
        }
        if is_there {
            self.forget_trail_row();
        }
    }

    /// It is of another time.
    pub fn forget_trail_row(&self) {
        self.delete(keys::TRAIL.to_vec(), true);
    }
}

#[cfg(test)]
mod tests {
    use crate::store::tests::{ask, event, list_body, open, record, scope, settle, watch};
    use crate::store::{Memory, Store as _};

    use super::*;

    #[tokio::test]
    async fn the_next_process_leads_on_who_stands_behind_and_the_one_after_that_does_not() {
        let store = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        record(&knowledge, ask(""), &list_body(10, &["x"], ""), true).await;
        watch(&knowledge, "10", false, &(event("ADDED", "y", 12) + &event("DELETED", "x", 14))).await;
        let since = |knowledge: &Knowledge| {
            let header = knowledge.header(&scope()).unwrap();
            [9, 10, 12, 14].map(|version| knowledge.since(&header, version).map(|events| events.len()))
        };
        let known = [None, Some(2), Some(1), Some(0)];
        assert_eq!(since(&knowledge), known);
        knowledge.leave_trail().await;
        let before = knowledge.trail.lock().bytes;
        drop(knowledge);
        let next = open(store.clone());
        assert_eq!(since(&next), known);
        let bytes = |knowledge: &Knowledge| knowledge.trail.lock().bytes;
        assert_eq!(bytes(&next), before);
        settle(&next).await;
        assert!(store.snapshot().unwrap().read(keys::TRAIL).unwrap().is_none(), "once");
        drop(next);
        assert_eq!(since(&open(store)), [None, None, None, Some(0)], "it did not end in order");
    }

    #[test]
    fn what_is_no_row_is_nothing() {
        let line = |of: &str, place| Line { of: of.into(), before: (1, 2), to: 3, happened: vec![("ADDED".into(), place)] };
        let row = |events| Row { items: vec!["eA==".into()], events, ..Row::default() };
        assert!(Events::of(row(vec![line("Yw==", 0)])).is_some());
        assert!(Events::of(row(vec![line("Yw==", 1)])).is_none());
        assert!(Events::of(row(vec![line("?", 0)])).is_none());
    }
}
