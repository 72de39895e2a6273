//! ConfigMap yurt-hub-cfg, live. Read through the hub's own path, so that it is
//! remembered like anything else and still applies after a restart without the cloud.

use std::sync::Arc;

use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::state::rules::Rules;
use crate::store::{Knowledge, Scope};

const NAME: &str = "yurt-hub-cfg";

/// Follows the ConfigMap in `namespace` for ever.
pub async fn follow(client: Client, namespace: String, rules: Arc<Rules>) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = std::pin::pin!(watcher(api, config));
    let mut backoff = std::time::Duration::from_millis(500);
    // A list without it is a deletion, but only once the list is whole.
    let mut listed = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed = None,
            Ok(Event::InitApply(map)) => listed = Some(map),
            Ok(Event::InitDone) => {
                apply(&rules, listed.take().as_ref());
                rules.settle();
            }
            Ok(Event::Apply(map)) => apply(&rules, Some(&map)),
            Ok(Event::Delete(_)) => apply(&rules, None),
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
