//! What Holdfast costs, beside nginx and haproxy doing TLS on both sides in the same run.
//!
//! Receives the hub's binary; prints tables in Markdown, each target beside its figure with `ok`
//! or `over`. A figure over its target is no failure: the exit code tells only whether everything
//! could be measured. Everything runs in processes of its own, on one machine: the cloud is the
//! fake API server, and what it and the client need is not counted as the proxy's.

mod cloud;
mod cut;
mod disk;
mod fanout;
mod footprint;
mod list;
mod load;
mod offline;
mod process;
mod rig;
mod rivals;
mod small;
mod start;
mod table;
mod way;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use rig::Rig;
use table::Report;

const USAGE: &str = "\
bench [--hub FILE] [--cloud FILE] [--only PART[,PART..]] [--quick]

--hub FILE    the binary to measure [holdfast, beside this program]
--cloud FILE  the fake API server [fake-apiserver, beside this program]
--only PARTS  small, list, footprint, fanout, start, cut, offline, disk [all of them]
--quick       fewer rounds: a look, not a measurement
";

const PARTS: [&str; 8] = ["small", "list", "footprint", "fanout", "start", "cut", "offline", "disk"];

/// What is measured, and how thoroughly.
pub(crate) struct Arguments {
    hub: PathBuf,
    cloud: PathBuf,
    only: Vec<String>,
    quick: bool,
}

/// A node reads its hub from the disk: how it came into the page cache shows in its memory (docs/decisions/0013).
fn drop_from_cache(file: &Path) -> anyhow::Result<()> {
    let is_written = Command::new("sync").arg(file).status()?.success();
    let (input, nothing) = (format!("if={}", file.display()), ["iflag=nocache", "count=0", "status=none"]);
    let is_dropped = is_written && Command::new("dd").arg(input).args(nothing).status()?.success();
    anyhow::ensure!(is_dropped, "{} cannot be dropped from the page cache", file.display());
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments(std::env::args().skip(1))?;
    rivals::check_installed()?;
    drop_from_cache(&arguments.hub)?;
    let mut report = Report::default();
    let mut rig = Rig::start(&arguments).await?;
    report.text(&rig.describe()?);
    let wanted = |part: &str, what: &str| {
        let wanted = arguments.only.is_empty() || arguments.only.iter().any(|only| only == part);
        if wanted {
            eprintln!("bench: {what}");
        }
        wanted
    };
    if wanted("small", "small GETs") {
        small::measure(&rig, &mut report).await?;
    }
    if wanted("list", "large lists") {
        list::measure(&mut rig, &mut report).await?;
    }
    if wanted("footprint", "memory and size") {
        footprint::measure(&mut rig, &mut report).await?;
    }
    if wanted("fanout", "an event for many watches") {
        fanout::measure(&mut rig, &mut report).await?;
    }
    if wanted("start", "start") {
        start::measure(&mut rig, &mut report).await?;
    }
    if wanted("cut", "a read that meets the cut") {
        cut::measure(&mut rig, &mut report).await?;
    }
    if wanted("offline", "reads without the cloud") {
        offline::measure(&rig, &mut report).await?;
    }
    if wanted("disk", "what the disk is written") {
        disk::measure(&mut rig, &mut report).await?;
    }
    std::io::stdout().lock().write_all(report.finish().as_bytes())?;
    Ok(())
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let beside = std::env::current_exe()?.parent().context("this program is in a folder")?.to_owned();
    let mut arguments =
        Arguments { hub: beside.join("holdfast"), cloud: beside.join("fake-apiserver"), only: Vec::new(), quick: false };
    while let Some(flag) = given.next() {
        let mut value = || given.next().with_context(|| format!("{flag} needs a value\n{USAGE}"));
        match flag.as_str() {
            "--hub" => arguments.hub = value()?.into(),
            "--cloud" => arguments.cloud = value()?.into(),
            "--only" => arguments.only = value()?.split(',').map(str::to_owned).collect(),
            "--quick" => arguments.quick = true,
            _ => bail!("unknown argument {flag}\n{USAGE}"),
        }
    }
    if let Some(unknown) = arguments.only.iter().find(|part| !PARTS.contains(&part.as_str())) {
        bail!("--only {unknown}: there are {}", PARTS.join(", "));
    }
    for program in [&arguments.hub, &arguments.cloud] {
        if !program.is_file() {
            bail!("{} is not there: cargo build --release -p holdfast -p testkit", program.display());
        }
    }
    Ok(arguments)
}
