//! An event for a thousand watches of the same collection: when the last of them have it, and what each costs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use testkit::client::{Alpn, Client, Streaming};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::load::{Latencies, median};
use crate::rig::{DIRECT, KEPT, LOGGED, NGINX, Rig};
use crate::table::{Report, head, millis};
use crate::way::Way;

const MAPS: &str = "/api/v1/namespaces/fanout/configmaps";
const WATCHES: usize = 1000;
const CONNECTIONS: usize = 10;
const EVENTS: usize = 20;
/// Between two events, so that each is measured alone and what is left to do of it counts as CPU time.
const PAUSE: Duration = Duration::from_millis(300);

/// When each event began, and how long each watch had to wait for it.
#[derive(Default)]
struct Told {
    began: Vec<Instant>,
    took: Vec<Duration>,
}

struct Sample {
    latencies: Latencies,
    /// The proxy's CPU time for each event that it has delivered, in microseconds.
    cpu: f64,
}

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let ways: Vec<Way> = rig.ways().into_iter().filter(|way| way.name != LOGGED).collect();
    let mut samples: Vec<Vec<Sample>> = ways.iter().map(|_| Vec::new()).collect();
    for _ in 0..if rig.quick { 1 } else { 5 } {
        for (way, samples) in ways.iter().zip(&mut samples) {
            samples.push(one(rig, way).await.with_context(|| way.name)?);
        }
    }
    let mut rows = vec![head(&["through", "p50", "p99", "CPU for each delivery"])];
    let middle = |samples: &[Sample], of: &dyn Fn(&Sample) -> f64| median(&samples.iter().map(of).collect::<Vec<_>>());
    let p99 = |sample: &Sample| millis(sample.latencies.percentile(99));
    for (way, samples) in ways.iter().zip(&samples) {
        let cpu = format!("{:.1} us", middle(samples, &|sample| sample.cpu));
        rows.push(vec![
            way.name.to_owned(),
            format!("{:.1} ms", middle(samples, &|sample| millis(sample.latencies.percentile(50)))),
            format!("{:.1} ms", middle(samples, &p99)),
            if way.name == DIRECT { "-".to_owned() } else { cpu },
        ]);
    }
    report.table("An event of 1 KB for 1,000 watches of the same on 10 connections", &rows);
    let find = |name| ways.iter().position(|way| way.name == name).map(|index| &samples[index]);
    let (Some(kept), Some(nginx)) = (find(KEPT), find(NGINX)) else { return Ok(()) };
    report.at_most("an event for 1,000 watches, p99", middle(kept, &p99), 50.0, "ms");
    let ratios: Vec<f64> = kept.iter().zip(nginx).map(|(kept, nginx)| kept.cpu / nginx.cpu).collect();
    report.no_more_than("CPU for each delivered event, times nginx's", &ratios);
    Ok(())
}

async fn one(rig: &mut Rig, way: &Way) -> anyhow::Result<Sample> {
    let told = Arc::new(Mutex::new(Told::default()));
    let (count, mut delivered) = watch::channel(0);
    let count = Arc::new(count);
    // The first event is there before the watches, and not measured: nginx passes no head on before it.
    put(rig, "before")?;
    let version = list(&way.client(Alpn::H2).await?).await?;
    told.lock().unwrap_or_else(PoisonError::into_inner).began.push(Instant::now());
    put(rig, "first")?;
    let path = format!("{MAPS}?watch=true&resourceVersion={version}");
    // Dropped, they end.
    let (mut clients, mut followers) = (Vec::new(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let client = way.client(Alpn::H2).await?;
        for stream in client.watches(&[path.as_str(); WATCHES / CONNECTIONS]).await? {
            followers.spawn(follow(stream, told.clone(), count.clone()));
        }
        clients.push(client);
    }
    let mut all_have = async |events: usize| {
        let all = delivered.wait_for(|delivered| *delivered >= events * WATCHES);
        tokio::time::timeout(Duration::from_secs(30), all).await.context("an event that does not come")??;
        tokio::time::sleep(PAUSE).await;
        anyhow::Ok(())
    };
    all_have(1).await?;
    let cpu = way.cpu()?;
    for event in 0..EVENTS {
        told.lock().unwrap_or_else(PoisonError::into_inner).began.push(Instant::now());
        put(rig, &event.to_string())?;
        all_have(event + 2).await?;
    }
    let cpu = (way.cpu()? - cpu).as_secs_f64() * 1e6 / (EVENTS * WATCHES) as f64;
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(told.took.len() == (EVENTS + 1) * WATCHES, "{} deliveries", told.took.len());
    Ok(Sample { latencies: Latencies::of(told.took[WATCHES..].to_vec()), cpu })
}

fn put(rig: &mut Rig, event: &str) -> anyhow::Result<()> {
    let object = json!({"data": {"event": event, "text": testkit::noise(1000)}});
    rig.cloud.tell(&format!("put {MAPS}/changes {object}"))
}

/// The version that watches begin at, of a list that a hub remembers.
async fn list(client: &Client) -> anyhow::Result<String> {
    let list = client.get(MAPS).await?.json();
    Ok(list["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned())
}

/// Counts lines: an event has one.
async fn follow(mut stream: Streaming, told: Arc<Mutex<Told>>, count: Arc<watch::Sender<usize>>) {
    let mut events = 0;
    while let Ok(Some(chunk)) = stream.chunk().await {
        let lines = chunk.iter().filter(|byte| **byte == b'\n').count();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events..events + lines {
            let took = told.began[event].elapsed();
            told.took.push(took);
        }
        events += lines;
        count.send_modify(|count| *count += lines);
    }
}
