//! Requests as kubelet, as a Pod and as an administrator make them on the node: a new
//! connection for each, from where `Stage::carrier` says.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command as StdCommand, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use testkit::client::{Alpn, Client, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::stage::Stage;

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where the hub listens for Pods.
pub const HUB_HOST: &str = "169.254.2.1";
pub const HUB_PORT: u16 = 10268;

/// Where a request comes in, and as whose.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    /// The hub's plain HTTP port on loopback, without a credential.
    Kubelet,
    /// The hub's HTTPS port, with this token.
    Pods(&'a str),
    /// The same without a credential.
    Nobody,
    /// The hub's own health and metrics.
    Admin,
    /// Something else on the node, over plain HTTP.
    Other(SocketAddr),
}

/// A whole answer, and how long it took from before the connection was made.
pub struct Answer {
    pub took: Duration,
    response: Response,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.response.status.as_u16()
    }

    pub fn header(&self, name: &str) -> &str {
        self.response.header(name)
    }

    pub fn text(&self) -> String {
        self.response.text()
    }

    pub fn json(&self) -> Value {
        self.response.json()
    }

    /// The message of a `v1.Status`.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// This answer, if it has the status; else an error that quotes it.
    pub fn expect(self, status: u16, what: &str) -> Result<Answer> {
        anyhow::ensure!(self.status() == status, "{what}: {} instead of {status}: {}", self.status(), self.text().trim());
        Ok(self)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Door<'_> {
    fn address(self) -> SocketAddr {
        match self {
            Door::Kubelet => (Ipv4Addr::LOCALHOST, 10261).into(),
            Door::Admin => (Ipv4Addr::LOCALHOST, 10267).into(),
            Door::Pods(_) | Door::Nobody => (Ipv4Addr::new(169, 254, 2, 1), HUB_PORT).into(),
            Door::Other(address) => address,
        }
    }

    fn user_agent(self) -> &'static str {
        match self {
            Door::Kubelet => "kubelet/v1.34.4 (linux/amd64) kubernetes/demo",
            Door::Pods(_) | Door::Nobody => "sample/v1 (linux/amd64)",
            Door::Admin | Door::Other(_) => "demo/v1",
        }
    }

    /// GET, as JSON.
    pub fn get(self, stage: &dyn Stage, path: &str) -> Result<Answer> {
        self.ask(stage, "GET", path, &Value::Null)
    }

    /// [`Door::request`], and waits for it.
    pub fn ask(self, stage: &dyn Stage, method: &str, path: &str, body: &Value) -> Result<Answer> {
        stage.handle().block_on(self.request(stage, method, path, body))
    }

    /// Sends `body`, unless it is null, and reads the whole answer.
    pub async fn request(self, stage: &dyn Stage, method: &str, path: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("accept", "application/json"), ("content-type", "application/json")];
        let started = Instant::now();
        let whole = async {
            let (client, _pipe) = self.connect(stage).await?;
            client.request(method, path, &headers, body).await
        };
        let response = tokio::time::timeout(PATIENCE, whole).await.with_context(|| format!("{method} {path}: no answer"))?;
        let response = response.with_context(|| format!("{method} {path} at {}", self.address()))?;
        Ok(Answer { took: started.elapsed(), response })
    }

    async fn connect(self, stage: &dyn Stage) -> Result<(Client, Option<Child>)> {
        let address = self.address();
        let (stream, pipe): (Box<dyn Stream>, _) = match stage.carrier() {
            None => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                (Box::new(stream), None)
            }
            Some(carrier) => {
                let (stream, pipe) = carried(carrier, address)?;
                (stream, Some(pipe))
            }
        };
        let client = match self {
            Door::Pods(token) => Client::https_over(stream, address, stage.ca_pem(), Alpn::H2).await?.with_token(token),
            Door::Nobody => Client::https_over(stream, address, stage.ca_pem(), Alpn::H2).await?,
            _ => Client::over(stream, Alpn::H1, "http", &address.to_string()).await?,
        };
        Ok((client.with_header("user-agent", self.user_agent()), pipe))
    }
}

/// A connection that another process makes where this one cannot.
fn carried(carrier: StdCommand, address: SocketAddr) -> Result<(Box<dyn Stream>, Child)> {
    let mut command = Command::from(carrier);
    command.arg(address.ip().to_string()).arg(address.port().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut pipe = command.spawn().context("the process that carries a connection")?;
    let (Some(input), Some(output)) = (pipe.stdin.take(), pipe.stdout.take()) else { anyhow::bail!("no pipes to it") };
    Ok((Box::new(tokio::io::join(output, input)), pipe))
}
