use super::*;
use crate::kube::message::Field;
use crate::request::filter::testing::{BOTH, Made, hub};

const PROTOCOL: Field = Field::new("protocol", 2);

fn a_slice(encoding: Encoding, name: &str, label: &str, family: &str, endpoints: &[Made], port: u64) -> Made {
    let ports = [
        Made::new(encoding).text(slice::PORT_NAME, "https").text(PROTOCOL, "TCP").number(slice::PORT_NUMBER, port),
        Made::new(encoding).text(slice::PORT_NAME, "dns").number(slice::PORT_NUMBER, 53),
    ];
    Made::object(encoding, "default", name, &[(slice::SERVICE_NAME, label)], &[])
        .messages(slice::ENDPOINTS, endpoints)
        .messages(slice::PORTS, &ports)
        .text(slice::ADDRESS_TYPE, family)
}

fn endpoints(encoding: Encoding) -> Vec<Made> {
    ["10.0.0.1", "10.0.0.2"].map(|address| Made::new(encoding).texts(slice::ADDRESSES, &[address])).to_vec()
}

#[test]
fn the_masters_slice_leads_to_the_hub_and_the_others_stay() {
    for encoding in BOTH {
        let endpoints = endpoints(encoding);
        for (address, family) in [("169.254.2.1", "IPv4"), ("fd00::2:1", "IPv6")] {
            let hub = hub(address);
            let before = a_slice(encoding, "kubernetes", "kubernetes", family, &endpoints, 6443);
            let Edit::Replace(after) = apply(&hub, &before.item()).unwrap() else { panic!("{encoding:?}: it changes") };
            let own = Made { encoding, bytes: endpoint(&hub, encoding).unwrap() };
            assert_eq!(after, a_slice(encoding, "kubernetes", "kubernetes", family, &[own], 10_268).bytes);
        }
        let hub = hub("169.254.2.1");
        for other in [
            a_slice(encoding, "kubernetes", "kubernetes", "IPv6", &endpoints, 6443),
            a_slice(encoding, "mine", "mine", "IPv4", &endpoints, 6443),
        ] {
            assert_eq!(apply(&hub, &other.item()).unwrap(), Edit::Keep);
        }
    }
}

#[test]
fn the_hubs_endpoint_is_ready() {
    let endpoint = endpoint(&hub("169.254.2.1"), Encoding::Json).unwrap();
    assert_eq!(String::from_utf8(endpoint).unwrap(), r#"{"addresses":["169.254.2.1"],"conditions":{"ready":true}}"#);
}
