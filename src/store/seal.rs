//! Every row is sealed with AES-256-GCM under a key of the node, bound to its own key:
//! a damaged, foreign or moved row is noticed, and a Secret on a stolen disk stays one.
//!
//! Items of collections, which are most of a store, are packed before (LZ4): they take a half to a fifth of the room and of the
//! writes, and less of the processor than that room would.
//!
//! The key is `$CREDENTIALS_DIRECTORY/holdfast-store-key` (systemd's LoadCredential) or
//! a file of 32 bytes, mode 0600, made when it is missing.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use lz4_flex::block::{compress_into, decompress, get_maximum_output_size};

use super::{StoreError, keys};

#[derive(Clone)]
pub struct Sealer {
    key: Arc<RandomizedNonceKey>,
}

const KEY_LEN: usize = 32;
/// What a packed item begins with, as no JSON and no protobuf does; behind it how long it was, in 4 bytes.
const PACKED: u8 = 0;
const PACKED_HEAD: usize = 5;
/// Bytes of an item that is not worth it.
const SHORT: usize = 128;

impl Sealer {
    pub fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).expect("32 bytes are an AES-256 key");
        Self { key: Arc::new(key) }
    }

    /// Reads the node's key, or makes it at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|folder| PathBuf::from(folder).join("holdfast-store-key"))
            .filter(|path| path.exists())
            .unwrap_or_else(|| path.to_owned());
        let failed = |why: String| StoreError::File { path: path.display().to_string(), why };
        let key = match std::fs::read(&path) {
            Ok(key) => key,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                create(&path).map_err(|error| failed(error.to_string()))?
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let key: [u8; KEY_LEN] = key
            .try_into()
            .map_err(|key: Vec<u8>| failed(format!("a store key has {KEY_LEN} bytes, this file has {}", key.len())))?;
        Ok(Self::new(&key))
    }

    /// Nonce, ciphertext and tag of `value`, bound to the row's `key`.
    pub fn seal(&self, key: &[u8], value: &[u8]) -> Vec<u8> {
        let packed = if is_item(key) { pack(value) } else { None };
        let value = packed.as_deref().unwrap_or(value);
        let mut sealed = Vec::with_capacity(value.len() + NONCE_LEN + 16);
        sealed.extend_from_slice(value);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(key), &mut sealed).expect("a row is far below AES-GCM's 64 GiB");
        sealed.extend_from_slice(nonce.as_ref());
        sealed
    }

    /// The value, if the row is as it was sealed.
    pub fn open_row(&self, key: &[u8], mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let damaged = || StoreError::Damaged { key: super::keys::printable(key) };
        let split = sealed.len().checked_sub(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed[split..]).map_err(|_| damaged())?;
        sealed.truncate(split);
        let length = self.key.open_in_place(nonce, Aad::from(key), &mut sealed).map_err(|_| damaged())?.len();
        sealed.truncate(length);
        if is_item(key) && sealed.first() == Some(&PACKED) { unpack(&sealed).ok_or_else(damaged) } else { Ok(sealed) }
    }
}

fn is_item(key: &[u8]) -> bool {
    key.first() == Some(&keys::ITEM)
}

/// `None`: it would not become shorter.
fn pack(value: &[u8]) -> Option<Vec<u8>> {
    if value.len() < SHORT {
        return None;
    }
    let length = u32::try_from(value.len()).ok()?;
    let mut packed = vec![0; PACKED_HEAD + get_maximum_output_size(value.len())];
    let (head, rest) = packed.split_at_mut(PACKED_HEAD);
    head[0] = PACKED;
    head[1..].copy_from_slice(&length.to_le_bytes());
    let filled = PACKED_HEAD + compress_into(value, rest).ok()?;
    packed.truncate(filled);
    (filled < value.len()).then_some(packed)
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = packed.split_first_chunk::<PACKED_HEAD>()?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    decompress(rest, usize::try_from(length).ok()?).ok()
}

fn create(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_LEN];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| std::io::Error::other("no randomness"))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    super::whole_file(path, |new| {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        file.write_all(&key)?;
        file.sync_all()
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_not_made_to_the_end_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.key");
        std::fs::write(path.with_added_extension("new"), "half").unwrap();
        let row = Sealer::open(&path).unwrap().seal(b"k", b"v");
        assert_eq!(Sealer::open(&path).unwrap().open_row(b"k", row).unwrap(), b"v", "the same key");
    }

    #[test]
    fn a_row_opens_only_as_it_was_sealed() {
        let sealer = Sealer::new(&[7; 32]);
        let sealed = sealer.seal(b"k", b"secret");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(sealer.open_row(b"k", sealed.clone()).unwrap(), b"secret");
        assert!(sealer.open_row(b"other", sealed.clone()).is_err(), "moved to another key");
        assert!(Sealer::new(&[8; 32]).open_row(b"k", sealed.clone()).is_err(), "another node's key");
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(sealer.open_row(b"k", bent).is_err(), "bit flipped at {at}");
        }
        assert!(sealer.open_row(b"k", Vec::new()).is_err());
    }

    #[test]
    fn an_item_comes_back_as_it_was_and_takes_less_room_if_it_repeats_itself() {
        let sealer = Sealer::new(&[7; 32]);
        let key = keys::item(1, "default", "a");
        let text = r#"{"name":"SETTING","value":"a value"},"#.repeat(100);
        let mut noise = vec![0; 5000];
        aws_lc_rs::rand::fill(&mut noise).unwrap();
        noise[0] = b'{';
        for (item, most) in [(text.as_bytes(), text.len() / 4), (&noise, noise.len() + 28), (b"{}", 30), (b"", 28)] {
            let row = sealer.seal(&key, item);
            assert!(row.len() <= most, "{} bytes of {}", row.len(), item.len());
            assert!(sealer.open_row(&key, row).unwrap() == item);
        }
        let document = sealer.seal(b"d", text.as_bytes());
        assert!(document.len() > text.len(), "documents are packed as they came");
    }

    #[test]
    fn an_item_as_version_1_has_sealed_it_is_read() {
        let sealer = Sealer::new(&[7; 32]);
        let (key, item) = (keys::item(1, "default", "a"), "{\"a\":\"a long value\"}".repeat(20).into_bytes());
        let mut row = item.clone();
        let nonce = sealer.key.seal_in_place_append_tag(Aad::from(&key), &mut row).unwrap();
        row.extend_from_slice(nonce.as_ref());
        assert!(sealer.open_row(&key, row).unwrap() == item);
    }
}
