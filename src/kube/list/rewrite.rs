//! Lists rewritten in a stream: some items replaced, everything else passed on.
//!
//! Receives the chunks of a list body and a function that may give an item in another form. Promises chunks in which
//! those items are replaced and nothing else differs; holds one item at most. A list that cannot be taken apart, an
//! error of the function, and items that grow by more than [`RESERVE`] are errors; what has been handed out by then
//! is the beginning of a body that must not be ended properly.
//!
//! JSON without replaced items leaves byte for byte as it came. A protobuf list says at its beginning how long it
//! is, before it is known whether an item will be replaced. So every protobuf list is announced [`RESERVE`] bytes
//! longer than it came, and what the replaced items leave of that is filled at its end with empty ListMeta messages
//! whose length is spelled with leading zeros. To a decoder they change nothing: fields of an embedded message that
//! occurs several times are merged (<https://protobuf.dev/programming-guides/encoding/#last-one-wins>), and Go's
//! generated code reads varints of up to ten bytes. The spelling stays within five bytes, because the C++ decoder
//! accepts no more in a length. A Content-Length of the body that came no longer holds.

use bytes::Bytes;

use super::{Encoding, Envelope, Inner, Limits, ListError, Part};
use crate::kube::proto::{varint_len, write_varint, write_varint_padded};

/// By how many bytes the items of a protobuf list may grow together. A Service whose clusterIP becomes an IPv6
/// address of full length in two places, both absent before, needs less than 90.
pub const RESERVE: u64 = 128;

/// The tag of ListMeta in a list, and of an item.
const LIST_META_TAG: u8 = 1 << 3 | 2;
const ITEM_TAG: u8 = 2 << 3 | 2;

/// The longest spelling of a length that all decoders accept.
const MAX_LENGTH_WIDTH: usize = 5;

/// Why a list could not be rewritten; `E` is the error of the function that rewrites items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError<E> {
    #[error(transparent)]
    List(#[from] ListError),
    #[error("an item could not be rewritten")]
    Item(#[source] E),
    #[error("the items grow by more than {RESERVE} bytes")]
    Grown,
}

/// Rewrites one list.
#[derive(Debug)]
pub struct Rewriter<F> {
    inner: Inner,
    rewrite: F,
    parts: Vec<Part>,
    /// Tag and length of the protobuf item that comes next.
    item_head: Option<Bytes>,
    /// How many of the announced bytes of a protobuf list are still to be filled. Never 1, which could not be.
    spare: u64,
}

impl<F, E> Rewriter<F>
where
    F: FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
{
    /// A rewriter for one body. `rewrite` receives each item in item form; `None` leaves it as it is.
    pub fn new(encoding: Encoding, limits: Limits, rewrite: F) -> Self {
        let inner = Inner::new(encoding, limits);
        Rewriter { inner, rewrite, parts: Vec::new(), item_head: None, spare: 0 }
    }

    /// Takes the next chunk and appends what can be sent on. After an error nothing more may be sent.
    pub fn feed(&mut self, chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), RewriteError<E>> {
        let mut parts = std::mem::take(&mut self.parts);
        self.inner.feed(&chunk, &mut |part| parts.push(part))?;
        for part in parts.drain(..) {
            self.part(part, out)?;
        }
        self.parts = parts;
        Ok(())
    }

    /// Says that the body is over. Only if this succeeds may the answer be ended properly.
    pub fn finish(self) -> Result<Envelope, RewriteError<E>> {
        Ok(self.inner.finish()?)
    }

    fn part(&mut self, part: Part, out: &mut Vec<Bytes>) -> Result<(), RewriteError<E>> {
        match part {
            Part::Between(bytes) => out.push(bytes),
            Part::RawHead { length, .. } => {
                let mut head = vec![ITEM_TAG];
                write_varint(&mut head, length + RESERVE);
                out.push(head.into());
                self.spare = RESERVE;
            }
            Part::RawEnd => fill(std::mem::take(&mut self.spare), out),
            Part::ItemHead(head) => self.item_head = Some(head),
            Part::Item(item) => {
                let replaced = (self.rewrite)(&item).map_err(RewriteError::Item)?;
                let head = self.item_head.take();
                match (replaced, head) {
                    (None, head) => out.extend(head.into_iter().chain([item])),
                    (Some(new), None) => out.push(new.into()),
                    (Some(new), Some(head)) => {
                        out.push(self.frame(head.len() + item.len(), new.len())?);
                        out.push(new.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Tag and length of an item of `new` bytes that takes the place of `old` bytes, tag and length included.
    fn frame(&mut self, old: usize, new: usize) -> Result<Bytes, RewriteError<E>> {
        let mut width = varint_len(new as u64);
        let framed = (1 + width + new) as u64;
        let spare = (self.spare + old as u64).checked_sub(framed).ok_or(RewriteError::Grown)?;
        self.spare = if spare == 1 {
            width += 1;
            0
        } else {
            spare
        };
        let mut frame = vec![ITEM_TAG];
        write_varint_padded(&mut frame, new as u64, width);
        Ok(frame.into())
    }
}

/// Appends `spare` bytes of ListMeta messages that say nothing.
fn fill(mut spare: u64, out: &mut Vec<Bytes>) {
    const LONGEST: u64 = 1 + MAX_LENGTH_WIDTH as u64;
    const BLOCK: u64 = 1024 * LONGEST;
    let longest = [LIST_META_TAG, 0x80, 0x80, 0x80, 0x80, 0];
    if spare >= 2 * BLOCK {
        let block = Bytes::from(longest.repeat(1024));
        while spare >= 2 * BLOCK {
            out.push(block.clone());
            spare -= BLOCK;
        }
    }
    let mut filling = Vec::new();
    while spare > 0 {
        let taken = if spare == LONGEST + 1 { LONGEST - 1 } else { spare.min(LONGEST) };
        filling.push(LIST_META_TAG);
        write_varint_padded(&mut filling, 0, taken as usize - 1);
        spare -= taken;
    }
    if !filling.is_empty() {
        out.push(filling.into());
    }
}

#[cfg(test)]
mod tests;
