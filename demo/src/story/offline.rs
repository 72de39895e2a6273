//! The link is down.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{AT_ONCE, CONFIGMAPS, FORBIDDEN, GREETING, Play, Shown, count};
use crate::door::Door;
use crate::report::time;

/// Between two reads while the hub does not know yet.
const PACE: Duration = Duration::from_millis(50);

pub(super) fn cut(play: &mut Play<'_>) -> Result<Shown> {
    play.stage.cut()?;
    let cut = Instant::now();
    let down = Cell::new(false);
    let verdict = async {
        let took = play.verdict(false, cut).await?;
        down.set(true);
        Ok(took)
    };
    let reads = async {
        let (mut reads, mut slowest) = (0, Duration::ZERO);
        while !down.get() {
            let answer = Door::Pods(&play.sample).request(play.stage, "GET", GREETING, &Value::Null).await?;
            let answer = answer.expect(200, "a read right after the cut")?;
            ensure!(answer.took < AT_ONCE, "a read took {}", time(answer.took));
            (reads, slowest) = (reads + 1, slowest.max(answer.took));
            tokio::time::sleep(PACE).await;
        }
        anyhow::Ok((reads, slowest))
    };
    let (took, (reads, slowest)) = play.block_on(async { tokio::try_join!(verdict, reads) })?;
    Ok(Shown {
        summary: format!("verdict: down after {}", time(took)),
        evidence: vec![format!("meanwhile {reads} reads with the Pod's rights, each 200, the slowest after {}", time(slowest))],
    })
}

/// Lists, and compares with what was listed before the cut; the evidence.
fn same_list(play: &Play<'_>) -> Result<(String, String)> {
    let list = play.get(CONFIGMAPS)?.expect(200, "the list")?;
    let items = &list.json()["items"];
    ensure!(*items == play.items, "other items than before the cut: {items}");
    let status = list.header("cache-status");
    ensure!(status.contains("detail=offline"), "does not say that it is not from the cloud: Cache-Status: {status:?}");
    ensure!(!list.header("age").is_empty(), "does not say how old it is");
    ensure!(list.took < AT_ONCE, "took {}", time(list.took));
    let summary = format!("200 from the node, the same {} items, after {}", count(items), time(list.took));
    Ok((summary, format!("Age: {}   Cache-Status: {status}", list.header("age"))))
}

pub(super) fn list(play: &mut Play<'_>) -> Result<Shown> {
    let (summary, evidence) = same_list(play)?;
    Ok(Shown { summary, evidence: vec![evidence] })
}

pub(super) fn restart(play: &mut Play<'_>) -> Result<Shown> {
    let killed = Instant::now();
    play.stage.restart_pod()?;
    let running = killed.elapsed();
    let view = play.wait_view("hello")?;
    let synced = killed.elapsed();
    for what in ["host", "configmaps", "secret"] {
        ensure!(view[what] == play.view[what], "{what} was {}, is {}", play.view[what], view[what]);
    }
    Ok(Shown {
        summary: format!("synced with the same data {} after the kill", time(synced)),
        evidence: vec![
            format!("the new process was seen to run {} after the kill: {}", time(running), play.stage.restarter()),
            format!("sees ConfigMap greeting {}, Secret allowed {}", view["configmaps"]["greeting"]["text"], view["secret"]),
            format!("Secret forbidden: {}", view["forbidden"].as_str().unwrap_or_default()),
        ],
    })
}

pub(super) fn refused(play: &mut Play<'_>) -> Result<Shown> {
    let forbidden = play.get(FORBIDDEN)?.expect(403, "the Secret that may not be read")?;
    let stranger = Door::Pods("a-token-nobody-issued").get(play.stage, GREETING)?.expect(401, "an unknown token")?;
    let nobody = Door::Nobody.get(play.stage, GREETING)?.expect(401, "no token")?;
    let write = play.create("never")?.expect(503, "a write that cannot be honoured")?;
    ensure!(write.took < AT_ONCE, "the refusal of a write took {}", time(write.took));
    ensure!(write.header("retry-after").is_empty(), "with Retry-After a client would sleep instead of knowing");
    let line = |what: &str, answer: &crate::door::Answer| {
        format!("{what}: {} after {}, {}", answer.status(), time(answer.took), answer.message())
    };
    Ok(Shown {
        summary: "403, 401, 401, and 503 for a write".to_owned(),
        evidence: vec![
            line("Secret forbidden", &forbidden),
            line("unknown token", &stranger),
            line("no token", &nobody),
            line("new ConfigMap", &write),
        ],
    })
}

/// What the cloud has now, and the Pod will have later.
pub(super) const CHANGED: &str = "changed during the cut";

pub(super) fn change(play: &mut Play<'_>) -> Result<Shown> {
    play.stage.greet(CHANGED)?;
    let view = play.wait_view("hello")?;
    Ok(Shown {
        summary: format!("there {CHANGED:?}, here still {}", view["configmaps"]["greeting"]["text"]),
        evidence: Vec::new(),
    })
}

pub(super) fn hub(play: &mut Play<'_>) -> Result<Shown> {
    let before = play.hub.as_ref().map(crate::hub::Hub::id);
    let took = play.start_hub()?;
    let after = play.hub.as_ref().map(crate::hub::Hub::id);
    let (list, evidence) = same_list(play)?;
    let forbidden = play.get(FORBIDDEN)?.expect(403, "the Secret that may not be read")?;
    Ok(Shown {
        summary: format!("ready {} after its start, without the cloud", time(took)),
        evidence: vec![
            format!("process {} killed, process {} answers", before.unwrap_or_default(), after.unwrap_or_default()),
            format!("list: {list}"),
            evidence,
            format!("Secret forbidden: 403 {}", forbidden.message()),
        ],
    })
}
