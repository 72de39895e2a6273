//! TokenRequest: what kubelet was given for a Pod is given to it again while it is
//! valid, for exactly the same request.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Asked;
use crate::kube::{media, token};
use crate::request::context::{Refusal, Response, full};
use crate::store::{Document, Knowledge};

pub(super) fn serve(knowledge: &Knowledge, asked: &Asked) -> Result<Response, Refusal> {
    let unknown = || {
        Refusal::unavailable(
            "the link to the cloud is down, and no token that is still valid was issued for this very request before",
        )
    };
    let document = knowledge.issued(&fingerprint(&asked.uri, asked.accept(), asked.body()?))?.ok_or_else(unknown)?;
    let encoding = media::encoding_of(&document.content_type).ok_or_else(unknown)?;
    let issued = token::issued(encoding, &document.body).ok_or_else(unknown)?;
    let digest = token::digest(&issued);
    // Known and not expired: the same that the token's bearer will be asked for.
    knowledge.token(digest)?.ok_or_else(unknown)?;
    let mut response = Response::new(full(document.body));
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(value) = HeaderValue::try_from(document.content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(response)
}

/// Keeps what the cloud has just issued, and passes it on. An answer that is not
/// what it should be is passed on as it is.
pub(super) async fn keep(knowledge: &Knowledge, asked: &Asked, response: Response) -> Result<Response, Refusal> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, super::MAX_BODY)
        .collect()
        .await
        .map_err(|error| Refusal::bad_gateway(format!("the answer to a TokenRequest broke off: {error}")))?
        .to_bytes();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let issued = media::encoding_of(content_type).and_then(|encoding| token::issued(encoding, &body));
    if let Some((issued, claims)) = issued.and_then(|issued| token::claims(&issued).map(|claims| (issued, claims))) {
        knowledge.know_token(token::digest(&issued), &claims.user, claims.expires);
        if let Some(sent) = &asked.body {
            let fingerprint = fingerprint(&asked.uri, asked.accept(), sent);
            let document = Document { content_type: content_type.to_owned(), body: body.to_vec(), ..Document::default() };
            knowledge.keep_issued(&fingerprint, &document);
        }
    }
    Ok(Response::from_parts(parts, full(body)))
}

/// What makes two TokenRequests the same: path, representation, body (audiences,
/// lifetime, the Pod it is bound to).
fn fingerprint(uri: &http::Uri, accept: &str, body: &[u8]) -> [u8; 32] {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for part in [uri.path().as_bytes(), accept.as_bytes(), body] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}
