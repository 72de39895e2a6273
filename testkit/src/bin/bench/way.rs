//! A way to the cloud: directly, or through one of the proxies.

use std::net::SocketAddr;

use testkit::client::{Alpn, Client};

#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) addr: SocketAddr,
    /// The proxy's process; none on the direct way.
    pub(crate) pid: Option<u32>,
    pub(crate) token: String,
    pub(crate) ca_pem: String,
}

impl Way {
    /// One connection, as a Pod opens it.
    pub(crate) async fn client(&self, alpn: Alpn) -> anyhow::Result<Client> {
        let client = Client::https(self.addr, &self.ca_pem, "localhost", alpn).await?;
        Ok(client
            .with_token(&self.token)
            .with_header("user-agent", "bench/v1 (linux/amd64)")
            .with_header("accept", "application/json"))
    }

    /// CPU time that the proxy has used so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<std::time::Duration> {
        self.pid.map_or(Ok(std::time::Duration::ZERO), crate::process::cpu)
    }
}
