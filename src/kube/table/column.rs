//! What a Table says of its columns.

use crate::kube::json;

pub(super) const NAME_IS: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
pub(super) const CREATED_IS: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

pub(super) const NAME: Column = text("Name", NAME_IS).name();
pub(super) const AGE: Column = text("Age", CREATED_IS);
pub(super) const CONTAINERS: Column = text("Containers", "Names of each container in the template.").wide();
pub(super) const IMAGES: Column = text("Images", "Images referenced by each container in the template.").wide();

#[derive(Debug, Clone, Copy)]
pub(super) struct Column<T = &'static str> {
    pub name: T,
    pub kind: T,
    pub format: T,
    pub description: T,
    /// Above 0: for those who want more.
    pub priority: i64,
}

pub(super) const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

pub(super) const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { kind: "integer", ..text(name, description) }
}

pub(super) const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { kind: "boolean", ..text(name, description) }
}

impl Column {
    pub(super) const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }

    pub(super) const fn name(self) -> Self {
        Self { format: "name", ..self }
    }
}

impl<T: AsRef<str>> Column<T> {
    fn write(&self, out: &mut Vec<u8>) {
        let texts = [("{\"name\":", &self.name), (",\"type\":", &self.kind), (",\"format\":", &self.format)];
        for (before, text) in texts.into_iter().chain([(",\"description\":", &self.description)]) {
            out.extend_from_slice(before.as_bytes());
            json::write_string(out, text.as_ref());
        }
        out.extend_from_slice(format!(",\"priority\":{}}}", self.priority).as_bytes());
    }
}

/// `columnDefinitions`.
pub(super) fn definitions<T: AsRef<str>>(columns: &[Column<T>]) -> Vec<u8> {
    let mut out = Vec::new();
    for column in columns {
        out.push(if out.is_empty() { b'[' } else { b',' });
        column.write(&mut out);
    }
    out.push(b']');
    out
}
