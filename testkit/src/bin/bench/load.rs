//! The client's side: requests, and how long they took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use testkit::client::Client;
use tokio::task::JoinSet;

/// How long each of some requests took, shortest first.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The latency that `percent` of the requests did not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// `total` GETs of `path`, `workers` of them at a time, spread over the clients.
pub(crate) async fn gets(clients: &[Arc<Client>], path: &'static str, workers: usize, total: usize) -> anyhow::Result<Latencies> {
    let mut running = JoinSet::new();
    for worker in 0..workers {
        let client = Arc::clone(&clients[worker % clients.len()]);
        running.spawn(async move {
            let mut latencies = Vec::with_capacity(total / workers);
            for _ in 0..total / workers {
                let began = Instant::now();
                let answer = client.get(path).await?;
                latencies.push(began.elapsed());
                ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::with_capacity(total);
    while let Some(latencies) = running.join_next().await {
        all.extend(latencies??);
    }
    Ok(Latencies::of(all))
}

/// One GET of a large body, which is counted and thrown away: its length and how long it took.
pub(crate) async fn download(client: &Client, path: &str) -> anyhow::Result<(usize, Duration)> {
    let began = Instant::now();
    let mut answer = client.stream("GET", path, &[], "").await?;
    ensure!(answer.status == 200, "{path}: {}", answer.status);
    let mut length = 0;
    while let Some(chunk) = answer.chunk().await? {
        length += chunk.len();
    }
    Ok((length, began.elapsed()))
}

/// The one in the middle; of none, nothing.
pub(crate) fn median<T: Copy + PartialOrd + Default>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
