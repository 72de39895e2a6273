//! Lists in chunks: taken apart and rewritten.

use bytes::Bytes;
use holdfast::kube::list::{Encoding, Envelope, Limits, ListError, Piece, RewriteError, Rewriter, Splitter};
use holdfast::kube::message::Edit;

use super::cuts;

/// Wide enough for all that a target is given, and so narrow that most of it is too long.
const WIDE: Limits = Limits { max_item: 1 << 20, max_head: 1 << 16 };
const NARROW: Limits = Limits { max_item: 150, max_head: 60 };

/// The data is a list: it comes apart and together alike, whole and cut.
pub fn check(encoding: Encoding, data: &[u8]) {
    let (cuts, body) = cuts(data);
    for limits in [WIDE, NARROW] {
        let whole = split(encoding, limits, &[body]);
        assert_eq!(split(encoding, limits, &cuts), whole, "the cuts make a difference");
        if encoding == Encoding::Json && whole.1.is_ok() {
            same_as_serde(body, &whole.0);
        }
        check_rewriter(encoding, limits, body, &cuts);
    }
}

/// The items, and the end. What was handed out is what came.
fn split(encoding: Encoding, limits: Limits, chunks: &[&[u8]]) -> (Vec<Bytes>, Result<Envelope, ListError>) {
    let (mut splitter, mut pieces) = (Splitter::new(encoding, limits), Vec::new());
    let fed = chunks.iter().try_for_each(|chunk| splitter.feed(Bytes::copy_from_slice(chunk), &mut pieces));
    let end = splitter.finish();
    if let Err(error) = fed {
        assert_eq!(end.as_ref(), Err(&error), "the error is forgotten");
    }
    let (mut all, mut items) = (Vec::new(), Vec::new());
    for piece in pieces {
        let (Piece::Between(bytes) | Piece::Item(bytes)) = &piece;
        all.extend_from_slice(bytes);
        if let Piece::Item(item) = piece {
            items.push(item);
        }
    }
    let came = chunks.concat();
    assert!(came.starts_with(&all) && (end.is_err() || came.len() == all.len()), "the pieces are not what came");
    (items, end)
}

/// Where `serde_json` can read the list too, its items are the same.
fn same_as_serde(body: &[u8], items: &[Bytes]) {
    let Ok(list) = serde_json::from_slice::<serde_json::Value>(body) else { return };
    let expected = list["items"].as_array().cloned().unwrap_or_default();
    let found: Vec<serde_json::Value> = items.iter().map(|item| serde_json::from_slice(item).expect("part of JSON")).collect();
    assert_eq!(found, expected);
}

/// What a rewriter makes of a list.
struct Rewritten {
    /// As they came.
    items: Vec<Vec<u8>>,
    out: Vec<u8>,
    end: Result<Envelope, RewriteError<&'static str>>,
}

fn rewrite(encoding: Encoding, limits: Limits, chunks: &[&[u8]], edit: fn(&[u8]) -> Edit) -> Rewritten {
    let (mut items, mut out) = (Vec::new(), Vec::new());
    let mut rewriter = Rewriter::new(
        encoding,
        limits,
        |_| 64,
        |_, item: &[u8]| {
            items.push(item.to_vec());
            Ok(edit(item))
        },
    );
    let fed = chunks.iter().try_for_each(|chunk| rewriter.feed(Bytes::copy_from_slice(chunk), &mut out));
    let end = fed.and_then(|()| rewriter.finish());
    Rewritten { items, out: out.concat(), end }
}

/// By the item's length it is kept, made smaller, made larger or left out.
fn by_length(item: &[u8]) -> Edit {
    match item.len() % 5 {
        0 => Edit::Remove,
        1 => Edit::Replace(b"{}".to_vec()),
        2 => Edit::Replace([b"{\"a\":", item, b"}"].concat()),
        _ => Edit::Keep,
    }
}

fn check_rewriter(encoding: Encoding, limits: Limits, body: &[u8], cuts: &[&[u8]]) {
    let whole = rewrite(encoding, limits, &[body], by_length);
    let cut = rewrite(encoding, limits, cuts, by_length);
    let common = whole.out.len().min(cut.out.len());
    assert_eq!(whole.out[..common], cut.out[..common], "the cuts make a difference");
    // Of a broken list it depends on the cuts how much goes out before, and so which error comes first.
    assert_eq!(whole.end.is_ok(), cut.end.is_ok(), "{:?}, and cut {:?}", whole.end, cut.end);
    if whole.end.is_err() {
        return;
    }
    assert_eq!((&whole.end, &whole.items, whole.out.len()), (&cut.end, &cut.items, cut.out.len()));
    let again = rewrite(encoding, WIDE, &[&whole.out], |_| Edit::Keep);
    let expected: Vec<Vec<u8>> = whole.items.into_iter().filter_map(|item| edited(by_length(&item), item)).collect();
    assert_eq!((again.end, again.items), (whole.end, expected));
    if encoding == Encoding::Json {
        assert_eq!(again.out, whole.out, "nothing changes, and yet it does");
    }
}

/// The item that stands in the list afterwards.
pub fn edited(edit: Edit, item: Vec<u8>) -> Option<Vec<u8>> {
    match edit {
        Edit::Keep => Some(item),
        Edit::Replace(new) => Some(new),
        Edit::Remove => None,
    }
}
