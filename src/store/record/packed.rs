//! Bytes that wait long wait packed (LZ4): what Kubernetes writes repeats itself, and takes a fifth of its room then.
//!
//! Receives bytes in any parts; promises the same bytes in order. They lie in slabs, so large that the allocator has each
//! straight from the system: megabytes of frames among everything else would leave the heap full of holes.

use std::collections::VecDeque;

use bytes::Bytes;
use lz4_flex::block::{compress_into, decompress, get_maximum_output_size};

/// Plain bytes that are packed at once.
const BLOCK: usize = 64 * 1024;
/// Bytes of a slab; from 128 KiB on the system lends them (runtime::allocator), and those that nobody writes to it keeps.
const SLAB: usize = 256 * 1024;
/// Before each block: how long it is, and how long it was, in 4 bytes each.
const HEAD: usize = 8;

/// Blocks, one behind the other.
pub(super) struct Slab {
    bytes: Vec<u8>,
    /// What of it has been taken.
    taken: usize,
    filled: usize,
}

impl Slab {
    fn begin() -> Self {
        Self { bytes: vec![0; SLAB], taken: 0, filled: 0 }
    }

    fn has_room(&self) -> bool {
        SLAB - self.filled >= HEAD + get_maximum_output_size(BLOCK)
    }

    /// Packs at most [`BLOCK`] bytes behind the others; says how many bytes they have become.
    fn pack(&mut self, plain: &[u8]) -> usize {
        let (head, rest) = self.bytes[self.filled..].split_at_mut(HEAD);
        let packed = compress_into(plain, rest).expect("there is room for the worst case");
        for (field, length) in head.chunks_exact_mut(4).zip([packed, plain.len()]) {
            field.copy_from_slice(&u32::try_from(length).expect("about a block").to_le_bytes());
        }
        self.filled += HEAD + packed;
        HEAD + packed
    }

    /// The next block, as it was.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let (head, rest) = self.bytes[self.taken..self.filled].split_first_chunk::<HEAD>()?;
        let length = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) as usize;
        let plain = decompress(&rest[..length(0)], length(4)).expect("as it was packed");
        self.taken += HEAD + length(0);
        Some(Bytes::from(plain))
    }
}

/// What waits in slabs, and behind them what is not a block yet.
#[derive(Default)]
pub(super) struct Packed {
    /// Handed out first.
    first: Option<Slab>,
    slabs: VecDeque<Slab>,
    plain: Vec<u8>,
    /// Bytes of the slabs, but for the first one.
    packed: usize,
}

impl Packed {
    pub(super) fn put(&mut self, data: &[u8]) {
        for part in data.chunks(BLOCK) {
            if self.plain.len() + part.len() > BLOCK {
                self.pack();
            }
            self.plain.extend_from_slice(part);
        }
    }

    fn pack(&mut self) {
        let mut slab = self.slabs.pop_back_if(|slab| slab.has_room()).unwrap_or_else(Slab::begin);
        self.packed += slab.pack(&self.plain);
        self.slabs.push_back(slab);
        self.plain.clear();
    }

    /// The next bytes.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(block) = self.first.as_mut().and_then(Slab::next) {
                return Some(block);
            }
            self.first = self.slabs.pop_front();
            let Some(first) = &self.first else { break };
            self.packed -= first.filled;
        }
        let plain = std::mem::take(&mut self.plain);
        (!plain.is_empty()).then(|| Bytes::from(plain))
    }

    /// Bytes that it takes.
    pub(super) fn len(&self) -> usize {
        self.packed + self.plain.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(packed: &mut Packed) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(data) = packed.next() {
            all.extend_from_slice(&data);
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_put_in_parts_comes_out_whole(parts in prop::collection::vec((0..200_000_usize, any::<bool>()), 0..12)) {
            let (mut packed, mut put) = (Packed::default(), Vec::new());
            for (length, is_noise) in parts {
                let part = if is_noise { testkit::noise(length) } else { "repeated, ".repeat(length / 10) };
                packed.put(part.as_bytes());
                put.extend(part.into_bytes());
                let most = put.len() + put.len() / 10 + 64;
                prop_assert!(packed.len() <= most, "{} bytes of {}", packed.len(), put.len());
            }
            prop_assert!(all(&mut packed) == put);
            prop_assert_eq!(packed.len(), 0);
        }
    }

    #[test]
    fn what_repeats_itself_takes_little() {
        let mut packed = Packed::default();
        let lines = (0..100_000).map(|line| format!("{{\"name\":\"object-{line:06}\",\"namespace\":\"default\"}},"));
        let text: String = lines.collect();
        packed.put(text.as_bytes());
        assert!(packed.len() < text.len() / 3, "{} of {}", packed.len(), text.len());
        assert!(packed.slabs.iter().all(|slab| slab.bytes.len() == SLAB));
        assert!(all(&mut packed) == text.as_bytes());
    }
}
