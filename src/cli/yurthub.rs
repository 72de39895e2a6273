//! Run under the name `yurthub`, the program takes yurthub's flags and has its
//! defaults. Flags that mean nothing here yet are accepted, with one warning.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Raw;

/// Arguments as the ordinary command line has them.
pub(super) struct Arguments {
    pub list: Vec<OsString>,
    pub defaults: Raw,
    pub ignored: Vec<String>,
}

/// yurthub's flags without a meaning here.
const IGNORED: [&str; 17] = [
    "multiplexer-port",
    "node-ip",
    "kubelet-health-grace-period",
    "bootstrap-mode",
    "join-token",
    "bootstrap-file",
    "discovery-token-ca-cert-hash",
    "discovery-token-unsafe-skip-ca-verification",
    "hub-cert-organizations",
    "profiling",
    "vmodule",
    "enable-iptables",
    "access-server-through-hub",
    "max-requests-in-flight",
    "hub-agent-dummy-if-name",
    "coordinator-server-addr",
    "logtostderr",
];

/// Flags that take no value of their own.
const SWITCHES: [&str; 4] = ["discovery-token-unsafe-skip-ca-verification", "profiling", "enable-iptables", "logtostderr"];

pub(super) fn translate(list: Vec<OsString>) -> Arguments {
    let is_yurthub = list.first().is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == "yurthub"));
    if !is_yurthub {
        return Arguments { list, defaults: Raw::default(), ignored: Vec::new() };
    }
    let mut kept = vec![OsString::from("holdfast"), OsString::from("hub")];
    let mut ignored = Vec::new();
    let mut rest = list.into_iter().skip(1).peekable();
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        let flag = text.trim_start_matches('-');
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        if text.starts_with('-') && IGNORED.contains(&name) {
            ignored.push(format!("--{name}"));
            let takes_next = value.is_none() && !SWITCHES.contains(&name);
            if takes_next && rest.peek().is_some_and(|next| !next.to_string_lossy().starts_with('-')) {
                rest.next();
            }
        } else if let Some(value) = verbosity(&text) {
            let next = value.is_empty().then(|| rest.next()).flatten();
            let value = next.map_or_else(|| value.to_owned(), |next| next.to_string_lossy().into_owned());
            kept.push(format!("--v={value}").into());
        } else {
            kept.push(argument);
        }
    }
    Arguments { list: kept, defaults: defaults(), ignored }
}

/// The value of `-v3` or `-v=3`; empty: it comes next.
fn verbosity(argument: &str) -> Option<&str> {
    let value = argument.strip_prefix("-v")?;
    let value = value.strip_prefix('=').unwrap_or(value);
    value.bytes().all(|byte| byte.is_ascii_digit()).then_some(value)
}

fn defaults() -> Raw {
    Raw {
        root_dir: Some(PathBuf::from("/var/lib/yurthub")),
        disk_cache_path: Some(PathBuf::from("/etc/kubernetes/cache/")),
        cache_agents: Some(crate::state::rules::ALWAYS.join(",")),
        ..Raw::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_shipped_manifests_arguments_are_understood() {
        let arguments = translate(words(
            "/usr/local/bin/yurthub --v=2 --bind-address=127.0.0.1 --server-addr=https://a:6443 --node-name=n --nodepool-name=p --bootstrap-file /var/lib/x --enable-node-pool --working-mode=edge -v=3",
        ));
        assert_eq!(
            arguments.list,
            words(
                "holdfast hub --v=2 --bind-address=127.0.0.1 --server-addr=https://a:6443 --node-name=n --nodepool-name=p --enable-node-pool --working-mode=edge --v=3"
            )
        );
        assert_eq!(arguments.ignored, ["--bootstrap-file"]);
        assert_eq!(arguments.defaults.disk_cache_path, Some(PathBuf::from("/etc/kubernetes/cache/")));
    }

    #[test]
    fn how_much_is_logged_may_be_said_in_every_way_that_pflag_knows() {
        for said in ["-v=3", "-v3", "-v 3", "--v=3"] {
            let list = translate(words(&format!("yurthub {said} --node-name=n"))).list;
            assert_eq!(list, words("holdfast hub --v=3 --node-name=n"), "{said}");
        }
        let list = words("yurthub --version");
        assert_eq!(translate(list).list, words("holdfast hub --version"));
    }

    #[test]
    fn under_its_own_name_nothing_changes() {
        let list = words("holdfast hub --nodepool-name=p");
        assert_eq!(translate(list.clone()).list, list);
    }
}
