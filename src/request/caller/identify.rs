//! From proofs to a caller.

use std::sync::{Arc, PoisonError};

use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use super::owner::{Ownership, Procfs};
use crate::request::accept::{Peer, Port};
use crate::request::context::{Bearer, Caller, Refusal};

/// What callers are told apart by.
pub struct Callers {
    pub node_name: String,
    pub procfs: Arc<Procfs>,
}

/// Names the caller, or refuses with 401.
pub async fn identify(callers: &Callers, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Refusal> {
    if matches!(peer.port, Port::Internal) {
        return Ok(Caller::Node);
    }
    // A token all the same, whose user is not the node's, and who of two counts is the cloud's to say.
    if brings_websocket_token(headers) {
        return Ok(Caller::Other);
    }
    let mut credentials = headers.get_all(AUTHORIZATION).iter();
    if let Some(credential) = credentials.next() {
        if credentials.next().is_some() {
            return Err(Refusal::unauthorized("more than one Authorization header"));
        }
        return Ok(token(credential.as_bytes()).map_or(Caller::Other, |token| Caller::Bearer(bearer(peer, token))));
    }
    match &peer.port {
        Port::Internal | Port::Predecessor => Ok(Caller::Node),
        Port::Secure { client: Some(subject) } if subject.is_node(&callers.node_name) => Ok(Caller::Node),
        Port::Secure { client: Some(subject) } => Err(Refusal::unauthorized(format!(
            "the client certificate is for {}, only this node's kubelet (system:node:{}) may use one here: send a bearer token",
            subject.common_name, callers.node_name
        ))),
        Port::Secure { client: None } => Err(Refusal::unauthorized("no credential: send a bearer token")),
        Port::Loopback { ownership } => by_ownership(callers, peer, ownership).await,
    }
}

async fn by_ownership(callers: &Callers, peer: &Peer, ownership: &tokio::sync::OnceCell<Ownership>) -> Result<Caller, Refusal> {
    let look = async || {
        let (procfs, remote, local) = (callers.procfs.clone(), peer.remote, peer.local);
        tokio::task::spawn_blocking(move || procfs.owner(remote, local)).await.ok().flatten().ok_or(())
    };
    // Its holder may just have been a process that has ended since: the next request looks again.
    match ownership.get_or_try_init(look).await {
        Ok(Ownership::Host) => Ok(Caller::Node),
        Ok(Ownership::Pod) => {
            Err(Refusal::unauthorized("no credential: a process of a Pod is never answered as the node, send a bearer token"))
        }
        Err(()) => Err(Refusal::unauthorized(
            "no credential, and the process behind this connection could not be told from a Pod's: the hub must share the host's process and cgroup namespaces",
        )),
    }
}

/// Browsers' way to send a token (k8s.io/apiserver, authentication/request/websocket).
fn brings_websocket_token(headers: &HeaderMap) -> bool {
    let protocols = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    protocols
        .flat_map(|value| value.split(','))
        .any(|protocol| protocol.trim().starts_with("base64url.bearer.authorization.k8s.io."))
}

/// The token that the kube-apiserver finds there, and no other: what it does not take for one is answered as nobody's, and
/// must not make somebody known. Of two spaces in a row the token is what lies between them, which is none.
/// Source: k8s.io/apiserver/pkg/authentication/request/bearertoken.
fn token(credential: &[u8]) -> Option<&str> {
    let (scheme, rest) = std::str::from_utf8(credential).ok()?.trim().split_once(' ')?;
    // A kilobyte long, most often.
    let token = memchr::memchr(b' ', rest.as_bytes()).map_or(rest, |end| &rest[..end]);
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What the token says of itself, read again only when it is another one.
fn bearer(peer: &Peer, token: &str) -> Arc<Bearer> {
    let mut last = peer.bearer.lock().unwrap_or_else(PoisonError::into_inner);
    match &*last {
        Some(bearer) if *bearer.token == *token => bearer.clone(),
        _ => last.insert(Arc::new(Bearer::new(token))).clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_case_insensitive_and_needs_a_token() {
        assert_eq!(token(b"Bearer abc"), Some("abc"));
        assert_eq!(token(b" bearer abc def "), Some("abc"));
        for none in [&b"Basic YTpi"[..], b"Bearer ", b"Bearer", b"Bearer  abc", b"Bearer\tabc"] {
            assert_eq!(token(none), None);
        }
    }

    #[tokio::test]
    async fn a_browsers_token_is_a_credential_and_not_the_nodes() {
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into(), Port::Secure { client: None });
        let callers = Callers { node_name: "n".into(), procfs: Arc::default() };
        let mut headers = HeaderMap::new();
        headers
            .insert(SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.dG9rZW4".parse().unwrap());
        assert!(matches!(identify(&callers, &peer, &headers).await, Ok(Caller::Other)));
        headers.insert(AUTHORIZATION, "Bearer somebody".parse().unwrap());
        assert!(matches!(identify(&callers, &peer, &headers).await, Ok(Caller::Other)), "it may be the one that counts");
        headers.remove(AUTHORIZATION);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, "v5.channel.k8s.io".parse().unwrap());
        assert!(identify(&callers, &peer, &headers).await.is_err());
    }

    #[test]
    fn a_connection_remembers_only_its_last_token() {
        let peer = Peer::internal();
        let first = bearer(&peer, "one");
        assert!(Arc::ptr_eq(&first, &bearer(&peer, "one")));
        let second = bearer(&peer, "two");
        assert_eq!((&*second.token, second.digest), ("two", crate::kube::token::digest("two")));
        assert_eq!(&*bearer(&peer, "one").token, "one");
    }
}
