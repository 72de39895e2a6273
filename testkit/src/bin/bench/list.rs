//! Large lists: 20 MB and 40 MB, as fast as the machine can, and 20 MB over a link, alone and one after the other; each as
//! one that was never asked for, which is written whole, and once more, which is compared with what is known; by then one in a
//! hundred of its objects has become another.

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

/// How often a list is asked for until it is remembered.
const TRIES: usize = 10;
/// What changes objects: the first hundredth is written anew.
const CHANGE_HALF: &str = "fill half 50";
const CHANGE_FULL: &str = "fill full 100";

/// A list that nobody has asked for before, and the same list again.
#[derive(Default)]
struct Both {
    new: Results,
    again: Results,
}

impl Both {
    async fn take(
        &mut self,
        of: fn(&mut Results) -> &mut Vec<Sample>,
        (way, client): (&Way, &Client),
        path: &str,
        rig: &mut Rig,
    ) -> anyhow::Result<()> {
        let before = lists(rig).await?;
        of(&mut self.new).push(one(way, client, path).await?);
        for _ in 0..TRIES {
            // One that comes faster than the store can take it is not remembered.
            if way.name != KEPT || lists(rig).await? > before {
                break;
            }
            one(way, client, path).await?;
        }
        rig.cloud.tell(if path.starts_with(LIST_20) { CHANGE_HALF } else { CHANGE_FULL })?;
        of(&mut self.again).push(one(way, client, path).await?);
        Ok(())
    }
}

/// How many were remembered.
async fn lists(rig: &Rig) -> anyhow::Result<f64> {
    rig.kept.metric("holdfast_lists_remembered_total").await
}

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let ways: Vec<Way> = rig.ways().into_iter().filter(|way| way.name != LOGGED).collect();
    let mut clients = Vec::new();
    for way in &ways {
        clients.push(way.client(Alpn::H2).await?);
    }
    let mut results: Vec<Both> = ways.iter().map(|_| Both::default()).collect();
    for round in 0..if rig.quick { 1 } else { 5 } {
        let path = |list: &str, link: bool| format!("{list}?labelSelector=%21round-{round}-{link}");
        for (index, way) in ways.iter().enumerate() {
            let results = &mut results[index];
            results.take(|results| &mut results.free_20, (way, &clients[index]), &path(LIST_20, false), rig).await?;
            results.take(|results| &mut results.free_40, (way, &clients[index]), &path(LIST_40, false), rig).await?;
        }
        rig.cloud.tell(&format!("slow {LINK}"))?;
        for (index, way) in ways.iter().enumerate() {
            results[index].take(|results| &mut results.link_20, (way, &clients[index]), &path(LIST_20, true), rig).await?;
        }
        rig.cloud.tell("heal")?;
    }
    let (new, again): (Vec<Results>, Vec<Results>) = results.into_iter().map(|both| (both.new, both.again)).unzip();
    report.table("Large list that nobody has asked for, as fast as two cores can", &rows(&ways, &new));
    report.table("The same list again, one object in a hundred is another", &rows(&ways, &again));
    one_after_the_other(rig, report).await?;
    remembered(rig, report).await?;
    targets(&ways, &new, "", report);
    targets(&ways, &again, ", again", report);
    Ok(())
}

async fn one(way: &Way, client: &Client, path: &str) -> anyhow::Result<Sample> {
    let before = way.cpu()?;
    let resident = way.pid.map_or(Ok(0), process::resident)?;
    if let Some(pid) = way.pid {
        process::reset_peak(pid)?;
    }
    let (bytes, took) = download(client, path).await?;
    // Whoever has nothing to settle rests as well: what comes after a rest takes longer.
    tokio::time::sleep(SETTLE).await;
    let peak = way.pid.map_or(Ok(0), process::peak)?;
    Ok(Sample { bytes, millis: millis(took), cpu: millis(way.cpu()? - before), rise: megabytes(peak.saturating_sub(resident)) })
}

/// Throughput of the same traffic, remembered and not: before each list one object in a hundred has become another.
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
                let mut between = Duration::ZERO;
                for _ in 0..ROW {
                    let changing = Instant::now();
                    rig.cloud.tell(CHANGE_HALF)?;
                    between += changing.elapsed();
                    download(&client, LIST_20).await?;
                }
                took.push(millis(began.elapsed() - between));
                tokio::time::sleep(SETTLE).await;
            }
        }
        let time = |name| ways.iter().position(|way| way.name == name).map_or(f64::NAN, |index| median(&took[index]));
        times.push(time(KEPT) / time(PASSED));
    }
    rig.cloud.tell("heal")?;
    let [at_a_link, free] = times[..] else { return Ok(()) };
    report.at_most("eight 20 MB lists in a row at 1 Gbit/s, remembered, times passed on", at_a_link, 1.0 / 0.9, "");
    report.at_most("eight 20 MB lists in a row as fast as can be, remembered, times passed on", free, 1.0 / 0.9, "");
    Ok(())
}

/// Says whether the lists were remembered at all: one that comes too fast is not.
async fn remembered(rig: &Rig, report: &mut Report) -> anyhow::Result<()> {
    let kept = lists(rig).await?;
    let not = rig.kept.total("holdfast_lists_not_remembered_total").await?;
    report.text(&format!(
        "Lists remembered: {kept}; passed on and not remembered, because they came faster than the store: {not}."
    ));
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

fn targets(ways: &[Way], results: &[Results], which: &str, report: &mut Report) {
    let found = (find(ways, results, DIRECT), find(ways, results, PASSED), find(ways, results, KEPT));
    let (Some(direct), Some(passed), Some(kept)) = found else { return };
    let mut at_most = |name: &str, measured, most, unit| report.at_most(&format!("{name}{which}"), measured, most, unit);
    let allowed = middle(&direct.link_20, |s| s.millis) * 1.05;
    at_most("20 MB list at 1 Gbit/s, passed on (direct + 5 %)", middle(&passed.link_20, |s| s.millis), allowed, "ms");
    at_most("20 MB list at 1 Gbit/s, remembered (direct + 5 %)", middle(&kept.link_20, |s| s.millis), allowed, "ms");
    let free = |results: &Results| middle(&results.free_20, |s| s.millis);
    at_most("20 MB list as fast as can be, remembered, times passed on", free(kept) / free(passed), 1.0 / 0.9, "");
    let cpu = middle(&kept.link_20, |s| s.cpu) - middle(&passed.link_20, |s| s.cpu);
    at_most("CPU to remember 20 MB, 5,000 objects", cpu / 1e3, 0.2, "s");
    let rise = |results: &Results| middle(&results.free_40, |s| s.rise) - middle(&results.free_20, |s| s.rise);
    at_most("memory of a 40 MB list above that of a 20 MB list, passed on", rise(passed), 1.0, "MB");
    at_most("memory of a 40 MB list above that of a 20 MB list, remembered", rise(kept), 1.0, "MB");
}
