//! What a process of the hub knows of where a watch's client stands, for the one that takes its place.
//!
//! Beside the version: under what it was told all it was told, and what was hidden from it. So the new process can go on with
//! the watch as this one would have. Filters of another edition, other rules or other facts have another mark, and the client
//! lists again.
//!
//! It goes as fields of the request's head; the body is the keys of what was hidden, eight bytes each.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Filters, Mark, Stood};
use crate::request::context::Context;
use crate::state::hidden::{MOST, Standing};

/// The mark of what the client was told under, or one of these words. An earlier version of the hub does not say it.
const TOLD: HeaderName = HeaderName::from_static("holdfast-told");
const NOTHING: &str = "nothing";
const MIXED: &str = "mixed";
/// Whether that is so of all clients that look alike.
const ALIKE: HeaderName = HeaderName::from_static("holdfast-told-alike");
/// How much of what was written here was gone when the client was told of it; absent: it has nothing of that.
const LOCAL: HeaderName = HeaderName::from_static("holdfast-local");
/// How many keys the body is; absent: what was hidden is not known.
const HIDDEN: HeaderName = HeaderName::from_static("holdfast-hidden");
/// Bytes of a key.
const KEY: usize = size_of::<u64>();
/// The longest body.
pub(in crate::request) const LONGEST: usize = MOST * KEY;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::request) struct Handed {
    pub(in crate::request) stood: Stood,
    are_alike: bool,
    /// `None`: not known.
    hidden: Option<Box<[u64]>>,
}

impl Handed {
    /// As it goes with a request; the body.
    pub(in crate::request) fn write(&self, head: &mut HeaderMap) -> Bytes {
        let told = match self.stood.mark {
            // What is yet to be told of is not handed over.
            _ if !self.stood.taken.is_empty() => HeaderValue::from_static(MIXED),
            Mark::Nothing => HeaderValue::from_static(NOTHING),
            Mark::Mixed => HeaderValue::from_static(MIXED),
            Mark::One(mark) => HeaderValue::from(mark),
        };
        head.insert(TOLD, told);
        if self.are_alike {
            head.insert(ALIKE, HeaderValue::from_static("true"));
        }
        if let Some(gone) = self.stood.local {
            head.insert(LOCAL, HeaderValue::from(gone));
        }
        let mut body = BytesMut::new();
        if let Some(hidden) = &self.hidden {
            head.insert(HIDDEN, HeaderValue::from(hidden.len()));
            hidden.iter().for_each(|key| body.put_u64(*key));
        }
        body.freeze()
    }

    /// As it came; `None`: nothing.
    pub(in crate::request) fn read(head: &HeaderMap, body: &[u8]) -> Option<Self> {
        let number = |name| head.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let mark = match head.get(TOLD)?.to_str().ok()? {
            NOTHING => Mark::Nothing,
            mark => mark.parse().map_or(Mark::Mixed, Mark::One),
        };
        let (keys, rest) = body.as_chunks::<KEY>();
        let is_whole = rest.is_empty() && number(HIDDEN).is_some_and(|count| count == keys.len() as u64);
        let hidden = is_whole.then(|| keys.iter().map(|key| u64::from_be_bytes(*key)).collect());
        let stood = Stood { mark, local: number(LOCAL), ..Stood::default() };
        Some(Self { stood, are_alike: head.contains_key(ALIKE), hidden })
    }
}

impl Filters {
    /// Of the client of a watch that goes on from a version, where it is known to stand.
    pub(in crate::request) fn to_hand(&self, context: &Context) -> Option<Handed> {
        let (client, stood) = (self.client(context), context.stood.as_deref()?.clone());
        let (mut are_alike, mut hidden) = (false, None);
        if let Mark::One(mark) = stood.mark {
            are_alike = self.told.was(client, Some(mark));
            hidden = self.hidden.known(&standing(context, client, mark));
        }
        Some(Handed { stood, are_alike, hidden })
    }

    /// The process before says what it knows of the client of such a watch.
    pub(in crate::request) fn are_handed(&self, context: &Context, handed: &Handed) {
        let Mark::One(mark) = handed.stood.mark else { return };
        let client = self.client(context);
        if handed.are_alike {
            self.told.handed(client, mark);
        }
        if let Some(hidden) = &handed.hidden {
            self.hidden.note(standing(context, client, mark), hidden.iter().copied());
        }
    }
}

fn standing(context: &Context, client: u64, mark: u64) -> Standing {
    let version = context.info.query.resource_version.parse().unwrap_or(0);
    Standing { client, version, under: Some(mark) }
}

#[cfg(test)]
mod tests {
    use super::super::Taken;
    use super::*;

    #[test]
    fn it_comes_as_it_went_and_what_is_not_whole_says_nothing_of_what_was_hidden() {
        for mark in [Mark::Nothing, Mark::Mixed, Mark::One(u64::MAX)] {
            for (local, are_alike, hidden) in
                [(None, false, None), (Some(7), true, Some(Box::from([]))), (None, true, Some(Box::from([1, u64::MAX])))]
            {
                let mut head = HeaderMap::new();
                let handed = Handed { stood: Stood { mark, local, ..Stood::default() }, are_alike, hidden };
                let body = handed.write(&mut head);
                assert_eq!(Handed::read(&head, &body).as_ref(), Some(&handed));
                for wrong in
                    [&[&body[..], &[0]].concat()[..], &[&body[..], &[0; KEY]].concat(), body.get(KEY..).unwrap_or(&[0; KEY])]
                {
                    assert_eq!(Handed::read(&head, wrong).unwrap().hidden, None, "{handed:?}");
                }
            }
        }
        assert!(Handed::read(&HeaderMap::new(), &[0; KEY]).is_none(), "an earlier version of the hub");
        let taken = Stood { taken: Taken::from(["n/e".to_owned()]), ..Stood::default() };
        let mut head = HeaderMap::new();
        Handed { stood: taken, are_alike: false, hidden: None }.write(&mut head);
        assert_eq!(Handed::read(&head, &[]).unwrap().stood.mark, Mark::Mixed);
    }
}
