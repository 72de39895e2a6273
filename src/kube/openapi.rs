//! What the documents of `/openapi/v3` say of custom resources beyond their schema.
//!
//! Pure. Source: `buildSelectableFields` in pkg/controller/openapi/builder of k8s.io/apiextensions-apiserver.

use std::collections::HashMap;

use serde::Deserialize;

/// By what custom resources of one kind are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectable {
    pub namespaced: bool,
    /// `selectableFields` of the CustomResourceDefinition, without the first dot.
    pub fields: Vec<String>,
}

#[derive(Deserialize)]
struct Document {
    paths: HashMap<String, PathItem>,
    #[serde(default)]
    components: Components,
}

#[derive(Deserialize)]
struct PathItem {
    get: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kind: Option<Kind>,
}

#[derive(Default, Deserialize)]
struct Components {
    schemas: HashMap<String, Schema>,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(rename = "x-kubernetes-group-version-kind", default)]
    kinds: Vec<Kind>,
    #[serde(rename = "x-kubernetes-selectable-fields", default)]
    fields: Vec<FieldPath>,
}

#[derive(PartialEq, Deserialize)]
struct Kind {
    group: String,
    version: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FieldPath {
    field_path: String,
}

/// Of the resource of that plural name in the document of its group and version; `None`: it does not say.
pub fn selectable(document: &[u8], group: &str, version: &str, resource: &str) -> Option<Selectable> {
    let document: Document = serde_json::from_slice(document).ok()?;
    let place = |scope: &str| document.paths.get(&format!("/apis/{group}/{version}/{scope}{resource}"));
    let (namespaced, path) = match place("namespaces/{namespace}/") {
        Some(path) => (true, path),
        None => (false, place("")?),
    };
    let kind = path.get.as_ref()?.kind.as_ref()?;
    let schema = document.components.schemas.into_values().find(|schema| schema.kinds.contains(kind))?;
    Some(Selectable { namespaced, fields: schema.fields.into_iter().map(|field| field.field_path).collect() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_fields_of_a_custom_resource() {
        let kind = |kind: &str| json!({"group": "x.io", "version": "v1", "kind": kind});
        let document = json!({
            "openapi": "3.0.0",
            "paths": {
                "/apis/x.io/v1/": {"get": {}},
                "/apis/x.io/v1/namespaces/{namespace}/shirts": {"get": {"x-kubernetes-group-version-kind": kind("Shirt")}, "parameters": []},
                "/apis/x.io/v1/shirts": {"get": {"x-kubernetes-group-version-kind": kind("Shirt")}},
                "/apis/x.io/v1/drawers": {"get": {"x-kubernetes-group-version-kind": kind("Drawer")}},
            },
            "components": {"schemas": {
                "io.x.v1.Shirt": {"type": "object", "x-kubernetes-group-version-kind": [kind("Shirt")],
                    "x-kubernetes-selectable-fields": [{"fieldPath": "spec.color"}, {"fieldPath": "spec.size"}]},
                "io.x.v1.Drawer": {"x-kubernetes-group-version-kind": [kind("Drawer")]},
                "other": {"type": "string"},
            }},
        })
        .to_string();
        let of = |resource| selectable(document.as_bytes(), "x.io", "v1", resource);
        let shirts = Selectable { namespaced: true, fields: vec!["spec.color".into(), "spec.size".into()] };
        assert_eq!(of("shirts"), Some(shirts));
        assert_eq!(of("drawers"), Some(Selectable { namespaced: false, fields: Vec::new() }));
        assert_eq!(of("socks"), None);
        assert_eq!(selectable(b"no document", "x.io", "v1", "shirts"), None);
    }
}
