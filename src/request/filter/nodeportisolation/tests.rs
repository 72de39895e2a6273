use super::*;

#[test]
fn the_first_mention_of_a_pool_wins() {
    for (pool, listen, hidden) in [
        ("p", Some("p"), false),
        ("p", Some("q, p"), false),
        ("p", Some("-p"), true),
        ("p", Some("p,-p"), false),
        ("p", Some("-p,p"), true),
        ("p", Some("*"), false),
        ("p", Some("*,-p"), true),
        ("p", Some("-p,*"), true),
        ("p", Some("-q,*"), false),
        ("p", Some("-q"), true),
        ("p", Some("q"), true),
        ("p", Some(""), true),
        ("p", Some(" , "), true),
        ("p", None, false),
        ("", Some("q"), false),
    ] {
        for (kind, looked_at) in [("NodePort", true), ("LoadBalancer", true), ("ClusterIP", false), ("ExternalName", false)] {
            let service = Service { kind: kind.into(), listen: listen.map(str::to_owned), ..Service::default() };
            assert_eq!(hides(Some(pool), &service), hidden && looked_at, "{kind} in {pool:?}, {listen:?}");
            assert!(!hides(None, &service), "a node without a pool keeps everything");
        }
    }
}
