//! The fake against its own client: what other tests rely on.

mod api;
mod auth;
mod faults;
mod media;
mod watch;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Fake, FakeOptions};
use crate::client::{Alpn, Client};

/// A server with one all-powerful token, `root`.
async fn start() -> Fake {
    start_with(FakeOptions::default()).await
}

async fn start_with(options: FakeOptions) -> Fake {
    let fake = Fake::start(options).await.expect("a free port");
    fake.add_token("root", "admin", &["system:masters"]);
    fake
}

async fn connect(fake: &Fake, alpn: Alpn) -> Client {
    try_connect(fake, alpn).await.expect("the fake accepts").with_token("root")
}

async fn try_connect(fake: &Fake, alpn: Alpn) -> anyhow::Result<Client> {
    Client::https(fake.addr(), fake.ca_pem(), "localhost", alpn).await
}

fn config_map(value: &str) -> Value {
    json!({"data": {"key": value}})
}

/// The result, or `None` when it takes longer than a fifth of a second.
async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(200), future).await.ok()
}
