//! What is read of an object that filters go by, whatever it is: a Node, a Service, a NodePool, a NodeBucket.
//!
//! Promises to read every object. A part that is not of its type is unreadable by itself: neither its object nor the list
//! or watch that the object stands in fails with it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::kube::Resource;
use ::kube::api::ObjectMeta;
use ::kube::core::{ApiResource, DynamicResourceScope};
use serde::Deserialize;
use serde_json::Value;

use crate::state::inputs::ServiceName;

pub(super) type Texts = BTreeMap<String, String>;

/// Each part is `None` if it cannot be read, and empty if it is not there.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Found {
    /// What it is known by: `namespace`, `name` and `resourceVersion`, as far as they can be read; nothing else.
    metadata: ObjectMeta,
    pub labels: Option<Texts>,
    pub annotations: Option<Texts>,
    /// `spec.type` of a Service.
    pub service_type: Option<String>,
    /// The Nodes that a NodePool (`status.nodes`) or a NodeBucket (`nodes[].name`) names.
    pub nodes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Found {
    pub(super) fn name(&self) -> String {
        self.metadata.name.clone().unwrap_or_default()
    }

    /// Namespace and name.
    pub(super) fn full_name(&self) -> ServiceName {
        (self.metadata.namespace.clone().unwrap_or_default(), self.name())
    }
}

impl From<Value> for Found {
    fn from(object: Value) -> Self {
        let metadata = ObjectMeta {
            namespace: read(&object, &["metadata", "namespace"]),
            name: read(&object, &["metadata", "name"]),
            resource_version: read(&object, &["metadata", "resourceVersion"]),
            ..ObjectMeta::default()
        };
        let of_pool: Option<Vec<String>> = read(&object, &["status", "nodes"]);
        let of_bucket: Option<Vec<Named>> = read(&object, &["nodes"]);
        let nodes = of_pool.zip(of_bucket).map(|(mut names, nodes)| {
            names.extend(nodes.into_iter().map(|node| node.name));
            names
        });
        Self {
            metadata,
            labels: read(&object, &["metadata", "labels"]),
            annotations: read(&object, &["metadata", "annotations"]),
            service_type: read(&object, &["spec", "type"]),
            nodes,
        }
    }
}

/// What stands at a path. `None`: it is not a `T`, or something on the way to it is no object.
fn read<'a, T: Deserialize<'a> + Default>(object: &'a Value, path: &[&str]) -> Option<T> {
    let mut at = object;
    for name in path {
        match at {
            Value::Object(members) => at = members.get(*name).unwrap_or(&Value::Null),
            Value::Null => break,
            _ => return None,
        }
    }
    Option::deserialize(at).ok().map(Option::unwrap_or_default)
}

impl Resource for Found {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_of_its_type_is_unreadable_and_the_rest_is_read() {
        let read = |object: Value| serde_json::from_value::<Found>(object).unwrap();
        let parts = |found: &Found| {
            [found.labels.is_some(), found.annotations.is_some(), found.service_type.is_some(), found.nodes.is_some()]
        };
        for (object, readable) in [
            (json!({}), [true; 4]),
            (json!({"metadata": {"labels": null}, "spec": null, "status": {}}), [true; 4]),
            (json!({"metadata": {"labels": {"a": 1}, "annotations": {"a": "b"}}}), [false, true, true, true]),
            (json!({"metadata": {"annotations": []}, "spec": 1}), [true, false, false, true]),
            (json!({"metadata": "none", "status": {"nodes": "n"}}), [false, false, true, false]),
            (json!({"nodes": [{"name": "n"}, {}]}), [true, true, true, false]),
            (json!([1]), [false; 4]),
        ] {
            assert_eq!(parts(&read(object.clone())), readable, "{object}");
        }
        let bent = read(json!({"metadata": {"namespace": "a", "name": "b", "labels": 7}, "spec": {"type": "NodePort"}}));
        assert_eq!((bent.full_name(), bent.service_type.unwrap()), (("a".to_owned(), "b".to_owned()), "NodePort".to_owned()));
        let pool = read(json!({"status": {"nodes": ["n1"]}}));
        let bucket = read(json!({"nodes": [{"name": "n1"}]}));
        assert_eq!((pool.nodes, bucket.nodes), (Some(vec!["n1".to_owned()]), Some(vec!["n1".to_owned()])));
    }
}
