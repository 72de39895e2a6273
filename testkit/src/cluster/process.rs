//! Processes of the cluster. Each writes its output to a file of its own, and
//! every wait has an end: what fails says so with the last lines of that file.
//! A `Process` is killed and reaped when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Lines of a log that an error quotes.
const TAIL_LINES: usize = 25;
/// From SIGKILL to the end of a process that may hold many others.
const ENDED_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(100);

/// A process that runs until it is stopped, with its output in a log file.
pub(super) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`; what it prints is appended to `logs`/`name`.log.
    pub(super) fn start(logs: &Path, name: &str, mut command: Command) -> Result<Process> {
        let log = logs.join(format!("{name}.log"));
        let file =
            File::options().create(true).append(true).open(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Process { name: name.to_owned(), log, child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, named as `kill` of util-linux names it.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        run(Command::new("kill").args(["-s", signal, &self.id().to_string()])).map(drop)
    }

    /// Waits until `probe` succeeds, while this process lives.
    pub(super) fn wait_ready<T>(&mut self, timeout: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            let last = match probe() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}\n{}", self.name, tail(&self.log));
            }
            if Instant::now() > deadline {
                bail!("{} was not ready after {timeout:?}: {last:#}\n{}", self.name, tail(&self.log));
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    /// Kills with SIGKILL, which a stopped process obeys too, and reaps. What
    /// waits for a child of its own (`nsenter`, `unshare`) ends after that
    /// child, so that nothing lives on unseen.
    fn drop(&mut self) {
        // Every call here fails only when the process has ended, and that is what is wanted.
        let own = format!("/proc/{0}/task/{0}/children", self.id());
        let children = fs::read_to_string(own).unwrap_or_default();
        if !children.trim().is_empty() {
            let _ = run(Command::new("kill").args(["-s", "KILL"]).args(children.split_whitespace()));
            let deadline = Instant::now() + ENDED_WITHIN;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, under its name.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    format!("--- end of {}\n{}", log.display(), lines[from..].join("\n"))
}

/// Runs `command` to its end and returns what it printed; an error has what it
/// said on stderr.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program given as one line of words without quoting.
pub(super) fn run_words(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let program = words.next().ok_or_else(|| anyhow!("no program to run"))?;
    run(Command::new(program).args(words))
}

/// Repeats `probe` until it succeeds; its last error is the error after `timeout`.
///
/// # Errors
/// When `timeout` is over.
pub fn eventually<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not within {timeout:?}")));
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}
