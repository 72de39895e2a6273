//! Documents: discovery, tables; bodies that are answered as they were.
//!
//! What came compressed is kept so: descriptions of the API are megabytes, and a tenth of that in gzip. Its ETag is held in
//! memory, for who only asks whether a document has changed does not need to read it.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};

use super::object::split;
use super::{Knowledge, Op, StoreError, keys};

/// A body that is answered as it was, with its content type.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Document {
    pub content_type: String,
    pub etag: String,
    pub at: u64,
    /// The body is compressed, as it came.
    #[serde(default)]
    pub gzip: bool,
    #[serde(skip)]
    pub body: Vec<u8>,
}

/// ETags by row, each with the epoch of the writer in which it was true: a write that fails may take a document with it.
#[derive(Default)]
pub(super) struct Etags(Mutex<HashMap<Vec<u8>, (u64, String)>>);

impl Etags {
    fn lock(&self) -> MutexGuard<'_, HashMap<Vec<u8>, (u64, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Document {
    /// The body as it is without compression; fails if it is larger than `limit` bytes or no gzip.
    fn into_plain(mut self, limit: usize) -> std::io::Result<Self> {
        if std::mem::take(&mut self.gzip) {
            let mut plain = Vec::new();
            unpack(&self.body, limit, |part| plain.extend_from_slice(part))?;
            self.body = plain;
        }
        Ok(self)
    }
}

/// Hands out what a whole gzip body of at most `limit` plain bytes is made of, in parts.
pub(super) fn unpack(packed: &[u8], limit: usize, mut each: impl FnMut(&[u8])) -> std::io::Result<()> {
    let (mut decoder, mut part, mut left) = (GzDecoder::new(packed), vec![0; 16 * 1024], limit);
    loop {
        let some = decoder.read(&mut part)?;
        left = left.checked_sub(some).ok_or_else(|| std::io::Error::other("too large"))?;
        match some {
            0 if decoder.get_ref().is_empty() => return Ok(()),
            0 => return Err(std::io::Error::other("more than one gzip")),
            some => each(&part[..some]),
        }
    }
}

impl Knowledge {
    /// What follows in the names of documents that begin with `name` and a NUL.
    pub fn documents(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let prefix = keys::key(keys::DOCUMENT, &[name, ""]);
        let mut found = Vec::new();
        self.snapshot()?.scan(&prefix, &mut |key, _| {
            found.push(String::from_utf8_lossy(&key[prefix.len()..]).into_owned());
            true
        })?;
        Ok(found)
    }

    /// The names of the documents that were answered at a path, with whatever parameters; of discovery there are others.
    pub fn documents_at(&self, path: &str) -> Result<Vec<String>, StoreError> {
        let (key, start) = (keys::key(keys::DOCUMENT, &[path]), keys::key(keys::DOCUMENT, &[""]).len());
        let mut found = Vec::new();
        self.snapshot()?.scan(&key, &mut |name, _| {
            if matches!(name.get(key.len()), Some(b'?' | b' ')) {
                found.push(String::from_utf8_lossy(&name[start..]).into_owned());
            }
            true
        })?;
        Ok(found)
    }

    /// A document without compression.
    pub fn document(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let plain = |document: Document| {
            let unreadable = |error| StoreError::Backend(format!("document {name:?}: {error}"));
            document.into_plain(self.limits.max_document).map_err(unreadable)
        };
        self.document_as_kept(name)?.map(plain).transpose()
    }

    /// A document, compressed if it came so.
    pub fn document_as_kept(&self, name: &str) -> Result<Option<Document>, StoreError> {
        let key = keys::key(keys::DOCUMENT, &[name]);
        let Some(row) = self.snapshot()?.read(&key)? else { return Ok(None) };
        let opened = self.sealer().open_row(&key, row).and_then(|mut row| {
            let document: Document = split(&key, &mut row)?;
            Ok(Document { body: row, ..document })
        });
        opened.inspect_err(|error| self.give_up_document(key, error)).map(Some)
    }

    /// A damaged document is taken out, and is to be fetched again.
    fn give_up_document(&self, key: Vec<u8>, error: &StoreError) {
        tracing::error!(%error, "a damaged document is taken out of the store");
        self.metrics().damaged_records.inc();
        self.forget_document(&key);
        self.remove(key);
    }

    /// What takes its place is written, be it the same.
    fn forget_document(&self, key: &[u8]) {
        self.etags.lock().remove(key);
        self.repeats.forget(key);
    }

    /// The object at this path was deleted: what was answered there is so no more.
    pub fn forget_copies(&self, path: &str) {
        for name in self.documents_at(path).unwrap_or_default() {
            let key = keys::key(keys::DOCUMENT, &[&name]);
            self.forget_document(&key);
            self.delete(key, true);
        }
    }

    /// Drops the documents of discovery at paths of which `is_there` says no.
    pub async fn keep_documents(&self, is_there: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let mut gone = Vec::new();
        self.snapshot()?.scan(&[keys::DOCUMENT], &mut |key, _| {
            if keys::document_path(key).is_some_and(|path| !is_there(path)) {
                gone.push(key.to_vec());
            }
            true
        })?;
        gone.iter().for_each(|key| self.forget_document(key));
        self.drop_rows(gone.into_iter().map(Op::Delete).collect()).await
    }

    /// The ETag of a document of discovery that is known; empty if it has none.
    pub fn etag(&self, name: &str) -> Option<String> {
        let (key, epoch) = (keys::key(keys::DOCUMENT, &[name]), self.writer().epoch());
        if let Some((_, etag)) = self.etags.lock().get(&key).filter(|(known, _)| *known == epoch) {
            return Some(etag.clone());
        }
        let etag = self.document_as_kept(name).ok()??.etag;
        self.note_etag(key, epoch, &etag);
        Some(etag)
    }

    /// Of others nobody asks.
    pub(super) fn note_etag(&self, key: Vec<u8>, epoch: u64, etag: &str) {
        if keys::is_discovery(&key) {
            self.etags.lock().insert(key, (epoch, etag.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::store::record::Subject;
    use crate::store::tests::open;
    use crate::store::{Memory, Op, Store};

    const NAME: &str = "/openapi/v2\0application/json";

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    async fn remember(knowledge: &Arc<Knowledge>, etag: &str, body: &[u8], gzip: bool) {
        let head = Document { content_type: "application/json".into(), etag: etag.into(), ..Document::default() };
        let mut recording = knowledge.record(Subject::Document { name: NAME.into(), head }, gzip);
        body.chunks(1000).for_each(|part| recording.push(&Bytes::copy_from_slice(part)));
        recording.finish();
        knowledge.catch_up().await.unwrap();
    }

    #[tokio::test]
    async fn what_came_compressed_is_kept_so_if_it_is_whole() {
        let knowledge = open(Arc::new(Memory::default()));
        let plain = "text ".repeat(100_000).into_bytes();
        let body = packed(&plain);
        remember(&knowledge, "1", &body, true).await;
        let kept = knowledge.document_as_kept(NAME).unwrap().unwrap();
        assert!(kept.gzip && kept.body == body);
        assert!(knowledge.document(NAME).unwrap().unwrap().body == plain);
        let too_large = packed(&vec![0; 9 << 20]);
        for bad in [&body[..body.len() - 1], &body[..20], &plain, &[&*body, b"x"].concat(), &too_large] {
            remember(&knowledge, "2", bad, true).await;
            assert_eq!(knowledge.document(NAME).unwrap().unwrap().etag, "1", "what was known stays");
            assert_eq!(knowledge.etag(NAME).unwrap(), "1");
        }
        remember(&knowledge, "3", &plain, false).await;
        assert!(knowledge.document_as_kept(NAME).unwrap().unwrap().body == plain);
    }

    #[tokio::test]
    async fn an_etag_is_the_documents_and_of_one_that_is_damaged_there_is_none() {
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let knowledge = open(store.clone());
        assert_eq!(knowledge.etag(NAME), None);
        for etag in ["1", "2"] {
            remember(&knowledge, etag, etag.as_bytes(), false).await;
            assert_eq!(knowledge.etag(NAME).as_deref(), Some(etag));
        }
        let again = open(store.clone());
        assert_eq!(again.etag(NAME).as_deref(), Some("2"), "after a restart");
        store.apply(&[Op::Put(keys::key(keys::DOCUMENT, &[NAME]), b"damaged".to_vec())], true).unwrap();
        knowledge.document(NAME).unwrap_err();
        knowledge.flush().await.unwrap();
        assert_eq!(knowledge.etag(NAME), None, "it is fetched again");
        assert!(knowledge.document(NAME).unwrap().is_none(), "it is taken out");
        assert!(knowledge.documents("/openapi/v2").unwrap().is_empty());
        assert_eq!(knowledge.metrics().damaged_records.get(), 1, "and it is said, once");
    }

    #[tokio::test]
    async fn documents_of_paths_that_are_gone_go_in_all_representations() {
        let knowledge = open(Arc::new(Memory::default()));
        let tables = "/apis/old.io/v1/things JSON as Table";
        for name in ["/apis/old.io/v1\0application/json", "/apis/old.io/v1\0application/yaml", NAME, tables] {
            let subject = Subject::Document { name: name.into(), head: Document { etag: "1".into(), ..Document::default() } };
            let mut recording = knowledge.record(subject, false);
            recording.push(&Bytes::from_static(b"{}"));
            recording.finish();
        }
        knowledge.catch_up().await.unwrap();
        knowledge.keep_documents(|path| path == "/openapi/v2").await.unwrap();
        knowledge.flush().await.unwrap();
        assert!(knowledge.documents("/apis/old.io/v1").unwrap().is_empty());
        assert_eq!(knowledge.etag("/apis/old.io/v1\0application/json"), None);
        assert!(knowledge.document(NAME).unwrap().is_some() && knowledge.document(tables).unwrap().is_some());
    }
}
