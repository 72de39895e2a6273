//! Programs on this node as kubelet would start them in a Pod: with the same environment, and with the ServiceAccount's
//! files where every client library looks for them.
//!
//! The files lie on a mount that the program alone sees, which takes root. Each start is cold: a new process with a home
//! that is empty.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

/// $0 is the folder with the ServiceAccount's files.
const START: &str = "mount -t tmpfs -o mode=755 pod /var/run/ && mkdir -p /var/run/secrets/kubernetes.io && \
                     cp -r \"$0\" /var/run/secrets/kubernetes.io/serviceaccount && exec setpriv --pdeathsig KILL \"$@\"";

pub struct Pod {
    kubernetes: SocketAddr,
    /// `serviceaccount`, `home` and `log`.
    folder: TempDir,
}

/// A program that runs, and is killed with this value.
pub struct Running {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Pod {
    /// `kubernetes` is what the Pod is told to be the kube-apiserver.
    pub fn new(kubernetes: SocketAddr, ca_pem: &str, namespace: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let account = folder.path().join("serviceaccount");
        std::fs::create_dir(&account).unwrap();
        for (name, text) in [("token", token), ("ca.crt", ca_pem), ("namespace", namespace)] {
            std::fs::write(account.join(name), text).unwrap();
        }
        Self { kubernetes, folder }
    }

    /// Starts a program.
    pub fn start(&self, command: &[String], environment: &[(&str, &str)]) -> Running {
        let log = self.folder.path().join("log");
        let mut starting = self.command();
        starting.args(command).envs(environment.iter().copied());
        starting.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap());
        let mut child = tokio::process::Command::from(starting).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { _child: child, lines, log }
    }

    /// Runs a program to its end. What it has printed, or what it has said of its failure.
    pub fn output(&self, program: &Path, arguments: &str) -> Result<String, String> {
        let output = self.command().arg(program).args(arguments.split(' ')).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn command(&self) -> Command {
        let home = self.folder.path().join("home");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir(&home).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", START]).arg(self.folder.path().join("serviceaccount"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
        command.env("KUBERNETES_SERVICE_HOST", self.kubernetes.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", self.kubernetes.port().to_string());
        command.stdin(Stdio::null());
        command
    }
}

impl Running {
    /// The next line that it prints.
    pub async fn line(&mut self, within: Duration) -> String {
        match tokio::time::timeout(within, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => line,
            other => panic!("{other:?} instead of a line; it says:\n{}", std::fs::read_to_string(&self.log).unwrap()),
        }
    }
}
