//! What the machine must have, looked at before anything is made; what is missing is
//! said at once, with the line that mends it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

const PROGRAMS: [&str; 11] =
    ["containerd", "ctr", "runc", "ip", "ss", "nft", "nsenter", "unshare", "setpriv", "setsid", "busybox"];
const INSTALL: &str = "apt-get install -y containerd runc containernetworking-plugins iproute2 nftables busybox-static";

/// The hub's program, by its full path.
pub fn hub(given: &Path) -> Result<PathBuf> {
    let hub = fs::canonicalize(given)
        .with_context(|| format!("no hub at {}; it is built by: cargo build --release -p holdfast", given.display()))?;
    ensure!(hub.is_file() && fs::metadata(&hub)?.mode() & 0o111 != 0, "the hub {} is no program", hub.display());
    Ok(hub)
}

/// `unshare` with what makes namespaces of processes, network, mounts and cgroups, in
/// which this user is root and which end with the process that runs there.
pub fn unshare() -> Result<Command> {
    let mut command = Command::new("unshare");
    if !is_root()? {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--cgroup", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    Ok(command)
}

/// `mount` of an empty file system over where Pods have their tokens.
pub fn mount() -> Result<Command> {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", "mode=755", "demo"]).arg(run_folder()?);
    Ok(command)
}

/// /var/run, which is a link to /run on most machines.
pub fn run_folder() -> Result<PathBuf> {
    fs::canonicalize("/var/run").context("/var/run")
}

/// The small stage: namespaces, and a mount within.
pub fn small(hub: &Path) -> Result<()> {
    let run = run_folder()?;
    ensure!(!hub.starts_with(&run), "the hub {} cannot lie below {} here: copy it", hub.display(), run.display());
    let mount = mount()?;
    let mut probe = unshare()?;
    probe.arg(mount.get_program()).args(mount.get_args()).stdin(Stdio::null());
    let output = probe.output().context("the program unshare, of util-linux")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    bail!("this machine lets you make no namespaces ({said}).\n{}", remedy()?)
}

fn remedy() -> Result<String> {
    if is_root()? {
        return Ok("Root lacks CAP_SYS_ADMIN here: in a container, start that with --privileged.".to_owned());
    }
    let settings = [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_net_namespaces", "0", "10000"),
    ];
    let bad = settings.into_iter().find(|(name, refusing, _)| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|value| value.trim() == *refusing)
    });
    Ok(match bad {
        Some((name, _, wanted)) => {
            format!("This allows it until the next boot: sudo sysctl -w {}={wanted}\nOr run it as root.", name.replace('/', "."))
        }
        None => "Run it as root; in a container, start that with --privileged.".to_owned(),
    })
}

/// The real stage: root, the lab's programs, a node's programs.
pub fn real() -> Result<()> {
    ensure!(is_root()?, "the real control plane needs root; the small stage does not: make demo");
    for variable in ["HOLDFAST_LAB", "HOLDFAST_SAMPLE"] {
        let there = std::env::var_os(variable).is_some_and(|path| Path::new(&path).is_file());
        ensure!(there, "{variable} must name a program that is built (with Go) by: make lab");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let mut missing: Vec<&str> = PROGRAMS.into_iter().filter(|program| !found(program)).collect();
    if !Path::new("/usr/lib/cni/bridge").is_file() {
        missing.push("/usr/lib/cni/bridge");
    }
    ensure!(missing.is_empty(), "missing: {}. This installs it:\n{INSTALL}", missing.join(", "));
    Ok(())
}

fn is_root() -> Result<bool> {
    Ok(fs::metadata("/proc/self").context("/proc")?.uid() == 0)
}
