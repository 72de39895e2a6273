//! What a process of the hub knows of what a watch's client was told, for the one that takes its place.
//!
//! Under what it was told, by its mark, and what was hidden from it where it stands: so the new process can go on with the
//! watch as this one would have. Filters of another edition, other rules or other facts have another mark, and the client
//! lists again.
//!
//! It goes as two fields of the request's head; the body is the keys of what was hidden, eight bytes each.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Filters;
use crate::request::context::Context;
use crate::state::hidden::{MOST, Standing};

/// The mark of what a client was told under.
const TOLD: HeaderName = HeaderName::from_static("holdfast-told");
/// How many keys the body is; absent: what was hidden is not known.
const HIDDEN: HeaderName = HeaderName::from_static("holdfast-hidden");
/// Bytes of a key.
const KEY: usize = size_of::<u64>();
/// The longest body.
pub(in crate::request) const LONGEST: usize = MOST * KEY;

pub(in crate::request) struct Handed {
    under: u64,
    /// `None`: not known.
    hidden: Option<Box<[u64]>>,
}

impl Handed {
    /// As it goes with a request; the body.
    pub(in crate::request) fn write(&self, head: &mut HeaderMap) -> Bytes {
        head.insert(TOLD, HeaderValue::from(self.under));
        let mut body = BytesMut::new();
        if let Some(hidden) = &self.hidden {
            head.insert(HIDDEN, HeaderValue::from(hidden.len()));
            hidden.iter().for_each(|key| body.put_u64(*key));
        }
        body.freeze()
    }

    /// As it came; `None`: nothing, or it is none.
    pub(in crate::request) fn read(head: &HeaderMap, body: &[u8]) -> Option<Self> {
        let number = |name| head.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let (keys, rest) = body.as_chunks::<KEY>();
        let is_whole = rest.is_empty() && number(HIDDEN).is_some_and(|count| count == keys.len() as u64);
        let hidden = is_whole.then(|| keys.iter().map(|key| u64::from_be_bytes(*key)).collect());
        Some(Self { under: number(TOLD)?, hidden })
    }
}

impl Filters {
    /// Of the client of a watch that goes on from a version. `None`: it was told under nothing, or it is not known under what.
    pub(in crate::request) fn to_hand(&self, context: &Context) -> Option<Handed> {
        let client = self.client(context);
        let under = self.told.under(client)?;
        let hidden = self.hidden.known(&standing(context, client, under));
        Some(Handed { under, hidden })
    }

    /// The process before says what it knows of the client of such a watch.
    pub(in crate::request) fn are_handed(&self, context: &Context, handed: Handed) {
        let (client, Handed { under, hidden }) = (self.client(context), handed);
        self.told.handed(client, under);
        if let Some(hidden) = hidden {
            self.hidden.note(standing(context, client, under), hidden);
        }
    }
}

fn standing(context: &Context, client: u64, under: u64) -> Standing {
    let version = context.info.query.resource_version.parse().unwrap_or(0);
    Standing { client, version, under: Some(under) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_as_it_went_and_what_is_not_whole_says_nothing_of_what_was_hidden() {
        for hidden in [None, Some(Box::from([])), Some(Box::from([1, u64::MAX]))] {
            let mut head = HeaderMap::new();
            let body = Handed { under: u64::MAX, hidden: hidden.clone() }.write(&mut head);
            let read = Handed::read(&head, &body).unwrap();
            assert_eq!((read.under, read.hidden), (u64::MAX, hidden.clone()));
            for wrong in [&[&body[..], &[0]].concat()[..], &[&body[..], &[0; KEY]].concat(), body.get(KEY..).unwrap_or(&[0; KEY])]
            {
                assert_eq!(Handed::read(&head, wrong).unwrap().hidden, None, "{hidden:?}");
            }
        }
        assert!(Handed::read(&HeaderMap::new(), &[0; KEY]).is_none(), "told under nothing");
    }
}
