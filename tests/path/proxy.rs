//! A cloud that is reached through an HTTP proxy, a real one.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use testkit::pki::Pki;
use testkit::port::free_address;

use super::servers::SERVICE;
use super::*;

struct Proxy {
    folder: tempfile::TempDir,
    at: SocketAddr,
    child: Option<Child>,
}

impl Proxy {
    /// `None`: there is none on this machine.
    fn start() -> Option<Self> {
        let mut proxy = Self { folder: tempfile::tempdir().unwrap(), at: free_address().unwrap(), child: None };
        let settings = format!(
            "Listen {}\nPort {}\nTimeout 600\nMaxClients 100\nBasicAuth edge secret\nLogFile \"{}\"\nLogLevel Connect\n",
            proxy.at.ip(),
            proxy.at.port(),
            proxy.log_file().display()
        );
        std::fs::write(proxy.folder.path().join("settings"), settings).unwrap();
        if !proxy.run() {
            skipped("tinyproxy");
            return None;
        }
        Some(proxy)
    }

    fn run(&mut self) -> bool {
        let settings = self.folder.path().join("settings");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = command.spawn().ok();
        self.child.is_some()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// How often it was asked for a tunnel to this server.
    fn tunnels(&self, server: SocketAddr) -> usize {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        log.lines().filter(|line| line.contains(&format!("CONNECT {server}"))).count()
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An address of this machine that others could reach: what is on the loopback interface never goes through a proxy.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent.
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    own.map_err(|_| skipped("a network")).ok().map(|own| own.ip())
}

async fn cloud(address: IpAddr) -> Fake {
    let pki = Arc::new(Pki::new());
    let identity = pki.server(&[&address.to_string()]);
    let listen = SocketAddr::new(address, 0);
    let options = FakeOptions { pki: Some(pki), identity: Some(identity), listen, ..FakeOptions::default() };
    let fake = Fake::start(options).await.unwrap();
    fake.add_token(TOKEN, "system:admin", &["system:masters"]);
    fake
}

fn hub(fake: &Fake, environment: &[(&str, String)]) -> Hub {
    let (servers, flags) = (vec![fake.url()], Vec::new());
    let mut hub = Hub::prepare(HubOptions { binary: env!("CARGO_BIN_EXE_holdfast"), servers, pki: fake.pki(), flags }).unwrap();
    environment.iter().for_each(|(name, value)| hub.set_env(name, value));
    hub
}

#[tokio::test]
async fn a_cloud_behind_a_proxy_is_reached_through_tunnels_and_the_proxy_may_fail() {
    let (Some(address), Some(mut proxy)) = (own_address(), Proxy::start()) else { return };
    let fake = cloud(address).await;
    let mut hub = hub(&fake, &[("HTTPS_PROXY", format!("http://edge:secret@{}", proxy.at))]);
    hub.run().await.unwrap();
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let source = async || Ok::<_, anyhow::Error>(client.get(SERVICE).await?.header("cache-status").is_empty());
    eventually("the cloud answers", SECONDS(20), source).await.unwrap();
    assert!(proxy.tunnels(fake.addr()) > 0);
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=true"), &[], "").await.unwrap();
    fake.put("configmaps", "story", "told", json!({"data": {}}));
    assert_eq!(watch.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "told");
    proxy.stop();
    let answer = client.get(SERVICE).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status").is_empty()), (200, false), "the store's");
    assert!(proxy.run());
    eventually("the cloud answers again", SECONDS(20), source).await.unwrap();
}

#[tokio::test]
async fn what_is_not_to_be_proxied_is_reached_directly() {
    let (Some(address), Some(proxy)) = (own_address(), Proxy::start()) else { return };
    let fake = cloud(address).await;
    let environment = [("https_proxy", format!("http://edge:secret@{}", proxy.at)), ("no_proxy", format!("a.example,{address}"))];
    let mut hub = hub(&fake, &environment);
    hub.run().await.unwrap();
    let answer = hub.pod(TOKEN, Alpn::H2).await.unwrap().get(SERVICE).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
    assert_eq!(proxy.tunnels(fake.addr()), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let (Some(address), Some(proxy)) = (own_address(), Proxy::start()) else { return };
    let fake = cloud(address).await;
    let mut hub = hub(&fake, &[("HTTPS_PROXY", format!("http://edge:wrong@{}", proxy.at))]);
    hub.run().await.unwrap();
    let down = async || Ok(hub.log().lines().any(|line| line.contains("the link to the cloud is down: ")));
    eventually("the link is seen to be down", SECONDS(10), down).await.unwrap();
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("the link to the cloud is down: ")).unwrap();
    let why = format!("ask the proxy http://{} for a tunnel to {}: 401 Unauthorized", proxy.at, fake.addr());
    assert!(line.contains(&why), "{line}");
    assert!(!log.contains("wrong"), "the password: {log}");
}
