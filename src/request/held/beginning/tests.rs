use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kube::watch::Event;

/// The uid and the version of what stands at each place.
type Objects = BTreeMap<u8, (u64, u64)>;

fn frame(kind: EventType, object: String) -> Frame {
    let raw = encode(Encoding::Json, kind, object.as_bytes());
    Frame { raw, event: Event { kind, object: object.into() } }
}

fn event(kind: EventType, place: u8, (uid, version): (u64, u64)) -> Frame {
    let metadata = format!(r#""name":"{place:03}","namespace":"a","uid":"{uid}","resourceVersion":"{version}""#);
    frame(kind, format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{{metadata}}}}}"#))
}

fn bookmark(version: u64) -> Frame {
    frame(EventType::Bookmark, format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}}}}"#))
}

/// What happens at these places, one version after the other: what is there changes or goes, what is not comes.
fn happen(objects: &mut Objects, version: &mut u64, steps: &[(u8, bool)]) -> Vec<Frame> {
    let step = |(place, goes): &(u8, bool)| {
        *version += 1;
        let (kind, object) = match objects.remove(place) {
            Some((uid, _)) if *goes => (EventType::Deleted, (uid, *version)),
            Some((uid, _)) => (EventType::Modified, (uid, *version)),
            None => (EventType::Added, (*version, *version)),
        };
        if kind != EventType::Deleted {
            objects.insert(*place, object);
        }
        event(kind, *place, object)
    };
    steps.iter().map(step).collect()
}

/// A client, who looks whether it is told what it may be.
#[derive(Default)]
struct Client(Objects);

impl Client {
    fn is_told(&mut self, raw: Bytes) {
        let mut frames = Vec::new();
        crate::kube::watch::Framer::new(Encoding::Json, 1 << 20).feed(raw, &mut frames).unwrap();
        let event = frames.remove(0).event;
        let item = item(Encoding::Json, &event.object).unwrap();
        let place = item.meta.name.parse().unwrap();
        let object = (item.meta.uid.parse().unwrap(), item.version());
        let before = self.0.remove(&place);
        match event.kind {
            EventType::Added => assert_eq!(before, None),
            kind => assert!(before.is_some_and(|before| before.0 == object.0 && before.1 < object.1), "{kind:?} of {before:?}"),
        }
        if event.kind != EventType::Deleted {
            self.0.insert(place, object);
        }
    }
}

fn room(bytes: usize) -> &'static Semaphore {
    Box::leak(Box::new(Semaphore::new(bytes)))
}

proptest! {
    /// Wherever what brings it breaks off, and whatever happens then, its client has all there is in the end: unless something
    /// is gone of which nobody knows any more what it was.
    #[test]
    fn a_client_is_told_what_it_lacks(
        first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
        rounds in proptest::collection::vec((any::<prop::sample::Index>(), proptest::collection::vec((0_u8..12, any::<bool>()), 0..6)), 1..5),
    ) {
        let (mut cloud, mut version, mut client) = (Objects::new(), 0, Client::default());
        happen(&mut cloud, &mut version, &first);
        let mut begun = Begun::within(room(1 << 20), true);
        let last = rounds.len() - 1;
        for (round, (at, then)) in rounds.iter().enumerate() {
            let all: Vec<Frame> = cloud.iter().map(|(place, object)| event(EventType::Added, *place, *object)).collect();
            let at = if round == last { all.len() } else { at.index(all.len() + 1) };
            let is_gone = client.0.iter().any(|(place, (uid, _))| cloud.get(place).is_none_or(|now| now.0 != *uid));
            let mut events: Vec<Frame> = all.into_iter().take(at).collect();
            events.extend((round == last).then(|| bookmark(version)));
            for frame in events {
                match begun.tell(Encoding::Json, frame) {
                    Told::Event(raw) => client.is_told(raw),
                    Told::Nothing => {}
                    Told::All(_) => {
                        prop_assert!(!is_gone);
                        prop_assert_eq!(&client.0, &cloud);
                    }
                    Told::Gone => {
                        prop_assert!(is_gone);
                        return Ok(());
                    }
                }
            }
            happen(&mut cloud, &mut version, then);
            let known = client.0.values().map(|object| object.1).max().unwrap_or(0);
            prop_assert!(begun.anew().is_some_and(|version| version >= known));
        }
    }

    /// As where nothing says for a while that all has been told.
    #[test]
    fn what_happens_before_all_has_been_told_counts(
        first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
        then in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
    ) {
        let (mut cloud, mut version, mut client) = (Objects::new(), 0, Client::default());
        let mut begun = Begun::within(room(1 << 20), true);
        let mut events = happen(&mut cloud, &mut version, &first);
        events.extend(happen(&mut cloud, &mut version, &then));
        let mut tell = |begun: &mut Begun, frame| match begun.tell(Encoding::Json, frame) {
            Told::Event(raw) => client.is_told(raw),
            Told::Nothing => {}
            Told::All(_) | Told::Gone => panic!("neither"),
        };
        events.into_iter().for_each(|frame| tell(&mut begun, frame));
        begun.anew().unwrap();
        let all = cloud.iter().map(|(place, object)| event(EventType::Added, *place, *object));
        all.for_each(|frame| tell(&mut begun, frame));
        prop_assert!(matches!(begun.tell(Encoding::Json, bookmark(version)), Told::All(_)));
        prop_assert_eq!(client.0, cloud);
    }
}

#[test]
fn what_has_no_room_is_told_but_not_begun_anew() {
    let room = room(2 * PORTION);
    let mut one = Begun::within(room, true);
    let mut told = 0;
    for place in 0..=255 {
        told += usize::from(matches!(one.tell(Encoding::Json, event(EventType::Added, place, (1, 1))), Told::Event(_)));
    }
    assert_eq!((told, one.anew().is_some()), (256, false));
    assert_eq!(room.available_permits(), 0);
    drop(one);
    assert_eq!(room.available_permits(), 2 * PORTION);
    let mut other = Begun::within(room, true);
    for _ in 0..1000 {
        other.tell(Encoding::Json, event(EventType::Added, 1, (1, 1)));
    }
    assert!(other.anew().is_some(), "the same object takes no more room");
}

#[test]
fn what_does_not_say_what_it_is_of_is_told_but_not_begun_anew() {
    for object in
        [r#"{"kind":"Table","metadata":{"resourceVersion":"7"},"rows":[]}"#, r#"{"kind":"Pod","metadata":{"name":"a"}}"#]
    {
        let mut begun = Begun::within(room(1 << 20), true);
        assert!(matches!(begun.tell(Encoding::Json, frame(EventType::Added, object.into())), Told::Event(_)));
        assert!(begun.anew().is_none(), "{object}");
        assert!(matches!(begun.tell(Encoding::Json, bookmark(7)), Told::All(_)));
    }
    assert!(Begun::new(false).anew().is_none());
}
