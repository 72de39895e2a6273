use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::kube::list::tests::{LIMITS, chunks, cuts, json_list, proto_list};
use crate::kube::list::{Piece, Splitter};

type Choose = fn(&[u8]) -> Result<Edit, String>;

fn rewrite(
    encoding: Encoding,
    body: &[u8],
    cuts: &[usize],
    mut edit: impl FnMut(&[u8]) -> Result<Edit, String>,
) -> Result<(Vec<u8>, Envelope), RewriteError<String>> {
    let mut rewriter = Rewriter::new(encoding, LIMITS, |_| 128, |_, item| edit(item));
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
    for spare in (2..600).chain([16_383, 16_384, 16_385, 16_386, 16_387, 100_000, 2_097_155]) {
        let mut out = Vec::new();
        fill(spare, &mut out);
        let filling = out.concat();
        assert_eq!(filling.len() as u64, spare);
        let fields: Vec<_> = crate::kube::proto::fields(&filling).map(|field| field.expect("well formed").number).collect();
        assert_eq!(fields, [15]);
    }
}

#[test]
fn growth_has_a_bound() {
    let list = crate::kube::proto::envelop("v1", "XList", &[0x12, 1, b'a']);
    for (length, fits) in [(1, true), (127, true), (128, true), (129, false)] {
        let result = rewrite(Encoding::Protobuf, &list, &[], |_| Ok(Edit::Replace(vec![b'b'; length])));
        match result {
            Ok((body, _)) => assert_eq!((fits, items(Encoding::Protobuf, &body).0[0].len()), (true, length)),
            Err(error) => assert_eq!((fits, error), (false, RewriteError::Grown(128))),
        }
    }
}

#[test]
fn a_length_that_no_list_has_is_no_overflow() {
    let mut list = crate::kube::proto::MAGIC.to_vec();
    crate::kube::proto::write_type_meta(&mut list, "v1", "XList");
    list.push(ITEM_TAG);
    write_varint(&mut list, u64::MAX - 40);
    let end = rewrite(Encoding::Protobuf, &list, &[], |_| Ok(Edit::Keep));
    assert!(matches!(end, Err(RewriteError::List(ListError { fault: ListFault::Truncated, .. }))), "{end:?}");
}

/// White space before the end of the items counts like that between two of them, whatever the cuts.
#[test]
fn what_stands_between_items_has_a_bound_in_any_chunks() {
    let space = " ".repeat(LIMITS.max_head + 1);
    for between in [format!("{space},{{}}]"), format!(",{space}{{}}]"), format!("{space}]"), format!("{space},{space}{{}}]")] {
        let list = format!(r#"{{"kind":"XList","apiVersion":"v1","items":[{{}}{between}}}"#);
        for cuts in [&[][..], &[1], &[7], &[60]] {
            let end = rewrite(Encoding::Json, list.as_bytes(), cuts, |_| Ok(Edit::Keep));
            let fault = end.map_err(|error| if let RewriteError::List(error) = error { Some(error.fault) } else { None });
            assert_eq!(fault.err(), Some(Some(ListFault::HeadTooLong(LIMITS.max_head))), "{cuts:?}");
        }
    }
}

#[test]
fn errors_come_through() {
    let fail: Choose = |_| Err("no".into());
    let list = br#"{"kind":"XList","apiVersion":"v1","items":[{}]}"#;
    assert_eq!(rewrite(Encoding::Json, list, &[], fail), Err(RewriteError::Item("no".into())));
    assert!(matches!(rewrite(Encoding::Json, &list[..40], &[], fail), Err(RewriteError::List(_))));
}

proptest! {
    #[test]
    fn nothing_replaced_is_nothing_changed((_, body) in json_list(), cuts in cuts()) {
        let keep: Choose = |_| Ok(Edit::Keep);
        prop_assert_eq!(rewrite(Encoding::Json, &body, &cuts, keep).map(|(out, _)| out), Ok(body));
    }

    #[test]
    fn json_items_are_replaced_or_gone((before, body) in json_list(), cuts in cuts(), fates in proptest::collection::vec(0_u8..3, 8)) {
        let fate = |index: usize| fates[index % fates.len()];
        let mut count = 0;
        let edit = |_: &[u8]| {
            count += 1;
            Ok(match fate(count - 1) {
                0 => Edit::Keep,
                1 => Edit::Replace(b"{\"new\":1}".to_vec()),
                _ => Edit::Remove,
            })
        };
        let (out, _) = rewrite(Encoding::Json, &body, &cuts, edit).expect("a list");
        let expected: Vec<_> = before.into_iter().enumerate().filter(|(index, _)| fate(*index) != 2)
            .map(|(index, item)| if fate(index) == 1 { b"{\"new\":1}".to_vec() } else { item }).collect();
        prop_assert_eq!(items(Encoding::Json, &out).0, expected);
        prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
    }

    #[test]
    fn protobuf_items_are_replaced_or_gone(
        (before, body) in proto_list(),
        cuts in cuts(),
        lengths in proptest::collection::vec(proptest::option::of(proptest::option::of(0_usize..260)), 6),
    ) {
        let mut lengths_left = lengths.iter();
        let edit = |_: &[u8]| Ok(match lengths_left.next().copied().flatten() {
            None => Edit::Keep,
            Some(None) => Edit::Remove,
            Some(Some(length)) => Edit::Replace(vec![7; length]),
        });
        let fates = lengths.iter().copied().chain(std::iter::repeat(None));
        let expected: Vec<_> = before.iter().zip(fates).filter_map(|(item, fate)| match fate {
            None => Some(item.clone()),
            Some(length) => length.map(|length| vec![7; length]),
        }).collect();
        let (found, envelope) = match rewrite(Encoding::Protobuf, &body, &cuts, edit) {
            Ok((out, _)) => items(Encoding::Protobuf, &out),
            Err(error) => {
                prop_assert_eq!(error, RewriteError::Grown(128));
                return Ok(());
            }
        };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(envelope, items(Encoding::Protobuf, &body).1);
    }
}

#[test]
fn the_rows_of_a_table_are_items() {
    let table = br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{},"columnDefinitions":[{"a":[1]}],"rows":[{"cells":[1]},{"cells":[2]}]}"#;
    let edit = |row: &[u8]| Ok(if row.ends_with(b"[1]}") { Edit::Remove } else { Edit::Keep });
    let (out, envelope) = rewrite(Encoding::Json, table, &[], edit).expect("a list");
    assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(table.to_vec()).unwrap().replace(r#"{"cells":[1]},"#, ""));
    assert_eq!(envelope.kind, "Table");
    let (mut splitter, mut pieces) = (Splitter::new(Encoding::Json, LIMITS), Vec::new());
    splitter.feed(Bytes::from_static(table), &mut pieces).unwrap();
    assert!(splitter.finish().is_err(), "and it is no list otherwise");
}
