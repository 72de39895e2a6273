//! The types of what is written on this node.

use super::Kind::{Flag, Json, Long, Many, Map, MicroTime, Number, One, Text, Texts, Time};
use super::Shown::{Always, NotEmpty, Set};
use super::{Kind, Member, Shown, Type};

const fn field(name: &'static str, number: u32, kind: Kind, shown: Shown) -> Member {
    Member { key: name, json: name, number, kind, shown }
}

/// One that another API calls `key`.
const fn alias(key: &'static str, json: &'static str, number: u32, kind: Kind, shown: Shown) -> Member {
    Member { key, json, number, kind, shown }
}

/// k8s.io/apimachinery/pkg/apis/meta/v1, ObjectMeta.
const METADATA: Type = &[
    field("name", 1, Text, NotEmpty),
    field("generateName", 2, Text, NotEmpty),
    field("namespace", 3, Text, NotEmpty),
    field("selfLink", 4, Text, NotEmpty),
    field("uid", 5, Text, NotEmpty),
    field("resourceVersion", 6, Text, NotEmpty),
    field("generation", 7, Long, NotEmpty),
    field("creationTimestamp", 8, Time, NotEmpty),
    field("deletionTimestamp", 9, Time, Set),
    field("deletionGracePeriodSeconds", 10, Long, Set),
    field("labels", 11, Map, NotEmpty),
    field("annotations", 12, Map, NotEmpty),
    field("ownerReferences", 13, Many(OWNER), NotEmpty),
    field("finalizers", 14, Texts, NotEmpty),
    field("managedFields", 17, Many(MANAGED), NotEmpty),
];

const OWNER: Type = &[
    field("apiVersion", 5, Text, Always),
    field("kind", 1, Text, Always),
    field("name", 3, Text, Always),
    field("uid", 4, Text, Always),
    field("controller", 6, Flag, Set),
    field("blockOwnerDeletion", 7, Flag, Set),
];

const MANAGED: Type = &[
    field("manager", 1, Text, NotEmpty),
    field("operation", 2, Text, NotEmpty),
    field("apiVersion", 3, Text, NotEmpty),
    field("time", 4, Time, Set),
    field("fieldsType", 6, Text, NotEmpty),
    field("fieldsV1", 7, Json, Set),
    field("subresource", 8, Text, NotEmpty),
];

/// k8s.io/api/core/v1, ObjectReference.
const REFERENCE: Type = &[
    field("kind", 1, Text, NotEmpty),
    field("namespace", 2, Text, NotEmpty),
    field("name", 3, Text, NotEmpty),
    field("uid", 4, Text, NotEmpty),
    field("apiVersion", 5, Text, NotEmpty),
    field("resourceVersion", 6, Text, NotEmpty),
    field("fieldPath", 7, Text, NotEmpty),
];

const SOURCE: Type = &[field("component", 1, Text, NotEmpty), field("host", 2, Text, NotEmpty)];

/// k8s.io/api/core/v1, Event.
const EVENT: Type = &[
    field("metadata", 1, One(METADATA), Always),
    field("involvedObject", 2, One(REFERENCE), Always),
    field("reason", 3, Text, NotEmpty),
    field("message", 4, Text, NotEmpty),
    field("source", 5, One(SOURCE), Always),
    field("firstTimestamp", 6, Time, Always),
    field("lastTimestamp", 7, Time, Always),
    field("count", 8, Number, NotEmpty),
    field("type", 9, Text, NotEmpty),
    field("eventTime", 10, MicroTime, Always),
    field("series", 11, One(SERIES), Set),
    field("action", 12, Text, NotEmpty),
    field("related", 13, One(REFERENCE), Set),
    field("reportingComponent", 14, Text, Always),
    field("reportingInstance", 15, Text, Always),
];

const SERIES: Type = &[field("count", 1, Number, NotEmpty), field("lastObservedTime", 2, MicroTime, Always)];

/// k8s.io/api/events/v1, Event: the same object. Source: pkg/apis/events/v1/conversion.go of k8s.io/kubernetes.
const NEW_EVENT: Type = &[
    field("metadata", 1, One(METADATA), Always),
    field("eventTime", 2, MicroTime, Always),
    field("series", 3, One(NEW_SERIES), Set),
    alias("reportingComponent", "reportingController", 4, Text, NotEmpty),
    field("reportingInstance", 5, Text, NotEmpty),
    field("action", 6, Text, NotEmpty),
    field("reason", 7, Text, NotEmpty),
    alias("involvedObject", "regarding", 8, One(REFERENCE), Always),
    field("related", 9, One(REFERENCE), Set),
    alias("message", "note", 10, Text, NotEmpty),
    field("type", 11, Text, NotEmpty),
    alias("source", "deprecatedSource", 12, One(SOURCE), Always),
    alias("firstTimestamp", "deprecatedFirstTimestamp", 13, Time, Always),
    alias("lastTimestamp", "deprecatedLastTimestamp", 14, Time, Always),
    alias("count", "deprecatedCount", 15, Number, NotEmpty),
];

const NEW_SERIES: Type = &[field("count", 1, Number, Always), field("lastObservedTime", 2, MicroTime, Always)];

/// k8s.io/api/coordination/v1, Lease.
const LEASE: Type = &[field("metadata", 1, One(METADATA), Always), field("spec", 2, One(LEASE_SPEC), Always)];

const LEASE_SPEC: Type = &[
    field("holderIdentity", 1, Text, Set),
    field("leaseDurationSeconds", 2, Number, Set),
    field("acquireTime", 3, MicroTime, Set),
    field("renewTime", 4, MicroTime, Set),
    field("leaseTransitions", 5, Number, Set),
    field("strategy", 6, Text, Set),
    field("preferredHolder", 7, Text, Set),
];

pub(super) fn of(group: &str, resource: &str) -> Option<Type> {
    match (group, resource) {
        ("", "events") => Some(EVENT),
        ("events.k8s.io", "events") => Some(NEW_EVENT),
        ("coordination.k8s.io", "leases") => Some(LEASE),
        _ => None,
    }
}
