use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::kube::list::tests::{LIMITS, chunks, cuts, json_list, proto_list};
use crate::kube::list::{Piece, Splitter};

type Edit = fn(&[u8]) -> Result<Option<Vec<u8>>, String>;

fn rewrite(
    encoding: Encoding,
    body: &[u8],
    cuts: &[usize],
    edit: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, String>,
) -> Result<(Vec<u8>, Envelope), RewriteError<String>> {
    let mut rewriter = Rewriter::new(encoding, LIMITS, edit);
    let mut out = Vec::new();
    for chunk in chunks(body, cuts) {
        rewriter.feed(chunk, &mut out)?;
    }
    let envelope = rewriter.finish()?;
    Ok((out.concat(), envelope))
}

fn items(encoding: Encoding, body: &[u8]) -> (Vec<Vec<u8>>, Envelope) {
    let (mut splitter, mut pieces) = (Splitter::new(encoding, LIMITS), Vec::new());
    splitter.feed(Bytes::copy_from_slice(body), &mut pieces).expect("a list");
    let items = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Item(item) => Some(item.to_vec()),
        Piece::Between(_) => None,
    });
    (items.collect(), splitter.finish().expect("a list"))
}

#[test]
fn every_remainder_can_be_filled() {
    for spare in (0..200).filter(|spare| *spare != 1).chain([12_287, 12_288, 12_289, 30_001]) {
        let mut out = Vec::new();
        fill(spare, &mut out);
        let filling = out.concat();
        assert_eq!(filling.len() as u64, spare);
        for field in crate::kube::proto::fields(&filling) {
            let field = field.expect("well formed");
            assert_eq!((field.number, field.bytes()), (1, Ok(&b""[..])));
            assert!(field.range.len() <= 6, "a length of more than five bytes");
        }
    }
}

#[test]
fn growth_has_a_bound() {
    let list = crate::kube::proto::envelop("v1", "XList", &[0x12, 1, b'a']);
    for (length, fits) in [(1, true), (127, true), (128, true), (129, false)] {
        let result = rewrite(Encoding::Protobuf, &list, &[], |_| Ok(Some(vec![b'b'; length])));
        match result {
            Ok((body, _)) => assert_eq!((fits, items(Encoding::Protobuf, &body).0[0].len()), (true, length)),
            Err(error) => assert_eq!((fits, error), (false, RewriteError::Grown)),
        }
    }
}

#[test]
fn errors_come_through() {
    let fail: Edit = |_| Err("no".into());
    let list = br#"{"kind":"XList","apiVersion":"v1","items":[{}]}"#;
    assert_eq!(rewrite(Encoding::Json, list, &[], fail), Err(RewriteError::Item("no".into())));
    assert!(matches!(rewrite(Encoding::Json, &list[..40], &[], fail), Err(RewriteError::List(_))));
}

proptest! {
    #[test]
    fn nothing_replaced_is_nothing_changed((_, body) in json_list(), cuts in cuts()) {
        let keep: Edit = |_| Ok(None);
        prop_assert_eq!(rewrite(Encoding::Json, &body, &cuts, keep).map(|(out, _)| out), Ok(body));
    }

    #[test]
    fn json_items_are_replaced((before, body) in json_list(), cuts in cuts(), every in 1_usize..4) {
        let mut count = 0;
        let edit = |_: &[u8]| {
            count += 1;
            Ok((count % every == 0).then(|| b"{\"new\":1}".to_vec()))
        };
        let (out, _) = rewrite(Encoding::Json, &body, &cuts, edit).expect("a list");
        for (index, (now, before)) in items(Encoding::Json, &out).0.into_iter().zip(before).enumerate() {
            prop_assert_eq!(now, if (index + 1) % every == 0 { b"{\"new\":1}".to_vec() } else { before });
        }
    }

    #[test]
    fn protobuf_items_are_replaced(
        (before, body) in proto_list(),
        cuts in cuts(),
        lengths in proptest::collection::vec(proptest::option::of(0_usize..260), 6),
    ) {
        let mut lengths_left = lengths.iter();
        let edit = |_: &[u8]| Ok(lengths_left.next().copied().flatten().map(|length| vec![7; length]));
        let expected: Vec<_> = before
            .iter()
            .zip(&lengths)
            .map(|(item, length)| length.map_or(item.clone(), |length| vec![7; length]))
            .collect();
        let (found, envelope) = match rewrite(Encoding::Protobuf, &body, &cuts, edit) {
            Ok((out, _)) => items(Encoding::Protobuf, &out),
            Err(error) => {
                prop_assert_eq!(error, RewriteError::Grown);
                return Ok(());
            }
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(envelope, items(Encoding::Protobuf, &body).1);
    }
}
