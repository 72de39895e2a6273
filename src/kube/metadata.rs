//! `PartialObjectMetadata`: an object's metadata as an object of its own.
//!
//! Receives an object in item form; promises the item that the kube-apiserver makes of it where
//! `as=PartialObjectMetadata(List)` is asked for. Built-in types have their metadata in the same bytes; custom resources
//! have theirs in the order of the alphabet, and it comes in the order of the Go type, without what that does not know.
//!
//! Source: `AsPartialObjectMetadata` of k8s.io/apimachinery/pkg/api/meta, and `ObjectMeta`.

use super::json::{self, JsonError};
use super::list::Encoding;
use super::media::{Form, Media};
use super::message::{self, MessageError};
use super::object::TypeMeta;
use super::proto::write_bytes;
use super::schema::METADATA;
use super::schema::meta::ANNOTATIONS;

/// The parameters of the form, as [`Form::As`] has them.
const OF_ONE: &str = "PartialObjectMetadata;meta.k8s.io;v1";
const OF_LIST: &str = "PartialObjectMetadataList;meta.k8s.io;v1";

const META: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];
const OWNER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
const MANAGED: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// Whether a form is this one; a list has another name for it than its items and events.
pub fn is_form(form: &str, of_list: bool) -> bool {
    form == if of_list { OF_LIST } else { OF_ONE }
}

/// The form of a list of them.
pub fn list_form() -> &'static str {
    OF_LIST
}

/// The one name of the form of a list and of its items, if it is this one.
pub fn form_of_items(form: &str) -> Option<&'static str> {
    [OF_ONE, OF_LIST].contains(&form).then_some(OF_ONE)
}

/// Metadata as it is asked for, be it of one or of many.
pub fn media(encoding: Encoding) -> Media {
    Media { encoding, form: Form::As(OF_ONE.to_owned()) }
}

pub fn types() -> TypeMeta {
    TypeMeta { api_version: "meta.k8s.io/v1".to_owned(), kind: "PartialObjectMetadata".to_owned() }
}

/// Of a list of them.
pub fn list_types() -> TypeMeta {
    let types = types();
    TypeMeta { kind: format!("{}List", types.kind), ..types }
}

/// The annotation that stands for a field which the version of these types has no more: no metadata of the object itself.
/// Source: pkg/apis/apps/v1/conversion.go of k8s.io/kubernetes.
fn added(types: &TypeMeta) -> Option<&'static str> {
    match (&*types.api_version, &*types.kind) {
        ("apps/v1", "DaemonSet") => Some("deprecated.daemonset.template.generation"),
        ("apps/v1", "Deployment") => Some("deprecated.deployment.rollback.to"),
        _ => None,
    }
}

/// The metadata of an object, or of metadata; JSON with its kind, as it stands in lists as well.
pub fn of_item(encoding: Encoding, types: &TypeMeta, item: &[u8]) -> Result<Vec<u8>, MessageError> {
    if item.starts_with(br#"{"kind":"PartialObjectMetadata","#) {
        return Ok(item.to_vec());
    }
    let metadata = message::part(encoding, item, METADATA)?.ok_or(MessageError::Shape(METADATA.json))?;
    let own = added(types).map(|key| message::remove_entry(encoding, metadata, ANNOTATIONS, key)).transpose()?.flatten();
    let metadata = own.as_deref().unwrap_or(metadata);
    Ok(match encoding {
        Encoding::Protobuf => {
            let mut out = Vec::with_capacity(metadata.len() + 4);
            write_bytes(&mut out, METADATA.proto, metadata);
            out
        }
        Encoding::Json => {
            let mut out = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#.to_vec();
            if item.starts_with(br#"{"metadata":"#) {
                out.extend_from_slice(metadata);
            } else {
                in_order(&mut out, metadata, &META)?;
            }
            out.push(b'}');
            out
        }
    })
}

/// The members of an object that have one of these names, in their order.
fn in_order(out: &mut Vec<u8>, object: &[u8], names: &[&str]) -> Result<(), JsonError> {
    let members = json::members(object).collect::<Result<Vec<_>, _>>()?;
    let mut before = b'{';
    for name in names {
        let Some(member) = members.iter().find(|member| member.is(name)) else { continue };
        out.push(before);
        json::write_string(out, name);
        out.push(b':');
        let value = &object[member.value.clone()];
        match *name {
            "ownerReferences" => each_in_order(out, value, &OWNER)?,
            "managedFields" => each_in_order(out, value, &MANAGED)?,
            _ => out.extend_from_slice(value),
        }
        before = b',';
    }
    if before == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

fn each_in_order(out: &mut Vec<u8>, array: &[u8], names: &[&str]) -> Result<(), JsonError> {
    let mut before = b'[';
    for element in json::elements(array) {
        out.push(before);
        in_order(out, &array[element?], names)?;
        before = b',';
    }
    if before == b'[' {
        out.push(b'[');
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(item: &str) -> String {
        String::from_utf8(of_item(Encoding::Json, &TypeMeta::default(), item.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_metadata_of_a_built_in_type_keeps_its_bytes() {
        let made = json(r#"{"metadata":{"uid":"u","name":"n","future":[1]},"spec":{}}"#);
        assert_eq!(
            made,
            r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"uid":"u","name":"n","future":[1]}}"#
        );
        let mut item = Vec::new();
        write_bytes(&mut item, 1, b"meta");
        let metadata = item.clone();
        write_bytes(&mut item, 2, b"spec");
        assert_eq!(of_item(Encoding::Protobuf, &TypeMeta::default(), &item).unwrap(), metadata);
    }

    #[test]
    fn that_of_a_custom_resource_comes_in_the_order_of_the_go_type() {
        let made = json(
            r#"{"apiVersion":"x.io/v1","kind":"X","metadata":{"annotations":{"b":"1","a":"2"},"managedFields":[{"apiVersion":"v","fieldsV1":{"f:a":{}},"manager":"m"}],"name":"n","other":1,"ownerReferences":[{"apiVersion":"v1","controller":true,"kind":"K","name":"o","uid":"u"}],"uid":"u"}}"#,
        );
        let metadata = r#"{"name":"n","uid":"u","annotations":{"b":"1","a":"2"},"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"u","controller":true}],"managedFields":[{"manager":"m","apiVersion":"v","fieldsV1":{"f:a":{}}}]}"#;
        assert_eq!(made, format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{metadata}}}"#));
    }

    #[test]
    fn what_a_version_of_the_api_adds_is_no_metadata() {
        let types = TypeMeta { api_version: "apps/v1".to_owned(), kind: "DaemonSet".to_owned() };
        let made = |annotations: &str| {
            let item = format!(r#"{{"metadata":{{"name":"n","annotations":{annotations}}}}}"#);
            let made = String::from_utf8(of_item(Encoding::Json, &types, item.as_bytes()).unwrap()).unwrap();
            made.split_once(r#""metadata":"#).unwrap().1.to_owned()
        };
        assert_eq!(
            made(r#"{"deprecated.daemonset.template.generation":"1","a":"b"}"#),
            r#"{"name":"n","annotations":{"a":"b"}}}"#
        );
        assert_eq!(made(r#"{"deprecated.daemonset.template.generation":"1"}"#), r#"{"name":"n"}}"#);
    }

    #[test]
    fn what_has_none_is_an_error() {
        for item in [r#"{"spec":{}}"#, "{}", "x", r#"{"metadata":[]}"#, ""] {
            assert!(of_item(Encoding::Json, &TypeMeta::default(), item.as_bytes()).is_err(), "{item}");
        }
        assert!(of_item(Encoding::Protobuf, &TypeMeta::default(), b"").is_err());
    }
}
