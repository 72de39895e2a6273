//! A network namespace of a test's own, beside those of a whole cluster (`cluster/network.rs`).

use std::future::ready;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use tokio::process::{Child, Command};

use crate::hub::eventually;

/// It is there as long as its only process.
pub struct Namespace {
    _holder: Child,
    pid: u32,
}

impl Namespace {
    /// With loopback up. `None`: this process may not make one.
    ///
    /// # Errors
    /// If loopback cannot be set up.
    pub async fn make() -> anyhow::Result<Option<Self>> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"]).stderr(Stdio::null()).kill_on_drop(true);
        let Ok(mut holder) = command.spawn() else { return Ok(None) };
        let Some(pid) = holder.id() else { return Ok(None) };
        let (own, held) = (std::fs::read_link("/proc/self/ns/net")?, || std::fs::read_link(file(pid)).ok());
        let settled =
            || ready(Ok(holder.try_wait().is_ok_and(|ended| ended.is_some()) || held().is_some_and(|held| held != own)));
        eventually("it has left the test's namespace, or has ended", Duration::from_secs(5), settled).await?;
        if held().is_none() {
            return Ok(None);
        }
        let namespace = Self { _holder: holder, pid };
        namespace.run("ip", &["link", "set", "lo", "up"]).await?;
        Ok(Some(namespace))
    }

    /// Of its process, by which `ip` names the namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The words before a command that is to run in it.
    pub fn enter(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net={}", file(self.pid)), "--".to_owned()]
    }

    pub fn command(&self, program: &str) -> Command {
        let enter = self.enter();
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program).kill_on_drop(true);
        command
    }

    /// Runs a program to its end; what it prints.
    ///
    /// # Errors
    /// What it says where it fails.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program).args(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {arguments:?}: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn file(pid: u32) -> String {
    format!("/proc/{pid}/ns/net")
}
