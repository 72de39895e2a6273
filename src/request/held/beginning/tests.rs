use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kube::watch::{Event, Framer};

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
    /// What comes of an event.
    fn is_brought(&mut self, begun: &mut Begun, frame: Frame) -> Beginning {
        let (mut out, mut frames) = (VecDeque::new(), Vec::new());
        let beginning = begun.tell(Encoding::Json, frame, &mut out);
        let mut framer = Framer::new(Encoding::Json, 1 << 20);
        out.into_iter().for_each(|raw| framer.feed(raw, &mut frames).unwrap());
        frames.into_iter().for_each(|frame| self.is_told(frame.event));
        beginning
    }

    fn is_told(&mut self, event: Event) {
        let item = Item::of_event(Encoding::Json, &event.object).unwrap();
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
    /// Wherever what brings it breaks off, and whatever happens then, its client has all there is in the end.
    #[test]
    fn a_client_is_told_what_it_lacks(
        first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
        rounds in proptest::collection::vec((any::<prop::sample::Index>(), proptest::collection::vec((0_u8..12, any::<bool>()), 0..6)), 1..5),
    ) {
        let (mut cloud, mut version, mut client) = (Objects::new(), 0, Client::default());
        happen(&mut cloud, &mut version, &first);
        let mut begun = Begun::within(room(1 << 20), true);
        for (at, then) in rounds {
            let all: Vec<Frame> = cloud.iter().map(|(place, object)| event(EventType::Added, *place, *object)).collect();
            let at = at.index(all.len() + 1);
            for frame in all.into_iter().take(at) {
                prop_assert_eq!(client.is_brought(&mut begun, frame), Beginning::GoesOn);
            }
            happen(&mut cloud, &mut version, &then);
            let known = client.0.values().map(|object| object.1).max().unwrap_or(0);
            prop_assert!(begun.anew().is_some_and(|version| version >= known));
        }
        for (place, object) in &cloud {
            client.is_brought(&mut begun, event(EventType::Added, *place, *object));
        }
        prop_assert_eq!(client.is_brought(&mut begun, bookmark(version)), Beginning::IsOver);
        prop_assert_eq!(client.0, cloud);
    }

    /// Of what has changed its client is told behind all there is, whether or not that was marked.
    #[test]
    fn the_first_change_says_that_all_has_been_told(
        first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
        then in proptest::collection::vec((0_u8..12, any::<bool>()), 0..30),
    ) {
        let (mut cloud, mut version, mut client) = (Objects::new(), 0, Client::default());
        happen(&mut cloud, &mut version, &first);
        let mut begun = Begun::within(room(1 << 20), true);
        for (place, object) in cloud.iter().skip(1) {
            client.is_brought(&mut begun, event(EventType::Added, *place, *object));
        }
        happen(&mut cloud, &mut version, &then);
        begun.anew().unwrap();
        for (place, object) in &cloud {
            client.is_brought(&mut begun, event(EventType::Added, *place, *object));
        }
        let before = cloud.clone();
        for frame in happen(&mut cloud, &mut version, &then) {
            let is_added = frame.event.kind == EventType::Added;
            let beginning = client.is_brought(&mut begun, frame);
            prop_assert_eq!(beginning, if is_added { Beginning::GoesOn } else { Beginning::IsOver });
            if !is_added {
                break;
            }
        }
        let is_before = client.0.iter().all(|(place, object)| before.get(place).is_none_or(|before| before == object));
        prop_assert!(is_before && before.keys().all(|place| client.0.contains_key(place)));
    }
}

#[test]
fn what_went_and_had_no_room_nobody_knows() {
    let room = room(PORTION);
    let mut begun = Begun::within(room, true);
    let large = |name: &str| {
        let metadata = format!(r#""name":"{name}","uid":"1","resourceVersion":"1""#);
        let text = "x".repeat(PORTION);
        frame(EventType::Added, format!(r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{{metadata}}},"text":"{text}"}}"#))
    };
    let tell = |begun: &mut Begun, frame| {
        let mut out = VecDeque::new();
        (begun.tell(Encoding::Json, frame, &mut out), out.len())
    };
    tell(&mut begun, large("001"));
    tell(&mut begun, event(EventType::Added, 2, (1, 1)));
    assert_eq!(begun.anew(), Some(1));
    assert_eq!(tell(&mut begun, large("001")), (Beginning::GoesOn, 0));
    assert_eq!(tell(&mut begun, bookmark(2)), (Beginning::IsOver, 1), "what is small has had room, and is told to be gone");
    begun.anew().unwrap();
    assert_eq!(tell(&mut begun, bookmark(2)).0, Beginning::Unknown);
}

#[test]
fn what_has_no_room_at_all_is_told_but_not_begun_anew() {
    let room = room(2 * PORTION);
    let (mut one, mut told) = (Begun::within(room, true), VecDeque::new());
    (0..4).for_each(|place| _ = one.tell(Encoding::Json, event(EventType::Added, place, (1, 1)), &mut told));
    assert_eq!((told.len(), one.anew()), (4, Some(1)));
    assert!(room.available_permits() < 2 * PORTION);
    (0..=255).for_each(|place| _ = one.tell(Encoding::Json, event(EventType::Added, place, (1, 2)), &mut told));
    // Those that were there come as changed ones.
    assert_eq!((told.len(), one.anew()), (4 + 256, None));
    let mut other = Begun::within(room, true);
    (0..1000).for_each(|_| _ = other.tell(Encoding::Json, event(EventType::Added, 1, (1, 1)), &mut told));
    assert!(other.anew().is_some(), "there is room again, and the same object takes no more of it");
    assert_eq!(room.available_permits(), PORTION);
    drop(other);
    assert_eq!(room.available_permits(), 2 * PORTION);
}

#[test]
fn what_does_not_say_what_it_is_of_is_told_but_not_begun_anew() {
    for object in
        [r#"{"kind":"Table","metadata":{"resourceVersion":"7"},"rows":[]}"#, r#"{"kind":"Pod","metadata":{"name":"a"}}"#]
    {
        let (mut begun, mut told) = (Begun::within(room(1 << 20), true), VecDeque::new());
        begun.tell(Encoding::Json, frame(EventType::Added, object.into()), &mut told);
        assert_eq!((told.len(), begun.anew()), (1, None), "{object}");
        assert_eq!(begun.tell(Encoding::Json, bookmark(7), &mut told), Beginning::IsOver);
    }
    assert!(Begun::new(false).anew().is_none());
}

#[test]
fn of_another_history_nothing_is_told() {
    let (mut begun, mut told) = (Begun::within(room(1 << 20), true), VecDeque::new());
    begun.tell(Encoding::Json, event(EventType::Added, 1, (1, 8)), &mut told);
    begun.anew().unwrap();
    assert_eq!(begun.tell(Encoding::Json, event(EventType::Added, 1, (1, 7)), &mut told), Beginning::Unknown);
}
