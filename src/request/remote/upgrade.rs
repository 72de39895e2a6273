//! exec, attach, port-forward: SPDY and WebSocket leave HTTP behind. The hub joins
//! the two connections and looks at nothing.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;

use super::{Failure, Remote, balance, forward};
use crate::request::context::{BodyError, Context, Request, Response, full};
use crate::upstream::{Error, Fault, Upgraded};

pub(super) async fn serve(remote: &Remote, context: &Context, mut request: Request) -> Result<Response, Failure> {
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
            Ok(answer) => return Ok(joined(answer, client)),
            Err(error) => last = error,
        }
        if last.was_sent() || !last.is_link() {
            break;
        }
    }
    Err(Failure::Upstream(last))
}

fn joined(answer: http::Response<Upgraded>, client: hyper::upgrade::OnUpgrade) -> Response {
    let (mut parts, upgraded) = answer.into_parts();
    match upgraded {
        Upgraded::Refused(body) => {
            forward::response_head(&mut parts);
            Response::from_parts(parts, body.map_err(BodyError::from).boxed_unsync())
        }
        Upgraded::Switched(cloud) => {
            debug_assert_eq!(parts.status, StatusCode::SWITCHING_PROTOCOLS);
            parts.extensions.clear();
            tokio::spawn(async move {
                if let Err(error) = join(client, cloud).await {
                    tracing::debug!(%error, "an upgraded connection ended");
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
