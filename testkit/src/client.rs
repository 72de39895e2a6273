//! A small HTTP client for tests: one connection, nothing hidden.
//!
//! No redirects, no retries, no decompression, no pool: what the other end sends is what the test
//! sees. A response whose body breaks off is an error, with the cause in its chain.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::pki::Identity;

/// The protocol to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpn {
    H1,
    H2,
}

/// One connection.
pub struct Client {
    sender: Sender,
    scheme: &'static str,
    authority: String,
    headers: Vec<(String, String)>,
}

enum Sender {
    H1(Mutex<http1::SendRequest<Full<Bytes>>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// How to speak TLS, and with whom.
struct Tls<'a> {
    config: ClientConfig,
    server_name: &'a str,
    port: u16,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// An answer whose body is still coming. Dropping it resets the stream.
pub struct Streaming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Set once they have come, after the last chunk.
    pub trailers: Option<HeaderMap>,
    version: Version,
    body: Incoming,
    rest: BytesMut,
}

impl Client {
    /// HTTP/1.1 without TLS.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn http1(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        Self::over(stream, Alpn::H1, "http", &addr.to_string()).await
    }

    /// HTTP/2 without TLS, by prior knowledge.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn http2(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        Self::over(stream, Alpn::H2, "http", &addr.to_string()).await
    }

    /// TLS, then what `alpn` says.
    ///
    /// # Errors
    /// When the connection or the handshake fails, or the server chooses another protocol.
    pub async fn https(addr: SocketAddr, ca_pem: &str, server_name: &str, alpn: Alpn) -> anyhow::Result<Self> {
        Self::https_as(addr, ca_pem, server_name, alpn, None).await
    }

    /// [`Client::https`] with a client certificate.
    ///
    /// # Errors
    /// The same.
    pub async fn https_as(
        addr: SocketAddr,
        ca_pem: &str,
        server_name: &str,
        alpn: Alpn,
        identity: Option<&Identity>,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let tls = Tls { config: config(ca_pem, alpn, identity)?, server_name, port: addr.port() };
        Self::over_tls(stream, tls, alpn).await
    }

    /// [`Client::https`] over any stream, a pipe included, with the server at `addr`.
    ///
    /// # Errors
    /// The same.
    pub async fn https_over<S>(stream: S, addr: SocketAddr, ca_pem: &str, alpn: Alpn) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let server_name = addr.ip().to_string();
        let tls = Tls { config: config(ca_pem, alpn, None)?, server_name: &server_name, port: addr.port() };
        Self::over_tls(stream, tls, alpn).await
    }

    async fn over_tls<S>(stream: S, tls: Tls<'_>, alpn: Alpn) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let name = ServerName::try_from(tls.server_name.to_owned())?;
        let connector = TlsConnector::from(Arc::new(tls.config));
        let stream = connector.connect(name, stream).await.context("TLS handshake")?;
        let chosen = stream.get_ref().1.alpn_protocol();
        if alpn == Alpn::H2 && chosen != Some(b"h2") {
            return Err(anyhow!("the server chose {chosen:?}, not h2"));
        }
        Self::over(stream, alpn, "https", &format!("{}:{}", tls.server_name, tls.port)).await
    }

    /// HTTP over any stream, a pipe included. `authority` becomes the Host.
    ///
    /// # Errors
    /// When the HTTP handshake fails.
    pub async fn over<S>(stream: S, alpn: Alpn, scheme: &'static str, authority: &str) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        let sender = match alpn {
            Alpn::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection.with_upgrades());
                Sender::H1(Mutex::new(sender))
            }
            Alpn::H2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Self { sender, scheme, authority: authority.to_owned(), headers: Vec::new() })
    }

    /// Sends this header with every request that does not bring its own.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends this bearer token with every request.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        self.with_header("authorization", &format!("Bearer {token}"))
    }

    /// Whether the connection has ended.
    pub async fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::H1(sender) => sender.lock().await.is_closed(),
            Sender::H2(sender) => sender.is_closed(),
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection fails, before the answer or in the middle of it.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Response> {
        self.stream(method, path, headers, body).await?.finish().await
    }

    /// GET without anything special.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.request("GET", path, &[], "").await
    }

    /// Sends a request and returns once the answer's head is there.
    ///
    /// # Errors
    /// When the connection fails before that.
    pub async fn stream(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Streaming> {
        let request = self.build(method, path, headers, body.into())?;
        Ok(Streaming::new(self.send(request).await?))
    }

    /// Opens one watch for each path on this connection; all heads are there on return.
    ///
    /// # Errors
    /// When one is not answered with 200.
    pub async fn watches(&self, paths: &[&str]) -> anyhow::Result<Vec<Streaming>> {
        let mut streams = Vec::with_capacity(paths.len());
        for path in paths {
            let stream = self.stream("GET", path, &[], "").await?;
            if stream.status != StatusCode::OK {
                return Err(anyhow!("{path}: {}", stream.status));
            }
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Asks for another protocol (`websocket`, `SPDY/3.1`) and returns the raw stream. HTTP/1 only.
    ///
    /// # Errors
    /// When the answer is not 101.
    pub async fn upgrade(
        &self,
        method: &str,
        path: &str,
        protocol: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        let mut all = vec![("connection", "Upgrade"), ("upgrade", protocol)];
        all.extend_from_slice(headers);
        let response = self.send(self.build(method, path, &all, Bytes::new())?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let response = Streaming::new(response).finish().await?;
            return Err(anyhow!("{}: {}", response.status, response.text()));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await?))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<http::Response<Incoming>> {
        let response = match &self.sender {
            Sender::H1(sender) => {
                let sent = {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request)
                };
                sent.await?
            }
            Sender::H2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        Ok(response)
    }

    fn build(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method);
        request = match self.sender {
            Sender::H1(_) => request.uri(path).header(header::HOST, &self.authority),
            Sender::H2(_) => request.uri(format!("{}://{}{path}", self.scheme, self.authority)),
        };
        let overridden = |name: &str| headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        for (name, value) in self.headers.iter().filter(|(name, _)| !overridden(name)) {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(Full::new(body))?)
    }
}

impl Streaming {
    fn new(response: http::Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, trailers: None, version: parts.version, body, rest: BytesMut::new() }
    }

    /// The next piece, as it came; nothing at the proper end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        while let Some(frame) = self.body.frame().await {
            match frame?.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(None)
    }

    /// The next line without its end, as watches in JSON come; nothing at the proper end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn line(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            match self.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None if self.rest.is_empty() => return Ok(None),
                None => return Ok(Some(String::from_utf8_lossy(&self.rest.split()).into_owned())),
            }
        }
    }

    /// The next event of a watch in JSON; nothing at the proper end.
    ///
    /// # Errors
    /// When the body breaks off, or the line is not JSON.
    pub async fn event(&mut self) -> anyhow::Result<Option<serde_json::Value>> {
        match self.line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }

    /// Reads the rest.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn finish(mut self) -> anyhow::Result<Response> {
        while let Some(chunk) = self.chunk().await? {
            self.rest.extend_from_slice(&chunk);
        }
        Ok(Response {
            status: self.status,
            version: self.version,
            headers: self.headers,
            body: self.rest.freeze(),
            trailers: self.trailers,
        })
    }
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, `null` if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

fn config(ca_pem: &str, alpn: Alpn, identity: Option<&Identity>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(cert?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.cert_pem.as_bytes()).collect::<Result<_, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?)?
        }
    };
    config.alpn_protocols = match alpn {
        Alpn::H1 => vec![b"http/1.1".to_vec()],
        Alpn::H2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}
