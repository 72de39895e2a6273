//! Large lists: 20 MB and 40 MB, as fast as the machine can, and 20 MB over a link, alone and one after the other.

use std::time::{Duration, Instant};

use testkit::client::{Alpn, Client};

use crate::cloud::{LIST_20, LIST_40};
use crate::load::{download, median};
use crate::process;
use crate::rig::{DIRECT, KEPT, LOGGED, PASSED, Rig};
use crate::table::{Report, head, megabytes, millis};
use crate::way::Way;

/// Bytes a second of the link: 1 Gbit/s.
const LINK: u64 = 125_000_000;
/// Lists one after the other: what the last one has left to do is done while the next one comes.
const ROW: usize = 8;
/// What is remembered is made durable within a second.
const SETTLE: Duration = Duration::from_millis(1200);

/// What one download took.
#[derive(Clone, Copy)]
struct Sample {
    bytes: usize,
    millis: f64,
    /// The proxy's CPU time, until it is at rest again.
    cpu: f64,
    /// How far the proxy's memory rose above what it was, in MB.
    rise: f64,
}

#[derive(Default)]
struct Results {
    free_20: Vec<Sample>,
    free_40: Vec<Sample>,
    link_20: Vec<Sample>,
}

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let ways: Vec<Way> = rig.ways().into_iter().filter(|way| way.name != LOGGED).collect();
    let mut clients = Vec::new();
    for way in &ways {
        clients.push(way.client(Alpn::H2).await?);
    }
    let mut results: Vec<Results> = ways.iter().map(|_| Results::default()).collect();
    for _ in 0..if rig.quick { 1 } else { 5 } {
        for (index, way) in ways.iter().enumerate() {
            results[index].free_20.push(one(way, &clients[index], LIST_20).await?);
            results[index].free_40.push(one(way, &clients[index], LIST_40).await?);
        }
        rig.cloud.tell(&format!("slow {LINK}"))?;
        for (index, way) in ways.iter().enumerate() {
            results[index].link_20.push(one(way, &clients[index], LIST_20).await?);
        }
        rig.cloud.tell("heal")?;
    }
    report.table("Large list, as fast as two cores can", &rows(&ways, &results));
    one_after_the_other(rig, report).await?;
    remembered(rig, report).await?;
    targets(&ways, &results, report);
    Ok(())
}

async fn one(way: &Way, client: &Client, path: &str) -> anyhow::Result<Sample> {
    let before = way.cpu()?;
    let resident = way.pid.map_or(Ok(0), process::resident)?;
    if let Some(pid) = way.pid {
        process::reset_peak(pid)?;
    }
    let (bytes, took) = download(client, path).await?;
    if way.name == KEPT {
        tokio::time::sleep(SETTLE).await;
    }
    let peak = way.pid.map_or(Ok(0), process::peak)?;
    Ok(Sample { bytes, millis: millis(took), cpu: millis(way.cpu()? - before), rise: megabytes(peak.saturating_sub(resident)) })
}

/// Throughput of the same traffic, remembered and not.
async fn one_after_the_other(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let ways: Vec<Way> = rig.ways().into_iter().filter(|way| [PASSED, KEPT].contains(&way.name)).collect();
    let mut times = Vec::new();
    for link in [Some(LINK), None] {
        rig.cloud.tell(&link.map_or("heal".to_owned(), |link| format!("slow {link}")))?;
        let mut took = vec![Vec::new(); ways.len()];
        for _ in 0..if rig.quick { 1 } else { 3 } {
            for (way, took) in ways.iter().zip(&mut took) {
                let client = way.client(Alpn::H2).await?;
                let began = Instant::now();
                for _ in 0..ROW {
                    download(&client, LIST_20).await?;
                }
                took.push(millis(began.elapsed()));
                tokio::time::sleep(SETTLE).await;
            }
        }
        let time = |name| ways.iter().position(|way| way.name == name).map_or(f64::NAN, |index| median(&took[index]));
        times.push(time(KEPT) / time(PASSED));
    }
    rig.cloud.tell("heal")?;
    let [at_a_link, free] = times[..] else { return Ok(()) };
    report.at_most("eight 20 MB lists in a row at 1 Gbit/s, remembered, times passed on", at_a_link, 1.0 / 0.9, "");
    report.text(&format!("Eight in a row as fast as two cores can: remembered, {free:.2} times passed on."));
    Ok(())
}

/// Says whether the lists were remembered at all: one that comes too fast is not.
async fn remembered(rig: &Rig, report: &mut Report) -> anyhow::Result<()> {
    let kept = rig.kept.metric("holdfast_lists_remembered_total").await?;
    let not = rig.kept.metric("holdfast_lists_not_remembered_total").await?;
    report.text(&format!("Lists remembered: {kept}; passed on and not remembered, because the store was behind: {not}."));
    Ok(())
}

fn middle(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    median(&samples.iter().map(of).collect::<Vec<_>>())
}

fn find<'a>(ways: &[Way], results: &'a [Results], name: &str) -> Option<&'a Results> {
    ways.iter().position(|way| way.name == name).map(|index| &results[index])
}

fn rows(ways: &[Way], results: &[Results]) -> Vec<Vec<String>> {
    let mut rows =
        vec![head(&["through", "20 MB", "MB/s", "CPU", "memory", "40 MB", "CPU", "memory", "20 MB at 1 Gbit/s", "CPU"])];
    for (way, results) in ways.iter().zip(results) {
        let time = |samples: &[Sample]| format!("{:.0} ms", middle(samples, |s| s.millis));
        let proxy = |text: String| if way.pid.is_some() { text } else { "-".to_owned() };
        let cpu = |samples: &[Sample]| proxy(format!("{:.0} ms", middle(samples, |s| s.cpu)));
        let rise = |samples: &[Sample]| proxy(format!("+{:.1} MB", middle(samples, |s| s.rise)));
        let rate = middle(&results.free_20, |s| s.bytes as f64 / 1e3 / s.millis);
        rows.push(vec![
            way.name.to_owned(),
            time(&results.free_20),
            format!("{rate:.0}"),
            cpu(&results.free_20),
            rise(&results.free_20),
            time(&results.free_40),
            cpu(&results.free_40),
            rise(&results.free_40),
            time(&results.link_20),
            cpu(&results.link_20),
        ]);
    }
    rows
}

fn targets(ways: &[Way], results: &[Results], report: &mut Report) {
    let found = (find(ways, results, DIRECT), find(ways, results, PASSED), find(ways, results, KEPT));
    let (Some(direct), Some(passed), Some(kept)) = found else { return };
    let allowed = middle(&direct.link_20, |s| s.millis) * 1.05;
    report.at_most("20 MB list at 1 Gbit/s, passed on (direct + 5 %)", middle(&passed.link_20, |s| s.millis), allowed, "ms");
    report.at_most("20 MB list at 1 Gbit/s, remembered (direct + 5 %)", middle(&kept.link_20, |s| s.millis), allowed, "ms");
    let free = |results: &Results| middle(&results.free_20, |s| s.millis);
    report.at_most("20 MB list as fast as can be, remembered, times passed on", free(kept) / free(passed), 1.0 / 0.9, "");
    let cpu = middle(&kept.link_20, |s| s.cpu) - middle(&passed.link_20, |s| s.cpu);
    report.at_most("CPU to remember 20 MB, 5,000 objects", cpu / 1e3, 0.2, "s");
    let rise = |results: &Results| middle(&results.free_40, |s| s.rise) - middle(&results.free_20, |s| s.rise);
    report.at_most("memory of a 40 MB list above that of a 20 MB list, passed on", rise(passed), 1.0, "MB");
    report.at_most("memory of a 40 MB list above that of a 20 MB list, remembered", rise(kept), 1.0, "MB");
}
