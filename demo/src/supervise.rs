//! Two processes: the one that the user starts, which waits, and the one that plays.
//!
//! The player lives as long as a pipe from the first is open, so it ends when the first
//! is interrupted, and when it is killed in whatever way. The small stage's player is
//! the first process of its own namespaces: the kernel ends everything in there with
//! it, and its files lie on a mount that goes too. The real stage's cluster has a
//! guardian, which holds the player's standard error open until all is removed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::real::Real;
use crate::report::{complain, say};
use crate::small::Small;
use crate::stage::Stage;
use crate::{Kind, engine, needs, story};

const INTERRUPTED: u8 = 130;
/// Until everything of a cluster is removed.
const REMOVED_WITHIN: Duration = Duration::from_secs(60);
/// Lines of the hub's log that are shown when a step did not hold.
const TAIL: usize = 12;

/// Plays the story in a process of its own, and waits for its end.
pub fn run(kind: Kind, hub: &Path) -> Result<ExitCode> {
    let hub = needs::hub(hub)?;
    let (program, logs) = (std::env::current_exe()?, format!("holdfast-demo-{}", std::process::id()));
    let mut command = match kind {
        Kind::Small => {
            needs::small(&hub)?;
            let mut command = needs::unshare()?;
            command.arg(program).args(["play", "small"]).env("TMPDIR", needs::run_folder()?);
            command
        }
        Kind::Real => {
            needs::real()?;
            let mut command = StdCommand::new(program);
            command.args(["play", "real"]);
            command
        }
    };
    command.arg("--hub").arg(&hub).arg("--logs").arg(std::env::temp_dir().join(logs));
    say(kind.header());
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(wait(Command::from(command)))
}

async fn wait(mut command: Command) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // Ctrl-C is for this process only: the other is told by the end of its input.
    let mut player =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().context("cannot start the player")?;
    let lifeline = player.stdin.take();
    let errors = tokio::spawn(pass_on(player.stderr.take()));
    let interrupted = tokio::select! {
        status = player.wait() => return finish(status?, errors).await,
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "told to end",
        _ = hangup.recv() => "the terminal is gone",
    };
    say("");
    drop(lifeline);
    end(player).await?;
    removed(errors).await?;
    complain(&format!("demo: {interrupted}; everything is removed"));
    Ok(ExitCode::from(INTERRUPTED))
}

async fn end(mut player: Child) -> Result<()> {
    if tokio::time::timeout(Duration::from_secs(5), player.wait()).await.is_err() {
        player.kill().await?;
    }
    Ok(())
}

async fn finish(status: ExitStatus, errors: tokio::task::JoinHandle<()>) -> Result<ExitCode> {
    removed(errors).await?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}

/// Waits until nobody holds the player's standard error any more.
async fn removed(errors: tokio::task::JoinHandle<()>) -> Result<()> {
    let ended = tokio::time::timeout(REMOVED_WITHIN, errors).await;
    ended.context("what was made is not removed yet; its guardian goes on with it")?.context("standard error")
}

async fn pass_on(errors: Option<ChildStderr>) {
    let Some(mut errors) = errors else { return };
    let mut part = [0; 1024];
    while let Ok(length @ 1..) = errors.read(&mut part).await {
        // What cannot be shown is no reason to fail.
        let _ = std::io::stderr().write_all(&part[..length]);
    }
}

/// The player.
#[expect(clippy::disallowed_methods, reason = "whoever started it is gone: the namespaces' end, or the guardian, cleans up")]
pub fn play(kind: Kind, hub: &Path, logs: &Path) -> Result<ExitCode> {
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(i32::from(INTERRUPTED));
    })?;
    let mut stage: Box<dyn Stage> = match kind {
        Kind::Small => Box::new(Small::raise(engine::start()?, hub)?),
        Kind::Real => Box::new(Real::raise(engine::start()?, hub)?),
    };
    let held = story::play(stage.as_mut());
    if !held {
        keep(&stage.log_folder(), logs);
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Copies the logs to where they outlive the stage, and shows the end of the hub's.
fn keep(from: &Path, to: &Path) {
    let copied = fs::create_dir(to).and_then(|()| copy(from, to));
    match copied {
        Ok(hub) => say(&format!("The hub's log is {}, others beside it. Without its requests it ends with:", hub.display())),
        Err(error) => {
            say(&format!("The logs could not be kept in {} ({error}). Without its requests the hub's ends with:", to.display()))
        }
    }
    let log = fs::read_to_string(from.join("hub.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO access:")).collect();
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        say(&format!("  {line}"));
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<PathBuf> {
    for log in fs::read_dir(from)? {
        let log = log?;
        if log.path().extension().is_some_and(|extension| extension == "log") {
            fs::copy(log.path(), to.join(log.file_name()))?;
        }
    }
    Ok(to.join("hub.log"))
}
