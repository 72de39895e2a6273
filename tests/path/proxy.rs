//! A cloud that is reached through a proxy, a real one.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use testkit::pki::Pki;
use testkit::port::free_address;

use super::servers::SERVICE;
use super::*;

/// A program that listens at an address of its own.
struct Proxy {
    folder: tempfile::TempDir,
    at: SocketAddr,
    command: Command,
    child: Option<Child>,
}

impl Proxy {
    /// `command`: given a folder and where to listen. `None`: there is none on this machine.
    async fn start(program: &'static str, command: impl Fn(&mut Command, &Path, SocketAddr)) -> Option<Self> {
        let (folder, at) = (tempfile::tempdir().unwrap(), free_address().unwrap());
        let log = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut to_run = Command::new(program);
        to_run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command(&mut to_run, folder.path(), at);
        let mut proxy = Self { folder, at, command: to_run, child: None };
        if !proxy.run().await {
            skipped(program);
            return None;
        }
        Some(proxy)
    }

    /// It speaks HTTP.
    async fn http() -> Option<Self> {
        Self::start("tinyproxy", |command, folder, at| {
            let log = folder.join("log");
            let settings = format!(
                "Listen {}\nPort {}\nTimeout 600\nMaxClients 100\nBasicAuth edge secret\nLogFile \"{}\"\nLogLevel Connect\n",
                at.ip(),
                at.port(),
                log.display()
            );
            std::fs::write(folder.join("settings"), settings).unwrap();
            command.arg("-d").arg("-c").arg(folder.join("settings"));
        })
        .await
    }

    /// It speaks TLS, and hands what it has decrypted to another one.
    async fn tls(pki: &Pki, behind: &Self) -> Option<Self> {
        Self::start("haproxy", |command, folder, at| {
            let identity = pki.server(&[&at.ip().to_string()]);
            let bundle = folder.join("identity.pem");
            std::fs::write(&bundle, identity.cert_pem + &identity.key_pem).unwrap();
            let settings = format!(
                "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 600s\n  timeout server 600s\n\
                 listen proxy\n  bind {at} ssl crt {}\n  server behind {}\n",
                bundle.display(),
                behind.at
            );
            std::fs::write(folder.join("settings"), settings).unwrap();
            command.arg("-db").arg("-f").arg(folder.join("settings"));
        })
        .await
    }

    /// It speaks SOCKS 5.
    async fn socks() -> Option<Self> {
        Self::start("microsocks", |command, _, at| {
            let (address, port) = (at.ip().to_string(), at.port().to_string());
            command.args(["-i", &address, "-p", &port, "-u", "edge", "-P", "secret"]);
        })
        .await
    }

    /// Whether there is such a program; it takes connections then.
    async fn run(&mut self) -> bool {
        self.child = self.command.spawn().ok();
        if self.child.is_some() {
            let takes = async || Ok(tokio::net::TcpStream::connect(self.at).await.is_ok());
            eventually("the proxy takes connections", SECONDS(10), takes).await.unwrap();
        }
        self.child.is_some()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// How often it was asked for a tunnel to this server.
    fn tunnels(&self, server: SocketAddr) -> usize {
        let log = std::fs::read_to_string(self.log_file()).unwrap_or_default();
        let named = [format!("CONNECT {server}"), format!("connected to {}:{}", server.ip(), server.port())];
        log.lines().filter(|line| named.iter().any(|words| line.contains(words))).count()
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

async fn is_the_clouds(client: &Client) -> anyhow::Result<bool> {
    let answer = client.get(SERVICE).await?;
    Ok(answer.status == 200 && answer.header("cache-status").is_empty())
}

/// `proxy`: the one that asks for tunnels, which `environment` leads to.
async fn reached(fake: &Fake, environment: &[(&str, String)], proxy: &mut Proxy) {
    let mut hub = hub(fake, environment);
    hub.run().await.unwrap();
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    eventually("the cloud answers", SECONDS(20), || is_the_clouds(&client)).await.unwrap();
    assert!(proxy.tunnels(fake.addr()) > 0);
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=true"), &[], "").await.unwrap();
    fake.put("configmaps", "story", "told", json!({"data": {}}));
    assert_eq!(watch.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "told");
    proxy.stop();
    let answer = client.get(SERVICE).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status").is_empty()), (200, false), "the store's");
    assert!(proxy.run().await);
    eventually("the cloud answers again", SECONDS(20), || is_the_clouds(&client)).await.unwrap();
}

#[tokio::test]
async fn a_cloud_behind_a_proxy_is_reached_through_tunnels_and_the_proxy_may_fail() {
    let (Some(address), Some(mut proxy)) = (own_address(), Proxy::http().await) else { return };
    let fake = cloud(address).await;
    let environment = [("HTTPS_PROXY", format!("http://edge:secret@{}", proxy.at))];
    reached(&fake, &environment, &mut proxy).await;
}

#[tokio::test]
async fn a_proxy_may_speak_tls() {
    let (Some(address), Some(mut proxy)) = (own_address(), Proxy::http().await) else { return };
    let fake = cloud(address).await;
    let Some(front) = Proxy::tls(fake.pki(), &proxy).await else { return };
    let roots = front.folder.path().join("roots.pem");
    std::fs::write(&roots, fake.pki().ca_pem()).unwrap();
    let url = format!("https://edge:secret@{}", front.at);
    let environment = [("HTTPS_PROXY", url), ("SSL_CERT_FILE", roots.display().to_string())];
    reached(&fake, &environment, &mut proxy).await;
}

#[tokio::test]
async fn a_proxy_may_speak_socks() {
    let (Some(address), Some(mut proxy)) = (own_address(), Proxy::socks().await) else { return };
    let fake = cloud(address).await;
    let environment = [("HTTPS_PROXY", format!("socks5://edge:secret@{}", proxy.at))];
    reached(&fake, &environment, &mut proxy).await;
}

#[tokio::test]
async fn what_is_not_to_be_proxied_is_reached_directly() {
    let (Some(address), Some(proxy)) = (own_address(), Proxy::http().await) else { return };
    let fake = cloud(address).await;
    let environment = [("https_proxy", format!("http://edge:secret@{}", proxy.at)), ("no_proxy", format!("a.example,{address}"))];
    let mut hub = hub(&fake, &environment);
    hub.run().await.unwrap();
    let answer = hub.pod(TOKEN, Alpn::H2).await.unwrap().get(SERVICE).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.header("cache-status")), (200, ""), "{}", answer.text());
    assert_eq!(proxy.tunnels(fake.addr()), 0);
}

/// The link is down, and the log says why in these words.
async fn is_down(hub: &Hub, why: &str) {
    let words = "the link to the cloud is down: ";
    let down = async || Ok(hub.log().contains(words));
    eventually("the link is seen to be down", SECONDS(10), down).await.unwrap();
    let log = hub.log();
    let line = log.lines().find(|line| line.contains(words)).unwrap();
    assert!(line.contains(why), "{why}: {line}");
    assert!(!log.contains("wrong"), "the password: {log}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let (Some(address), Some(http), Some(socks)) = (own_address(), Proxy::http().await, Proxy::socks().await) else { return };
    let fake = cloud(address).await;
    for (scheme, at, why) in
        [("http", http.at, "401 Unauthorized"), ("socks5", socks.at, "it does not accept the user and password")]
    {
        let mut hub = hub(&fake, &[("HTTPS_PROXY", format!("{scheme}://edge:wrong@{at}"))]);
        hub.run().await.unwrap();
        is_down(&hub, &format!("ask the proxy {scheme}://{at} for a tunnel to {}: {why}", fake.addr())).await;
    }
}

#[tokio::test]
async fn a_proxy_that_this_machine_does_not_trust_learns_nothing() {
    let (Some(address), Some(proxy)) = (own_address(), Proxy::http().await) else { return };
    let fake = cloud(address).await;
    let Some(front) = Proxy::tls(fake.pki(), &proxy).await else { return };
    let mut hub = hub(&fake, &[("HTTPS_PROXY", format!("https://edge:wrong@{}", front.at))]);
    hub.run().await.unwrap();
    let why =
        format!("ask the proxy https://{} for a tunnel to {}: TLS handshake: invalid peer certificate", front.at, fake.addr());
    is_down(&hub, &why).await;
    assert_eq!(proxy.tunnels(fake.addr()), 0);
}
