//! From the start of the process to `/v1/readyz`, with a store that holds 10,000 objects.

use std::time::{Duration, Instant};

use testkit::client::Alpn;
use testkit::hub::{Hub, eventually};

use crate::cloud::LIST_40;
use crate::load::{download, median};
use crate::rig::Rig;
use crate::table::{Report, head, millis};

const TARGET: f64 = 50.0;
/// What was remembered is on disk by then.
const DURABLE: Duration = Duration::from_millis(1500);

pub(crate) async fn measure(rig: &mut Rig, report: &mut Report) -> anyhow::Result<()> {
    let mut hub = rig.fresh_hub()?;
    warm(rig, &mut hub).await?;
    let rounds = if rig.quick { 3 } else { 10 };
    let up = starts(&mut hub, rounds).await?;
    rig.cloud.tell("silence")?;
    let silent = starts(&mut hub, rounds).await;
    rig.cloud.tell("heal")?;
    let silent = silent?;
    let mut rows = vec![head(&["start after kill -9, 10,000 objects in the store", "median", "slowest"])];
    for (name, times) in [("link up", up), ("link silent", silent)] {
        let slowest = times.iter().copied().fold(0.0, f64::max);
        rows.push(vec![name.to_owned(), format!("{:.0} ms", median(&times)), format!("{slowest:.0} ms")]);
        report.at_most(&format!("start to /v1/readyz, {name}"), median(&times), TARGET, "ms");
    }
    report.table("Start", &rows);
    Ok(())
}

/// Fills the hub's store with the 10,000 objects, and kills it once they are on disk.
async fn warm(rig: &mut Rig, hub: &mut Hub) -> anyhow::Result<()> {
    hub.run().await?;
    rig.cloud.tell("slow 50000000")?;
    let client = rig.way_through(hub).client(Alpn::H2).await?;
    download(&client, LIST_40).await?;
    rig.cloud.tell("heal")?;
    eventually("the list is remembered", Duration::from_secs(20), async || {
        Ok(hub.metric("holdfast_lists_remembered_total").await? >= 1.0)
    })
    .await?;
    tokio::time::sleep(DURABLE).await;
    hub.kill();
    Ok(())
}

/// Starts it again and again, each time after a kill -9: the store is never closed in order.
async fn starts(hub: &mut Hub, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        hub.run().await?;
        times.push(millis(began.elapsed()));
        tokio::time::sleep(Duration::from_millis(100)).await;
        hub.kill();
    }
    Ok(times)
}
