//! The control plane: etcd, kube-apiserver, kube-controller-manager and
//! kube-scheduler, all in the cloud namespace and all real.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::network::{CLOUD_IP, Network, PORT, SERVICE_CIDR};
use super::process::{Process, run, tail};

/// From the start of the API server to its /readyz.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// A call of kubectl; the API server may be stopped.
const CALL_WITHIN: &str = "--request-timeout=30s";

/// The servers, in the order in which they are ended.
pub(super) struct ControlPlane {
    _scheduler: Process,
    _controllers: Process,
    apiserver: Option<Process>,
    _etcd: Process,
}

/// What the servers are started from.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) dir: &'a Path,
    pub(super) lab: &'a Path,
    pub(super) network: &'a Network,
    pub(super) http2_max_streams: Option<u32>,
}

impl Site<'_> {
    fn server(&self, program: &str, flags: &[String]) -> Result<Process> {
        let mut command = self.network.cloud_command(&self.lab.to_string_lossy());
        command.arg(program).args(flags).current_dir(self.dir);
        Process::start(&self.dir.join("log"), program, command)
    }

    fn pki(&self, file: &str) -> String {
        self.dir.join("pki").join(file).display().to_string()
    }

    /// kubectl as the administrator.
    pub(super) fn kubectl(&self) -> Command {
        let mut command = self.network.cloud_command(&self.lab.to_string_lossy());
        command.arg("kubectl").arg(format!("--kubeconfig={}", self.dir.join("admin.conf").display())).arg(CALL_WITHIN);
        command.env("HOME", self.dir).env_remove("KUBECONFIG").current_dir(self.dir);
        command
    }

    fn wait_ready(&self, apiserver: &mut Process) -> Result<()> {
        apiserver
            .wait_ready(READY_WITHIN, || run(self.kubectl().args(["--request-timeout=5s", "get", "--raw", "/readyz"])))
            .map(drop)
    }
}

impl ControlPlane {
    /// Starts all four and waits until the API server is ready.
    pub(super) fn start(site: Site<'_>) -> Result<ControlPlane> {
        let server = format!("https://127.0.0.1:{PORT}");
        for user in ["admin", "controller-manager", "scheduler"] {
            write_kubeconfig(site.dir, user, &server, Some(user))?;
        }
        let etcd = site.server("etcd", &etcd_flags(site))?;
        let mut apiserver = site.server("kube-apiserver", &apiserver_flags(site))?;
        site.wait_ready(&mut apiserver).with_context(|| tail(&site.dir.join("log/etcd.log")))?;
        Ok(ControlPlane {
            _scheduler: site.server("kube-scheduler", &scheduler_flags(site))?,
            _controllers: site.server("kube-controller-manager", &controllers_flags(site))?,
            apiserver: Some(apiserver),
            _etcd: etcd,
        })
    }

    /// The API server's process, to stop and continue it.
    pub(super) fn apiserver(&self) -> Result<&Process> {
        self.apiserver.as_ref().context("the API server does not run")
    }

    pub(super) fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    pub(super) fn start_apiserver(&mut self, site: Site<'_>) -> Result<()> {
        self.kill_apiserver();
        let mut apiserver = site.server("kube-apiserver", &apiserver_flags(site))?;
        site.wait_ready(&mut apiserver)?;
        self.apiserver = Some(apiserver);
        Ok(())
    }
}

fn etcd_flags(site: Site<'_>) -> Vec<String> {
    let urls = "http://127.0.0.1:2379";
    vec![
        format!("--data-dir={}", site.dir.join("etcd").display()),
        format!("--listen-client-urls={urls}"),
        format!("--advertise-client-urls={urls}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn apiserver_flags(site: Site<'_>) -> Vec<String> {
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let mut flags = vec![
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--advertise-address={CLOUD_IP}"),
        "--bind-address=0.0.0.0".to_owned(),
        format!("--secure-port={PORT}"),
        format!("--tls-cert-file={}", site.pki("apiserver.pem")),
        format!("--tls-private-key-file={}", site.pki("apiserver-key.pem")),
        format!("--client-ca-file={}", site.pki("ca.pem")),
        format!("--kubelet-client-certificate={}", site.pki("kubelet-client.pem")),
        format!("--kubelet-client-key={}", site.pki("kubelet-client-key.pem")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--enable-bootstrap-token-auth".to_owned(),
        format!("--service-account-issuer={issuer}"),
        format!("--service-account-key-file={}", site.pki("service-account.pem")),
        format!("--service-account-signing-key-file={}", site.pki("service-account-key.pem")),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
    ];
    flags.extend(site.http2_max_streams.map(|most| format!("--http2-max-streams-per-connection={most}")));
    flags
}

fn controllers_flags(site: Site<'_>) -> Vec<String> {
    vec![
        kubeconfig_flag(site, "controller-manager"),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials".to_owned(),
        "--controllers=*,bootstrap-signer-controller,token-cleaner-controller".to_owned(),
        format!("--cluster-signing-cert-file={}", site.pki("ca.pem")),
        format!("--cluster-signing-key-file={}", site.pki("ca-key.pem")),
        format!("--root-ca-file={}", site.pki("ca.pem")),
        format!("--service-account-private-key-file={}", site.pki("service-account-key.pem")),
        // The default is outside of our directory, and is made if it is missing.
        format!("--flex-volume-plugin-dir={}", site.dir.join("plugins").display()),
        // Half of what is usual: tests wait for a node to be given up.
        "--node-monitor-grace-period=20s".to_owned(),
    ]
}

fn scheduler_flags(site: Site<'_>) -> Vec<String> {
    vec![kubeconfig_flag(site, "scheduler"), "--leader-elect=false".to_owned()]
}

fn kubeconfig_flag(site: Site<'_>, user: &str) -> String {
    format!("--kubeconfig={}", site.dir.join(format!("{user}.conf")).display())
}

/// Writes `dir`/`name`.conf for `server`, with the certificate `user` of the
/// PKI, or with no credentials at all.
pub(super) fn write_kubeconfig(dir: &Path, name: &str, server: &str, user: Option<&str>) -> Result<()> {
    let pki = dir.join("pki");
    let pki = pki.display();
    let trust = if server.starts_with("https:") { format!("certificate-authority: {pki}/ca.pem") } else { String::new() };
    let credentials = match user {
        Some(user) => {
            format!("{{client-certificate: {pki}/{user}.pem, client-key: {pki}/{user}-key.pem}}")
        }
        None => "{}".to_owned(),
    };
    let text = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster:
    server: {server}
    {trust}
users:
- name: user
  user: {credentials}
contexts:
- name: context
  context: {{cluster: cluster, user: user}}
current-context: context
"
    );
    let path = dir.join(format!("{name}.conf"));
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
