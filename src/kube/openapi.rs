//! What the documents of `/openapi/v3` say of custom resources beyond their schema.
//!
//! Of the documents only those of CustomResourceDefinitions say by which fields objects are selected, and only these are
//! asked: what a built-in API or one of another API server does not say, it may do all the same.
//!
//! Pure. Source: `buildSelectableFields`, `buildListSchema` and `getOpenAPIConfig` in pkg/controller/openapi/builder of k8s.io/apiextensions-apiserver.

use std::collections::HashMap;

use serde::Deserialize;

/// By what custom resources of one kind are selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectable {
    pub namespaced: bool,
    /// `selectableFields` of the CustomResourceDefinition, without the first dot.
    pub fields: Vec<String>,
}

/// How the kube-apiserver calls what it has made of CustomResourceDefinitions.
const OF_DEFINITIONS: &str = "Kubernetes CRD Swagger";

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    info: Info,
    paths: HashMap<String, PathItem>,
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    title: String,
}

#[derive(Deserialize)]
struct PathItem {
    get: Option<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kind: Option<Kind>,
    /// By status code.
    #[serde(default)]
    responses: HashMap<String, Answer>,
}

#[derive(Deserialize)]
struct Answer {
    /// By media type.
    #[serde(default)]
    content: HashMap<String, Content>,
}

#[derive(Deserialize)]
struct Content {
    schema: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "$ref", default)]
    to: String,
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

impl Document {
    /// How the resource of that plural name is listed, and whether it is in namespaces.
    fn list(&self, group: &str, version: &str, resource: &str) -> Option<(bool, &Operation)> {
        let place = |scope: &str| self.paths.get(&format!("/apis/{group}/{version}/{scope}{resource}"));
        let (namespaced, path) = match place("namespaces/{namespace}/") {
            Some(path) => (true, path),
            None => (false, place("")?),
        };
        Some((namespaced, path.get.as_ref()?))
    }
}

/// What the lists of a resource and the objects in them are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds {
    pub list: String,
    pub item: String,
}

/// Of the resource of that plural name in the document of its group and version; `None`: it does not say.
pub fn kinds(document: &[u8], group: &str, version: &str, resource: &str) -> Option<Kinds> {
    let document: Document = serde_json::from_slice(document).ok()?;
    let (_, operation) = document.list(group, version, resource)?;
    let answer = operation.responses.get("200")?.content.get("application/json")?;
    let schema = document.components.schemas.get(answer.schema.as_ref()?.to.strip_prefix("#/components/schemas/")?)?;
    Some(Kinds { list: schema.kinds.first()?.kind.clone(), item: operation.kind.as_ref()?.kind.clone() })
}

/// Of the custom resource of that plural name in the document of its group and version; `None`: it does not say.
pub fn selectable(document: &[u8], group: &str, version: &str, resource: &str) -> Option<Selectable> {
    let document: Document = serde_json::from_slice(document).ok()?;
    if document.info.title != OF_DEFINITIONS {
        return None;
    }
    let (namespaced, operation) = document.list(group, version, resource)?;
    let kind = operation.kind.as_ref()?;
    let schema = document.components.schemas.values().find(|schema| schema.kinds.contains(kind))?;
    Some(Selectable { namespaced, fields: schema.fields.iter().map(|field| field.field_path.clone()).collect() })
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
            "info": {"title": OF_DEFINITIONS, "version": "v0.1.0"},
            "paths": {
                "/apis/x.io/v1/": {"get": {}},
                "/apis/x.io/v1/namespaces/{namespace}/shirts": {"get": {"x-kubernetes-group-version-kind": kind("Shirt")}, "parameters": []},
                "/apis/x.io/v1/shirts": {"get": {"x-kubernetes-group-version-kind": kind("Shirt")}},
                "/apis/x.io/v1/drawers": {"get": {"x-kubernetes-group-version-kind": kind("Drawer"), "responses": {"200": {
                    "description": "OK",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/io.x.v1.DrawerList"}}},
                }}}},
            },
            "components": {"schemas": {
                "io.x.v1.Shirt": {"type": "object", "x-kubernetes-group-version-kind": [kind("Shirt")],
                    "x-kubernetes-selectable-fields": [{"fieldPath": "spec.color"}, {"fieldPath": "spec.size"}]},
                "io.x.v1.Drawer": {"x-kubernetes-group-version-kind": [kind("Drawer")]},
                "io.x.v1.DrawerList": {"x-kubernetes-group-version-kind": [kind("Chest")]},
                "other": {"type": "string"},
            }},
        })
        .to_string();
        let of = |resource| selectable(document.as_bytes(), "x.io", "v1", resource);
        let shirts = Selectable { namespaced: true, fields: vec!["spec.color".into(), "spec.size".into()] };
        assert_eq!(of("shirts"), Some(shirts));
        assert_eq!(of("drawers"), Some(Selectable { namespaced: false, fields: Vec::new() }));
        assert_eq!(of("socks"), None);
        let kinds = |resource| kinds(document.as_bytes(), "x.io", "v1", resource);
        assert_eq!(kinds("drawers"), Some(Kinds { list: "Chest".into(), item: "Drawer".into() }));
        assert_eq!((kinds("shirts"), kinds("socks")), (None, None));
        let others = document.replace(OF_DEFINITIONS, "Kubernetes");
        assert_eq!(selectable(others.as_bytes(), "x.io", "v1", "shirts"), None, "who says nothing may select by anything");
        assert_eq!(selectable(b"no document", "x.io", "v1", "shirts"), None);
    }
}
