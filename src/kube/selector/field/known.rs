//! The fields by which the kube-apiserver selects, for each resource. Custom resources say themselves by which
//! ([`Selectable`]).
//!
//! Source: `AddFieldLabelConversionFunc` in pkg/apis and the fields sets in pkg/registry of Kubernetes 1.34.

use std::borrow::Cow;

use crate::kube::group;
use crate::kube::json;
use crate::kube::list::Encoding;
use crate::kube::message::{self, Field, MessageError};
use crate::kube::openapi::Selectable;
use crate::kube::schema::METADATA;

/// The fields of one resource.
#[derive(Debug, Clone)]
pub struct Fields {
    known: &'static [Known],
    /// A custom resource's own, as paths with dots.
    custom: Vec<String>,
    /// What is said of others, if there are none.
    unsupported: Unsupported,
}

#[derive(Debug, Clone, Copy)]
enum Unsupported {
    Default,
    Plain,
    Job,
    ResourceSlice,
    /// A custom resource may have more of them than is known here.
    Perhaps,
}

/// One field: what selectors call it, where it is, and how its value is written.
#[derive(Debug, Clone, Copy)]
struct Known {
    name: &'static str,
    path: &'static [Field],
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Bool,
    /// Where the first place is empty, the second, one field of the object itself.
    TextOr(Field),
    /// Accepted, and empty for every object.
    Nothing,
}

const fn text(name: &'static str, path: &'static [Field]) -> Known {
    Known { name, path, kind: Kind::Text }
}

const NAME: Known = text("metadata.name", &[METADATA, Field::new("name", 1)]);
const NAMESPACE: Known = text("metadata.namespace", &[METADATA, Field::new("namespace", 3)]);
const SPEC: Field = Field::new("spec", 2);
const STATUS: Field = Field::new("status", 3);
const INVOLVED: Field = Field::new("involvedObject", 2);
const REGARDING: Field = Field::new("regarding", 8);
const REPORTING_COMPONENT: Field = Field::new("reportingComponent", 14);

const PODS: &[Known] = &[
    NAME,
    NAMESPACE,
    text("spec.nodeName", &[SPEC, Field::new("nodeName", 10)]),
    text("spec.host", &[SPEC, Field::new("nodeName", 10)]),
    text("spec.restartPolicy", &[SPEC, Field::new("restartPolicy", 3)]),
    text("spec.schedulerName", &[SPEC, Field::new("schedulerName", 19)]),
    text("spec.serviceAccountName", &[SPEC, Field::new("serviceAccountName", 8)]),
    Known { name: "spec.hostNetwork", path: &[SPEC, Field::new("hostNetwork", 11)], kind: Kind::Bool },
    text("status.phase", &[STATUS, Field::new("phase", 1)]),
    text("status.podIP", &[STATUS, Field::new("podIP", 6)]),
    Known { name: "status.podIPs", path: &[], kind: Kind::Nothing },
    text("status.nominatedNodeName", &[STATUS, Field::new("nominatedNodeName", 11)]),
];
const NODES: &[Known] =
    &[NAME, Known { name: "spec.unschedulable", path: &[SPEC, Field::new("unschedulable", 4)], kind: Kind::Bool }];
/// ReplicationControllers; ReplicaSets have the field, and cannot be selected by it.
const REPLICATION_CONTROLLERS: &[Known] =
    &[NAME, NAMESPACE, Known { name: "status.replicas", path: &[STATUS, Field::new("replicas", 1)], kind: Kind::Number }];
const EVENTS: &[Known] = &[
    NAME,
    NAMESPACE,
    text("involvedObject.kind", &[INVOLVED, Field::new("kind", 1)]),
    text("involvedObject.namespace", &[INVOLVED, Field::new("namespace", 2)]),
    text("involvedObject.name", &[INVOLVED, Field::new("name", 3)]),
    text("involvedObject.uid", &[INVOLVED, Field::new("uid", 4)]),
    text("involvedObject.apiVersion", &[INVOLVED, Field::new("apiVersion", 5)]),
    text("involvedObject.resourceVersion", &[INVOLVED, Field::new("resourceVersion", 6)]),
    text("involvedObject.fieldPath", &[INVOLVED, Field::new("fieldPath", 7)]),
    text("reason", &[Field::new("reason", 3)]),
    text("reportingComponent", &[REPORTING_COMPONENT]),
    Known {
        name: "source",
        path: &[Field::new("source", 5), Field::new("component", 1)],
        kind: Kind::TextOr(REPORTING_COMPONENT),
    },
    text("type", &[Field::new("type", 9)]),
];
/// The same objects as events.k8s.io shows them.
const NEW_EVENTS: &[Known] = &[
    NAME,
    NAMESPACE,
    text("regarding.kind", &[REGARDING, Field::new("kind", 1)]),
    text("regarding.namespace", &[REGARDING, Field::new("namespace", 2)]),
    text("regarding.name", &[REGARDING, Field::new("name", 3)]),
    text("regarding.uid", &[REGARDING, Field::new("uid", 4)]),
    text("regarding.apiVersion", &[REGARDING, Field::new("apiVersion", 5)]),
    text("regarding.resourceVersion", &[REGARDING, Field::new("resourceVersion", 6)]),
    text("regarding.fieldPath", &[REGARDING, Field::new("fieldPath", 7)]),
    text("reason", &[Field::new("reason", 7)]),
    text("reportingController", &[Field::new("reportingController", 4)]),
    text("type", &[Field::new("type", 11)]),
];
const NAMESPACES: &[Known] = &[NAME, text("status.phase", &[STATUS, Field::new("phase", 1)])];
const SECRETS: &[Known] = &[NAME, NAMESPACE, text("type", &[Field::new("type", 3)])];
const SERVICES: &[Known] = &[
    NAME,
    NAMESPACE,
    text("spec.clusterIP", &[SPEC, Field::new("clusterIP", 3)]),
    text("spec.type", &[SPEC, Field::new("type", 4)]),
];
const JOBS: &[Known] =
    &[NAME, NAMESPACE, Known { name: "status.successful", path: &[STATUS, Field::new("succeeded", 5)], kind: Kind::Number }];
const SIGNING_REQUESTS: &[Known] = &[NAME, text("spec.signerName", &[SPEC, Field::new("signerName", 7)])];
const RESOURCE_SLICES: &[Known] =
    &[NAME, text("spec.nodeName", &[SPEC, Field::new("nodeName", 3)]), text("spec.driver", &[SPEC, Field::new("driver", 1)])];
const ANY: &[Known] = &[NAME, NAMESPACE];

impl Fields {
    /// Those of a resource in the version `version` of its group.
    pub fn of(group: &str, version: &str, resource: &str) -> Self {
        use Unsupported::{Default, Job, Perhaps, Plain, ResourceSlice};
        let (known, unsupported) = match (group, resource) {
            ("", "pods") => (PODS, Plain),
            ("", "nodes") => (NODES, Plain),
            ("", "replicationcontrollers") => (REPLICATION_CONTROLLERS, Plain),
            ("", "events") => (EVENTS, Plain),
            ("", "namespaces") => (NAMESPACES, Plain),
            ("", "secrets") => (SECRETS, Plain),
            ("", "services") => (SERVICES, Plain),
            ("events.k8s.io", "events") => (NEW_EVENTS, Plain),
            ("batch", "jobs") => (JOBS, Job),
            ("certificates.k8s.io", "certificatesigningrequests") => (SIGNING_REQUESTS, Plain),
            ("resource.k8s.io", "resourceslices") if version == "v1" => (RESOURCE_SLICES, ResourceSlice),
            // Not yet stable: their fields may move.
            ("certificates.k8s.io" | "resource.k8s.io" | "coordination.k8s.io", _) if version != "v1" => (ANY, Perhaps),
            (group, _) if group::is_built_in(group) => (ANY, Default),
            _ => (ANY, Perhaps),
        };
        Self { known, custom: Vec::new(), unsupported }
    }

    /// Those of a custom resource.
    pub fn custom(selectable: Selectable) -> Self {
        let known = if selectable.namespaced { ANY } else { &[NAME] };
        Self { known, custom: selectable.fields, unsupported: Unsupported::Plain }
    }

    /// Whether it may have more of them than are known here.
    pub fn may_be_more(&self) -> bool {
        matches!(self.unsupported, Unsupported::Perhaps)
    }

    fn find(&self, field: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.name == field)
    }

    /// Whether it can be told here what this field of an object is.
    pub fn knows(&self, field: &str) -> bool {
        self.find(field).is_some() || self.is_custom(field)
    }

    fn is_custom(&self, field: &str) -> bool {
        self.custom.iter().any(|custom| custom == field)
    }

    /// What the kube-apiserver says where it does not select by this field; `None`: it may well do.
    pub fn refusal(&self, field: &str) -> Option<String> {
        if self.knows(field) {
            return None;
        }
        match self.unsupported {
            Unsupported::Perhaps => None,
            Unsupported::Plain => Some(format!("field label not supported: {field}")),
            Unsupported::Job => Some(format!("field label {field:?} not supported for Job")),
            Unsupported::ResourceSlice => {
                Some(format!("field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {field}"))
            }
            Unsupported::Default => {
                Some(format!(r#"{field:?} is not a known field selector: only "metadata.name", "metadata.namespace""#))
            }
        }
    }

    /// The field of an object in item form, as selectors write it; `None` if it is not known.
    pub fn value<'a>(&self, field: &str, encoding: Encoding, item: &'a [u8]) -> Result<Option<Cow<'a, str>>, MessageError> {
        let Some(known) = self.find(field) else {
            return if self.is_custom(field) { custom(item, field).map(Some) } else { Ok(None) };
        };
        let value = match known.kind {
            Kind::Nothing => Cow::Borrowed(""),
            Kind::Text => at(encoding, item, known.path)?,
            Kind::TextOr(other) => match at(encoding, item, known.path)? {
                empty if empty.is_empty() => message::text(encoding, item, other)?,
                value => value,
            },
            Kind::Number => Cow::Owned(number(encoding, item, known.path)?.to_string()),
            Kind::Bool => Cow::Borrowed(if number(encoding, item, known.path)? == 0 { "false" } else { "true" }),
        };
        Ok(Some(value))
    }
}

/// A field of a custom resource, which is always JSON; empty if it is not there.
fn custom<'a>(item: &'a [u8], path: &str) -> Result<Cow<'a, str>, MessageError> {
    let mut value = item;
    for name in path.split('.') {
        let mut found = None;
        for member in json::members(value) {
            let member = member?;
            if member.is(name) {
                found = value.get(member.value.clone());
            }
        }
        match found.filter(|found| *found != b"null") {
            Some(found) => value = found,
            None => return Ok(Cow::Borrowed("")),
        }
    }
    Ok(json::string_value(value).unwrap_or_else(|| String::from_utf8_lossy(value)))
}

/// The message that a path's last field stands in.
fn message_of<'a>(encoding: Encoding, item: &'a [u8], path: &[Field]) -> Result<Option<(&'a [u8], Field)>, MessageError> {
    let Some((last, outer)) = path.split_last() else { return Ok(None) };
    let mut inner = item;
    for field in outer {
        match message::part(encoding, inner, *field)? {
            Some(part) => inner = part,
            None => return Ok(None),
        }
    }
    Ok(Some((inner, *last)))
}

fn at<'a>(encoding: Encoding, item: &'a [u8], path: &[Field]) -> Result<Cow<'a, str>, MessageError> {
    match message_of(encoding, item, path)? {
        Some((message, field)) => message::text(encoding, message, field),
        None => Ok(Cow::Borrowed("")),
    }
}

fn number(encoding: Encoding, item: &[u8], path: &[Field]) -> Result<i64, MessageError> {
    match message_of(encoding, item, path)? {
        Some((message, field)) => message::number(encoding, message, field),
        None => Ok(0),
    }
}
