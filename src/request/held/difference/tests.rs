use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const BEFORE: u64 = 100;

/// The uid and the version of what stands at each place.
type Objects = BTreeMap<u8, (u64, u64)>;

/// The version, the kind, and the place, the uid and the version of its object.
type Event = (u64, EventType, u8, (u64, u64));

fn item(place: u8, (uid, version): (u64, u64)) -> Item {
    let metadata = format!(r#""name":"{place:03}","uid":"{uid}","resourceVersion":"{version}""#);
    Item::read(Encoding::Json, format!(r#"{{"metadata":{{{metadata}}}}}"#).into_bytes()).ok().unwrap()
}

/// What a cloud does in which something happens at these places, one version after the other: what is there changes or
/// goes, what is not comes.
fn history(objects: &mut Objects, from: u64, steps: &[(u8, bool)]) -> Vec<Event> {
    let mut events = Vec::new();
    for (version, (place, goes)) in (from + 1..).zip(steps) {
        let (kind, object) = match objects.get(place) {
            Some((uid, _)) if *goes => (EventType::Deleted, (*uid, version)),
            Some((uid, _)) => (EventType::Modified, (*uid, version)),
            None => (EventType::Added, (version, version)),
        };
        apply(objects, (version, kind, *place, object));
        events.push((version, kind, *place, object));
    }
    events
}

fn apply(objects: &mut Objects, (_, kind, place, object): Event) {
    match kind {
        EventType::Deleted => _ = objects.remove(&place),
        _ => _ = objects.insert(place, object),
    }
}

/// `None`: it is not known.
fn difference(old: &Objects, new: &Objects) -> Option<Vec<Event>> {
    let taken = Taken::default();
    let mut changes = Changes { encoding: Encoding::Json, before: BEFORE, changes: Vec::new(), bytes: 0, places: 0, taken };
    let places: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for place in places {
        let [before, now] = [old, new].map(|objects| objects.get(place).map(|object| item(*place, *object)));
        let result = match (before, now) {
            (Some(before), Some(now)) => changes.both(before, now),
            (Some(gone), None) => changes.gone(gone),
            (None, Some(now)) => changes.there(EventType::Added, now),
            (None, None) => Ok(()),
        };
        result.ok()?;
    }
    let told = |happened: Happened| {
        let told = Item::read(Encoding::Json, happened.item).ok().unwrap();
        let version = told.version();
        (version, happened.kind, told.place.parse().unwrap(), (told.meta.uid.parse().unwrap(), version))
    };
    Some(changes.happened().unwrap().into_iter().map(told).collect())
}

#[test]
fn of_another_history_nothing_is_told() {
    let old = Objects::from([(1, (1, 80))]);
    // A cluster that was made anew, and has come further since.
    assert_eq!(difference(&old, &Objects::from([(1, (2, 30))])), None);
    assert_eq!(difference(&old, &Objects::from([(1, (1, 80)), (2, (2, BEFORE))])), None);
    assert_eq!(difference(&old, &Objects::from([(1, (1, 79))])), None);
    assert_eq!(difference(&old, &Objects::from([(1, (2, BEFORE + 2))])).unwrap().len(), 2);
}

proptest! {
    /// Whoever is told only a part goes on from the version of its last event, and the cloud may know that by then: it has
    /// all there is in the end, and no version has gone back.
    #[test]
    fn wherever_a_client_breaks_off_it_lacks_nothing_of_before(
        first in proptest::collection::vec((0_u8..12, any::<bool>()), 0..40),
        then in proptest::collection::vec((0_u8..12, any::<bool>()), 0..40),
        at in any::<prop::sample::Index>(),
    ) {
        let mut cloud = Objects::new();
        history(&mut cloud, BEFORE - first.len() as u64, &first);
        let old = cloud.clone();
        let events = history(&mut cloud, BEFORE, &then);
        let told = difference(&old, &cloud).unwrap();
        let (mut client, mut version, part) = (old, BEFORE, at.index(told.len() + 1));
        for event in &told[..part] {
            let (at, kind, place, object) = *event;
            let is_right = match (client.get(&place), kind) {
                (None, EventType::Added) => true,
                (Some((uid, before)), EventType::Modified | EventType::Deleted) => *uid == object.0 && *before < at,
                _ => false,
            };
            prop_assert!(is_right && at >= version, "{event:?} after {version}");
            apply(&mut client, *event);
            version = event.0;
        }
        events.into_iter().filter(|event| event.0 > version).for_each(|event| apply(&mut client, event));
        prop_assert_eq!(client, cloud);
    }
}
