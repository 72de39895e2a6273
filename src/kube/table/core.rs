//! Nodes, Namespaces, what is mounted, Leases; and what has no columns of its own.

use serde_json::Value;

use super::age::Now;
use super::column::{AGE, CREATED_IS, Column, NAME, text};
use super::printer::BuiltIn;
use super::value::{at, count, entries, list, name, text as text_at, text_or};

pub(super) const NODES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Status", "The status of the node"),
        text("Roles", "The roles of the node"),
        AGE,
        text("Version", "Kubelet Version reported by the node."),
        text("Internal-IP", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
        text("External-IP", "List of addresses reachable to the node. Queried from cloud provider, if available. More info: https://kubernetes.io/docs/reference/node/node-status/#addresses Note: This field is declared as mergeable, but the merge key is not sufficiently unique, which can cause data corruption when it is merged. Callers should instead use a full-replacement patch. See https://pr.k8s.io/79391 for an example. Consumers should assume that addresses can change during the lifetime of a Node. However, there are some exceptions where this may not be possible, such as Pods that inherit a Node's address in its own status or consumers of the downward API (status.hostIP).").wide(),
        text("OS-Image", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).").wide(),
        text("Kernel-Version", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).").wide(),
        text("Container-Runtime", "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).").wide(),
    ],
    node,
);

pub(super) const NAMESPACES: BuiltIn =
    BuiltIn::new(&[NAME, text("Status", "The status of the namespace"), AGE], |object, now| {
        vec![name(object), text_at(object, "status.phase").into(), now.age(object)]
    });

pub(super) const CONFIG_MAPS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "Data",
            "Data contains the configuration data. Each key must consist of alphanumeric characters, '-', '_' or '.'. Values with non-UTF-8 byte sequences must use the BinaryData field. The keys stored in Data must not overlap with the keys in the BinaryData field, this is enforced during validation process.",
        ),
        AGE,
    ],
    |object, now| vec![name(object), (entries(object, "data") + entries(object, "binaryData")).into(), now.age(object)],
);

pub(super) const SECRETS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "Type",
            "Used to facilitate programmatic handling of secret data. More info: https://kubernetes.io/docs/concepts/configuration/secret/#secret-types",
        ),
        text(
            "Data",
            "Data contains the secret data. Each key must consist of alphanumeric characters, '-', '_' or '.'. The serialized form of the secret data is a base64 encoded string, representing the arbitrary (possibly non-string) data value here. Described in https://tools.ietf.org/html/rfc4648#section-4",
        ),
        AGE,
    ],
    |object, now| vec![name(object), text_at(object, "type").into(), entries(object, "data").into(), now.age(object)],
);

pub(super) const SERVICE_ACCOUNTS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "Secrets",
            "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use. Pods are only limited to this list if this service account has a \"kubernetes.io/enforce-mountable-secrets\" annotation set to \"true\". The \"kubernetes.io/enforce-mountable-secrets\" annotation is deprecated since v1.32. Prefer separate namespaces to isolate access to mounted secrets. This field should not be used to find auto-generated service account token secrets for use outside of pods. Instead, tokens can be requested directly using the TokenRequest API, or service account token secrets can be manually created. More info: https://kubernetes.io/docs/concepts/configuration/secret",
        ),
        AGE,
    ],
    |object, now| vec![name(object), count(list(object, "secrets").len()).into(), now.age(object)],
);

pub(super) const LEASES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "Holder",
            "holderIdentity contains the identity of the holder of a current lease. If Coordinated Leader Election is used, the holder identity must be equal to the elected LeaseCandidate.metadata.name field.",
        ),
        AGE,
    ],
    |object, now| vec![name(object), text_at(object, "spec.holderIdentity").into(), now.age(object)],
);

/// Source: `NewDefaultTableConvertor` of k8s.io/apiserver/pkg/registry/rest.
pub(super) const DEFAULT: BuiltIn =
    BuiltIn::new(&[NAME, Column { kind: "date", ..text("Created At", CREATED_IS) }], |object, _| {
        // Of a bookmark, Go's time that is not set.
        vec![name(object), text_or(at(object, "metadata"), "creationTimestamp", "0001-01-01T00:00:00Z").into()]
    })
    .default();

fn node(node: &Value, now: Now) -> Vec<Value> {
    let info = |field: &str, otherwise| Value::from(text_or(at(node, "status.nodeInfo"), field, otherwise));
    vec![
        name(node),
        status(node).into(),
        roles(node).into(),
        now.age(node),
        info("kubeletVersion", ""),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        info("osImage", "<unknown>"),
        info("kernelVersion", "<unknown>"),
        info("containerRuntimeVersion", "<unknown>"),
    ]
}

fn status(node: &Value) -> String {
    let ready = list(node, "status.conditions").iter().rfind(|one| text_at(one, "type") == "Ready");
    let ready = match ready.map(|one| text_at(one, "status")) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    };
    let cordoned = if at(node, "spec.unschedulable") == true { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

fn roles(node: &Value) -> String {
    let labels = at(node, "metadata.labels").as_object();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<String> = labels.into_iter().flatten().filter_map(role).filter(|role| !role.is_empty()).collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = list(node, "status.addresses").iter().find(|address| text_at(address, "type") == kind);
    found.map_or("<none>", |address| text_at(address, "address"))
}
