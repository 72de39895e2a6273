//! The cloud: the fake API server as a process, and what it holds.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use testkit::hub::NODE;
use testkit::pki::Pki;

/// A ConfigMap of about 2 KB.
pub(crate) const SMALL: &str = "/api/v1/namespaces/small/configmaps/small";
/// About 20 MB: 5,000 ConfigMaps.
pub(crate) const LIST_20: &str = "/api/v1/namespaces/half/configmaps";
/// About 40 MB: 10,000 ConfigMaps.
pub(crate) const LIST_40: &str = "/api/v1/namespaces/full/configmaps";
/// 1,000 ConfigMaps.
pub(crate) const WATCHED: &str = "/api/v1/namespaces/watched/configmaps";
/// Pods of the node that kubelet finds.
const PODS: usize = 30;

pub(crate) struct Cloud {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
    /// A token as a ServiceAccount has one.
    pub(crate) token: String,
}

impl Cloud {
    /// Starts the server with `pki` as its authority, and fills it.
    pub(crate) fn start(program: &Path, pki: &Pki, folder: &Path) -> anyhow::Result<Self> {
        let (cert, key) = pki.server(&["127.0.0.1", "localhost"]).write_to(folder, "cloud")?;
        let ca = pki.write_to(folder)?;
        let mut command = Command::new(program);
        command.arg("--cert").arg(cert).arg("--key").arg(key).arg("--client-ca").arg(ca);
        // The kube-apiserver's own limit; and nothing of past requests is kept.
        command.args(["--max-streams", "100", "--keep-requests", "0"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("the fake API server")?;
        let commands = child.stdin.take().context("its standard input")?;
        let mut answers = BufReader::new(child.stdout.take().context("its standard output")?);
        let mut url = String::new();
        answers.read_line(&mut url)?;
        let addr = url.trim().strip_prefix("https://").context("the fake API server ended")?.parse()?;
        let mut cloud = Self { child, commands, answers, addr, token: token() };
        cloud.fill()?;
        Ok(cloud)
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        self.tell(&format!("token {} system:serviceaccount:small:bench", self.token))?;
        self.tell("allow system:serviceaccount:small:bench * * * *")?;
        let lines: Vec<String> =
            (0..24).map(|line| format!("key.number.{line:02} = a value of ordinary length, as in a file of settings")).collect();
        self.put(SMALL, &json!({"data": {"settings": lines.join("\n")}}))?;
        self.tell("fill half 5000")?;
        self.tell("fill full 10000")?;
        self.tell("fill watched 1000")?;
        for index in 0..PODS {
            self.put(&format!("/api/v1/namespaces/default/pods/pod-{index:02}"), &pod(index))?;
        }
        let address = json!([{"type": "InternalIP", "address": "10.0.0.7"}]);
        self.put(&format!("/api/v1/nodes/{NODE}"), &json!({"status": {"addresses": address}}))?;
        let lease = json!({"spec": {"holderIdentity": NODE, "leaseDurationSeconds": 40}});
        self.put(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"), &lease)
    }

    fn put(&mut self, path: &str, object: &Value) -> anyhow::Result<()> {
        self.tell(&format!("put {path} {object}"))
    }

    /// One command on its standard input, as `fake-apiserver` describes them.
    pub(crate) fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.commands, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if !answer.starts_with("ok") {
            bail!("the fake API server answered {answer:?} to {command:.60}");
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.addr)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// About 1 KB in the form of a JWT, as Pods have them: what a proxy must carry and may look into.
fn token() -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "kid": "Wm9QZ2VrZXktMQ0123456789abcdefghijklmnopqrs"});
    let claims = json!({"aud": ["https://kubernetes.default.svc.cluster.local"], "exp": 4_102_444_800_u64, "iat": 1_700_000_000,
        "iss": "https://kubernetes.default.svc.cluster.local", "jti": "b7f4a1a4-0c7d-4a37-9d5f-6f0b2c6d9e11",
        "kubernetes.io": {"namespace": "small", "node": {"name": NODE, "uid": "8d0f4f0e-8f3a-4d2d-9a4b-0d7b9a2f5c66"},
            "pod": {"name": "bench-5d4f8c7b9-x2x7q", "uid": "1a2b3c4d-0000-4111-8222-333344445555"},
            "serviceaccount": {"name": "bench", "uid": "99887766-5544-4332-8211-00ffeeddccbb"}},
        "nbf": 1_700_000_000, "sub": "system:serviceaccount:small:bench"});
    format!("{}.{}.{}", part(&header), part(&claims), BASE64_URL_SAFE_NO_PAD.encode([0x5a_u8; 256]))
}

fn pod(index: usize) -> Value {
    let environment: Vec<Value> =
        (0..20).map(|line| json!({"name": format!("VARIABLE_{line:02}"), "value": "of no great length"})).collect();
    let resources = json!({"limits": {"memory": "128Mi"}, "requests": {"cpu": "10m", "memory": "64Mi"}});
    let container =
        json!({"name": "main", "image": "registry.example/team/program:v1.2.3", "env": environment, "resources": resources});
    let ready = json!([{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]);
    json!({"metadata": {"labels": {"app": "bench", "pod": index.to_string()}},
        "spec": {"nodeName": NODE, "containers": [container]}, "status": {"phase": "Running", "podIP": "10.244.0.9", "conditions": ready}})
}
