//! Small GETs: a ConfigMap of 2 KB, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use testkit::client::{Alpn, Client};

use crate::cloud::SMALL;
use crate::load::{gets, median};
use crate::rig::{KEPT, NGINX, PASSED, Rig};
use crate::table::{Report, head, millis};
use crate::way::Way;

const WORKERS: usize = 16;
const SEQUENTIAL: usize = 300;
const CONCURRENT: usize = 3200;
/// What the proxy does after the last answer counts too.
const AFTERMATH: Duration = Duration::from_millis(30);

/// One round through one way; times in milliseconds.
#[derive(Clone, Copy, Default)]
struct Sample {
    p50: [f64; 2],
    p99: [f64; 2],
    cpu: [f64; 2],
    rate: f64,
}

struct Runner {
    way: Way,
    clients: Vec<Arc<Client>>,
    samples: Vec<Sample>,
}

pub(crate) async fn measure(rig: &Rig, report: &mut Report) -> anyhow::Result<()> {
    let h2 = rounds(rig, Alpn::H2, 4).await?;
    report.table("Small GET (2 KB), HTTP/2 over 4 connections", &rows(&h2));
    let h1 = rounds(rig, Alpn::H1, WORKERS).await?;
    report.table("Small GET (2 KB), HTTP/1.1 over 16 connections", &rows(&h1));
    type Figure = fn(&Sample) -> [f64; 2];
    let figures: [(&str, Figure); 3] = [("p50", |s| s.p50), ("p99", |s| s.p99), ("CPU", |s| s.cpu)];
    for (name, what) in [(PASSED, "passed on"), (KEPT, "remembered")] {
        for (index, workers) in ["1", "16"].iter().enumerate() {
            for (figure, of) in figures {
                let ratios = ratios(&h2, name, |sample| of(sample)[index])?;
                report.no_more_than(&format!("small GET, {what}, {figure}, {workers} at a time, times nginx's"), &ratios);
            }
        }
    }
    let rate = |name| anyhow::Ok(named(&h2, name)?.middle(|sample| sample.rate));
    let cost = rate(PASSED)? / rate(KEPT)?;
    report.at_most("throughput of small GETs passed on, times that of remembered ones", cost, 1.0 / 0.9, "");
    Ok(())
}

async fn rounds(rig: &Rig, alpn: Alpn, connections: usize) -> anyhow::Result<Vec<Runner>> {
    let mut runners = Vec::new();
    for way in rig.ways() {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Arc::new(way.client(alpn).await?));
        }
        gets(&clients, SMALL, WORKERS, CONCURRENT / 4).await?;
        runners.push(Runner { way, clients, samples: Vec::new() });
    }
    let count = runners.len();
    for round in 0..if rig.quick { 3 } else { 31 } {
        // Each way comes first as often as last.
        for turn in 0..count {
            let runner = &mut runners[(round + turn) % count];
            let sample = runner.round().await?;
            runner.samples.push(sample);
        }
    }
    Ok(runners)
}

impl Runner {
    async fn round(&self) -> anyhow::Result<Sample> {
        let mut sample = Sample::default();
        for (index, (workers, total)) in [(1, SEQUENTIAL), (WORKERS, CONCURRENT)].into_iter().enumerate() {
            let (before, began) = (self.way.cpu()?, Instant::now());
            let latencies = gets(&self.clients, SMALL, workers, total).await?;
            sample.rate = total as f64 / began.elapsed().as_secs_f64();
            tokio::time::sleep(AFTERMATH).await;
            sample.p50[index] = millis(latencies.percentile(50));
            sample.p99[index] = millis(latencies.percentile(99));
            sample.cpu[index] = millis(self.way.cpu()? - before) / total as f64;
        }
        Ok(sample)
    }

    fn middle(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(&self.samples.iter().map(of).collect::<Vec<_>>())
    }

    fn result(&self) -> Sample {
        let pair = |of: fn(&Sample) -> [f64; 2]| [self.middle(|sample| of(sample)[0]), self.middle(|sample| of(sample)[1])];
        Sample { p50: pair(|s| s.p50), p99: pair(|s| s.p99), cpu: pair(|s| s.cpu), rate: self.middle(|s| s.rate) }
    }
}

fn named<'a>(runners: &'a [Runner], name: &str) -> anyhow::Result<&'a Runner> {
    runners.iter().find(|runner| runner.way.name == name).with_context(|| format!("no way is called {name}"))
}

/// A figure as a multiple of nginx's in the same round.
fn ratios(runners: &[Runner], name: &str, of: impl Fn(&Sample) -> f64) -> anyhow::Result<Vec<f64>> {
    let pairs = named(runners, name)?.samples.iter().zip(&named(runners, NGINX)?.samples);
    Ok(pairs.map(|(own, nginx)| of(own) / of(nginx)).collect())
}

fn rows(runners: &[Runner]) -> Vec<Vec<String>> {
    let mut rows = vec![head(&["through", "p50, 1", "p99, 1", "CPU, 1", "p50, 16", "p99, 16", "CPU, 16", "GETs/s, 16"])];
    for runner in runners {
        let Sample { p50, p99, cpu, rate } = runner.result();
        let cpu = |index: usize| if runner.way.pid.is_some() { format!("{:.3} ms", cpu[index]) } else { "-".to_owned() };
        rows.push(vec![
            runner.way.name.to_owned(),
            format!("{:.2} ms", p50[0]),
            format!("{:.2} ms", p99[0]),
            cpu(0),
            format!("{:.2} ms", p50[1]),
            format!("{:.2} ms", p99[1]),
            cpu(1),
            format!("{rate:.0}"),
        ]);
    }
    rows
}
