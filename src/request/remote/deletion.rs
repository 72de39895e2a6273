//! Whether a deletion is only tried: `dryRun` stands among its options, which are the request's body.
//!
//! The body streams past; its beginning is kept until the cloud has answered. A body that says anything is all that
//! counts, whatever the query says; one that cannot be read here says nothing of a trial.
//!
//! Source: `DeleteResource` and `DeleteCollection` of k8s.io/apiserver/pkg/endpoints/handlers/delete.go.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::Deserialize;

use crate::kube::list::Encoding;
use crate::kube::{media, message, object, schema};
use crate::upstream::{Error, RequestBody};

/// Options are a few words; longer ones are not looked at.
const MAX: usize = 4096;

/// The options of a request, as far as they have gone to the cloud.
pub(super) struct Options {
    encoding: Option<Encoding>,
    sent: Sent,
}

/// The beginning of a body, and a byte more than is looked at.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<u8>>>);

/// A body whose beginning is kept as it passes.
struct Passing {
    body: RequestBody,
    sent: Sent,
}

/// Of metav1.DeleteOptions, in JSON.
#[derive(Deserialize)]
struct DeleteOptions {
    #[serde(default, rename = "dryRun")]
    dry_run: Vec<String>,
}

impl Options {
    /// The options that `body` brings, and the body again.
    pub(super) fn of(headers: &HeaderMap, body: RequestBody) -> (Self, RequestBody) {
        let sent = Sent::default();
        let encoding = headers.get(CONTENT_TYPE).map_or(Some(Encoding::Json), |kind| media::encoding_of(kind.to_str().ok()?));
        (Self { encoding, sent: sent.clone() }, Box::pin(Passing { body, sent }))
    }

    /// `None`: the query says it.
    pub(super) fn is_dry_run(&self) -> Option<bool> {
        let sent = self.sent.lock();
        (!sent.is_empty()).then(|| sent.len() <= MAX && self.encoding.is_some_and(|encoding| asks_for_trial(encoding, &sent)))
    }
}

fn asks_for_trial(encoding: Encoding, options: &[u8]) -> bool {
    match encoding {
        Encoding::Json => serde_json::from_slice(options).is_ok_and(|options: DeleteOptions| !options.dry_run.is_empty()),
        Encoding::Protobuf => object::sent_item(encoding, options)
            .is_ok_and(|item| message::part(encoding, item, schema::delete_options::DRY_RUN).is_ok_and(|part| part.is_some())),
    }
}

impl Sent {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, data: &[u8]) {
        let mut sent = self.lock();
        let room = MAX + 1 - sent.len();
        sent.extend_from_slice(&data[..room.min(data.len())]);
    }
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.sent.add(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::proto;

    #[test]
    fn a_body_that_says_anything_is_all_that_counts() {
        let protobuf = |message: &[u8]| proto::envelop("v1", "DeleteOptions", message);
        let long = format!(r#"{{"dryRun":["All"],"x":"{}"}}"#, "x".repeat(MAX)).into_bytes();
        for (content_type, body, dry) in [
            ("application/json", b"".to_vec(), None),
            ("application/json", br#"{"dryRun":["All"],"gracePeriodSeconds":0}"#.to_vec(), Some(true)),
            ("application/json", br#"{"gracePeriodSeconds":0}"#.to_vec(), Some(false)),
            ("application/json", br#"{"dryRun":[]}"#.to_vec(), Some(false)),
            ("application/json", br#"{"dryRun":["All"],"dryRun":[]}"#.to_vec(), Some(false)),
            ("application/json", br#"{"dryRun":["All""#.to_vec(), Some(false)),
            ("application/json", long, Some(false)),
            ("application/cbor", br#"{"dryRun":["All"]}"#.to_vec(), Some(false)),
            ("application/vnd.kubernetes.protobuf", protobuf(b"\x08\x00\x2a\x03All"), Some(true)),
            ("application/vnd.kubernetes.protobuf", protobuf(b"\x08\x00"), Some(false)),
        ] {
            let sent = Sent::default();
            sent.add(&body);
            let options = Options { encoding: media::encoding_of(content_type), sent };
            assert_eq!(options.is_dry_run(), dry, "{content_type}: {}", String::from_utf8_lossy(&body));
        }
    }
}
