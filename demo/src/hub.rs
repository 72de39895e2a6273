//! The hub as a process, with the flags a node would give it and the addresses it has
//! unless told otherwise. Dropping it kills it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};

/// What the hub is told; everything else is its own default.
pub struct Flags {
    pub node_name: String,
    pub server: String,
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
    pub authority: PathBuf,
    pub serving_certificate: PathBuf,
    pub serving_key: PathBuf,
    pub root: PathBuf,
}

impl Flags {
    /// Adds them to the command that runs the hub's program.
    pub fn onto(&self, mut command: Command) -> Command {
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.arg("hub").args([
            format!("--node-name={}", self.node_name),
            format!("--server-addr={}", self.server),
            flag("client-certificate", &self.client_certificate),
            flag("client-key", &self.client_key),
            flag("certificate-authority", &self.authority),
            flag("tls-cert-file", &self.serving_certificate),
            flag("tls-private-key-file", &self.serving_key),
            flag("root-dir", &self.root),
        ]);
        command
    }
}

/// A running hub.
pub struct Hub(Child);

impl Hub {
    /// Starts it; what it prints is added to `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Hub> {
        let log = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Hub(command.spawn().with_context(|| format!("cannot start the hub: {}", command.get_program().display()))?))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }
}

impl Drop for Hub {
    /// kill -9. Both calls fail only if it has ended, which is what is wanted.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
