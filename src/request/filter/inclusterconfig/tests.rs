use super::*;
use crate::kube::list::Encoding;
use crate::kube::message::Field;
use crate::request::filter::testing::{BOTH, Made};

const CONFIG: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nclientConnection:\n  acceptContentTypes: \"\"\n  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf\n  qps: 0\n";

#[test]
fn the_line_is_commented_out_and_nothing_else_changes() {
    for encoding in BOTH {
        let map = |namespace: &str, name: &str, config: &str| {
            Made::object(encoding, namespace, name, &[], &[])
                .map(config_map::DATA, &[("config.conf", config), ("kubeconfig.conf", "kubeconfig: x")])
        };
        let before = map("kube-system", "kube-proxy", CONFIG);
        let Edit::Replace(after) = apply(&before.item()).unwrap() else { panic!("{encoding:?}: it changes") };
        let commented = CONFIG.replace("kubeconfig:", "#kubeconfig:");
        assert_eq!(after, map("kube-system", "kube-proxy", commented.as_str()).bytes);
        for (namespace, name, config) in [
            ("kube-system", "other", CONFIG),
            ("default", "kube-proxy", CONFIG),
            ("kube-system", "kube-proxy", "a: b\n#kubeconfig: x\nmykubeconfig: y"),
        ] {
            assert_eq!(apply(&map(namespace, name, config).item()).unwrap(), Edit::Keep, "{namespace}/{name}");
        }
        assert_eq!(apply(&Made::object(encoding, "kube-system", "kube-proxy", &[], &[]).item()).unwrap(), Edit::Keep);
    }
}

/// What a list's room is reckoned with: a key that is there many times does not make as much of each.
#[test]
fn a_key_that_is_there_twice_is_there_once_afterwards() {
    let entry = |value: &str| Made::new(Encoding::Protobuf).text(Field::new("", 1), KEY).text(Field::new("", 2), value);
    let entries = ["", "", &format!("{}\nkubeconfig: x\n", "#".repeat(1000))].map(entry);
    let map = Made::object(Encoding::Protobuf, "kube-system", "kube-proxy", &[], &[]).messages(config_map::DATA, &entries);
    let Edit::Replace(new) = apply(&map.item()).unwrap() else { panic!("it is commented out") };
    assert!(new.len() <= map.bytes.len(), "{} from {}", new.len(), map.bytes.len());
    let config = message::entry(Encoding::Protobuf, &new, config_map::DATA, KEY).unwrap().unwrap();
    assert!(config.ends_with("\n#kubeconfig: x\n"), "{config}");
}
