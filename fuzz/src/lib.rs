//! What must hold for any bytes: the bodies of the fuzz targets, and of `tests/fuzz.rs`, which replays their corpus on
//! a stable compiler.
//!
//! Receives bytes from whoever wants to break something. Promises to panic if a property does not hold, and only then.

mod filters;
mod lists;
mod messages;
mod watches;

use holdfast::kube::list::Encoding;
use holdfast::state::filters::Filter;

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

/// A target: the name of its corpus, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident => $check:expr;)*) => {
        $($(#[$doc])* pub fn $name(data: &[u8]) {
            let check: fn(&[u8]) = $check;
            check(data);
        })*

        /// All of them.
        pub const TARGETS: &[Target] = &[$((stringify!($name), $name)),*];
    };
}

targets! {
    /// A JSON list comes apart and is rewritten alike, whole and cut; see [`cuts`].
    json_splitter => |data| lists::check(Encoding::Json, data);
    /// The same of a protobuf list.
    proto_splitter => |data| lists::check(Encoding::Protobuf, data);
    /// A JSON object: what is walked over lies within it, and what is edited is read again.
    json_walker => messages::check_json;
    /// The same of a protobuf message.
    proto_walker => messages::check_proto;
    /// A watch gives the same frames, whole and cut; see [`cuts`].
    watch_framer => watches::check;
    // An object keeps or loses what the filter says and nothing else, in both encodings.
    discardcloudservice => |data| filters::check(Filter::DiscardCloudService, data);
    nodeportisolation => |data| filters::check(Filter::NodePortIsolation, data);
    masterservice => |data| filters::check(Filter::MasterService, data);
    servicetopology => |data| filters::check(Filter::ServiceTopology, data);
    forwardkubesvctraffic => |data| filters::check(Filter::ForwardKubeSvcTraffic, data);
    inclusterconfig => |data| filters::check(Filter::InClusterConfig, data);
    serviceenvupdater => |data| filters::check(Filter::ServiceEnvUpdater, data);
}

/// The chunks of a body, and the whole of it. The first four bytes of the data say how long the chunks are, over and
/// over, `1` for one byte; of `0` alone there is one chunk.
fn cuts(data: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (lengths, body) = data.split_at(data.len().min(4));
    let lengths: Vec<usize> = lengths.iter().map(|length| usize::from(length.wrapping_sub(b'0'))).collect();
    let (mut chunks, mut rest) = (Vec::new(), body);
    if lengths.iter().any(|length| *length > 0) {
        for length in lengths.into_iter().cycle() {
            let (chunk, after) = rest.split_at(length.min(rest.len()));
            chunks.push(chunk);
            rest = after;
            if rest.is_empty() {
                return (chunks, body);
            }
        }
    }
    chunks.push(rest);
    (chunks, body)
}
