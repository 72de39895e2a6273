//! How rows are named. docs/store-format.md has the same table.
//!
//! Parts are separated by NUL, which occurs in no Kubernetes name; the first byte is
//! the kind of row. Items of a collection sort as etcd sorts them
//! (`namespace/name`), so a list comes back in the cloud's order.

pub const VERSION: &[u8] = b"v";
pub const HISTORY: &[u8] = b"h";
pub const ONLINE: &[u8] = b"u";
pub const CLUSTER: &[u8] = b"n";
pub const TRAIL: &[u8] = b"l";
pub const COLLECTION: u8 = b'c';
pub const ITEM: u8 = b'i';
pub const OBJECT: u8 = b'o';
pub const DOCUMENT: u8 = b'd';
pub const GRANT: u8 = b'g';
pub const TOKEN: u8 = b't';
pub const ISSUED: u8 = b'k';
pub const JOURNAL: u8 = b'e';
pub const AGENT: u8 = b'a';
pub const WRITTEN: u8 = b'w';
pub const HEARD: u8 = b'b';

/// A key of the given kind from its parts.
pub fn key(kind: u8, parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| 1 + part.len()).sum::<usize>());
    key.push(kind);
    for part in parts {
        key.push(0);
        key.extend_from_slice(part.as_bytes());
    }
    key
}

/// A key of the given kind from raw bytes.
pub fn raw(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

/// The prefix of all items of one collection.
pub fn items(id: u64) -> Vec<u8> {
    raw(ITEM, &id.to_be_bytes())
}

/// One item: `namespace/name`, or `name` alone.
pub fn item(id: u64, namespace: &str, name: &str) -> Vec<u8> {
    let mut key = items(id);
    if !namespace.is_empty() {
        key.extend_from_slice(namespace.as_bytes());
        key.push(b'/');
    }
    key.extend_from_slice(name.as_bytes());
    key
}

/// The collection's id in an item's key.
pub fn item_id(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?))
}

/// What an item's key says beside the collection's id.
pub fn place(key: &[u8]) -> &[u8] {
    key.get(9..).unwrap_or_default()
}

/// Whether a document's key is of discovery: only there a NUL stands between path and type.
pub fn is_discovery(key: &[u8]) -> bool {
    key.get(2..).is_some_and(|name| name.contains(&0))
}

/// The path of a document of discovery.
pub fn document_path(key: &[u8]) -> Option<&str> {
    let name = key.get(2..).filter(|_| is_discovery(key))?;
    std::str::from_utf8(name.split(|byte| *byte == 0).next()?).ok()
}

/// Whether the key of an object says that it is protobuf.
pub fn is_protobuf(key: &[u8]) -> bool {
    key.split(|byte| *byte == 0).nth(6) == Some(b"protobuf")
}

/// A key for logs.
pub fn printable(key: &[u8]) -> String {
    key.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '|' }).collect()
}

/// What kubelet needs whole, whichever Pods there are.
pub const KUBELETS: [&str; 3] = ["pods", "nodes", "services"];

/// Whether the key of an object is of such a resource.
pub fn is_of_many(key: &[u8]) -> bool {
    let resource = key.split(|byte| *byte == 0).nth(3).unwrap_or_default();
    KUBELETS.iter().any(|of_many| of_many.as_bytes() == resource)
}
