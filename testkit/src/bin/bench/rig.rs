//! Everything that runs side by side: the cloud, hubs, nginx and haproxy.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use testkit::client::Alpn;
use testkit::hub::{Hub, HubOptions};
use testkit::pki::Pki;

use crate::Arguments;
use crate::cloud::Cloud;
use crate::rivals::{self, Rival};
use crate::way::Way;

pub(crate) const DIRECT: &str = "direct";
pub(crate) const PASSED: &str = "holdfast, passed on";
pub(crate) const KEPT: &str = "holdfast, remembered";
pub(crate) const LOGGED: &str = "holdfast, remembered, access log";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const HAPROXY: &str = "haproxy";

/// No access log, as with the others.
const QUIET: &str = "--v=1";

pub(crate) struct Rig {
    pub(crate) cloud: Cloud,
    pub(crate) pki: Pki,
    pub(crate) binary: PathBuf,
    pub(crate) quick: bool,
    /// Answers pass and nothing of them is remembered.
    pub(crate) passed: Hub,
    /// Every answer is remembered: the default.
    pub(crate) kept: Hub,
    /// The same, with a line for each request: the default too.
    logged: Hub,
    nginx: Rival,
    haproxy: Rival,
    folder: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let pki = Pki::new();
        let folder = tempfile::tempdir()?;
        let cloud = Cloud::start(&arguments.cloud, &pki, folder.path())?;
        let binary = arguments.hub.clone();
        let passed = hub(&binary, &pki, &cloud, &[QUIET, "--cache-agents=kubelet"])?;
        let kept = hub(&binary, &pki, &cloud, &[QUIET])?;
        let logged = hub(&binary, &pki, &cloud, &[])?;
        let nginx = rivals::nginx(folder.path(), &pki, cloud.addr)?;
        let haproxy = rivals::haproxy(folder.path(), &pki, cloud.addr)?;
        let quick = arguments.quick;
        let mut rig = Self { cloud, pki, binary, quick, passed, kept, logged, nginx, haproxy, folder };
        for hub in [&mut rig.passed, &mut rig.kept, &mut rig.logged] {
            hub.run().await?;
        }
        for way in rig.ways() {
            let open =
                testkit::hub::eventually(way.name, Duration::from_secs(5), async || Ok(way.client(Alpn::H2).await.is_ok())).await;
            open.with_context(|| rig.said(way.name))?;
        }
        Ok(rig)
    }

    /// Every way to the cloud, in the order of the tables.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let direct = Way {
            name: DIRECT,
            addr: self.cloud.addr,
            pid: None,
            token: self.cloud.token.clone(),
            ca_pem: self.pki.ca_pem().to_owned(),
        };
        let hub = |name, hub: &Hub| Way { name, addr: hub.secure, pid: hub.pid(), ..direct.clone() };
        let rival = |name, rival: &Rival| Way { name, addr: rival.addr, pid: Some(rival.running.pid()), ..direct.clone() };
        vec![
            direct.clone(),
            hub(PASSED, &self.passed),
            hub(KEPT, &self.kept),
            hub(LOGGED, &self.logged),
            rival(NGINX, &self.nginx),
            rival(HAPROXY, &self.haproxy),
        ]
    }

    /// What a rival has complained of.
    fn said(&self, name: &str) -> String {
        let read = |end: &str| fs::read_to_string(self.folder.path().join(format!("{name}.{end}"))).unwrap_or_default();
        format!("{}{}", read("out"), read("log"))
    }

    /// A hub of its own, prepared and not started, with the defaults and these flags.
    pub(crate) fn fresh_hub(&self) -> anyhow::Result<Hub> {
        hub(&self.binary, &self.pki, &self.cloud, &[QUIET])
    }

    /// The ways through a hub that is not one of the rig's.
    pub(crate) fn way_through(&self, hub: &Hub) -> Way {
        let token = self.cloud.token.clone();
        Way { name: KEPT, addr: hub.secure, pid: hub.pid(), token, ca_pem: self.pki.ca_pem().to_owned() }
    }

    /// What was measured, and where.
    pub(crate) fn describe(&self) -> anyhow::Result<String> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let model = model.trim_start_matches([' ', '\t', ':']);
        let cores = std::thread::available_parallelism()?;
        let load = fs::read_to_string("/proc/loadavg")?;
        let load: Vec<&str> = load.split(' ').take(2).collect();
        Ok(format!(
            "{cores} cores ({model}), load {} before; client, proxy and cloud (the fake API server) share them, so that \
             the client waits for all three. Beside {} and {}, one worker each, TLS on both sides, no access log. \
             Medians of rounds in which the ways take turns.",
            load.join(" "),
            rivals::version("nginx"),
            rivals::version("haproxy"),
        ))
    }
}

fn hub(binary: &std::path::Path, pki: &Pki, cloud: &Cloud, flags: &[&str]) -> anyhow::Result<Hub> {
    let binary = &binary.display().to_string();
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    Hub::prepare(HubOptions { binary, servers: vec![cloud.url()], pki, flags })
}
