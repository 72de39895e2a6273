//! The guardian: a small shell process that outlives this one, however it ends,
//! and removes what a cluster made.
//!
//! It waits for the end of a pipe that this process holds open. Then it kills
//! every process in the cluster's network namespaces (the node's own PID
//! namespace dies with its first process, and so every container), and removes
//! the namespaces, the cgroups and the directory. Mounts need no care: they
//! were made in the node's mount namespace, which ends with its processes.
//! It is told the name only, so it can be started before anything exists.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
name=$1 dir=$2
trap '' HUP INT TERM PIPE
read -r _
residents() { for ns in cloud edge; do ip netns pids "$name-$ns" 2>/dev/null; done; }
round=0
while pids=$(residents); [ -n "$pids" ] && [ $round -lt 200 ]; do
  kill -9 $pids 2>/dev/null
  sleep 0.05
  round=$((round + 1))
done
for ns in cloud edge; do
  [ -e "/run/netns/$name-$ns" ] && ip netns del "$name-$ns"
done
round=0
while [ $round -lt 100 ]; do
  left=
  for group in /sys/fs/cgroup/"$name" /sys/fs/cgroup/*/"$name"; do
    [ -d "$group" ] || continue
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
    [ -d "$group" ] && left=$group
  done
  rm -rf --one-file-system "$dir" 2>/dev/null
  [ -z "$left" ] && [ ! -e "$dir" ] && exit 0
  sleep 0.05
  round=$((round + 1))
done
echo "could not remove $dir $left" >&2
exit 1
"#;

/// Cleans up when it is dropped, or when this process ends.
pub(super) struct Guardian {
    child: Child,
    alive: Option<ChildStdin>,
}

impl Guardian {
    /// Watches over the namespaces `name`-cloud and `name`-edge, the cgroups
    /// `name` and the directory `dir`, none of which need exist yet.
    pub(super) fn start(name: &str, dir: &Path) -> Result<Guardian> {
        // A session of its own: a signal to our process group leaves it be.
        let mut child = Command::new("setsid")
            .args(["sh", "-c", SCRIPT, "guardian", name])
            .arg(dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the guardian")?;
        let alive = child.stdin.take();
        Ok(Guardian { child, alive })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.alive.take());
        // A guardian that fails has said so on stderr.
        let _ = self.child.wait();
    }
}

/// A name that no other cluster has: the process, and how many it has made.
pub(super) fn unique_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("holdfast-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// Where the cluster of that name keeps its files; not below /run, /var/lib or
/// /var/log, which the node sees as its own.
pub(super) fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::time::Duration;

    use super::*;
    use crate::cluster::eventually;

    const NAME: &str = "HOLDFAST_TEST_VICTIM";

    fn ip(args: &[&str]) -> String {
        String::from_utf8(Command::new("ip").args(args).output().unwrap().stdout).unwrap()
    }

    /// Started by the other test, and killed.
    #[test]
    fn victim() {
        let Ok(name) = std::env::var(NAME) else { return };
        let _guardian = Guardian::start(&name, &directory(&name)).unwrap();
        let site = format!("{name}-edge");
        ip(&["netns", "add", &site]);
        std::fs::create_dir_all(directory(&name).join("etc")).unwrap();
        std::fs::create_dir(Path::new("/sys/fs/cgroup").join(&name)).unwrap();
        Command::new("ip").args(["netns", "exec", &site, "sleep", "600"]).status().unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_process_that_is_killed() {
        let may_make = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        if !may_make || Command::new("ip").arg("netns").output().is_err() {
            return crate::skipped("root, and ip");
        }
        let name = unique_name();
        let site = format!("{name}-edge");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cluster::guardian::tests::victim"])
            .env(NAME, &name)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let lives = || !ip(&["netns", "pids", &site]).is_empty();
        let group = Path::new("/sys/fs/cgroup").join(&name);
        let wait = Duration::from_secs(20);
        eventually("a process in it", wait, || {
            anyhow::ensure!(lives(), "none");
            Ok(())
        })
        .unwrap();
        assert!(group.exists() && directory(&name).exists());
        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually("everything is removed", wait, || {
            anyhow::ensure!(!ip(&["netns", "list"]).contains(&site), "{site} is there");
            anyhow::ensure!(!group.exists() && !directory(&name).exists(), "its files are there");
            Ok(())
        })
        .unwrap();
    }
}
