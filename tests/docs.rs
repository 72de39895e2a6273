//! docs/config.md and docs/metrics.md are made from the code: this test fails when they
//! are not what the code says. `HOLDFAST_WRITE_DOCS=1 cargo test --test docs` writes them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use holdfast::runtime::metrics::Metrics;

fn check(name: &str, expected: &str) {
    let path = Path::new("docs").join(name);
    if std::env::var_os("HOLDFAST_WRITE_DOCS").is_some() {
        std::fs::write(&path, expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is not what the code says: HOLDFAST_WRITE_DOCS=1 cargo test --test docs", path.display());
}

fn camel(flag: &str) -> String {
    let mut words = flag.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

#[test]
fn the_settings() {
    let mut page = String::from(
        "# Settings\n\n\
         `holdfast hub --FLAG=VALUE`, or the same names in a file that `--config` names; flags win over the file:\n\n\
         ```yaml\napiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nnodeName: edge-1\n\
         serverAddr: [https://10.0.0.1:6443, https://10.0.0.2:6443]\n```\n\n\
         A setting that does not hold ends the hub with exit code 78 and a line that names the field, the value and\n\
         what is allowed. In brackets: the default. Beside these, `filters` in the file is a list of\n\
         [rules of your own](rules.md).\n\n\
         | flag | in the file | what it sets |\n|---|---|---|\n",
    );
    let command = holdfast::cli::command();
    let hub = command.find_subcommand("hub").unwrap();
    for argument in hub.get_arguments().filter(|argument| argument.get_id() != "config") {
        let flag = argument.get_long().unwrap();
        let help = argument.get_help().unwrap().to_string();
        writeln!(page, "| `--{flag}` | `{}` | {} |", camel(flag), help.replace('|', "\\|")).unwrap();
    }
    page.push_str(
        "\n## Under the name `yurthub`\n\n\
         Started by a link of that name, the program needs no `hub`, takes yurthub's flags and has yurthub's defaults:\n\
         `--root-dir=/var/lib/yurthub`, `--disk-cache-path=/etc/kubernetes/cache/`, and only yurthub's own components are\n\
         remembered until `cache_agents` names more. Its flags that have no effect here are accepted with one warning in\n\
         the log.\n\n\
         ## Behind a proxy\n\n\
         `HTTPS_PROXY` in the hub's environment is `http://HOST:PORT`, `https://HOST:PORT` or `socks5://HOST:PORT`, with\n\
         `USER:PASSWORD@` before `HOST` where the proxy asks for them: the kube-apiservers are reached through tunnels of that proxy,\n\
         and it looks up their names (`socks5h` is the same). Towards a proxy with `https` the hub speaks TLS, and verifies it by the\n\
         certificates that this machine trusts, or by those in the PEM file that `SSL_CERT_FILE` names instead; they are read once, when\n\
         the hub starts. What `NO_PROXY` lists, by comma, is reached directly: names with all below them, addresses, networks, each for\n\
         all ports or with `:PORT` for one (what is IPv6 in brackets then), `*` for everything; so is this machine. The names in\n\
         lower case count, too.\n\n\
         ## Live: ConfigMap `yurt-hub-cfg`\n\n\
         In the namespace that `--namespace` names. It applies to new requests as soon as it changes; what it says is\n\
         remembered like anything else, so it also holds after a restart without the cloud. Deleting it returns to the\n\
         settings above. The node needs the right to `get`, `list` and `watch` it.\n\n\
         | key | what it sets |\n|---|---|\n\
         | `cache_agents` | comma list of components (the User-Agent up to the first `/`) whose answers are remembered beside \
         kubelet, kube-proxy, flanneld, coredns, raven-agent-ds, yurttunnel-agent and yurthub; `*` is all. What those \
         named here have read is, as kubelet's own, never given up for space |\n\
         | the name of a [filter](filters.md) | comma list of components that it serves beside its own |\n\
         | `rules` | a YAML list of [rules of your own](rules.md), beside those under `filters` in the file |\n",
    );
    check("config.md", &page);
}

#[test]
fn the_metrics() {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin listener (127.0.0.1:10267). Counters end in `_total`. `client` is the component, the\n\
         User-Agent up to the first `/`, bounded in number: further ones are `other`.\n\n\
         | name | type | what it counts |\n|---|---|---|\n",
    );
    for (kind, name, help) in Metrics::FIGURES {
        let ending = if *kind == "counter" { "_total" } else { "" };
        writeln!(page, "| `{name}{ending}` | {kind} | {help} |").unwrap();
    }
    check("metrics.md", &page);
}

/// As the README says it of `make demo` and `make test`.
#[test]
fn what_a_machine_lacks_is_said_with_the_line_that_installs_it() {
    let bare = tempfile::tempdir().unwrap();
    let said = |what: &str| {
        let mut need = std::process::Command::new("/bin/bash");
        let output = need.args(["scripts/need", what]).env("PATH", bare.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{what}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (what, lacks) in [
        ("demo", &["make demo needs", "Rust (cargo)", "sh.rustup.rs", "a C compiler", "apt-get install"][..]),
        ("real", &["make demo CLOUD=real needs", "Go 1.24", "containerd", "apt-get install"]),
        ("test", &["make test needs", "Rust (cargo)", "Go 1.24", "containerd", "Node.js", "Maven", "apt-get install"]),
    ] {
        let said = said(what);
        for lack in lacks {
            assert!(said.contains(lack), "{what}: no {lack:?} in {said}");
        }
    }
    assert!(!said("real").contains("Node.js"), "the demo plays nothing in it");
}
