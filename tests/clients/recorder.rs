//! client-go's recorder, whose Events happen again and again while the link is down.

use testkit::hub::eventually;

use crate::rig::{Rig, SOON};

const TIMES: usize = 20;

#[tokio::test]
async fn what_client_gos_recorder_records_offline_is_in_the_cloud_once_and_counted() {
    let Some(mut rig) = Rig::start().await else { return };
    let Ok(folder) = std::env::var("HOLDFAST_CLIENT_GO") else {
        return testkit::skipped("HOLDFAST_CLIENT_GO (scripts/build-clients)");
    };
    let command = |times: usize| [format!("{folder}/recorder"), times.to_string()];
    let pod = rig.namespace("recorder").await;
    // That it may create Events and change them the cloud has said before.
    let mut running = pod.start(&command(2), &[]);
    running.line(SOON).await;
    eventually("it is counted", SOON, async || Ok(rig.counts_of_events("recorder").await? == [2])).await.unwrap();
    drop(running);
    rig.cut().await;
    let mut running = pod.start(&command(TIMES), &[]);
    running.line(SOON).await;
    let folded = (TIMES - 2) as f64;
    eventually("all is written down", SOON, async || Ok(rig.hub.metric("holdfast_events_folded_total").await? == folded))
        .await
        .unwrap();
    assert_eq!(rig.hub.metric("holdfast_journal_entries").await.unwrap(), 2.0, "the Event, and how often it has happened");
    drop(running);
    rig.restore().await;
    eventually("it is in the cloud", SOON, async || Ok(rig.counts_of_events("recorder").await? == [2, TIMES as u64]))
        .await
        .unwrap();
    let delivered = async || Ok(rig.hub.metric("holdfast_events_delivered_total").await? == 2.0);
    eventually("in two requests", SOON, delivered).await.unwrap();
}
