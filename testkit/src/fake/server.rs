//! Connections: accepting, TLS, HTTP, and the one function every request goes through.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::access::User;
use super::body::{Reply, reply};
use super::fault::{Fault, GARBAGE, spoil, strike};
use super::line::{Line, Signal, TextIo, WireIo};
use super::media::{compress, failure};
use super::request::{Call, Query, Target};
use super::status::Failure;
use super::{Recorded, Shared, list, lock, oddities, special, stamp, watch, write};

/// The listening socket and the open connections.
#[derive(Default)]
pub(crate) struct Door {
    inner: Mutex<DoorInner>,
}

#[derive(Default)]
struct DoorInner {
    listener: Option<TcpListener>,
    waker: Option<Waker>,
    /// What new connections meet.
    fault: Option<Fault>,
    lines: HashMap<u64, Arc<Line>>,
    accepted: u64,
}

/// The other end of a connection.
struct Peer {
    line: Arc<Line>,
    chain: Vec<CertificateDer<'static>>,
}

impl Door {
    /// Listens from now on. Needs a runtime around it.
    pub(crate) fn open(&self, addr: SocketAddr) -> anyhow::Result<SocketAddr> {
        let socket = std::net::TcpListener::bind(addr)?;
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        let mut inner = lock(&self.inner);
        inner.listener = Some(TcpListener::from_std(socket)?);
        if let Some(waker) = inner.waker.take() {
            waker.wake();
        }
        Ok(addr)
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.inner).listener.is_some()
    }

    pub(crate) fn close(&self) {
        lock(&self.inner).listener = None;
    }

    /// What new connections meet from now on.
    pub(crate) fn meet(&self, fault: Option<Fault>) {
        lock(&self.inner).fault = fault;
    }

    pub(crate) fn lines(&self) -> Vec<Arc<Line>> {
        lock(&self.inner).lines.values().cloned().collect()
    }

    /// Connections open now, connections accepted ever.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let inner = lock(&self.inner);
        (inner.lines.len(), inner.accepted)
    }

    async fn accept(&self) -> TcpStream {
        poll_fn(|cx| {
            let mut inner = lock(&self.inner);
            inner.waker = Some(cx.waker().clone());
            let Some(listener) = &inner.listener else { return Poll::Pending };
            loop {
                match listener.poll_accept(cx) {
                    Poll::Ready(Ok((stream, _))) => return Poll::Ready(stream),
                    Poll::Ready(Err(_)) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Accepts for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let stream = shared.door.accept().await;
        stream.set_nodelay(true).ok();
        let (id, fault, line) = {
            let mut inner = lock(&shared.door.inner);
            inner.accepted += 1;
            let line = Line::new(inner.fault == Some(Fault::Silence));
            let id = inner.accepted;
            inner.lines.insert(id, Arc::clone(&line));
            (id, inner.fault, line)
        };
        if fault == Some(Fault::Reset) {
            line.cut(true);
        }
        let on_close = {
            let shared = Arc::clone(&shared);
            move || drop(lock(&shared.door.inner).lines.remove(&id))
        };
        let io = WireIo::new(stream, Arc::clone(&line), on_close);
        tokio::spawn(connection(Arc::clone(&shared), io, line, fault));
    }
}

/// Serves one connection until it ends or is cut.
async fn connection(shared: Arc<Shared>, mut io: WireIo, line: Arc<Line>, fault: Option<Fault>) {
    let mut signals = line.signals();
    let handshake = async {
        if fault == Some(Fault::GarbageTls) {
            io.write_all(GARBAGE).await?;
            linger(&mut io).await;
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        TlsAcceptor::from(shared.tls_config()).accept(io).await
    };
    let stream = tokio::select! {
        result = handshake => result,
        _ = signals.wait_for(|signal| *signal == Signal::Cut) => return,
    };
    let Ok(mut stream) = stream else { return };
    if fault == Some(Fault::Garbage) {
        stream.write_all(GARBAGE).await.ok();
        stream.flush().await.ok();
        linger(&mut stream).await;
        return;
    }
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let chain = chain.into_iter().map(CertificateDer::into_owned).collect();
    let peer = Arc::new(Peer { line: Arc::clone(&line), chain });
    http(shared, TextIo::new(stream, line), peer).await;
}

/// Reads what the client still sends, so that closing does not destroy what it was sent.
async fn linger(io: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    io.shutdown().await.ok();
    let mut buffer = [0; 1024];
    while let Ok(1..) = io.read(&mut buffer).await {}
}

async fn http(shared: Arc<Shared>, io: impl Stream, peer: Arc<Peer>) {
    let mut signals = peer.line.signals();
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(shared.max_concurrent_streams);
    builder.http2().max_pending_accept_reset_streams(100_000).max_local_error_reset_streams(100_000);
    let service = service_fn(move |request| {
        let (shared, peer) = (Arc::clone(&shared), Arc::clone(&peer));
        async move {
            let open = Open::new(&shared, &request);
            let answer = serve(shared, peer, request).await;
            // The body's own errors; the closure has the mark until the body is dropped.
            Ok::<_, Infallible>(answer.map(|body| body.map_err(move |error| (error, &open).0)))
        }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    loop {
        let signal = tokio::select! {
            _ = connection.as_mut() => return,
            result = signals.changed() => result.map(|()| *signals.borrow_and_update()),
        };
        match signal {
            Ok(Signal::GoAway) => connection.as_mut().graceful_shutdown(),
            Ok(Signal::Cut) => return,
            Ok(Signal::Run) => {}
            Err(_) => return,
        }
    }
}

/// A request is open as long as this lives.
struct Open {
    shared: Arc<Shared>,
    path_and_query: String,
}

impl Open {
    fn new(shared: &Arc<Shared>, request: &Request<Incoming>) -> Self {
        let path_and_query = request.uri().path_and_query().map_or("/", |text| text.as_str()).to_owned();
        lock(&shared.open).push(path_and_query.clone());
        Self { shared: Arc::clone(shared), path_and_query }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = lock(&self.shared.open);
        if let Some(at) = open.iter().position(|path_and_query| *path_and_query == self.path_and_query) {
            open.swap_remove(at);
        }
    }
}

/// What HTTP runs over.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// One request: recorded, spoiled or answered.
async fn serve(shared: Arc<Shared>, peer: Arc<Peer>, request: Request<Incoming>) -> Reply {
    let (mut parts, body) = request.into_parts();
    if parts.uri.path() == "/fake/echo" {
        return oddities::echo_body(body);
    }
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let body = if parts.headers.contains_key(header::UPGRADE) {
        Bytes::new()
    } else {
        body.collect().await.map(|body| body.to_bytes()).unwrap_or_default()
    };
    let user = shared.verifier.user(&peer.chain);
    let path_and_query = parts.uri.path_and_query().map_or("/", |text| text.as_str()).to_owned();
    shared.record(Recorded {
        method: parts.method.clone(),
        path_and_query: path_and_query.clone(),
        headers: parts.headers.clone(),
        client_cn: user.as_ref().map(|user| user.name.clone()),
        version: parts.version,
        body: body.clone(),
    });
    let fault = shared.faults.pick(&path_and_query);
    match fault {
        Some(Fault::StallHeaders) => return pending().await,
        Some(Fault::LateHeaders(late)) => tokio::time::sleep(late).await,
        Some(Fault::Status(code)) => return finish(failure(&parts.headers, &Failure::of_code(code))),
        Some(fault) if fault.on_connections() && !strike(fault, &peer.line) => return pending().await,
        _ => {}
    }
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        headers: parts.headers,
        user: User::default(),
        body,
    };
    let headers = call.headers.clone();
    let upgrade = upgrade.filter(|_| parts.version == Version::HTTP_11);
    let mut answer = answer(&shared, call, user, upgrade).unwrap_or_else(|error| failure(&headers, &error));
    if shared.gzip {
        answer = compress(&headers, answer);
    }
    if let Some(fault) = fault {
        answer = spoil(fault, answer, Arc::clone(&peer.line));
    }
    finish(answer)
}

fn finish(mut answer: Reply) -> Reply {
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if let Ok(id) = HeaderValue::from_str(&stamp::uid()) {
        headers.insert("audit-id", id);
    }
    answer
}

/// Authenticates, authorizes, dispatches.
fn answer(
    shared: &Arc<Shared>,
    mut call: Call,
    user: Option<User>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
) -> Result<Reply, Failure> {
    if call.path.starts_with("/fake/") {
        return Ok(oddities::fake_path(&call.path, call.query.number("bytes").unwrap_or(0)));
    }
    call.user = identify(shared, &call, user)?;
    let Some(target) = Target::parse(&call.method, &call.path, &call.query) else {
        let verb = call.method.as_str().to_lowercase();
        shared.access().check_path(&call.user, &verb, &call.path)?;
        let found = special::path(shared, &call.path);
        return Ok(found.unwrap_or_else(|| reply(404, "text/plain; charset=utf-8", "404 page not found\n")));
    };
    shared.access().check(&call.user, &target)?;
    if !target.resource.served() {
        return Err(Failure::unknown_resource());
    }
    match (target.verb, target.resource.plural.as_str(), target.subresource.as_str()) {
        (_, "pods", "exec" | "attach" | "portforward") => oddities::echo(&call, &target, upgrade),
        ("get", "pods", "log") => Ok(oddities::log(&call)),
        ("get", ..) => shared.get_object(&call, &target),
        ("list", ..) => list::list(shared, &call, &target),
        // Its events are not made; the connection is one.
        ("watch", ..) if upgrade.is_some() && call.header("upgrade") == "websocket" => oddities::echo(&call, &target, upgrade),
        ("watch", ..) => watch::watch(shared, &call, &target),
        ("create", ..) => special::create(shared, &call, &target).unwrap_or_else(|| write::write(shared, &call, &target)),
        _ => write::write(shared, &call, &target),
    }
}

/// The certificate first, then the token, then nobody.
fn identify(shared: &Shared, call: &Call, certified: Option<User>) -> Result<User, Failure> {
    if let Some(user) = certified {
        return Ok(user);
    }
    // As k8s.io/apiserver/pkg/authentication/request/bearertoken splits it: of two spaces in a row the token is what lies
    // between them, and that is none.
    let mut given = call.header("authorization").trim().splitn(3, ' ');
    let is_bearer = given.next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer"));
    match given.next().filter(|token| is_bearer && !token.is_empty()) {
        Some(token) => shared.access().token(token).ok_or_else(Failure::unauthorized),
        None if shared.anonymous => Ok(User::anonymous()),
        None => Err(Failure::unauthorized()),
    }
}
