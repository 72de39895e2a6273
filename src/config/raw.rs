//! Settings as written: one struct for flags and for the YAML file.
//!
//! Flags are yurthub's where it has the thing. In the file the same names are in
//! camelCase below `apiVersion: holdfast.dev/v1alpha1, kind: HubConfiguration`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

macro_rules! raw {
    ($($(#[$meta:meta])* $field:ident: $type:ty = $help:literal),* $(,)?) => {
        /// Everything optional; lists are comma lists on the command line.
        #[derive(Debug, Clone, Default, Args, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct Raw {
            /// Only in files.
            #[arg(skip)]
            pub api_version: Option<String>,
            /// Only in files.
            #[arg(skip)]
            pub kind: Option<String>,
            /// The users' own rules. Only in files.
            #[arg(skip)]
            pub filters: Vec<serde_json::Value>,
            $(#[doc = $help] $(#[$meta])* #[arg(long, help = $help)] pub $field: Option<$type>,)*
        }

        impl Raw {
            /// These settings, and `under` where they say nothing.
            pub fn over(self, under: Self) -> Self {
                Self { api_version: under.api_version, kind: under.kind, filters: if self.filters.is_empty() { under.filters } else { self.filters }, $($field: self.$field.or(under.$field),)* }
            }
        }
    };
}

raw! {
    node_name: String = "Name of this node [required]",
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    server_addr: Vec<String> = "URLs of the kube-apiservers, https [required]",
    lb_mode: String = "How the servers that are up share the requests: rr (in turn), priority (the first of them), consistent-hashing (one for each component and path) or lowest-latency [rr]",
    bind_address: String = "Address of the admin listener [127.0.0.1]",
    serve_port: Whole = "Port of the admin listener [10267]",
    bind_proxy_address: String = "Loopback address of the plain HTTP listener for kubelet [127.0.0.1]",
    proxy_port: Whole = "Port of the plain HTTP listener [10261]",
    proxy_secure_port: Whole = "Port of the HTTPS listener for Pods [10268]",
    dummy_if_ip: String = "Address that Pods talk to, within 169.254.0.0/16 or fc00::/7 [169.254.2.1]",
    dummy_if_name: String = "Interface that carries it, if the kernel can make one [hub-dummy0]",
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    manage_address: bool = "Make the address; false: it is there already [true]",
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_dummy_if: bool = "yurthub's name for --manage-address",
    root_dir: PathBuf = "Folder of keys and certificates that the hub makes [/var/lib/holdfast]",
    disk_cache_path: PathBuf = "Folder of the store [ROOT_DIR/store]",
    cache_max_bytes: Whole = "Bytes of items that the store may hold [268435456]",
    cache_max_objects: Whole = "Objects that the store may hold [200000]",
    cache_max_idle: String = "How long what agents have read is kept when none of them is seen any more [720h]",
    client_certificate: PathBuf = "PEM file: the node's client certificate towards the cloud [required]",
    client_key: PathBuf = "PEM file: its key [the file of --client-certificate]",
    certificate_authority: PathBuf = "PEM file: the cluster's CA [required]",
    tls_cert_file: PathBuf = "PEM file: serving certificate for Pods [made, from a CA of the node's own]",
    tls_private_key_file: PathBuf = "PEM file: its key",
    share_watches: String = "Which watches of the same share one of the cloud's, once the cloud has said that each client may watch by itself: all, pool (those of --pool-scope-resources) or none [all]",
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    pool_scope_resources: Vec<String> = "What a pool's nodes have in common, as group/version/resource [/v1/services,discovery.k8s.io/v1/endpointslices]",
    access_review_period: String = "After how long the cloud is asked again, at the latest, whether one may watch that is told what another one is [5m]",
    working_mode: String = "edge, or cloud (nothing is remembered) [edge]",
    namespace: String = "Namespace of ConfigMap yurt-hub-cfg [kube-system]",
    cache_agents: String = "Comma list of components whose answers are remembered, * is all; what those named here have read is never given up for space [*]",
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_resource_filter: bool = "Filters on or off [true]",
    #[arg(value_delimiter = ',')]
    #[serde(deserialize_with = "list")]
    disabled_resource_filters: Vec<String> = "Filters to switch off, * is all",
    nodepool_name: String = "Pool of this node [label apps.openyurt.io/nodepool of the Node]",
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_node_pool: bool = "Topology by pool and zone; false: only by node, unless --enable-pool-service-topology is on [true]",
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_pool_service_topology: bool = "The pool's members are not those of the NodePool but of its NodeBuckets [false]",
    heartbeat_interval_seconds: Whole = "Seconds between probes of a server [10]",
    heartbeat_timeout_seconds: Whole = "Seconds a probe may take [2]",
    heartbeat_failed_retry: Whole = "Failed probes in a row that mean down [3]",
    heartbeat_healthy_threshold: Whole = "Good probes in a row that mean up [2]",
    min_request_timeout: String = "How long an offline watch without timeoutSeconds lasts at least [30m]",
    gc_frequency: Whole = "Minutes between sweeps of garbage and old rights [120]",
    v: Whole = "Log level: 0 warnings, 2 a line for each request, 4 debug [2]",
}

/// A number. Its own type for the words that one hears who writes another thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub i64);

const WHOLE: &str = "a whole number";

impl FromStr for Whole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| format!("{WHOLE} is allowed"))
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let scalar = serde_json::Value::deserialize(deserializer)?;
        scalar.as_i64().map(Self).ok_or_else(|| Error::custom(format_args!("{scalar}: {WHOLE} is allowed")))
    }
}

/// A sequence, or a comma list as on the command line.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a list of texts is allowed here, or one text with commas between")]
    enum Written {
        Sequence(Vec<String>),
        Commas(String),
    }
    Ok(Some(match Written::deserialize(deserializer)? {
        Written::Sequence(list) => list,
        Written::Commas(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    }))
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct BadFile {
    pub path: String,
    pub why: String,
}

/// Reads a HubConfiguration.
pub fn read_file(path: &Path) -> Result<Raw, BadFile> {
    let bad = |why: String| BadFile { path: path.display().to_string(), why };
    let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    // As in YAML 1.2: `y` and `on` are words.
    let options = serde_saphyr::options! { strict_booleans: true };
    let raw: Raw = serde_saphyr::from_str_with_options(&text, options).map_err(|error| bad(error.to_string()))?;
    let version = raw.api_version.as_deref().unwrap_or_default();
    let kind = raw.kind.as_deref().unwrap_or_default();
    if (version, kind) != ("holdfast.dev/v1alpha1", "HubConfiguration") {
        return Err(bad(format!("apiVersion {version:?}, kind {kind:?}: expected holdfast.dev/v1alpha1, HubConfiguration")));
    }
    Ok(raw)
}
