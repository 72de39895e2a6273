//! Which columns a resource has, and what stands in them.

use serde_json::Value;

use super::age::Now;
use super::column::{Column, definitions};
use super::{apps, batch, core, custom, events, network, pods, storage};

/// Of one resource.
#[derive(Debug)]
pub struct Printer(Kind);

#[derive(Debug)]
enum Kind {
    BuiltIn(&'static BuiltIn),
    Custom(custom::Columns),
}

/// Why an object is done with: reason and message.
pub(super) type Completed = (&'static str, &'static str);

/// Of a resource that Kubernetes knows itself.
#[derive(Debug)]
pub(super) struct BuiltIn {
    columns: &'static [Column],
    cells: fn(&Value, Now) -> Vec<Value>,
    completed: fn(&Value) -> Option<Completed>,
    /// It has no columns of its own.
    is_default: bool,
}

impl BuiltIn {
    pub(super) const fn new(columns: &'static [Column], cells: fn(&Value, Now) -> Vec<Value>) -> Self {
        Self { columns, cells, completed: |_| None, is_default: false }
    }

    pub(super) const fn completed(self, completed: fn(&Value) -> Option<Completed>) -> Self {
        Self { completed, ..self }
    }

    pub(super) const fn default(self) -> Self {
        Self { is_default: true, ..self }
    }
}

impl Printer {
    /// `None`: it is none whose Table is known here.
    pub fn built_in(group: &str, version: &str, resource: &str) -> Option<Self> {
        let printer = match (group, version, resource) {
            ("", "v1", "pods") => &pods::PODS,
            ("", "v1", "nodes") => &core::NODES,
            ("", "v1", "namespaces") => &core::NAMESPACES,
            ("", "v1", "configmaps") => &core::CONFIG_MAPS,
            ("", "v1", "secrets") => &core::SECRETS,
            ("", "v1", "serviceaccounts") => &core::SERVICE_ACCOUNTS,
            ("", "v1", "limitranges")
            | ("rbac.authorization.k8s.io", "v1", "roles" | "clusterroles")
            | ("apiextensions.k8s.io", "v1", "customresourcedefinitions") => &core::DEFAULT,
            ("coordination.k8s.io", "v1", "leases") => &core::LEASES,
            ("", "v1", "events") => &events::CORE,
            ("events.k8s.io", "v1", "events") => &events::EVENTS,
            ("", "v1", "services") => &network::SERVICES,
            ("", "v1", "endpoints") => &network::ENDPOINTS,
            ("discovery.k8s.io", "v1", "endpointslices") => &network::ENDPOINT_SLICES,
            ("networking.k8s.io", "v1", "ingresses") => &network::INGRESSES,
            ("apps", "v1", "deployments") => &apps::DEPLOYMENTS,
            ("apps", "v1", "daemonsets") => &apps::DAEMON_SETS,
            ("apps", "v1", "statefulsets") => &apps::STATEFUL_SETS,
            ("apps", "v1", "replicasets") => &apps::REPLICA_SETS,
            ("batch", "v1", "jobs") => &batch::JOBS,
            ("batch", "v1", "cronjobs") => &batch::CRON_JOBS,
            ("", "v1", "persistentvolumes") => &storage::VOLUMES,
            ("", "v1", "persistentvolumeclaims") => &storage::CLAIMS,
            _ => return None,
        };
        Some(Self(Kind::BuiltIn(printer)))
    }

    /// As a CustomResourceDefinition says it, in JSON; `None`: it has no such version, or a column that is not
    /// understood.
    pub fn custom(definition: &[u8], version: &str) -> Option<Self> {
        custom::Columns::of(definition, version).map(|columns| Self(Kind::Custom(columns)))
    }

    pub(super) fn columns(&self) -> Vec<u8> {
        match &self.0 {
            Kind::BuiltIn(printer) => definitions(printer.columns),
            Kind::Custom(columns) => columns.definitions(),
        }
    }

    pub(super) fn cells(&self, object: &Value, now: Now) -> Vec<Value> {
        match &self.0 {
            Kind::BuiltIn(printer) => (printer.cells)(object, now),
            Kind::Custom(columns) => columns.cells(object, now),
        }
    }

    pub(super) fn completed(&self, object: &Value) -> Option<Completed> {
        match &self.0 {
            Kind::BuiltIn(printer) => (printer.completed)(object),
            Kind::Custom(_) => None,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        matches!(&self.0, Kind::BuiltIn(printer) if printer.is_default)
    }
}
