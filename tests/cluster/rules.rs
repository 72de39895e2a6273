//! ConfigMap kube-system/yurt-hub-cfg narrows, live, whose answers are remembered.

use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::cluster::{Cut, eventually};

use crate::edge::Door;
use crate::rig::Rig;

const RULES: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: yurt-hub-cfg, namespace: kube-system}
data: {cache_agents: 'listed,operator,sample'}
";
/// Things that nothing else reads in this form.
const FOR_LISTED: &str = "/api/v1/namespaces/story/serviceaccounts";
const FOR_OTHERS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/story/roles";

pub fn play(rig: &Rig) -> Result<()> {
    rig.cluster.apply(RULES)?;
    eventually("the hub follows the rules", Duration::from_secs(40), || {
        let log = std::fs::read_to_string(rig.cluster.dir().join("log/hub.log"))?;
        ensure!(log.contains("rules of ConfigMap"), "the hub's log does not say so");
        Ok(())
    })?;
    let as_program = |program: &str, path: &str| rig.ask(Door::Pods(&rig.operator), program, "GET", path, "");
    for (program, path) in [("listed/1", FOR_LISTED), ("outsider/1", FOR_OTHERS)] {
        let answer = as_program(program, path)?;
        ensure!(answer.status == 200, "{path} online: {} {}", answer.status, answer.text);
    }
    rig.cut(Cut::InterfaceDown)?;
    rig.wait_link(false)?;
    let listed = as_program("listed/1", FOR_LISTED)?;
    let outsider = as_program("outsider/1", FOR_OTHERS)?;
    ensure!(listed.status == 200, "who is listed: {} {}", listed.status, listed.text);
    ensure!(outsider.status == 503, "who is not listed: {} {}", outsider.status, outsider.text);
    rig.say("yurt-hub-cfg", "applied live: offline a listed component gets 200, another one 503");
    rig.restore(Cut::InterfaceDown).map(drop)
}
