//! A read that meets the cut: the link falls silent, and the next GET goes out before
//! anybody can know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use testkit::client::Alpn;

use crate::cloud::SMALL;
use crate::load::{gets, median};
use crate::process;
use crate::rig::Rig;
use crate::table::{Report, head, millis};

const OFFLINE: usize = 500;

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let (mut meeting, mut p50, mut p99, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if rig.quick { 1 } else { 3 } {
        let sample = one(rig).await;
        rig.cloud.tell("heal")?;
        let sample = sample?;
        meeting.push(sample[0]);
        p50.push(sample[1]);
        p99.push(sample[2]);
        cpu.push(sample[3]);
    }
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    report.table(
        "The link is cut in silence",
        &[
            head(&["read", "took"]),
            row("the first, which meets the cut", format!("{:.0} ms", median(&meeting))),
            row("later ones, from the store, p50", format!("{:.2} ms", median(&p50))),
            row("later ones, p99", format!("{:.2} ms", median(&p99))),
            row("later ones, CPU", format!("{:.3} ms", median(&cpu))),
        ],
    );
    report.at_most("a read that meets a silent cut", median(&meeting) / 1e3, 2.0, "s");
    Ok(())
}

/// The first read in ms, then p50, p99 and CPU of those that follow.
async fn one(rig: &mut Rig) -> anyhow::Result<[f64; 4]> {
    let mut hub = rig.fresh_hub()?;
    hub.run().await?;
    let client = Arc::new(rig.way_through(&hub).client(Alpn::H2).await?);
    gets(&[Arc::clone(&client)], SMALL, 1, 50).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.cloud.tell("silence")?;
    let began = Instant::now();
    let answer = client.get(SMALL).await?;
    let first = millis(began.elapsed());
    ensure!(answer.status == 200, "in the cut: {} {}", answer.status, answer.text());
    testkit::hub::eventually("the hub knows of the cut", Duration::from_secs(30), async || {
        let began = Instant::now();
        client.get(SMALL).await?;
        Ok(began.elapsed() < Duration::from_millis(50))
    })
    .await?;
    let pid = hub.pid().unwrap_or_default();
    let before = process::cpu(pid)?;
    let latencies = gets(&[client], SMALL, 1, OFFLINE).await?;
    let cpu = millis(process::cpu(pid)? - before) / OFFLINE as f64;
    Ok([first, millis(latencies.percentile(50)), millis(latencies.percentile(99)), cpu])
}
