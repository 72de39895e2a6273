//! exec, attach, port-forward: SPDY and WebSocket leave HTTP behind. The hub joins
//! the two connections and looks at nothing. A watch over WebSocket that no filter serves goes this way too, and its
//! connection is closed when one comes to serve it: its client asks anew, and is then told to list.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;

use super::{Failure, Remote, balance, forward};
use crate::request::context::{BodyError, Context, Request, Response, full};
use crate::request::filter::{Chain, Passing, Served};
use crate::upstream::{Error, Fault, Upgraded};

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
    for index in balance::order(remote) {
        let request = http::Request::from_parts(head.clone(), body.take());
        match remote.servers[index].upgrade(balance::identity(&context.caller), request).await {
            Ok(answer) => return Ok(joined(answer, client, served)),
            Err(error) => last = error,
        }
        if last.was_sent() || !last.is_link() {
            break;
        }
    }
    Err(Failure::Upstream(last))
}

fn joined(answer: http::Response<Upgraded>, client: hyper::upgrade::OnUpgrade, served: Option<Served>) -> Response {
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
            tokio::spawn(async move {
                let served = async {
                    match served {
                        Some(served) => served.await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    ended = join(client, cloud) => if let Err(error) = ended {
                        tracing::debug!(%error, "an upgraded connection ended");
                    },
                    () = served => tracing::debug!("an upgraded watch ended: a filter serves it now"),
                }
            });
            Response::from_parts(parts, full(bytes::Bytes::new()))
        }
    }
}

async fn join(
    client: hyper::upgrade::OnUpgrade,
    cloud: hyper::upgrade::OnUpgrade,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (client, cloud) = tokio::try_join!(client, cloud)?;
    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(cloud)).await?;
    Ok(())
}
