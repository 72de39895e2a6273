//! The fields that filters read and write, by their names in JSON and their numbers in protobuf.
//!
//! Source: `generated.proto` of the packages named at each group, Kubernetes 1.34.

use super::message::Field;

/// Of every object.
pub const METADATA: Field = Field::new("metadata", 1);

/// k8s.io/apimachinery/pkg/apis/meta/v1, ObjectMeta.
pub mod meta {
    use super::Field;
    pub const RESOURCE_VERSION: Field = Field::new("resourceVersion", 6);
    pub const DELETION_TIMESTAMP: Field = Field::new("deletionTimestamp", 9);
    pub const DELETION_GRACE_PERIOD_SECONDS: Field = Field::new("deletionGracePeriodSeconds", 10);
    pub const LABELS: Field = Field::new("labels", 11);
    pub const ANNOTATIONS: Field = Field::new("annotations", 12);
    pub const FINALIZERS: Field = Field::many("finalizers", 14);
}

/// The same, DeleteOptions.
pub mod delete_options {
    use super::Field;
    pub const DRY_RUN: Field = Field::many("dryRun", 5);
}

/// The same, Status.
pub mod status {
    use super::Field;
    pub const MESSAGE: Field = Field::new("message", 3);
    pub const CODE: Field = Field::new("code", 6);
}

/// k8s.io/api/core/v1, Service and below.
pub mod service {
    use super::Field;
    pub const SPEC: Field = Field::new("spec", 2);
    pub const PORTS: Field = Field::many("ports", 1);
    pub const CLUSTER_IP: Field = Field::new("clusterIP", 3);
    pub const TYPE: Field = Field::new("type", 4);
    pub const CLUSTER_IPS: Field = Field::many("clusterIPs", 18);
    pub const PORT_NAME: Field = Field::new("name", 1);
    pub const PORT_NUMBER: Field = Field::new("port", 3);
}

/// k8s.io/api/core/v1, Pod and below.
pub mod pod {
    use super::Field;
    pub const SPEC: Field = Field::new("spec", 2);
    pub const CONTAINERS: Field = Field::many("containers", 2);
    pub const INIT_CONTAINERS: Field = Field::many("initContainers", 20);
    pub const EPHEMERAL_CONTAINERS: Field = Field::many("ephemeralContainers", 34);
    /// EphemeralContainer has its container's fields inline in JSON, in a message of their own in protobuf.
    pub const EPHEMERAL_COMMON: Field = Field::new("", 1);
    pub const ENV: Field = Field::many("env", 7);
    pub const ENV_NAME: Field = Field::new("name", 1);
    pub const ENV_VALUE: Field = Field::new("value", 2);
    pub const ENV_VALUE_FROM: Field = Field::new("valueFrom", 3);
}

/// k8s.io/api/core/v1, ConfigMap.
pub mod config_map {
    use super::Field;
    pub const DATA: Field = Field::new("data", 2);
}

/// k8s.io/api/discovery/v1, EndpointSlice and below.
pub mod endpoint_slice {
    use super::Field;
    /// The label that names the Service whose endpoints these are.
    pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
    pub const ENDPOINTS: Field = Field::many("endpoints", 2);
    pub const PORTS: Field = Field::many("ports", 3);
    pub const ADDRESS_TYPE: Field = Field::new("addressType", 4);
    pub const ADDRESSES: Field = Field::many("addresses", 1);
    pub const CONDITIONS: Field = Field::new("conditions", 2);
    pub const READY: Field = Field::new("ready", 1);
    pub const NODE_NAME: Field = Field::new("nodeName", 6);
    pub const ZONE: Field = Field::new("zone", 7);
    pub const PORT_NAME: Field = Field::new("name", 1);
    pub const PORT_NUMBER: Field = Field::new("port", 3);
}

/// k8s.io/api/core/v1, Endpoints and below.
pub mod endpoints {
    use super::Field;
    pub const SUBSETS: Field = Field::many("subsets", 2);
    pub const ADDRESSES: Field = Field::many("addresses", 1);
    pub const NOT_READY_ADDRESSES: Field = Field::many("notReadyAddresses", 2);
    pub const NODE_NAME: Field = Field::new("nodeName", 4);
}

/// A Table (k8s.io/apimachinery/pkg/apis/meta/v1), which is only ever JSON.
pub mod table {
    use super::Field;
    pub const COLUMNS: Field = Field::many("columnDefinitions", 0);
    pub const ROWS: Field = Field::many("rows", 4);
    pub const OBJECT: Field = Field::new("object", 3);
}
