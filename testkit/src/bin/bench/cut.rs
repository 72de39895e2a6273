//! A read that meets the cut: the link falls silent, and the next GET goes out before
//! anybody can know. And when a hub knows of a cut by itself, of which nobody asks anything.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testkit::client::Alpn;
use testkit::hub::Hub;

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
    unasked(rig, report).await?;
    lossy(rig, report).await
}

/// How the link is cut, and how many seconds a hub has to know of it.
const CUTS: [(&str, &str, f64); 2] = [("cut", "refused connections", 2.0), ("silence", "silence", 6.0)];

async fn unasked(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let mut rows = vec![head(&["a cut that nobody asks through", "down after", "up after"])];
    for (command, name, most) in CUTS {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for round in 0..if rig.quick { 1 } else { 5 } {
            // One that has not fallen before, at another moment between two probes each time.
            let mut hub = rig.fresh_hub()?;
            hub.run().await?;
            verdict(&hub, true).await?;
            tokio::time::sleep(Duration::from_millis(2500 + 1700 * round)).await;
            rig.cloud.tell(command)?;
            down.push(verdict(&hub, false).await?);
            rig.cloud.tell("heal")?;
            up.push(verdict(&hub, true).await?);
        }
        let worst = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
        let text = |times: &[f64]| format!("{:.1} s, at most {:.1}", median(times), worst(times));
        rows.push(vec![name.to_owned(), text(&down), text(&up)]);
        report.at_most(&format!("{name}: the link is seen to be down, at most"), worst(&down), most, "s");
        report.at_most(&format!("{name}: the link is seen to be up again, at most"), worst(&up), 3.0, "s");
    }
    report.table("When a hub knows by itself", &rows);
    Ok(())
}

/// Loses three of ten packets to and from the cloud as long as it lives.
struct Loss;

impl Loss {
    const TABLE: [&str; 2] = ["inet", "holdfast-bench"];

    fn begin(port: u16) -> anyhow::Result<Self> {
        let [family, name] = Self::TABLE;
        let lose = |side: &str| format!("tcp {side} {port} numgen random mod 10 < 3 drop");
        let (from, to) = (lose("sport"), lose("dport"));
        let hook = "type filter hook input priority 0;";
        let rules = format!("table {family} {name} {{\nchain loss {{\n{hook}\n{from}\n{to}\n}}\n}}\n");
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().context("nft")?;
        nft.stdin.take().context("its standard input")?.write_all(rules.as_bytes())?;
        ensure!(nft.wait()?.success(), "nft took no rules");
        Ok(Self)
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        let _ = Command::new("nft").args(["delete", "table"]).args(Self::TABLE).status();
    }
}

/// A link that loses much, and carries a read now and then.
async fn lossy(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let mut hub = rig.fresh_hub()?;
    hub.run().await?;
    let client = rig.way_through(&hub).client(Alpn::H2).await?;
    ensure!(client.get(SMALL).await?.status == 200, "before anything is lost");
    let loss = match Loss::begin(rig.cloud.addr.port()) {
        Ok(loss) => loss,
        Err(error) => {
            report.text(&format!("A link with loss: not measured ({error:#})."));
            return Ok(());
        }
    };
    let (mut slowest, mut reads, mut broken, mut falls, mut was_up) = (0.0_f64, 0, 0, 0, true);
    let end = Instant::now() + Duration::from_secs(if rig.quick { 20 } else { 120 });
    let mut turns = tokio::time::interval(Duration::from_millis(200));
    while Instant::now() < end {
        turns.tick().await;
        let began = Instant::now();
        let answer = client.stream("GET", SMALL, &[], "").await.context("no head")?;
        ensure!(answer.status == 200, "with loss: {}", answer.status);
        broken += usize::from(answer.finish().await.is_err());
        slowest = slowest.max(began.elapsed().as_secs_f64());
        let is_up = hub.metric("node_yurthub_server_healthy_status").await? > 0.0;
        falls += usize::from(was_up && !is_up);
        (reads, was_up) = (reads + 1, is_up);
    }
    drop(loss);
    report.text(&format!("With three of ten packets lost, {reads} reads: {broken} broke off, the slowest took {slowest:.2} s; the link counted as down {falls} times."));
    for line in hub.log().lines().filter(|line| line.contains("the link to the cloud is down: answering")) {
        report.text(line);
    }
    report.at_most("a read on a link with 30 % loss", slowest, 2.0, "s");
    report.at_most("30 % loss: reads that break off", broken as f64, 0.0, "");
    report.at_most("30 % loss: times that the link counts as down", falls as f64, 0.0, "");
    Ok(())
}

/// Seconds until it is so.
async fn verdict(hub: &Hub, is_up: bool) -> anyhow::Result<f64> {
    let began = Instant::now();
    testkit::hub::eventually("the hub knows", Duration::from_secs(30), async || {
        Ok((hub.metric("node_yurthub_server_healthy_status").await? > 0.0) == is_up)
    })
    .await?;
    Ok(began.elapsed().as_secs_f64())
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
