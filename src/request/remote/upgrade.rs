//! exec, attach, port-forward: SPDY and WebSocket leave HTTP behind. The hub joins
//! the two connections and looks at nothing. A watch over WebSocket that no filter serves goes this way too, and its
//! connection is closed when one comes to serve it: its client asks anew, and is then told to list.
//!
//! The joined connections are the body of the 101. So they end when it is dropped, and their bytes and their end are
//! counted and told as those of any other answer.

use std::future::ready;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use super::{Failure, Remote, balance, forward};
use crate::request::context::{Body, BodyError, Context, Request, Response};
use crate::request::filter::{Chain, Passing, Served};
use crate::upstream::{Error, Fault, Upgraded};

/// How much is passed on at once at most: what a TLS record holds.
const PIECE: usize = 16 * 1024;

type Io = TokioIo<hyper::upgrade::Upgraded>;

/// `chain`: one that serves nothing now.
pub(super) async fn serve(
    remote: &Remote,
    context: &Context,
    chain: Option<Chain>,
    mut request: Request,
) -> Result<Response, Failure> {
    let served = remote.filters.later(context, chain);
    let client = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let protocol = parts.headers.get(UPGRADE).cloned();
    let mut head = forward::request_head(parts);
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
        head.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let mut body = (!body.is_end_stream()).then_some(body);
    let mut last = Error::new(Fault::Link, false, "there is no server");
    for index in balance::order(remote, context, &head) {
        match remote.servers[index].upgrade(balance::identity(&context.caller), &head, &mut body).await {
            Ok(answer) => return Ok(answered(answer, client, served)),
            Err(error) => last = error,
        }
        if last.was_sent() || !last.is_link() {
            break;
        }
    }
    Err(Failure::Upstream(last))
}

fn answered(answer: http::Response<Upgraded>, client: OnUpgrade, served: Option<Served>) -> Response {
    let (mut parts, upgraded) = answer.into_parts();
    match upgraded {
        Upgraded::Refused(body) => {
            forward::response_head(&mut parts);
            let body = match served.filter(|_| parts.status.is_success()) {
                Some(served) => Passing::new(body, None, served).boxed_unsync(),
                None => body.map_err(BodyError::from).boxed_unsync(),
            };
            Response::from_parts(parts, body)
        }
        Upgraded::Switched(cloud) => {
            debug_assert_eq!(parts.status, StatusCode::SWITCHING_PROTOCOLS);
            parts.extensions.clear();
            Response::from_parts(parts, joined(client, cloud, served))
        }
    }
}

/// The two connections, joined while this is polled. Its frames are no bytes to be sent: they have gone to the client.
fn joined(client: OnUpgrade, cloud: OnUpgrade, served: Option<Served>) -> Body {
    let both = async {
        let (client, cloud) = tokio::try_join!(client.map_err(failed(Fault::Client)), cloud.map_err(failed(Fault::Link)))?;
        let (from_client, to_client) = tokio::io::split(TokioIo::new(client));
        let (from_cloud, to_cloud) = tokio::io::split(TokioIo::new(cloud));
        let up = passed((from_client, Fault::Client), (to_cloud, Fault::Link)).try_filter(|_| ready(false));
        let down = passed((from_cloud, Fault::Link), (to_client, Fault::Client));
        Ok(stream::select(down, up))
    };
    let served = served.unwrap_or_else(|| std::future::pending().boxed());
    StreamBody::new(both.try_flatten_stream().map_ok(Frame::data).take_until(served)).boxed_unsync()
}

/// One direction, piece by piece, each when it has been passed on. `Fault`: whose end that is.
fn passed(
    (from, reads): (ReadHalf<Io>, Fault),
    (to, writes): (WriteHalf<Io>, Fault),
) -> impl Stream<Item = Result<Bytes, BodyError>> {
    stream::try_unfold((from, to, BytesMut::new()), move |(mut from, mut to, mut buffer)| async move {
        buffer.reserve(PIECE);
        if from.read_buf(&mut buffer).await.map_err(failed(reads))? == 0 {
            // Who is gone already needs to be told nothing.
            let _ = to.shutdown().await;
            return Ok(None);
        }
        let piece = buffer.split().freeze();
        to.write_all(&piece).await.map_err(failed(writes))?;
        to.flush().await.map_err(failed(writes))?;
        Ok(Some((piece, (from, to, buffer))))
    })
}

fn failed<E: std::fmt::Display>(fault: Fault) -> impl FnOnce(E) -> BodyError {
    move |error| Error::new(fault, true, error).into()
}
