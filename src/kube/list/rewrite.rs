//! Lists rewritten in a stream: some items replaced or left out, everything else passed on.
//!
//! Receives the chunks of a list body and a function that says what becomes of an item. Promises chunks in which
//! those items are replaced or gone and nothing else differs; holds one item at most, and in JSON what stands between
//! two of them. A list that cannot be taken apart, an error of the function, and items that grow by more than was
//! announced are errors; what has been handed out by then is the beginning of a body that must not be ended properly.
//!
//! JSON in which nothing changes leaves byte for byte as it came. A Table's rows are its items. A protobuf list says at
//! its beginning how long it is, before it is known what will become of its items. So every protobuf list is announced
//! some bytes longer than it came, and what the changed items leave of that is filled at its end with one field that
//! no list has, of zeros: decoders skip what they do not know. A Content-Length of the body that came no longer holds.

use bytes::Bytes;

use super::{Encoding, Envelope, Inner, Limits, ListError, ListFault, Part};
use crate::kube::message::Edit;
use crate::kube::proto::{varint_len, write_varint, write_varint_padded};

/// By how many bytes the items of a protobuf list of so many bytes may grow together.
pub type Reserve = fn(u64) -> u64;

const ITEM_TAG: u8 = 2 << 3 | 2;
/// The tag of the filling: field 15, which no list has.
const FILLING_TAG: u8 = 15 << 3 | 2;
/// Zeros that are handed out again and again.
static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];

/// Why a list could not be rewritten; `E` is the error of the function that rewrites items.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError<E: std::fmt::Display> {
    #[error(transparent)]
    List(#[from] ListError),
    #[error("an item could not be rewritten: {0}")]
    Item(E),
    #[error("the items grow by more than {0} bytes")]
    Grown(u64),
}

/// Rewrites one list.
#[derive(Debug)]
pub struct Rewriter<F> {
    inner: Inner,
    rewrite: F,
    reserve: Reserve,
    parts: Vec<Part>,
    max_head: usize,
    between: Between,
    /// Tag and length of the protobuf item that comes next.
    item_head: Option<Bytes>,
    /// How many bytes were announced more than came.
    announced: u64,
    /// How many of the announced bytes of a protobuf list are still to be filled. Never 1, which could not be.
    spare: u64,
}

/// What stands between the items of a JSON list: it is held until it is known whether it separates two of them.
#[derive(Debug, Default)]
struct Between {
    within: bool,
    /// An item has been handed out.
    after_item: bool,
    held: Vec<Bytes>,
}

impl<F, E> Rewriter<F>
where
    F: FnMut(&str, &[u8]) -> Result<Edit, E>,
    E: std::fmt::Display,
{
    /// A rewriter for one body. `rewrite` receives the list's kind and each item in item form.
    pub fn new(encoding: Encoding, limits: Limits, reserve: Reserve, rewrite: F) -> Self {
        Rewriter {
            inner: Inner::new(encoding, limits).with_tables(),
            rewrite,
            reserve,
            parts: Vec::new(),
            max_head: limits.max_head,
            between: Between::default(),
            item_head: None,
            announced: 0,
            spare: 0,
        }
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
            Part::Between(bytes) => {
                if self.between.take(bytes, out) > self.max_head {
                    return Err(ListError::new(ListFault::HeadTooLong(self.max_head), 0).into());
                }
            }
            Part::RawHead { length, .. } => {
                self.announced = (self.reserve)(length).max(2);
                let mut head = vec![ITEM_TAG];
                // No list is that long; this one will end too early.
                write_varint(&mut head, length.saturating_add(self.announced));
                out.push(head.into());
                self.spare = self.announced;
            }
            Part::RawEnd => fill(std::mem::take(&mut self.spare), out),
            Part::ItemHead(head) => self.item_head = Some(head),
            Part::Item(item) => {
                let edit = (self.rewrite)(self.inner.kind(), &item).map_err(RewriteError::Item)?;
                match self.item_head.take() {
                    None => self.json_item(item, edit, out),
                    Some(head) => self.proto_item(head, item, edit, out)?,
                }
            }
        }
        Ok(())
    }

    fn json_item(&mut self, item: Bytes, edit: Edit, out: &mut Vec<Bytes>) {
        let item = match edit {
            Edit::Keep => item,
            Edit::Replace(new) => new.into(),
            Edit::Remove => return self.between.remove(),
        };
        self.between.separate(out);
        out.push(item);
    }

    fn proto_item(&mut self, head: Bytes, item: Bytes, edit: Edit, out: &mut Vec<Bytes>) -> Result<(), RewriteError<E>> {
        let old = (head.len() + item.len()) as u64;
        match edit {
            Edit::Keep => out.extend([head, item]),
            Edit::Replace(new) => {
                out.push(self.frame(old, new.len())?);
                out.push(new.into());
            }
            Edit::Remove => self.spare += old,
        }
        Ok(())
    }

    /// Tag and length of an item of `new` bytes that takes the place of `old` bytes, tag and length included.
    fn frame(&mut self, old: u64, new: usize) -> Result<Bytes, RewriteError<E>> {
        let mut width = varint_len(new as u64);
        let framed = (1 + width + new) as u64;
        let spare = (self.spare + old).checked_sub(framed).ok_or(RewriteError::Grown(self.announced))?;
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

impl Between {
    fn len(&self) -> usize {
        self.held.iter().map(Bytes::len).sum()
    }

    /// How many bytes had to be held until it was known what these are: as many in any chunks.
    fn take(&mut self, bytes: Bytes, out: &mut Vec<Bytes>) -> usize {
        if !self.within {
            out.push(bytes);
            return 0;
        }
        self.held.push(bytes);
        let mut held = self.held.iter().flat_map(|bytes| bytes.iter()).enumerate();
        match held.find(|(_, byte)| !crate::kube::json::is_space(**byte)) {
            Some((space, byte)) if *byte != b',' => {
                // The end of the items.
                self.within = false;
                out.append(&mut self.held);
                space
            }
            _ => self.len(),
        }
    }

    /// An item goes out next.
    fn separate(&mut self, out: &mut Vec<Bytes>) {
        for bytes in self.held.drain(..) {
            match bytes.iter().position(|byte| *byte == b',') {
                // The items before it are gone.
                Some(comma) if !self.after_item => out.extend([bytes.slice(..comma), bytes.slice(comma + 1..)]),
                _ => out.push(bytes),
            }
        }
        (self.within, self.after_item) = (true, true);
    }

    /// The item is gone, and what separated it from the one before.
    fn remove(&mut self) {
        self.held.clear();
        self.within = true;
    }
}

/// Appends `spare` bytes that say nothing.
fn fill(spare: u64, out: &mut Vec<Bytes>) {
    if spare == 0 {
        return;
    }
    // The length may take a byte more than it needs: so every number of bytes from 2 on can be filled.
    let width = varint_len(spare);
    let mut payload = spare.saturating_sub(1 + width as u64);
    let mut head = vec![FILLING_TAG];
    write_varint_padded(&mut head, payload, width);
    out.push(head.into());
    while payload > 0 {
        let some = payload.min(ZEROS.len() as u64);
        out.push(Bytes::from_static(&ZEROS).slice(..usize::try_from(some).unwrap_or_default()));
        payload -= some;
    }
}

#[cfg(test)]
mod tests;
