//! ConfigMap kube-system/yurt-hub-cfg, live: whose answers are remembered, and a rule that hides.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::cluster::{Cut, eventually};

use crate::edge::{Answer, Door, Edge};
use crate::rig::Rig;

const RULES: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: yurt-hub-cfg, namespace: kube-system}
data:
  cache_agents: 'listed,operator,sample'
  rules: |
    - name: no-operator
      match: {components: [listed], resources: [serviceaccounts], expression: object.metadata.name == 'operator'}
      drop: true
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
    let mut expected = rows(&table(rig, "outsider/1")?)?;
    ensure!(expected.iter().all(|row| row["object"].is_null()), "the cloud sent objects that nobody wanted");
    let all = expected.len();
    expected.retain(|row| row["cells"][0] != "operator");
    ensure!(expected.len() + 1 == all, "the cloud's Table has no row of the operator");
    let ruled = rows(&table(rig, "listed/1")?)?;
    ensure!(ruled == expected, "a Table without objects: {ruled:?} instead of {expected:?}");
    unreadable(rig)?;
    rig.cut(Cut::InterfaceDown)?;
    rig.wait_link(false)?;
    let listed = as_program("listed/1", FOR_LISTED)?;
    let outsider = as_program("outsider/1", FOR_OTHERS)?;
    ensure!(listed.status == 200, "who is listed: {} {}", listed.status, listed.text);
    ensure!(outsider.status == 503, "who is not listed: {} {}", outsider.status, outsider.text);
    ensure!(rows(&table(rig, "listed/1")?)? == expected, "a Table without objects, offline");
    rig.say("yurt-hub-cfg", "applied live: offline a listed component gets 200, another one 503");
    rig.say("yurt-hub-cfg", "a rule hides a row of a Table whose rows have no objects, online and offline");
    rig.restore(Cut::InterfaceDown).map(drop)
}

/// What no filter reads is refused where one is for safety, and passed on where it is for comfort.
fn unreadable(rig: &Rig) -> Result<()> {
    let in_yaml = |path: &str| {
        rig.block_on(async {
            let edge = Edge::connect(&rig.cluster, Door::Pods(&rig.operator), "kube-proxy/1").await?;
            edge.ask_for("application/yaml", "GET", path, "").await
        })
    };
    let services = in_yaml("/api/v1/services")?;
    ensure!(services.status == 406 && services.text.contains("filter"), "Services: {} {}", services.status, services.text);
    let slices = in_yaml("/apis/discovery.k8s.io/v1/endpointslices")?;
    ensure!(slices.status == 200 && slices.text.contains("kind: EndpointSliceList"), "slices: {} {}", slices.status, slices.text);
    Ok(())
}

/// The service accounts as a Table whose rows have no objects.
fn table(rig: &Rig, program: &str) -> Result<Answer> {
    rig.block_on(async {
        let edge = Edge::connect(&rig.cluster, Door::Pods(&rig.operator), program).await?;
        let path = format!("{FOR_LISTED}?includeObject=None");
        edge.ask_for("application/json;as=Table;g=meta.k8s.io;v=v1", "GET", &path, "").await
    })
}

/// Without their ages, which go on.
fn rows(table: &Answer) -> Result<Vec<Value>> {
    ensure!(table.status == 200, "a Table: {} {}", table.status, table.text);
    let table: Value = serde_json::from_str(&table.text)?;
    let mut rows = table["rows"].as_array().cloned().with_context(|| format!("no rows in {table}"))?;
    for row in &mut rows {
        row["cells"].as_array_mut().with_context(|| format!("no cells in {table}"))?.pop();
    }
    Ok(rows)
}
