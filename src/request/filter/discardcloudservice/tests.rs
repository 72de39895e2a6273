use super::*;

#[test]
fn only_what_is_meant_for_the_cloud_alone_is_hidden() {
    for (namespace, name, kind, discard, hidden) in [
        ("a", "lb", "LoadBalancer", Some("true"), true),
        ("a", "lb", "LoadBalancer", Some("false"), false),
        ("a", "lb", "LoadBalancer", Some(""), false),
        ("a", "lb", "LoadBalancer", None, false),
        ("a", "np", "NodePort", Some("true"), false),
        ("a", "ip", "ClusterIP", Some("true"), false),
        ("kube-system", "x-tunnel-server-internal-svc", "ClusterIP", None, true),
        ("other", "x-tunnel-server-internal-svc", "ClusterIP", None, false),
    ] {
        let service = Service { kind: kind.into(), discard: discard.map(str::to_owned), ..Service::default() };
        assert_eq!(hides(&(namespace.into(), name.into()), &service), hidden, "{namespace}/{name} {kind} {discard:?}");
    }
}
