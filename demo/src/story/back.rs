//! The link is back.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::offline::CHANGED;
use super::{CONFIGMAPS, Play, Shown, names};
use crate::report::time;

pub(super) fn restore(play: &mut Play<'_>) -> Result<Shown> {
    play.stage.restore()?;
    let restored = Instant::now();
    play.restored = Some(restored);
    let took = play.block_on(play.verdict(true, restored))?;
    Ok(Shown { summary: format!("verdict: up after {}", time(took)), evidence: Vec::new() })
}

pub(super) fn arrives(play: &mut Play<'_>) -> Result<Shown> {
    let restored = play.restored.context("the link was not restored")?;
    let view = play.wait_view(CHANGED)?;
    Ok(Shown {
        summary: format!("the Pod sees it {} after the link was restored", time(restored.elapsed())),
        evidence: vec![format!("sees ConfigMap greeting {}; nobody started it again", view["configmaps"]["greeting"]["text"])],
    })
}

pub(super) fn write(play: &mut Play<'_>) -> Result<Shown> {
    let written = play.create("after")?.expect(201, "a write")?;
    let list = play.get(CONFIGMAPS)?.expect(200, "the list")?;
    ensure!(list.header("cache-status").is_empty(), "not from the cloud: {}", list.header("cache-status"));
    let names = names(&list.json()["items"]);
    ensure!(!names.contains("never"), "what was refused was written all the same: {names}");
    ensure!(names.contains("after"), "what was written is not there: {names}");
    Ok(Shown {
        summary: format!("201 after {}", time(written.took)),
        evidence: vec![format!("in the cloud now: {names}; what was refused with 503 is not among them")],
    })
}
