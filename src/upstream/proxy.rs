//! Servers behind an HTTP proxy.
//!
//! Receives `HTTPS_PROXY` and `NO_PROXY` as the environment has them; promises a tunnel (CONNECT, RFC 9110, 9.3.6) through
//! which TLS is spoken with the server itself: the proxy learns where to, and nothing of what. As with curl and Go: the
//! lower-case names count too, what `NO_PROXY` lists is reached directly (names with all below them, addresses, networks, `*`),
//! and so is this machine.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::address::Address;
use super::resolver::Resolver;

/// Bytes of the proxy's answer.
const ANSWER: usize = 8 * 1024;
const FIELDS: usize = 64;

/// The environment names a proxy that there cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS_PROXY: {0:?} is not allowed: http://HOST:PORT or http://USER:PASSWORD@HOST:PORT")]
pub struct BadProxy(String);

/// Which servers are reached through a proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

/// One proxy, as one server is reached through it.
pub(super) struct Proxy {
    address: Address,
    pub(super) resolver: Arc<Resolver>,
    authorization: Option<HeaderValue>,
}

impl Proxies {
    /// As this process's environment has it.
    pub fn of_environment() -> Result<Self, BadProxy> {
        let first = |names: [&str; 2]| {
            let set = names.into_iter().filter_map(|name| std::env::var(name).ok());
            set.map(|value| value.trim().to_owned()).find(|value| !value.is_empty()).unwrap_or_default()
        };
        Self::of(&first(["HTTPS_PROXY", "https_proxy"]), &first(["NO_PROXY", "no_proxy"]))
    }

    /// `https`: what `HTTPS_PROXY` says, or nothing.
    pub fn of(https: &str, no: &str) -> Result<Self, BadProxy> {
        if https.is_empty() {
            return Ok(Self(None));
        }
        let anywhere = http::Uri::from_static("https://holdfast.invalid");
        let proxy = Matcher::builder().https(https).build().intercept(&anywhere);
        proxy.as_ref().and_then(address).ok_or_else(|| BadProxy(without_password(https)))?;
        // The matcher takes it for any name, and for no address.
        let is_for_none = no.split(',').any(|entry| entry.trim() == "*");
        Ok(Self((!is_for_none).then(|| Arc::new(Matcher::builder().https(https).no(no).build()))))
    }

    pub(super) fn to(&self, server: &Address) -> Option<Proxy> {
        let is_here = server.host == "localhost" || server.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let uri = http::Uri::builder().scheme("https").authority(server.authority.clone()).path_and_query("/").build().ok()?;
        let proxy = self.0.as_ref().filter(|_| !is_here)?.intercept(&uri)?;
        let address = address(&proxy)?;
        let resolver = Arc::new(Resolver::new(&address));
        Some(Proxy { address, resolver, authorization: proxy.basic_auth().cloned() })
    }
}

fn address(proxy: &Intercept) -> Option<Address> {
    let uri = proxy.uri();
    let host = uri.host().filter(|host| !host.is_empty() && uri.scheme_str() == Some("http"))?;
    Address::new(host, uri.port_u16().unwrap_or(80))
}

/// For messages.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => url.to_owned(),
    }
}

impl Proxy {
    /// Asks for a tunnel to a server; from then on the stream is the server's.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, server: &Address) -> Result<(), String> {
        let mut ask = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            ask.extend_from_slice(b"Proxy-Authorization: ");
            ask.extend_from_slice(authorization.as_bytes());
            ask.extend_from_slice(b"\r\n");
        }
        ask.extend_from_slice(b"\r\n");
        stream.write_all(&ask).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        loop {
            let room = ANSWER - answer.len();
            let read = stream.take(room as u64).read_buf(&mut answer).await.map_err(|error| error.to_string())?;
            if let Some(end) = granted(&answer)? {
                return if end == answer.len() { Ok(()) } else { Err("it says more than its answer".to_owned()) };
            }
            match (read, room) {
                (_, 0) => return Err(format!("its answer has more than {ANSWER} bytes")),
                (0, _) => return Err("it has closed the connection".to_owned()),
                _ => {}
            }
        }
    }
}

/// Where the answer ends, if that has come.
fn granted(answer: &[u8]) -> Result<Option<usize>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(answer).map_err(|error| format!("its answer is no HTTP: {error}"))?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    match head.code {
        Some(200..=299) => Ok(Some(end)),
        code => Err(format!("{} {}", code.unwrap_or_default(), head.reason.unwrap_or_default())),
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(https: &str, no: &str, server: &str) -> Option<String> {
        let proxies = Proxies::of(https, no).unwrap();
        proxies.to(&Address::new(server, 6443).unwrap()).map(|proxy| proxy.to_string())
    }

    #[test]
    fn a_server_is_reached_through_the_proxy_unless_it_is_here_or_listed() {
        let through = Some("http://proxy.example:3128".to_owned());
        for server in ["cloud.example", "192.0.2.7", "2001:db8::7"] {
            assert_eq!(proxy("", "", server), None);
            assert_eq!(proxy("http://proxy.example:3128", "", server), through);
            assert_eq!(proxy("proxy.example:3128", "other.example,10.0.0.0/8", server), through);
            assert_eq!(proxy("http://u:p@proxy.example:3128/", "other.example, *", server), None);
        }
        for server in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "cloud.example", "a.cloud.example", "192.0.2.7"] {
            assert_eq!(proxy("http://proxy.example", "cloud.example, 192.0.2.0/24", server), None, "{server}");
        }
        assert_eq!(proxy("http://[2001:db8::1]", "", "cloud.example").as_deref(), Some("http://[2001:db8::1]:80"));
    }

    #[test]
    fn a_proxy_that_there_cannot_be_is_refused_without_its_password() {
        for bad in ["https://proxy.example:3128", "socks5://proxy.example", "ftp://proxy.example", "http://", "a b", "http://:80"]
        {
            assert_eq!(Proxies::of(bad, "").unwrap_err(), BadProxy(bad.to_owned()));
        }
        let error = Proxies::of("https://user:secret@proxy.example", "").unwrap_err().to_string();
        assert!(error.contains("...@proxy.example") && !error.contains("secret"), "{error}");
    }

    /// What a proxy that answers so says of a tunnel, and what it was asked.
    async fn tunnel(answer: Vec<u8>) -> (Result<(), String>, String) {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://user:p%40ss@{}", door.local_addr().unwrap());
        let server = Address::new("2001:db8::7", 6443).unwrap();
        let proxy = Proxies::of(&url, "").unwrap().to(&server).unwrap();
        let answers = tokio::spawn(async move {
            let (mut stream, _) = door.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut asked).await.unwrap();
            }
            // It may have been hung up on.
            let _ = stream.write_all(&answer).await;
            String::from_utf8(asked).unwrap()
        });
        let address = proxy.resolver.addresses().await.unwrap()[0];
        let result = proxy.tunnel(&mut TcpStream::connect(address).await.unwrap(), &server).await;
        (result, answers.await.unwrap())
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_and_only_a_clean_yes_is_one() {
        let (result, asked) = tunnel(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n".to_vec()).await;
        assert_eq!(result, Ok(()));
        let expected =
            "CONNECT [2001:db8::7]:6443 HTTP/1.1\r\nHost: [2001:db8::7]:6443\r\nProxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n";
        assert_eq!(asked, expected);
        let long = [&b"HTTP/1.1 200 OK\r\na: "[..], &[b'a'; ANSWER]].concat();
        for (answer, why) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "407 Proxy Authentication Required"),
            (b"HTTP/1.1 200 OK\r\n\r\nmore", "it says more than its answer"),
            (b"HTTP/1.1 200 OK\r\n", "it has closed the connection"),
            (b"", "it has closed the connection"),
            (b"SSH-2.0-OpenSSH\r\n", "its answer is no HTTP"),
            (&long, "its answer has more than 8192 bytes"),
        ] {
            let (result, _) = tunnel(answer.to_vec()).await;
            assert!(result.as_ref().is_err_and(|error| error.starts_with(why)), "{why}: {result:?}");
        }
    }
}
