//! What remembering costs the disk: bytes written for a list and for changes at an even pace, and how large the file is
//! after as many changes as a day has at one a second, as fast as they come.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use testkit::client::{Alpn, Client};
use testkit::hub::{Hub, eventually};
use tokio::sync::watch;

use crate::cloud::{LIST_20, WATCHED};
use crate::load::download;
use crate::process;
use crate::rig::Rig;
use crate::table::{Report, head, megabytes};

/// Changes at [`PACE`]: what a busy node sees in ten seconds.
const CHANGES: usize = 1000;
const PACE: Duration = Duration::from_millis(10);
/// Changes of a day.
const DAY: usize = 86_400;
/// Objects that change.
const OBJECTS: usize = 1000;
/// Until what is remembered is on the disk.
const DURABLE: Duration = Duration::from_millis(2500);

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let mut hub = rig.fresh_hub()?;
    hub.run().await?;
    let client = rig.way_through(&hub).client(Alpn::H2).await?;
    tokio::time::sleep(DURABLE).await;
    let list = list(rig, &hub, &client).await?;
    let mut watch = Watch::begin(client).await?;
    let paced = changes(rig, &hub, &mut watch, CHANGES, Some(PACE)).await?;
    let day = if rig.quick { DAY / 20 } else { DAY };
    let fast = changes(rig, &hub, &mut watch, day, None).await?;
    let live = hub.metric("holdfast_store_bytes").await?;
    let file = std::fs::metadata(hub.store_file())?.len();
    let mut rows = vec![head(&["what", "bytes of it", "written to the device", "times", "took"])];
    for (what, cost) in [
        ("a list of 20 MB", &list),
        ("1,000 changes, 100 a second", &paced),
        (&*format!("{day} changes, as fast as they come"), &fast),
    ] {
        let row = [
            what.to_owned(),
            format!("{:.1} MB", megabytes(cost.content)),
            format!("{:.1} MB", megabytes(cost.written)),
            format!("{:.2}", cost.times()),
            format!("{:.1} s", cost.took.as_secs_f64()),
        ];
        rows.push(row.to_vec());
    }
    report.table("What the disk is written", &rows);
    report.text(&format!("After them the file has {:.1} MB for {:.1} MB of items.", megabytes(file), live / 1e6));
    report.at_most("bytes written for a list, times its own", list.times(), 1.5, "");
    report.at_most("bytes written for changes at 100 a second, times their own", paced.times(), 4.0, "");
    report.at_most("the store's file after a day's changes, times its content", file as f64 / live, 2.0, "");
    hub.kill();
    Ok(())
}

struct Cost {
    content: u64,
    written: u64,
    took: Duration,
}

impl Cost {
    fn times(&self) -> f64 {
        self.written as f64 / self.content as f64
    }
}

async fn list(rig: &mut Rig, hub: &Hub, client: &Client) -> anyhow::Result<Cost> {
    // As fast as a link is, so that it is remembered.
    rig.cloud.tell("slow 50000000")?;
    let lists = hub.metric("holdfast_lists_remembered_total").await?;
    let (before, began) = (written(hub)?, Instant::now());
    let (bytes, _) = download(client, LIST_20).await?;
    rig.cloud.tell("heal")?;
    eventually("the list is remembered", Duration::from_secs(20), async || {
        Ok(hub.metric("holdfast_lists_remembered_total").await? > lists)
    })
    .await?;
    let took = began.elapsed();
    tokio::time::sleep(DURABLE).await;
    Ok(Cost { content: bytes as u64, written: written(hub)? - before, took })
}

/// A watch of all that changes, from a list that is remembered; how many events have come.
struct Watch {
    told: watch::Receiver<usize>,
    _client: Client,
}

impl Watch {
    async fn begin(client: Client) -> anyhow::Result<Self> {
        let list = client.get(WATCHED).await?.json();
        let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        tokio::time::sleep(DURABLE).await;
        let mut stream = client.stream("GET", &format!("{WATCHED}?watch=true&resourceVersion={version}"), &[], "").await?;
        ensure!(stream.status == 200, "watch: {}", stream.status);
        let (count, told) = watch::channel(0);
        // Who does not read at once is cut off.
        tokio::spawn(async move {
            while let Ok(Some(_)) = stream.event().await {
                count.send_modify(|count| *count += 1)
            }
        });
        Ok(Self { told, _client: client })
    }

    async fn reaches(&mut self, count: usize) -> anyhow::Result<()> {
        let told = tokio::time::timeout(Duration::from_secs(60), self.told.wait_for(|told| *told >= count)).await;
        told.context("an event that does not come")?.context("the watch has ended")?;
        Ok(())
    }
}

/// Some 4 KB, of which more than half cannot be packed; another one for each change, for what is as it was is none.
fn settings(index: usize, count: usize) -> String {
    let values = testkit::noise(2400 + index % 1000);
    let lines = (0..100).map(|line| format!("setting.{line:03} = {}\n", &values[line * 24..][..24]));
    format!("change = {index} of {count}\n{}", lines.collect::<String>())
}

/// `count` changes, each told to the client through the hub.
async fn changes(rig: &mut Rig, hub: &Hub, watch: &mut Watch, count: usize, pace: Option<Duration>) -> anyhow::Result<Cost> {
    let (before, began, told) = (written(hub)?, Instant::now(), *watch.told.borrow());
    let mut content = 0;
    for index in 0..count {
        let text = settings(index, count);
        let object = json!({"metadata": {"labels": {"change": index.to_string()}}, "data": {"text": text}}).to_string();
        rig.cloud.tell(&format!("put {WATCHED}/bench-{:06} {object}", index * 7919 % OBJECTS))?;
        content += object.len() as u64;
        if let Some(pace) = pace {
            tokio::time::sleep_until((began + pace * u32::try_from(index)?).into()).await;
        }
        watch.reaches(told + index.saturating_sub(20)).await?;
    }
    watch.reaches(told + count).await?;
    let took = began.elapsed();
    tokio::time::sleep(DURABLE).await;
    Ok(Cost { content, written: written(hub)? - before, took })
}

/// Bytes that the hub has sent to the device so far.
fn written(hub: &Hub) -> anyhow::Result<u64> {
    process::written(hub.pid().unwrap_or_default())
}
