//! Of a client that stands at some version it is known exactly what it lacks, or it is known that nobody knows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kube::watch::EventType;
use crate::store::Happened;
use crate::store::collection::version_number;

/// By name the version of each object.
pub(super) type State = BTreeMap<String, u64>;

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Delete(usize),
    /// Something of no interest here.
    Elsewhere,
    List,
    /// A watch from the store's version on brings all there is by now, and a bookmark if it ends with one.
    Watch {
        bookmark: bool,
    },
    /// Somebody compares the next list with what is known, and may say so only after the next step.
    Compare {
        late: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3_usize).prop_map(Step::Put),
        2 => (0..3_usize).prop_map(Step::Delete),
        1 => Just(Step::Elsewhere),
        2 => Just(Step::List),
        2 => any::<bool>().prop_map(|bookmark| Step::Watch { bookmark }),
        1 => any::<bool>().prop_map(|late| Step::Compare { late }),
    ]
}

/// What the cloud has been, by version.
pub(super) struct Cloud {
    pub(super) states: Vec<State>,
    /// The event of each version, if it is of interest.
    pub(super) events: Vec<String>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self { states: vec![State::new(); 10], events: vec![String::new(); 10] }
    }
}

impl Cloud {
    pub(super) fn version(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    pub(super) fn now(&self) -> &State {
        self.states.last().unwrap()
    }

    pub(super) fn step(&mut self, change: Option<(usize, bool)>) {
        let (mut state, version) = (self.now().clone(), self.version() + 1);
        let told = change.map(|(index, is_put)| {
            let name = format!("n-{index}");
            let before = if is_put { state.insert(name.clone(), version) } else { state.remove(&name) };
            match (is_put, before) {
                (true, None) => event("ADDED", &name, version),
                (true, Some(_)) => event("MODIFIED", &name, version),
                (false, Some(_)) => event("DELETED", &name, version),
                (false, None) => String::new(),
            }
        });
        self.states.push(state);
        self.events.push(told.unwrap_or_default());
    }

    pub(super) fn list(&self) -> String {
        list_of(self.version(), self.now().iter().map(|(name, version)| item(name, *version)), "")
    }
}

fn after(mut state: State, happened: &[Happened]) -> State {
    for Happened { kind, item } in happened {
        let meta = crate::kube::object::meta(Encoding::Json, item).unwrap();
        let version = version_number(&meta.resource_version);
        let before = state.get(&meta.name).copied();
        assert_eq!(before.is_some(), *kind != EventType::Added, "{kind:?} of {} in {state:?}", meta.name);
        assert!(before.is_none_or(|before| before < version), "no event twice");
        match kind {
            EventType::Deleted => state.remove(&meta.name),
            _ => state.insert(meta.name, version),
        };
    }
    state
}

/// What leads from one state to another, as a list shows it at `version`.
fn difference(before: &State, now: &State, version: u64) -> Vec<Happened> {
    let happened = |kind, name: &str, version| Happened { kind, item: item(name, version).into() };
    let gone = before.keys().filter(|name| !now.contains_key(*name));
    let gone = gone.map(|name| happened(EventType::Deleted, name, version));
    let there = now.iter().filter(|(name, own)| before.get(*name) != Some(*own));
    let kind = |name| if before.contains_key(name) { EventType::Modified } else { EventType::Added };
    there.map(|(name, own)| happened(kind(name), name, *own)).chain(gone).collect()
}

async fn play(steps: &[Step]) {
    let knowledge = open(Arc::new(Memory::default()));
    let mut cloud = Cloud::default();
    record(&knowledge, ask(""), &cloud.list(), true).await;
    let header = || knowledge.header(&scope()).unwrap();
    let knows_way_from = |version| knowledge.since(&header(), version).is_some();
    let mut late: Option<(Header, u64, Vec<Happened>)> = None;
    for step in steps {
        let (head, said_late) = (header(), late.take());
        let at = head.version_number();
        match step {
            Step::Put(index) => cloud.step(Some((*index, true))),
            Step::Delete(index) => cloud.step(Some((*index, false))),
            Step::Elsewhere => cloud.step(None),
            Step::List => record(&knowledge, ask(""), &cloud.list(), true).await,
            Step::Watch { bookmark } => {
                let last = if *bookmark { event("BOOKMARK", "", cloud.version()) } else { String::new() };
                watch(&knowledge, &at.to_string(), false, &(cloud.events[at as usize + 1..].concat() + &last)).await;
                assert!(knows_way_from(at), "what watches bring is known from {at} on");
            }
            Step::Compare { late: is_late } => {
                record(&knowledge, ask(""), &cloud.list(), true).await;
                let happened = difference(&cloud.states[at as usize], cloud.now(), cloud.version());
                if *is_late {
                    late = Some((head, cloud.version(), happened));
                } else {
                    knowledge.note_difference(&head, cloud.version(), &happened);
                    assert!(knows_way_from(at), "what was compared is known from {at} on");
                }
            }
        }
        if let Some((head, version, happened)) = said_late {
            knowledge.note_difference(&head, version, &happened);
        }
        let header = header();
        for (version, state) in cloud.states.iter().enumerate().skip(9) {
            if let Some(happened) = knowledge.since(&header, version as u64) {
                assert_eq!(after(state.clone(), &happened), cloud.states[header.version_number() as usize], "from {version}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn who_is_led_on_is_led_to_what_there_is(steps in proptest::collection::vec(step(), 0..24)) {
        run(play(&steps));
    }
}

/// What the property has found once: the list is as before, and what was between is not.
#[tokio::test]
async fn what_has_come_and_gone_between_two_lists_is_not_known() {
    play(&[Step::Put(0), Step::Delete(0), Step::List]).await;
}

/// A client that has been told of nothing for long, because there was nothing; another one lists.
#[tokio::test]
async fn a_list_of_the_same_says_that_nothing_has_come_of_it() {
    let knowledge = open(Arc::new(Memory::default()));
    record(&knowledge, ask(""), &list_body(10, &["x", "y"], ""), true).await;
    let since = |version| knowledge.since(&knowledge.header(&scope()).unwrap(), version).map(|happened| happened.len());
    let same = list_body(10, &["x", "y"], "").replacen("10", "50", 1);
    record(&knowledge, ask(""), &same, true).await;
    assert_eq!((since(10), since(50)), (Some(0), Some(0)));
    assert_eq!(since(30), None, "there may have been something for a moment");
    record(&knowledge, ask(""), &list_body(10, &["x"], "").replacen("10", "60", 1), true).await;
    assert_eq!((since(50), since(60)), (None, Some(0)), "one of them is gone");
    let without_version = same.replacen("50", "70", 1).replacen("\"resourceVersion\":\"10\"", "\"uid\":\"1\"", 1);
    record(&knowledge, ask(""), &without_version, true).await;
    record(&knowledge, ask(""), &without_version.replacen("70", "80", 1), true).await;
    assert_eq!((since(70), since(80)), (None, Some(0)), "nobody knows whether it is the same");
}
