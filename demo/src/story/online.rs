//! The link is up.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CONFIGMAPS, FORBIDDEN, GREETING, MINUTE, Play, Shown, count, names};
use crate::door::{Door, HUB_HOST, HUB_PORT};
use crate::report::time;
use crate::stage::{Told, wait_for};

pub(super) fn hub(play: &mut Play<'_>) -> Result<Shown> {
    let started = Instant::now();
    let ready = play.start_hub()?;
    let up = play.block_on(play.verdict(true, started))?;
    Ok(Shown {
        summary: format!("ready after {}, verdict: up after {}", time(ready), time(up)),
        evidence: vec![
            format!("the cloud: {}", play.stage.cloud()),
            format!("the hub: plain HTTP for kubelet at 127.0.0.1:10261, HTTPS for Pods at {HUB_HOST}:{HUB_PORT}"),
        ],
    })
}

/// As kubelet's pkg/kubelet/envvars does it.
fn told(service: &Value) -> Result<Told> {
    let spec = &service["spec"];
    let host = spec["clusterIP"].as_str().context("no clusterIP")?.to_owned();
    let port = spec["ports"][0]["port"].as_u64().context("no port")?;
    Ok(Told { host, port: port.try_into()? })
}

pub(super) fn service(play: &mut Play<'_>) -> Result<Shown> {
    let services = Door::Kubelet.get(play.stage, "/api/v1/services?limit=500&resourceVersion=0")?.expect(200, "Services")?.json();
    let mut items = services["items"].as_array().into_iter().flatten();
    let is_it = |item: &&Value| item["metadata"]["namespace"] == "default" && item["metadata"]["name"] == "kubernetes";
    let here = told(items.find(is_it).context("no Service default/kubernetes")?)?;
    let there = told(&play.stage.service()?)?;
    ensure!(here.host == HUB_HOST && here.port == HUB_PORT, "Pods would be told {}:{}", here.host, here.port);
    ensure!(there.host != here.host, "the Service was changed in the cloud itself");
    let shown = Shown {
        summary: format!("KUBERNETES_SERVICE_HOST={} KUBERNETES_SERVICE_PORT={}", here.host, here.port),
        evidence: vec![format!("in the cloud itself the Service says {}:{}", there.host, there.port)],
    };
    play.told = Some(here);
    Ok(shown)
}

pub(super) fn pod(play: &mut Play<'_>) -> Result<Shown> {
    let told = play.told.as_ref().context("nothing to tell the Pod")?;
    let started = Instant::now();
    let mut evidence = play.stage.start_pod(told)?;
    let view = play.wait_view("hello")?;
    let took = started.elapsed();
    let host = format!("https://{}:{}", told.host, told.port);
    ensure!(view["host"] == *host, "the program talks to {}", view["host"]);
    evidence
        .push(format!("sees ConfigMap greeting {}, Secret allowed {}", view["configmaps"]["greeting"]["text"], view["secret"]));
    evidence.push(format!("Secret forbidden: {}", view["forbidden"].as_str().unwrap_or_default()));
    Ok(Shown { summary: format!("synced with {host} after {}", time(took)), evidence })
}

pub(super) fn list(play: &mut Play<'_>) -> Result<Shown> {
    play.sample = play.stage.token("sample")?;
    play.operator = play.stage.token("operator")?;
    let written = play.create("before")?.expect(201, "a write")?;
    let started = Instant::now();
    play.view = wait_for("the Pod sees what was written", MINUTE, || {
        let view = play.wait_view("hello")?;
        ensure!(view["configmaps"]["before"]["text"] == "before", "{view}");
        Ok(view)
    })?;
    let seen = started.elapsed();
    let list = play.get(CONFIGMAPS)?.expect(200, "the list")?;
    ensure!(list.header("cache-status").is_empty(), "not from the cloud: {}", list.header("cache-status"));
    play.items = list.json()["items"].clone();
    play.get(GREETING)?.expect(200, "one of them")?;
    let refused = play.get(FORBIDDEN)?.expect(403, "the Secret that may not be read")?;
    Ok(Shown {
        summary: format!("200 from the cloud, {} items, after {}", count(&play.items), time(list.took)),
        evidence: vec![
            format!("with the Pod's own rights: {}; no Age, no Cache-Status", names(&play.items)),
            format!("ConfigMap before: 201 after {}, and the Pod saw it {} later", time(written.took), time(seen)),
            format!("Secret forbidden: 403 {}", refused.message()),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_the_first_port() -> Result<()> {
        let ports = serde_json::json!([{"name": "https", "port": 443}, {"name": "other", "port": 80}]);
        let told = told(&serde_json::json!({"spec": {"clusterIP": "10.96.0.1", "ports": ports}}))?;
        assert_eq!((told.host.as_str(), told.port), ("10.96.0.1", 443));
        Ok(())
    }
}
