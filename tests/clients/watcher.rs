//! Python's watch without a list before, as many programs have it: it gives up where an answer breaks off.

use crate::pod::Running;
use crate::rig::{Rig, SOON};

const NAMESPACE: &str = "watcher";

async fn has_all(running: &mut Running) {
    for name in ["a", "b", "c"] {
        assert_eq!(running.line(SOON).await, format!("ADDED {NAMESPACE}-{name}"));
    }
}

#[tokio::test]
async fn pythons_watch_goes_on_through_cuts_and_begins_in_one() {
    let Some(mut rig) = Rig::start().await else { return };
    let Ok(folder) = std::env::var("HOLDFAST_CLIENT_PYTHON") else {
        return testkit::skipped("HOLDFAST_CLIENT_PYTHON (scripts/build-clients)");
    };
    let command = [format!("{folder}/bin/python"), format!("{folder}/watcher.py")];
    let pod = rig.namespace(NAMESPACE).await;
    let mut first = pod.start(&command, &[]);
    has_all(&mut first).await;
    // From here on its client stands somewhere, whatever the cloud has said of that by now.
    rig.config_map(NAMESPACE, "before").await;
    assert_eq!(first.line(SOON).await, "ADDED before");
    rig.deletes(NAMESPACE, "before").await;
    assert_eq!(first.line(SOON).await, "DELETED before");
    rig.cut().await;
    let mut second = pod.start(&command, &[]);
    has_all(&mut second).await;
    rig.restore().await;
    rig.config_map(NAMESPACE, "after").await;
    for running in [&mut first, &mut second] {
        assert_eq!(running.line(SOON).await, "ADDED after");
    }
    rig.cut().await;
    rig.restore().await;
    rig.deletes(NAMESPACE, "after").await;
    for running in [&mut first, &mut second] {
        assert_eq!(running.line(SOON).await, "DELETED after");
    }
}
