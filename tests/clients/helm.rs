//! helm as people have it: cold and offline it finds what the API has, and its releases among the Secrets.

use std::path::PathBuf;

use testkit::skipped;

use crate::rig::Rig;

/// What its commands print of one release is made of what it finds out before: the version, discovery, the Secrets that are
/// its own, and the objects of the release.
const ASKED: [&str; 6] = [
    "list",
    "status story",
    "history story",
    "get manifest story",
    "get values story --all",
    "template story CHART --validate --is-upgrade",
];

#[tokio::test]
async fn helm_finds_offline_what_the_api_has_and_its_releases() {
    let Ok(folder) = std::env::var("HOLDFAST_CLIENT_HELM") else {
        return skipped("HOLDFAST_CLIENT_HELM (scripts/build-clients)");
    };
    let helm = PathBuf::from(folder).join("helm");
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/helm/chart");
    let Some(mut rig) = Rig::start().await else { return };
    let pod = rig.namespace("helm").await;
    // By somebody else, and not through the hub.
    let direct = rig.direct();
    pod.output(&helm, &format!("install story {chart} {direct}")).unwrap();
    let asked = ASKED.map(|arguments| arguments.replace("CHART", chart));
    let online = asked.clone().map(|arguments| pod.output(&helm, &format!("{arguments} {direct}")).unwrap());
    // The node knows that this ServiceAccount may read these, and what they are. Nobody has asked it what the API has.
    let (core, custom) = ("/api/v1/namespaces/helm", "/apis/example.org/v1/namespaces/helm");
    let objects = ["/secrets", "/configmaps", "/configmaps/story-settings"].map(|path| format!("{core}{path}"));
    for path in objects.into_iter().chain(["/widgets", "/widgets/story"].map(|path| format!("{custom}{path}"))) {
        rig.kubectl(&pod, &format!("get --raw {path}")).unwrap();
    }
    rig.cut().await;
    for (arguments, online) in asked.iter().zip(&online) {
        assert_eq!(pod.output(&helm, arguments).as_ref(), Ok(online), "helm {arguments}");
        println!("helm {arguments}: {} lines", online.lines().count());
    }
    assert!(online[5].contains("widgets: \"true\""), "the capabilities are the cluster's: {}", online[5]);
    pod.output(&helm, "uninstall story").unwrap_err();
    assert_eq!(pod.output(&helm, "list").as_ref(), Ok(&online[0]), "nothing has happened");
}
