use super::*;
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
