//! One kube-apiserver: its address, its pools, and sending a request to it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use tokio::sync::{Notify, oneshot};

use super::address::Address;
use super::body::{Beginning, Body, RequestBody};
use super::connect::{self, Peer};
use super::connection::{Connection, Opened, Place, Signs};
use super::error::{Error, Fault};
use super::http1::{self, Upgraded};
use super::pool::{Maker, Pool, Taken};
use super::proxy::Proxies;
use super::timing::Timing;
use crate::state::credentials::{Credentials, Identity};
use crate::state::link::Link;

/// Connections in a row that may turn out to be ending when a stream is opened, before all
/// are taken to be.
const STALE: usize = 8;

pub struct Server {
    pub index: usize,
    peer: Arc<Peer>,
    timing: Timing,
    credentials: Arc<Credentials>,
    link: Arc<Link>,
    /// Where connections are driven: the path's.
    runtime: tokio::runtime::Handle,
    node: Pool,
    caller: Pool,
    signs: Arc<Signs>,
}

/// What a server is reached with.
#[derive(Clone)]
pub struct Means {
    pub timing: Timing,
    pub proxies: Proxies,
    pub credentials: Arc<Credentials>,
    pub link: Arc<Link>,
    /// The runtime that drives connections.
    pub runtime: tokio::runtime::Handle,
}

impl Server {
    pub fn new(index: usize, address: Address, means: Means) -> Self {
        let Means { timing, proxies, credentials, link, runtime } = means;
        let peer = Arc::new(Peer::new(address, &proxies));
        Self {
            index,
            peer,
            timing,
            credentials,
            link,
            runtime,
            node: Pool::default(),
            caller: Pool::default(),
            signs: Arc::default(),
        }
    }

    pub fn address(&self) -> &Address {
        &self.peer.address
    }

    fn pool(&self, identity: Identity) -> &Pool {
        match identity {
            Identity::Node => &self.node,
            Identity::Caller => &self.caller,
        }
    }

    fn maker(&self, identity: Identity) -> Maker<'_> {
        let generation = self.credentials.current();
        let config = match identity {
            Identity::Node => generation.node.clone(),
            Identity::Caller => generation.caller.clone(),
        };
        Maker {
            index: self.index,
            peer: &self.peer,
            config,
            generation: generation.number,
            timing: self.timing,
            link: &self.link,
            runtime: &self.runtime,
            signs: &self.signs,
        }
    }

    /// Sends a GET whose answer is small: on a lane if one is free, else, or if that is no
    /// use, like any other.
    pub async fn get(&self, identity: Identity, head: &Parts) -> Result<Response<Body>, Error> {
        let (pool, maker) = (self.pool(identity), self.maker(identity));
        if let Some(lane) = pool.lanes.take(maker.generation) {
            match lane.get(&pool.lanes, self.peer.address.authority.as_str(), head).await {
                Ok(answer) => return Ok(answer.map(Body::lane)),
                Err(error) => tracing::debug!(%error, server = %self.address(), "a GET is sent once more, over HTTP/2"),
            }
        } else if pool.lanes.wants_one() {
            pool.open_lane(&maker);
        }
        self.send(identity, head, &mut None).await
    }

    /// Sends one request; the answer's body streams. The head's URI needs only a path
    /// and query. `body` is left in its place if nothing of it was sent.
    pub async fn send(&self, identity: Identity, head: &Parts, body: &mut Option<RequestBody>) -> Result<Response<Body>, Error> {
        let bodiless = body.is_none();
        let mut last = Error::new(Fault::Refused, false, "every connection was just ending");
        for attempt in 0..=STALE {
            if attempt == STALE {
                // There may be more of them than anybody wants to try: a new one knows nothing of their end.
                self.pool(identity).forget();
            }
            let (connection, place) = match self.pool(identity).take(self.maker(identity)).await? {
                Taken::H2(connection, place) => (connection, place),
                // Boxed: it is large, and rare.
                Taken::H1(io) => {
                    let request = Request::from_parts(head.clone(), body.take());
                    let answer = Box::pin(http1::send(*io, self.host_header(), request));
                    return if head.method.is_safe() {
                        self.unless_gone(identity, answer, &Notify::new()).await
                    } else {
                        answer.await
                    };
                }
            };
            match connection.send(self.h2_head(head)?, body.is_none()).await {
                Err(error) => last = error,
                Ok(stream) => match self.exchange(&connection, place, stream, body).await {
                    // The server has not looked at it, so it is no repetition (RFC 9113, 8.7).
                    Err(error) if error.fault() == Fault::Refused && (bodiless || body.is_some()) => last = error,
                    result => return result,
                },
            }
        }
        Err(last)
    }

    /// The answer, unless the server turns out to be gone while it is waited for. Only for what
    /// may be repeated: a server that is ending takes no connection, and may answer all the same.
    /// `part`: something of it has come.
    async fn unless_gone<T>(
        &self,
        identity: Identity,
        answer: impl Future<Output = Result<T, Error>>,
        part: &Notify,
    ) -> Result<T, Error> {
        let mut answer = pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = part.notified() => {}
                error = self.gone(identity) => return Err(error),
            }
        }
    }

    /// The answer with the beginning of its body ([`Body::begun`]).
    pub async fn begun(&self, identity: Identity, answer: Response<Body>, beginning: Beginning) -> Result<Response<Body>, Error> {
        let (parts, body) = answer.into_parts();
        let body = match body.is_h1() {
            true => {
                let part = Notify::new();
                let begun = body.begun(beginning, || part.notify_one());
                self.unless_gone(identity, begun, &part).await?
            }
            false => body.begun(beginning, || {}).await?,
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Returns when the server does not even shake hands. HTTP/1.1 has no ping that would tell
    /// a slow server from a dead one.
    async fn gone(&self, identity: Identity) -> Error {
        // With the handshake's own limit that is two seconds.
        let mut pause = self.timing.patience / 2;
        loop {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.shake_hands(self.maker(identity).config).await {
                self.link.suspect(self.index);
                return Error::new(Fault::Link, true, format!("no answer, and then: {error}"));
            }
            pause = self.timing.keepalive;
        }
    }

    /// A connection of its own; that it comes about is a sign of life.
    async fn shake_hands(&self, config: Arc<rustls::ClientConfig>) -> Result<connect::Stream, Error> {
        let io = connect::tls(&self.peer, config, self.timing.connect).await?;
        self.signs.replies.fetch_add(1, Ordering::Relaxed);
        Ok(io)
    }

    /// Sends a GET on a connection of its own, whatever has become of the others.
    pub async fn get_apart(&self, identity: Identity, head: &Parts) -> Result<Response<Body>, Error> {
        let io = self.shake_hands(connect::http1_only(&self.maker(identity).config)).await?;
        http1::send(io, self.host_header(), Request::from_parts(head.clone(), None)).await
    }

    /// Sends a request that wants to leave HTTP behind, on a connection of its own. `body` is left in its place if there
    /// is none to be had.
    pub async fn upgrade(
        &self,
        identity: Identity,
        head: &Parts,
        body: &mut Option<RequestBody>,
    ) -> Result<Response<Upgraded>, Error> {
        let config = connect::http1_only(&self.maker(identity).config);
        let io = self.shake_hands(config).await.inspect_err(|_| self.link.suspect(self.index))?;
        http1::upgrade(io, self.host_header(), Request::from_parts(head.clone(), body.take())).await
    }

    /// A number that changes with whatever comes over HTTP/2, replies to pings too.
    pub fn heard(&self, identity: Identity) -> u64 {
        self.pool(identity).heard()
    }

    /// Whether there is a connection over HTTP/2.
    pub fn is_connected(&self, identity: Identity) -> bool {
        self.pool(identity).is_connected()
    }

    /// A number that grows with each part of an answer that comes over HTTP/2.
    pub fn delivered(&self) -> u64 {
        self.signs.parts.load(Ordering::Relaxed)
    }

    /// A number that grows with each other sign of life: replies to pings, and handshakes.
    pub fn replied(&self) -> u64 {
        self.signs.replies.load(Ordering::Relaxed)
    }

    /// Forgets pooled connections after the server was declared down.
    pub fn forget_connections(&self) {
        self.node.forget();
        self.caller.forget();
    }

    fn host_header(&self) -> String {
        self.address().to_string()
    }

    fn h2_head(&self, head: &Parts) -> Result<Request<()>, Error> {
        let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut parts = http::uri::Parts::default();
        (parts.scheme, parts.authority, parts.path_and_query) =
            (Some(Scheme::HTTPS), Some(self.peer.address.authority.clone()), Some(path));
        let mut head = head.clone();
        head.uri = Uri::from_parts(parts).map_err(|error| Error::new(Fault::Client, false, error))?;
        head.version = http::Version::HTTP_2;
        Ok(Request::from_parts(head, ()))
    }

    /// Sends the body and waits for the answer's head.
    async fn exchange(
        &self,
        connection: &Connection,
        place: Place,
        (future, stream): Opened,
        body: &mut Option<RequestBody>,
    ) -> Result<Response<Body>, Error> {
        let (fault, mut clients_fault) = oneshot::channel();
        if let Some(body) = body.take() {
            self.runtime.spawn(async move {
                if let Err(error) = pump(body, stream).await {
                    let _ = fault.send(error);
                }
            });
        }
        let answer = connection.answer(future).await;
        // A stream that was reset because its client failed is nobody else's fault.
        let answer = answer.map_err(|error| clients_fault.try_recv().unwrap_or(error))?;
        let (parts, stream) = answer.into_parts();
        Ok(Response::from_parts(parts, Body::h2(stream, place)))
    }
}

/// Feeds a request's body to its stream at the pace the server takes it. A client
/// that fails in the middle resets the stream, and its failure is the error: the
/// server never sees a whole body.
async fn pump(mut body: RequestBody, mut stream: h2::SendStream<Bytes>) -> Result<(), Error> {
    use http_body_util::BodyExt as _;
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = std::future::poll_fn(|cx| stream.poll_reset(cx)) => return Ok(()),
        };
        match frame {
            None => {
                let _ = stream.send_data(Bytes::new(), true);
                return Ok(());
            }
            Some(Err(error)) => {
                stream.send_reset(h2::Reason::CANCEL);
                return Err(error);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if send_all(&mut stream, data).await.is_err() {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = stream.send_trailers(trailers);
                    }
                    return Ok(());
                }
            },
        }
    }
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(granted) => granted?,
            None => return Err(h2::Reason::STREAM_CLOSED.into()),
        };
        let chunk = data.split_to(granted.min(data.len()));
        stream.send_data(chunk, false)?;
    }
    Ok(())
}
