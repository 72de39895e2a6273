//! ConfigMap yurt-hub-cfg, live. Read through the hub's own path, so that it is
//! remembered like anything else and still applies after a restart without the cloud.

use std::sync::Arc;

use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::runtime::metrics::{FilterLabel, Metrics};
use crate::state::rules::{RuleSet, Rules};
use crate::store::{Knowledge, Scope};

const NAME: &str = "yurt-hub-cfg";

/// Follows the ConfigMap in `namespace` for ever.
pub async fn follow(client: Client, namespace: String, rules: Arc<Rules>, metrics: Arc<Metrics>) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = std::pin::pin!(watcher(api, config));
    let mut backoff = std::time::Duration::from_millis(500);
    // A list without it is a deletion, but only once the list is whole.
    let mut listed = None;
    let follow_to = |map: Option<&ConfigMap>| {
        let before = rules.current();
        apply(&rules, map);
        forget_gone(&before, &rules.current(), &metrics);
    };
    while let Some(event) = events.next().await {
        match event {
            // Only that it is about to ask: what comes of it is still to be seen.
            Ok(Event::Init) => {
                listed = None;
                continue;
            }
            Ok(Event::InitApply(map)) => listed = Some(map),
            Ok(Event::InitDone) => {
                follow_to(listed.take().as_ref());
                rules.settle();
            }
            Ok(Event::Apply(map)) => follow_to(Some(&map)),
            Ok(Event::Delete(_)) => follow_to(None),
            Err(error) => {
                tracing::debug!(%error, "ConfigMap {namespace}/{NAME} cannot be read, the rules stay as they are");
                rules.settle();
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(std::time::Duration::from_secs(30));
                continue;
            }
        }
        backoff = std::time::Duration::from_millis(500);
    }
}

/// Applies what the node remembers of the ConfigMap, before anybody is answered.
pub fn remembered(knowledge: &Knowledge, namespace: &str, rules: &Rules) {
    let scope = Scope {
        version: "v1".to_owned(),
        resource: "configmaps".to_owned(),
        namespace: namespace.to_owned(),
        field_selector: format!("metadata.name={NAME}"),
        ..Scope::default()
    };
    let Ok(Some(view)) = knowledge.list(&scope) else { return };
    let mut map: Option<ConfigMap> = None;
    let visited = view.visit(knowledge, None, &mut |_, item| {
        map = serde_json::from_slice(&item).ok();
        true
    });
    // One that is damaged is found and fetched anew by whoever asks for it.
    if view.whole().is_ok() && visited.is_ok() {
        apply(rules, map.as_ref());
        rules.settle();
    }
}

/// Names of rules come and go as long as the hub lives; the figures of those that are gone go with them.
fn forget_gone(before: &RuleSet, now: &RuleSet, metrics: &Metrics) {
    for label in before.user.iter().map(|rule| rule.label()).filter(|label| !now.counts(label)) {
        metrics.filter_errors.remove(&FilterLabel { filter: label });
    }
}

fn apply(rules: &Rules, map: Option<&ConfigMap>) {
    let empty = std::collections::BTreeMap::new();
    let (changed, bad) = rules.apply(map.map(|map| map.data.as_ref().unwrap_or(&empty)));
    if let Some(error) = bad {
        tracing::error!(%error, "key rules of ConfigMap {NAME} does not hold: the rules of before stay, all of them");
    }
    if changed {
        let rules = rules.current();
        let own: Vec<&str> = rules.user.iter().map(|rule| rule.name()).collect();
        tracing::info!(cache_agents = ?rules.cache_agents, filters = ?rules.filters, rules = ?own, "rules of ConfigMap {NAME} applied");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::state::rules::Agents;

    #[tokio::test(start_paused = true)]
    async fn who_may_not_read_it_asks_ever_more_seldom() {
        let asked = Arc::new(AtomicU32::new(0));
        let counted = asked.clone();
        let refusing = tower::service_fn(move |_: http::Request<::kube::client::Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            let refusal = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}"#;
            let refusal = http_body_util::Full::new(bytes::Bytes::from(refusal));
            std::future::ready(http::Response::builder().status(403).body(refusal))
        });
        let rules = Arc::new(Rules::new(RuleSet::new(Agents::parse("*"), &[])));
        let followed = follow(Client::new(refusing, "default"), "kube-system".to_owned(), rules, Arc::default());
        assert!(tokio::time::timeout(Duration::from_secs(600), followed).await.is_err(), "it goes on");
        // After 0.5, 1, 2, 4, 8 and 16 seconds, and then every 30.
        let asked = asked.load(Ordering::Relaxed);
        assert!((20..30).contains(&asked), "{asked} in ten minutes");
    }
}
