//! Resource names, kinds and scopes.
//!
//! Core resources are a closed list; any other group is taken as it comes. A group with a dot that
//! does not end in `k8s.io` is a custom one, whose objects the real server keeps unstructured.

/// Group, version and plural, as in `/apis/GROUP/VERSION/PLURAL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
}

/// What the real server knows of a built-in resource.
pub(crate) struct Known {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) namespaced: bool,
}

const fn known(group: &'static str, version: &'static str, plural: &'static str, kind: &'static str, namespaced: bool) -> Known {
    Known { group, version, plural, kind, namespaced }
}

/// The built-in resources, in discovery order.
pub(crate) const KNOWN: &[Known] = &[
    known("", "v1", "configmaps", "ConfigMap", true),
    known("", "v1", "endpoints", "Endpoints", true),
    known("", "v1", "events", "Event", true),
    known("", "v1", "limitranges", "LimitRange", true),
    known("", "v1", "namespaces", "Namespace", false),
    known("", "v1", "nodes", "Node", false),
    known("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true),
    known("", "v1", "persistentvolumes", "PersistentVolume", false),
    known("", "v1", "pods", "Pod", true),
    known("", "v1", "secrets", "Secret", true),
    known("", "v1", "serviceaccounts", "ServiceAccount", true),
    known("", "v1", "services", "Service", true),
    known("apps", "v1", "daemonsets", "DaemonSet", true),
    known("apps", "v1", "deployments", "Deployment", true),
    known("apps", "v1", "replicasets", "ReplicaSet", true),
    known("apps", "v1", "statefulsets", "StatefulSet", true),
    known("batch", "v1", "jobs", "Job", true),
    known("certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", false),
    known("coordination.k8s.io", "v1", "leases", "Lease", true),
    known("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", true),
    known("events.k8s.io", "v1", "events", "Event", true),
    known("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true),
    known("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false),
    known("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false),
    known("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false),
    known("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", true),
    known("rbac.authorization.k8s.io", "v1", "roles", "Role", true),
    known("storage.k8s.io", "v1", "csidrivers", "CSIDriver", false),
    known("storage.k8s.io", "v1", "csinodes", "CSINode", false),
];

/// The abbreviations clients may use, as discovery gives them.
pub(crate) fn short_names(plural: &str) -> &'static [&'static str] {
    match plural {
        "configmaps" => &["cm"],
        "endpoints" => &["ep"],
        "events" => &["ev"],
        "namespaces" => &["ns"],
        "nodes" => &["no"],
        "pods" => &["po"],
        "serviceaccounts" => &["sa"],
        "services" => &["svc"],
        "daemonsets" => &["ds"],
        "deployments" => &["deploy"],
        "certificatesigningrequests" => &["csr"],
        _ => &[],
    }
}

impl Resource {
    pub(crate) fn new(group: &str, version: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }

    /// `configmaps`, `v1/configmaps` or `coordination.k8s.io/v1/leases`.
    pub(crate) fn from_short(text: &str) -> Self {
        let parts: Vec<&str> = text.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            [group, version, plural] => Self::new(group, version, plural),
            [version, plural] => Self::new("", version, plural),
            _ => Self::new("", "v1", text),
        }
    }

    pub(crate) fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.group == self.group && known.version == self.version && known.plural == self.plural)
    }

    /// Served at all: a known core resource, or anything of another group.
    pub(crate) fn served(&self) -> bool {
        !self.group.is_empty() || self.known().is_some()
    }

    /// Kept unstructured by the real server: sorted keys, no protobuf.
    pub(crate) fn custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with("k8s.io")
    }

    /// `v1`, `coordination.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `leases.coordination.k8s.io`, as error messages spell it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The kind, guessed from the plural for resources never heard of.
    pub(crate) fn kind(&self) -> String {
        if let Some(known) = self.known() {
            return known.kind.to_owned();
        }
        let single = match self.plural.strip_suffix("ies") {
            Some(stem) => format!("{stem}y"),
            None => self.plural.strip_suffix('s').unwrap_or(&self.plural).to_owned(),
        };
        let mut chars = single.chars();
        chars.next().map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + chars.as_str())
    }
}
