//! Which process is behind a loopback connection, and whether it belongs to a Pod.
//!
//! The client's end of the connection is looked up in /proc/net/tcp(6), which names
//! its socket; /proc/*/fd names the processes that hold it; their cgroup says whether
//! they belong to a Pod (kubelet puts every Pod below `kubepods`). Every holder must
//! be outside every Pod. Whatever cannot be read counts against the caller.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// Only processes outside every Pod hold it.
    Host,
    /// A Pod's process holds it.
    Pod,
}

/// A /proc to look things up in.
pub struct Procfs {
    root: PathBuf,
}

impl Default for Procfs {
    fn default() -> Self {
        Self { root: PathBuf::from("/proc") }
    }
}

impl Procfs {
    /// Who holds the socket whose local end is `client` and whose peer is `server`; `None`: nobody was found, or one who
    /// could be anybody.
    pub fn owner(&self, client: SocketAddr, server: SocketAddr) -> Option<Ownership> {
        let inode = self.inode(client, server)?;
        let wanted = format!("socket:[{inode}]");
        let processes = std::fs::read_dir(&self.root).ok()?;
        let mut found = None;
        for process in processes.flatten() {
            let is_process = process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
            if !is_process || !holds(&process.path(), &wanted) {
                continue;
            }
            match in_pod(&process.path())? {
                false => found = Some(Ownership::Host),
                true => return Some(Ownership::Pod),
            }
        }
        found
    }

    fn inode(&self, client: SocketAddr, server: SocketAddr) -> Option<u64> {
        ["tcp", "tcp6"].iter().find_map(|table| {
            // The hub's own network namespace, where the connection was accepted.
            let text = std::fs::read_to_string(self.root.join("thread-self/net").join(table)).ok()?;
            text.lines().skip(1).find_map(|line| {
                let mut columns = line.split_ascii_whitespace();
                let local = address(columns.nth(1)?)?;
                let remote = address(columns.next()?)?;
                let inode = columns.nth(6)?.parse().ok()?;
                (local == client && remote == server && inode != 0).then_some(inode)
            })
        })
    }
}

fn holds(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = std::fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == socket))
}

/// Whether any of the process's cgroups is below a `kubepods` group; `None`: that cannot be told.
fn in_pod(process: &Path) -> Option<bool> {
    is_of_pod(&std::fs::read_to_string(process.join("cgroup")).ok()?)
}

/// Below kubelet's `--cgroup-root` the name of a slice has that of its parent before it. What lies outside the hub's own
/// cgroup namespace is called by the way up, `/../..`, which says nothing of what is there.
fn is_of_pod(cgroups: &str) -> Option<bool> {
    let is_of_pod = cgroups.contains("kubepods");
    let is_outside = cgroups.lines().any(|line| line.split('/').any(|part| part == ".."));
    (is_of_pod || !is_outside).then_some(is_of_pod)
}

/// `0100007F:281D` as the kernel prints it: words in host order, port in hex.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Option<Vec<u32>> =
        (0..ip.len() / 8).map(|word| u32::from_str_radix(ip.get(word * 8..word * 8 + 8)?, 16).ok()).collect();
    let ip: IpAddr = match words?.as_slice() {
        [word] => word.to_ne_bytes().into(),
        [a, b, c, d] => {
            let mut bytes = [0; 16];
            for (chunk, word) in bytes.chunks_mut(4).zip([a, b, c, d]) {
                chunk.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_cgroup_is_known_however_it_is_called() {
        for (cgroups, of_pod) in [
            ("0::/system.slice/kubelet.service\n", Some(false)),
            ("0::/user.slice/user-0.slice/session-1.scope\n", Some(false)),
            ("0::/kubepods/burstable/pod1/abc\n", Some(true)),
            ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-abc.scope\n", Some(true)),
            ("0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod1.slice/cri-containerd-abc.scope\n", Some(true)),
            ("12:cpu:/kubepods/besteffort/pod1/abc\n1:name=systemd:/system.slice/containerd.service\n", Some(true)),
            ("0::/../../pod2/abc\n", None),
            ("0::/../../../kubepods/burstable/pod2/abc\n", Some(true)),
        ] {
            assert_eq!(is_of_pod(cgroups), of_pod, "{cgroups}");
        }
    }

    #[test]
    fn the_kernels_addresses_are_read() {
        assert_eq!(address("0100007F:281D"), Some("127.0.0.1:10269".parse().unwrap()));
        assert_eq!(address("0000000000000000FFFF00000100007F:0016"), Some("127.0.0.1:22".parse().unwrap()));
        assert_eq!(address("zz"), None);
    }

    #[test]
    fn this_very_process_owns_its_connection_and_is_no_pod() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = Procfs::default().owner(client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(found, Some(Ownership::Host));
        let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        drop((client, listener));
        assert_eq!(Procfs::default().owner(local, peer), None, "nobody holds it any more");
    }

    #[test]
    fn a_holder_in_a_pod_makes_it_the_pods() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("thread-self/net/tcp", "header\n 0: 0100007F:1000 0100007F:2815 01 0:0 0:0 0 0 0 77 1\n");
        for (process, cgroup) in
            [("10", "9:pids:/system.slice/kubelet.service\n"), ("11", "9:pids:/kubepods.slice/kubepods-pod1.slice/x\n")]
        {
            write(&format!("{process}/cgroup"), cgroup);
            std::fs::create_dir_all(root.path().join(process).join("fd")).unwrap();
        }
        let procfs = Procfs { root: root.path().to_owned() };
        let owner = || procfs.owner("127.0.0.1:4096".parse().unwrap(), "127.0.0.1:10261".parse().unwrap());
        assert_eq!(owner(), None);
        std::os::unix::fs::symlink("socket:[77]", root.path().join("10/fd/3")).unwrap();
        assert_eq!(owner(), Some(Ownership::Host));
        std::os::unix::fs::symlink("socket:[77]", root.path().join("11/fd/3")).unwrap();
        assert_eq!(owner(), Some(Ownership::Pod), "a socket shared with a Pod is the Pod's");
    }
}
