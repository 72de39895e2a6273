//! Watch streams in chunks.

use bytes::Bytes;
use holdfast::kube::list::Encoding;
use holdfast::kube::watch::{EventType, Frame, Framer, WatchError, encode};

use super::{BOTH, cuts};

/// The data is a watch stream, in whichever encoding: the frames are the same whole and cut, and are what came.
pub fn check(data: &[u8]) {
    let (cuts, stream) = cuts(data);
    for encoding in BOTH {
        for max_frame in [1 << 20, 96] {
            let (frames, end) = framed(encoding, max_frame, &[stream]);
            let again = framed(encoding, max_frame, &cuts);
            assert_eq!((&again.0, &again.1), (&frames, &end), "the cuts make a difference");
            let all: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
            assert!(stream.starts_with(&all) && (end.is_err() || stream.len() == all.len()), "the frames are not what came");
            assert!(frames.iter().all(|frame| frame.raw.len() <= max_frame), "a frame that is too long");
            frames.iter().for_each(|frame| check_again(encoding, frame));
        }
    }
}

fn framed(encoding: Encoding, max_frame: usize, chunks: &[&[u8]]) -> (Vec<Frame>, Result<(), WatchError>) {
    let (mut framer, mut frames) = (Framer::new(encoding, max_frame), Vec::new());
    let fed = chunks.iter().try_for_each(|chunk| framer.feed(Bytes::copy_from_slice(chunk), &mut frames));
    (frames, fed.and_then(|()| framer.finish()))
}

/// An event written anew is the same event.
fn check_again(encoding: Encoding, frame: &Frame) {
    if frame.event.kind == EventType::Other {
        return;
    }
    let written = encode(encoding, frame.event.kind, &frame.event.object);
    let (again, end) = framed(encoding, usize::MAX, &[&written]);
    assert_eq!(end, Ok(()));
    assert_eq!(again.iter().map(|frame| &frame.event).collect::<Vec<_>>(), [&frame.event]);
}
