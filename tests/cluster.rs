//! The story against a real cluster: real etcd, kube-apiserver, kubelet and containerd,
//! the real hub between them, an ordinary in-cluster program as the Pod. One cluster,
//! one story; every step is judged by what a user sees and says what that was.
//!
//! Needs root, the lab's programs and a node's (see `rig::missing`). Without them it is
//! skipped, and that is a failure where `HOLDFAST_REQUIRE_ALL=1`. After a failure the
//! logs of every process are in `CARGO_TARGET_TMPDIR/cluster-log`.
#![expect(clippy::print_stdout, reason = "each step says what it saw")]

#[path = "cluster/cuts.rs"]
mod cuts;
#[path = "cluster/edge.rs"]
mod edge;
#[path = "cluster/end.rs"]
mod end;
#[path = "cluster/environment.rs"]
mod environment;
#[path = "cluster/events.rs"]
mod events;
#[path = "cluster/online.rs"]
mod online;
#[path = "cluster/proxy.rs"]
mod proxy;
#[path = "cluster/restarts.rs"]
mod restarts;
#[path = "cluster/rig.rs"]
mod rig;
#[path = "cluster/rules.rs"]
mod rules;
#[path = "cluster/streams.rs"]
mod streams;

use rig::Rig;

#[test]
fn the_story_holds_on_a_real_cluster() {
    if let Some(what) = rig::missing() {
        return testkit::skipped(&what);
    }
    let mut rig = Rig::start().unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = story(&mut rig) {
        let logs = rig.keep_logs();
        panic!("{error:#}\n{}\nall logs are in {}", rig.hub_log_tail(), logs.display());
    }
}

/// The order matters: each act leaves the link up, and the last one ends the hub.
fn story(rig: &mut Rig) -> anyhow::Result<()> {
    online::play(rig)?;
    environment::play(rig)?;
    cuts::play(rig)?;
    restarts::play(rig)?;
    events::play(rig)?;
    proxy::play(rig)?;
    streams::play(rig)?;
    rules::play(rig)?;
    end::play(rig)
}
