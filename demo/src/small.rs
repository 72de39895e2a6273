//! The small stage: testkit's API server is the cloud, and falls silent; this process
//! does for the Pod what kubelet would (see `kubelet`); the Pod is a process.
//!
//! Receives: to be the first process of its own namespaces (see `supervise`). Promises
//! that nothing outside them is touched: addresses are of a network of its own, files
//! lie on a mount that nobody else sees.

mod kubelet;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{RtAddrFamily, Rtm};
use neli::consts::socket::NlFamily;
use neli::nl::NlPayload;
use neli::router::asynchronous::NlRouter;
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder};
use neli::utils::Groups;
use serde_json::{Value, json};
use testkit::cluster::{NAMESPACE, SAMPLE_PORT};
use testkit::fake::{Fake, FakeOptions, Fault};
use tokio::runtime::Handle;

use crate::hub::Flags;
use crate::needs;
use crate::stage::{Stage, Told};

const NODE: &str = "edge-1";
const SAMPLE: &str = "system:serviceaccount:story:sample";
const OPERATOR: &str = "system:serviceaccount:story:operator";
const OPERATOR_TOKEN: &str = "operator-token";

pub struct Small {
    handle: Handle,
    cloud: Fake,
    hub: PathBuf,
    flags: Flags,
    folder: PathBuf,
    pod: Option<Pod>,
}

/// The Pod's one process, and what it was started with.
struct Pod {
    told: Told,
    token: String,
    child: Child,
}

impl Small {
    /// Brings the namespaces into shape and starts the cloud.
    pub fn raise(handle: Handle, hub: &Path) -> Result<Small> {
        ensure!(std::process::id() == 1, "not the first process of its namespaces");
        let mounted = needs::mount()?.status().context("mount")?;
        ensure!(mounted.success(), "mount ended with {mounted}");
        handle.block_on(loopback_up()).context("cannot bring lo up")?;
        let folder = needs::run_folder()?.join("demo");
        std::fs::create_dir(&folder)?;
        let cloud = handle.block_on(Fake::start(FakeOptions::default()))?;
        populate(&cloud);
        let flags = flags(&cloud, &folder)?;
        Ok(Small { handle, cloud, hub: hub.to_owned(), flags, folder, pod: None })
    }

    fn spawn(&self, told: &Told) -> Result<Child> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("pod.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("client").env_clear().envs([
            ("KUBERNETES_SERVICE_HOST", told.host.as_str()),
            ("KUBERNETES_SERVICE_PORT", &told.port.to_string()),
            ("NAMESPACE", NAMESPACE),
            ("SECRET", "allowed"),
            ("FORBIDDEN", "forbidden"),
            ("PORT", &SAMPLE_PORT.to_string()),
        ]);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("cannot start the Pod's program")
    }
}

/// A new network has its lo, as its first interface, but down.
async fn loopback_up() -> Result<()> {
    let (kernel, _) = NlRouter::connect(NlFamily::Route, None, Groups::empty()).await?;
    let lo = IfinfomsgBuilder::default().ifi_family(RtAddrFamily::Unspecified).ifi_index(1).up().build()?;
    let mut answer = kernel.send::<_, _, Rtm, Ifinfomsg>(Rtm::Newlink, NlmF::ACK, NlPayload::Payload(lo)).await?;
    while let Some(told) = answer.next::<Rtm, Ifinfomsg>().await {
        told?;
    }
    Ok(())
}

/// The same as `testkit::cluster::sample_workload`, as this API server takes it.
fn populate(cloud: &Fake) {
    for verb in ["get", "list", "watch"] {
        cloud.allow(SAMPLE, verb, "configmaps", NAMESPACE, "*");
    }
    cloud.allow(SAMPLE, "get", "secrets", NAMESPACE, "allowed");
    cloud.allow(OPERATOR, "create", "configmaps", NAMESPACE, "*");
    cloud.add_token(OPERATOR_TOKEN, OPERATOR, &["system:serviceaccounts"]);
    cloud.put("namespaces", "", NAMESPACE, json!({"status": {"phase": "Active"}}));
    cloud.put("nodes", "", NODE, json!({}));
    cloud.put("serviceaccounts", NAMESPACE, "sample", json!({}));
    cloud.put("pods", NAMESPACE, kubelet::POD, json!({"spec": {"nodeName": NODE, "serviceAccountName": "sample"}}));
    cloud.put("secrets", NAMESPACE, "allowed", json!({"data": {"value": "b3Blbg=="}}));
    cloud.put("secrets", NAMESPACE, "forbidden", json!({"data": {"value": "Y2xvc2Vk"}}));
    cloud.put("configmaps", NAMESPACE, kubelet::ROOT_CA, json!({"data": {"ca.crt": cloud.ca_pem()}}));
    cloud.put("configmaps", NAMESPACE, "greeting", json!({"data": {"text": "hello"}}));
}

/// Certificates as a node's, and the flags that name them.
fn flags(cloud: &Fake, folder: &Path) -> Result<Flags> {
    let pki = cloud.pki();
    let node = pki.client(&format!("system:node:{NODE}"), "system:nodes");
    let (client_certificate, client_key) = node.write_to(folder, "node")?;
    let serving = pki.server(&["169.254.2.1", "127.0.0.1", "localhost", "kubernetes.default.svc"]);
    let (serving_certificate, serving_key) = serving.write_to(folder, "serving")?;
    Ok(Flags {
        node_name: NODE.to_owned(),
        server: cloud.url(),
        client_certificate,
        client_key,
        authority: pki.write_to(folder)?,
        serving_certificate,
        serving_key,
        root: folder.join("hub"),
    })
}

impl Stage for Small {
    fn cloud(&self) -> String {
        format!("testkit's API server, {}", self.cloud.url())
    }

    fn way_of_cutting(&self) -> &'static str {
        "the cloud takes and sends no byte"
    }

    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn ca_pem(&self) -> &str {
        self.cloud.ca_pem()
    }

    fn carrier(&self) -> Option<Command> {
        None
    }

    fn hub_command(&self) -> Command {
        self.flags.onto(Command::new(&self.hub))
    }

    fn log_folder(&self) -> PathBuf {
        self.folder.clone()
    }

    fn service(&self) -> Result<Value> {
        self.cloud.get("services", "default", "kubernetes").context("the cloud has no Service default/kubernetes")
    }

    fn token(&self, account: &str) -> Result<String> {
        match account {
            "sample" => Ok(self.pod.as_ref().context("there is no Pod")?.token.clone()),
            _ => Ok(OPERATOR_TOKEN.to_owned()),
        }
    }

    fn greet(&self, text: &str) -> Result<()> {
        self.cloud.put("configmaps", NAMESPACE, "greeting", json!({"data": {"text": text}}));
        Ok(())
    }

    fn start_pod(&mut self, told: &Told) -> Result<Vec<String>> {
        let token = kubelet::give_account(self)?;
        let child = self.spawn(told)?;
        let evidence = vec![
            format!("process {}, an ordinary program: kube::Config::incluster(), a reflector of ConfigMaps", child.id()),
            format!("{}: token by TokenRequest through the hub, ca.crt, namespace", kubelet::ACCOUNT),
        ];
        self.pod = Some(Pod { told: told.clone(), token, child });
        Ok(evidence)
    }

    fn restart_pod(&mut self) -> Result<()> {
        let mut pod = self.pod.take().context("there is no Pod")?;
        pod.child.kill()?;
        pod.child.wait()?;
        pod.child = self.spawn(&pod.told)?;
        self.pod = Some(pod);
        Ok(())
    }

    fn restarter(&self) -> &'static str {
        "started again at once"
    }

    fn pod_address(&self) -> Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, SAMPLE_PORT).into())
    }

    fn cut(&self) -> Result<()> {
        self.cloud.fault(Fault::Silence);
        Ok(())
    }

    fn restore(&self) -> Result<()> {
        self.cloud.heal()
    }
}

impl Drop for Small {
    /// Fails only if it has ended.
    fn drop(&mut self) {
        if let Some(pod) = &mut self.pod {
            let _ = pod.child.kill();
            let _ = pod.child.wait();
        }
    }
}
