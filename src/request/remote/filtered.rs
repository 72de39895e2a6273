//! The cloud's answer as its client is to see it.
//!
//! Lists and watches stream; a single object is looked at whole, for a filter may say that it is not there. An answer
//! in a representation that no filter reads is refused if one of them is for safety, and a watch in it that is passed on
//! ends when the decision would be another one.

use std::io::Read as _;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::response::Parts;
use http_body_util::{BodyExt as _, Limited};

use super::learn;
use super::tee::Tee;
use super::{Failure, Remote};
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::message::Edit;
use crate::request::context::{BodyError, Context, Own, Refusal, Response, full};
use crate::request::filter::{self, Beginning, By, Chain, Filtered, Filters, Passing, Source, Stands, Stood, Transform};
use crate::request::names;
use crate::upstream::Error;

/// The largest single object.
const MAX_OBJECT: usize = 8 << 20;

pub(super) async fn answer(
    remote: &Remote,
    context: &Context,
    chain: Chain,
    mut parts: Parts,
    body: Tee,
) -> Result<Response, Failure> {
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let verb = context.info.verb.as_str();
    let pass = chain.is_empty() && verb != "watch";
    let encoding = media::encoding_of(content_type).filter(|_| !pass);
    if encoding.is_none()
        && !pass
        && let Some(filter) = chain.unreadable()
    {
        return Err(Failure::Refusal(Refusal::not_acceptable(format!(
            "filter {filter} serves this and cannot read {content_type:?}: ask for application/json"
        ))));
    }
    remote.filters.told(context, Some(&chain), By::Cloud);
    let Some(encoding) = encoding else {
        let body = match verb {
            "watch" => Passing::new(body, None, Box::pin(async move { chain.outdated().await })).boxed_unsync(),
            _ => body.map_err(BodyError::from).boxed_unsync(),
        };
        return Ok(Response::from_parts(parts, body));
    };
    let gzip = parts.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_ENCODING);
    parts.extensions.insert(Own);
    let transform = match verb {
        "list" => Transform::list(chain, encoding, gzip),
        "watch" => {
            let beginning = beginning(remote, context, &chain, encoding).map_err(Failure::Refusal)?;
            parts.extensions.insert(beginning.stands.clone());
            Transform::watch(chain, encoding, gzip, beginning)
        }
        _ => {
            let object = whole(&chain, gzip, body).await?;
            return edited(context, &chain, encoding, parts, object).map_err(Failure::Refusal);
        }
    };
    Ok(Response::from_parts(parts, Filtered::new(body, transform, remote.metrics.clone()).boxed_unsync()))
}

/// A single object. Nothing of it has gone to the client: if the link breaks, the store may still answer.
async fn whole(chain: &Chain, gzip: bool, body: Tee) -> Result<Bytes, Failure> {
    let refused = |why: &str| Failure::Refusal(Refusal::bad_gateway(why));
    let body = Limited::new(body, MAX_OBJECT).collect().await.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => Failure::Upstream(*error),
        Err(_) => refused("the object is too large"),
    })?;
    let body = body.to_bytes();
    if !gzip {
        return Ok(body);
    }
    let mut plain = Vec::new();
    let unpacked = flate2::read::GzDecoder::new(&*body).take(MAX_OBJECT as u64 + 1).read_to_end(&mut plain);
    if unpacked.is_err() || plain.len() > MAX_OBJECT {
        // Nobody can look at it: that counts for every filter.
        let _ = chain.unreadable();
        return Err(refused("the object is no gzip, or too large"));
    }
    Ok(plain.into())
}

fn edited(context: &Context, chain: &Chain, encoding: Encoding, parts: Parts, object: Bytes) -> Result<Response, Refusal> {
    match filter::edit(chain, encoding, &object) {
        Ok(Edit::Keep) => Ok(Response::from_parts(parts, full(object))),
        Ok(Edit::Replace(object)) => Ok(Response::from_parts(parts, full(object))),
        Ok(Edit::Remove) => Err(Refusal::no_such(&context.info)),
        Err(error) => Err(Refusal::bad_gateway(format!("a filter cannot read the kube-apiserver's answer: {error}"))),
    }
}

fn beginning(remote: &Remote, context: &Context, chain: &Chain, encoding: Encoding) -> Result<Beginning, Refusal> {
    let query = &context.info.query;
    let shown = Filters::shown(context, chain)?;
    let media = learn::known_as(context, encoding);
    // The rows of a Table are printed by the cloud, in columns of its own. And of what begins in the middle nobody knows what
    // it goes on from.
    let is_known = !query.other && (query.goes_on() || query.begins_with_all());
    let source = media.zip(remote.knowledge.clone()).filter(|_| is_known).map(|(media, knowledge)| Source {
        knowledge,
        scope: names::scope(&context.info, &media),
        bookmarks: query.allow_watch_bookmarks && !context.hides_bookmarks,
    });
    let stands = Stands::at(Stood { mark: chain.mark().into(), ..Stood::default() });
    Ok(Beginning {
        shown,
        source,
        stands,
        resource_version: query.resource_version.clone(),
        initial_events: !query.goes_on(),
        hides_bookmarks: context.hides_bookmarks,
    })
}
