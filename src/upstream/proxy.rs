//! Servers behind a proxy: HTTP, HTTP over TLS, or SOCKS 5.
//!
//! Receives `HTTPS_PROXY` and `NO_PROXY` as the environment has them; promises a tunnel ([`connect`], [`socks`]) through
//! which TLS is spoken with the server itself: the proxy learns where to, and nothing of what. As with curl and Go: the
//! lower-case names count too, what `NO_PROXY` lists is reached directly (names with all below them, addresses, networks, each
//! with a port or for all of them, `*`), and so is this machine.

mod connect;
mod roots;
mod socks;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::resolver::Resolver;
use super::transport::Transport;

/// What `HTTPS_PROXY` may be.
const WANTED: &str =
    "http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST if it asks for them";

/// The environment names a proxy that there cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    #[error("HTTPS_PROXY: {0:?} is not allowed: {WANTED}")]
    Url(String),
    #[error("HTTPS_PROXY: {url:?} cannot be verified: {why}")]
    Roots { url: String, why: String },
}

/// Which servers are reached through a proxy.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Environment>>);

struct Environment {
    /// With a password perhaps, which is nobody's to print.
    https: String,
    no: String,
    /// How a proxy that speaks TLS is verified.
    tls: Option<Arc<ClientConfig>>,
}

/// One proxy, as one server is reached through it.
pub(super) struct Proxy {
    address: Address,
    pub(super) resolver: Arc<Resolver>,
    kind: Kind,
    intercept: Intercept,
}

enum Kind {
    Http,
    Https(ServerName<'static>, Arc<ClientConfig>),
    Socks,
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
        let bad = || BadProxy::Url(without_password(https));
        let proxy = proxy.filter(|proxy| address(proxy).is_some()).ok_or_else(bad)?;
        if !socks::fit(proxy.raw_auth()) {
            return Err(bad());
        }
        let is_tls = proxy.uri().scheme_str() == Some("https");
        let unverified = |why| BadProxy::Roots { url: without_password(https), why };
        let tls = is_tls.then(roots::client_config).transpose().map_err(unverified)?;
        Ok(Self(Some(Arc::new(Environment { https: https.to_owned(), no: no.to_owned(), tls }))))
    }

    pub(super) fn to(&self, server: &Address) -> Option<Proxy> {
        let is_here = server.host == "localhost" || server.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let environment = self.0.as_ref().filter(|_| !is_here)?;
        environment.to(server)
    }
}

impl Environment {
    fn to(&self, server: &Address) -> Option<Proxy> {
        let no = unproxied(&self.no, server.port)?;
        let uri = http::Uri::builder().scheme("https").authority(server.authority.clone()).path_and_query("/").build().ok()?;
        let intercept = Matcher::builder().https(&*self.https).no(no).build().intercept(&uri)?;
        let address = address(&intercept)?;
        let kind = match (intercept.uri().scheme_str()?, &self.tls) {
            ("https", Some(tls)) => Kind::Https(ServerName::try_from(address.host.clone()).ok()?, tls.clone()),
            ("http", _) => Kind::Http,
            _ => Kind::Socks,
        };
        Some(Proxy { resolver: Arc::new(Resolver::new(&address)), address, kind, intercept })
    }
}

/// Where it is; `None`: it is none that is known here.
fn address(proxy: &Intercept) -> Option<Address> {
    let uri = proxy.uri();
    let usual = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        "socks5" | "socks5h" => 1080,
        _ => return None,
    };
    let address = Address::new(uri.host().filter(|host| !host.is_empty())?, uri.port_u16().unwrap_or(usual))?;
    ServerName::try_from(address.host.as_str()).is_ok().then_some(address)
}

/// What `NO_PROXY` lists for this port; `None`: everything.
fn unproxied<'a>(no: &'a str, port: u16) -> Option<String> {
    let hosts = no.split(',').map(str::trim).filter_map(|entry| match entry.rsplit_once(':') {
        // An IPv6 address has colons of its own, unless it is in brackets.
        Some((host, of)) if !host.contains(':') || host.ends_with(']') => (of.parse() == Ok(port)).then_some(host),
        _ => Some(entry),
    });
    // As in Go; but here it means `example` itself, too.
    let bare = |host: &'a str| host.strip_prefix("*.").map_or(host, |_| &host[1..]).trim_matches(['[', ']']);
    let hosts: Vec<_> = hosts.map(bare).collect();
    // The matcher takes it for any name, and for no address.
    (!hosts.contains(&"*")).then(|| hosts.join(","))
}

/// For messages.
fn without_password(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => url.to_owned(),
    }
}

impl Proxy {
    /// A tunnel to a server; from then on the stream is the server's. `stream`: to the proxy.
    pub(super) async fn tunnel(&self, mut stream: TcpStream, server: &Address) -> Result<Transport, String> {
        match &self.kind {
            Kind::Https(name, config) => {
                let connecting = TlsConnector::from(config.clone()).connect(name.clone(), stream);
                let mut stream = connecting.await.map_err(|error| format!("TLS handshake: {error}"))?;
                self.ask(&mut stream, server).await?;
                Ok(Transport::Tls(Box::new(stream)))
            }
            Kind::Http | Kind::Socks => {
                self.ask(&mut stream, server).await?;
                Ok(Transport::Tcp(stream))
            }
        }
    }

    async fn ask(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin), server: &Address) -> Result<(), String> {
        match self.kind {
            Kind::Http | Kind::Https(..) => connect::tunnel(stream, server, self.intercept.basic_auth()).await,
            Kind::Socks => socks::tunnel(stream, server, self.intercept.raw_auth()).await,
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.0.as_ref().map(|environment| (without_password(&environment.https), &environment.no));
        f.debug_tuple("Proxies").field(&of).finish()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.intercept.uri().scheme_str().unwrap_or_default(), self.address)
    }
}

#[cfg(test)]
mod tests;
