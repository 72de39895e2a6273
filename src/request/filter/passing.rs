//! A watch that no filter looks at, and that one may come to look at while it is open.
//!
//! Receives the watch's bytes and passes them on as they are. When the configuration changes so that the watch is served,
//! it is ended with 410 between two events, so that its client lists again. Where events end is not known in other
//! encodings (CBOR, or what is compressed), and there is no way to write a 410: such a watch ends with the piece at hand.
//! An event that is cut by that is none to its client, as at any other end of a connection; it comes again from the
//! version before, and is then told to list.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use super::{Ask, OUTDATED};
use crate::kube::list::Encoding;
use crate::kube::watch;
use crate::request::context::BodyError;
use crate::state::rules::{RuleSet, Rules};
use crate::state::user_rule;

/// Returns once a watch is served.
pub(in crate::request) type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(in crate::request) struct Passing<B> {
    body: B,
    /// `None`: in an encoding that is not read here.
    events: Option<Events>,
    /// Returns once the watch is served; `None`: it is.
    served: Option<Served>,
    ended: bool,
}

impl<B> Passing<B> {
    pub(in crate::request) fn new(body: B, encoding: Option<Encoding>, served: Served) -> Self {
        Self { body, events: encoding.map(Events::new), served: Some(served), ended: false }
    }
}

/// Who asks for what, in one piece: there are many idle watches.
pub(super) struct Asked(Box<str>);

impl Asked {
    pub(super) fn new(ask: &Ask) -> Self {
        let parts = [&*ask.component, &ask.user, &ask.group, &ask.resource, &ask.namespace];
        // In none of these is a NUL but by a client's own mischief, which is for itself.
        Self(parts.join("\0").into())
    }

    fn is_served(&self, rules: &RuleSet) -> bool {
        let mut parts = self.0.splitn(5, '\0');
        let mut next = || parts.next().unwrap_or_default();
        let (component, user, group, resource, namespace) = (next(), next(), next(), next(), next());
        let asked = user_rule::Asked { component, user, group, resource, namespace };
        rules.user.iter().any(|rule| rule.serves(&asked))
    }
}

/// Returns once one of the users' rules serves such a request.
pub(super) async fn served(rules: Arc<Rules>, asked: Asked) {
    let mut changes = rules.changes();
    while !asked.is_served(&rules.current()) {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

impl<B> HttpBody for Passing<B>
where
    B: HttpBody<Data = Bytes, Error = crate::upstream::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if this.served.as_mut().is_some_and(|served| served.as_mut().poll(cx).is_ready()) {
            this.served = None;
        }
        if this.served.is_none() && this.events.as_ref().is_none_or(Events::is_between) {
            this.ended = true;
            let farewell = |events: &Events| watch::error_status(events.encoding, 410, "Expired", OUTDATED);
            return Poll::Ready(this.events.as_ref().map(|events| Ok(Frame::data(farewell(events)))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let (Some(events), Some(data)) = (&mut this.events, frame.data_ref())
        {
            events.pass(data);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }
}

/// Where events end, without a look into them: JSON's with a line; protobuf's have four bytes of length before them.
struct Events {
    encoding: Encoding,
    /// Bytes of the event at hand that are still to come; in JSON only whether there are any.
    left: u64,
    length: [u8; 4],
    known: usize,
}

impl Events {
    fn new(encoding: Encoding) -> Self {
        Self { encoding, left: 0, length: [0; 4], known: 0 }
    }

    fn is_between(&self) -> bool {
        self.left == 0 && self.known == 0
    }

    fn pass(&mut self, mut data: &[u8]) {
        if self.encoding == Encoding::Json {
            self.left = data.last().map_or(self.left, |last| u64::from(*last != b'\n'));
            return;
        }
        while let Some(first) = data.first() {
            if self.left > 0 {
                let taken = self.left.min(data.len() as u64);
                self.left -= taken;
                data = &data[usize::try_from(taken).unwrap_or(data.len())..];
                continue;
            }
            self.length[self.known] = *first;
            self.known += 1;
            data = &data[1..];
            if self.known == self.length.len() {
                (self.left, self.known) = (u32::from_be_bytes(self.length).into(), 0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use proptest::prelude::*;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    type Sent = Result<Frame<Bytes>, crate::upstream::Error>;

    /// A watch that is served as soon as that is said, and what the cloud sends.
    fn passing(
        encoding: Option<Encoding>,
    ) -> (impl HttpBody<Data = Bytes, Error = BodyError> + Unpin, mpsc::Sender<Sent>, oneshot::Sender<()>) {
        let (cloud, mut sent) = mpsc::channel(8);
        let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let (serve, served) = oneshot::channel();
        (Passing::new(body, encoding, Box::pin(async { drop(served.await) })), cloud, serve)
    }

    async fn next(body: &mut (impl HttpBody<Data = Bytes, Error = BodyError> + Unpin)) -> Option<String> {
        let frame = body.frame().await?.unwrap();
        Some(String::from_utf8_lossy(frame.data_ref().unwrap()).into_owned())
    }

    #[tokio::test]
    async fn what_is_not_read_here_ends_with_the_piece_at_hand() {
        let (mut body, cloud, serve) = passing(None);
        cloud.send(Ok(Frame::data("half".into()))).await.unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some("half"));
        serve.send(()).unwrap();
        assert_eq!(next(&mut body).await, None, "the cloud says nothing, and the watch ends all the same");
        assert_eq!(next(&mut body).await, None);
    }

    #[tokio::test]
    async fn an_event_that_has_begun_is_waited_for() {
        let (mut body, cloud, serve) = passing(Some(Encoding::Json));
        cloud.send(Ok(Frame::data("{\"half\"".into()))).await.unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some("{\"half\""));
        serve.send(()).unwrap();
        cloud.send(Ok(Frame::data(":1}\n".into()))).await.unwrap();
        assert_eq!(next(&mut body).await.as_deref(), Some(":1}\n"));
        assert!(next(&mut body).await.unwrap().contains("Expired"));
        assert_eq!(next(&mut body).await, None);
    }

    proptest! {
        /// However the stream is cut, it is between events where one has ended.
        #[test]
        fn the_ends_of_events_are_known(
            lengths in proptest::collection::vec(0_usize..20, 0..6),
            cuts in proptest::collection::vec(1_usize..7, 200),
        ) {
            let (mut wire, mut ends) = (Vec::new(), vec![0]);
            for length in &lengths {
                wire.extend(u32::try_from(*length).unwrap().to_be_bytes());
                wire.extend(vec![b'x'; *length]);
                ends.push(wire.len());
            }
            let (mut events, mut at) = (Events::new(Encoding::Protobuf), 0);
            for cut in cuts {
                prop_assert_eq!(events.is_between(), ends.contains(&at));
                let to = wire.len().min(at + cut);
                events.pass(&wire[at..to]);
                at = to;
            }
        }
    }

    #[test]
    fn a_line_is_an_event() {
        let mut events = Events::new(Encoding::Json);
        assert!(events.is_between());
        for (data, between) in [("{\"a\"", false), (":1}\n", true), ("{}\n{", false), ("", false), ("}\n", true)] {
            events.pass(data.as_bytes());
            assert_eq!(events.is_between(), between, "{data}");
        }
    }
}
