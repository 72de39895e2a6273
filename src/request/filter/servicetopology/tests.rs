use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::request::filter::testing::{BOTH, Made};
use crate::state::inputs::Node;

/// Address, node, zone.
type Place = (&'static str, &'static str, &'static str);

const PLACES: [Place; 4] = [("1", "n1", "z1"), ("2", "n2", "z1"), ("3", "n3", "z2"), ("4", "", "z1")];
const IP: Field = Field::new("ip", 1);

fn facts(keys: Option<&str>, members: &[&str], zone: Option<&str>) -> Facts {
    let topology: HashMap<_, _> = keys.map(|keys| (("a".to_owned(), "s".to_owned()), keys.to_owned())).into_iter().collect();
    Facts {
        node: Some(Arc::new(Node { pool: Some("p".into()), zone: zone.map(str::to_owned) })),
        pool: Some(Arc::new(members.iter().map(|name| (*name).to_owned()).collect())),
        topology: Some(Arc::new(topology)),
        ..Facts::default()
    }
}

fn a_slice(encoding: Encoding, places: &[Place]) -> Made {
    let endpoint = |(address, node, zone): &Place| {
        let endpoint = Made::new(encoding).texts(endpoint_slice::ADDRESSES, &[address]);
        let endpoint = if node.is_empty() { endpoint } else { endpoint.text(endpoint_slice::NODE_NAME, node) };
        endpoint.text(endpoint_slice::ZONE, zone)
    };
    let endpoints: Vec<Made> = places.iter().map(endpoint).collect();
    Made::object(encoding, "a", "s-x1", &[(endpoint_slice::SERVICE_NAME, "s")], &[])
        .messages(endpoint_slice::ENDPOINTS, &endpoints)
}

fn an_endpoints(encoding: Encoding, ready: &[Place], not_ready: &[Place]) -> Made {
    let address = |(address, node, _): &Place| {
        let made = Made::new(encoding).text(IP, address);
        if node.is_empty() { made } else { made.text(endpoints::NODE_NAME, node) }
    };
    let list = |places: &[Place]| places.iter().map(address).collect::<Vec<_>>();
    let subset = Made::new(encoding)
        .messages(endpoints::ADDRESSES, &list(ready))
        .messages(endpoints::NOT_READY_ADDRESSES, &list(not_ready));
    Made::object(encoding, "a", "s", &[], &[]).messages(endpoints::SUBSETS, &[subset])
}

#[test]
fn the_annotation_says_which_endpoints_stay() {
    let pool = ["n1", "n3"];
    for (keys, members, zone, stay) in [
        (Some("kubernetes.io/hostname"), &pool[..], Some("z1"), "1"),
        (Some("openyurt.io/nodepool"), &pool, Some("z1"), "13"),
        (Some("kubernetes.io/zone"), &pool, Some("z1"), "13"),
        (Some("openyurt.io/nodepool"), &[], Some("z1"), "12"),
        (Some("openyurt.io/nodepool"), &[], Some("z2"), "13"),
        (Some("openyurt.io/nodepool"), &[], None, "1"),
        (Some("something else"), &pool, Some("z1"), "1234"),
        (None, &pool, Some("z1"), "1234"),
    ] {
        for encoding in BOTH {
            let edit = apply(&facts(keys, members, zone), "n1", true, &a_slice(encoding, &PLACES).item()).unwrap();
            let left: Vec<Place> = PLACES.into_iter().filter(|(address, ..)| stay.contains(address)).collect();
            match edit {
                Edit::Keep => assert_eq!(stay, "1234", "{keys:?}"),
                Edit::Replace(after) => assert_eq!(after, a_slice(encoding, &left).bytes, "{keys:?} {members:?} {zone:?}"),
                Edit::Remove => panic!("a slice is never hidden"),
            }
        }
    }
}

#[test]
fn endpoints_of_core_v1_are_sorted_out_alike_ready_or_not() {
    let facts = facts(Some("openyurt.io/nodepool"), &["n1", "n2"], None);
    for encoding in BOTH {
        let before = an_endpoints(encoding, &PLACES[..2], &PLACES[2..]);
        let Edit::Replace(after) = apply(&facts, "n1", false, &before.item()).unwrap() else { panic!("it changes") };
        let left = message::part(encoding, &after, endpoints::SUBSETS).unwrap().unwrap();
        let count = |field| message::parts(encoding, left, field).unwrap().len();
        assert_eq!((count(endpoints::ADDRESSES), count(endpoints::NOT_READY_ADDRESSES)), (2, 0));
        let near = an_endpoints(encoding, &PLACES[..2], &[]);
        assert_eq!(apply(&facts, "n1", false, &near.item()).unwrap(), Edit::Keep);
    }
}

/// They do not name the zones of their endpoints.
#[test]
fn endpoints_of_core_v1_go_by_the_nodes_of_the_zone_where_there_is_no_pool() {
    let names = |names: &[&str]| Some(Arc::new(names.iter().map(|name| (*name).to_owned()).collect()));
    for (members, zone, stay) in [(&[][..], &["n1", "n3"][..], 2), (&[], &[], 1), (&["n1", "n2", "n3"], &["n1"], 3)] {
        let facts = Facts { zone: names(zone), ..facts(Some("kubernetes.io/zone"), members, Some("z1")) };
        for encoding in BOTH {
            let before = an_endpoints(encoding, &PLACES, &[]);
            let Edit::Replace(after) = apply(&facts, "n1", false, &before.item()).unwrap() else { panic!("it changes") };
            let left = message::part(encoding, &after, endpoints::SUBSETS).unwrap().unwrap();
            assert_eq!(message::parts(encoding, left, endpoints::ADDRESSES).unwrap().len(), stay, "{members:?} {zone:?}");
        }
    }
}

#[test]
fn a_slice_of_no_service_stays() {
    for encoding in BOTH {
        let slice = Made::object(encoding, "a", "s", &[], &[]).messages(endpoint_slice::ENDPOINTS, &[Made::new(encoding)]);
        let edit = apply(&facts(Some("kubernetes.io/hostname"), &[], None), "n1", true, &slice.item()).unwrap();
        assert_eq!(edit, Edit::Keep);
    }
}
