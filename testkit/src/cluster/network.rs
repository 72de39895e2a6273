//! Two network namespaces joined by one link, and the ways to cut it.
//!
//! The servers live in `NAME-cloud` at 10.200.0.1, the node in `NAME-edge` at
//! 10.200.0.2 with its Pods in 10.244.0.0/24. Both are closed worlds: nothing
//! leads out of them, so the same addresses serve any number of clusters.

use std::process::Command;

use anyhow::Result;

use super::process::{run, run_words};

/// The servers' side of the link.
pub(super) const CLOUD_IP: &str = "10.200.0.1";
/// The node's side of the link: its `InternalIP`.
pub(super) const EDGE_IP: &str = "10.200.0.2";
/// Where the API server listens.
pub(super) const PORT: u16 = 6443;
/// What Pods get their addresses from.
pub(super) const POD_CIDR: &str = "10.244.0.0/24";
/// Addresses of Services, none of which is served unless asked for.
pub(super) const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`: the first of the range.
pub(super) const SERVICE_IP: &str = "10.96.0.1";

/// How the node loses the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The node's interface goes down: noticed at once.
    InterfaceDown,
    /// Every packet is dropped on the servers' side: noticed by timeouts only.
    SilentDrop,
    /// Connections to the API server, new and established, are reset.
    Reset,
    /// The API server is stopped with SIGSTOP: the kernel still accepts
    /// connections, and no answer comes.
    StopServer,
}

impl Cut {
    /// Every way there is.
    pub const ALL: [Cut; 4] = [Cut::InterfaceDown, Cut::SilentDrop, Cut::Reset, Cut::StopServer];
}

/// The two namespaces. They are removed by the guardian.
pub(super) struct Network {
    cloud: String,
    edge: String,
}

impl Network {
    /// Makes both namespaces and the link between them.
    pub(super) fn create(name: &str) -> Result<Network> {
        let network = Network { cloud: format!("{name}-cloud"), edge: format!("{name}-edge") };
        let Network { cloud, edge } = &network;
        for line in [
            format!("ip netns add {cloud}"),
            format!("ip netns add {edge}"),
            format!("ip link add wan-c netns {cloud} type veth peer name wan-e netns {edge}"),
            format!("ip -n {cloud} addr add {CLOUD_IP}/24 dev wan-c"),
            format!("ip -n {edge} addr add {EDGE_IP}/24 dev wan-e"),
            format!("ip -n {cloud} link set lo up"),
            format!("ip -n {edge} link set lo up"),
            format!("ip -n {cloud} link set wan-c up"),
            format!("ip -n {edge} link set wan-e up"),
        ] {
            run_words(&line)?;
        }
        network.add_routes()?;
        // Pods go through the node, to its own addresses and to the cloud.
        run(network.edge_command("sh").args([
            "-c",
            "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 0 >conf/all/rp_filter && echo 0 >conf/default/rp_filter",
        ]))?;
        Ok(network)
    }

    /// The routes that an interface loses when it goes down.
    fn add_routes(&self) -> Result<()> {
        run_words(&format!("ip -n {} route replace {POD_CIDR} via {EDGE_IP}", self.cloud))?;
        run_words(&format!("ip -n {} route replace default via {CLOUD_IP}", self.edge))?;
        Ok(())
    }

    pub(super) fn cloud_command(&self, program: &str) -> Command {
        inside(&self.cloud, program)
    }

    pub(super) fn edge_command(&self, program: &str) -> Command {
        inside(&self.edge, program)
    }

    /// The edge namespace's file, as `nsenter --net=` wants it.
    pub(super) fn edge_path(&self) -> String {
        format!("/run/netns/{}", self.edge)
    }

    /// Cuts the link; `StopServer` is not of the network.
    pub(super) fn cut(&self, how: Cut) -> Result<()> {
        match how {
            Cut::InterfaceDown => run_words(&format!("ip -n {} link set wan-e down", self.edge)).map(drop),
            Cut::SilentDrop => self.filter(
                r#"chain from_edge { type filter hook input priority 0; iifname "wan-c" drop; }
                   chain to_edge { type filter hook output priority 0; oifname "wan-c" drop; }"#,
            ),
            Cut::Reset => {
                self.filter(&format!(
                    r#"chain from_edge {{ type filter hook input priority 0; iifname "wan-c" tcp dport {PORT} reject with tcp reset; }}
                       chain to_edge {{ type filter hook output priority 0; oifname "wan-c" tcp sport {PORT} tcp flags & rst == 0 reject with tcp reset; }}"#
                ))?;
                self.abort_connections()
            }
            Cut::StopServer => Ok(()),
        }
    }

    /// Undoes [`Network::cut`]; harmless when nothing was cut.
    pub(super) fn restore(&self, how: Cut) -> Result<()> {
        match how {
            Cut::InterfaceDown => {
                run_words(&format!("ip -n {} link set wan-e up", self.edge))?;
                self.add_routes()
            }
            Cut::SilentDrop | Cut::Reset => run(self.cloud_command("nft").arg("table inet cut; delete table inet cut")).map(drop),
            Cut::StopServer => Ok(()),
        }
    }

    /// Sends the address of the Service `kubernetes` to the API server, as
    /// kube-proxy does, for Pods and for the node itself.
    pub(super) fn serve_kubernetes_service(&self) -> Result<()> {
        let rule = format!("ip daddr {SERVICE_IP} tcp dport 443 dnat to {CLOUD_IP}:{PORT}");
        run(self.edge_command("nft").arg(format!(
            "table ip services {{
               chain prerouting {{ type nat hook prerouting priority -100; {rule}; }}
               chain output     {{ type nat hook output priority -100; {rule}; }}
             }}"
        )))
        .map(drop)
    }

    fn filter(&self, chains: &str) -> Result<()> {
        let table = format!("table inet cut; delete table inet cut; table inet cut {{\n{chains}\n}}");
        run(self.cloud_command("nft").arg(table)).map(drop)
    }

    /// Resets what is connected and idle: no packet of it would meet the filter.
    fn abort_connections(&self) -> Result<()> {
        run(self.cloud_command("ss").args([
            "-K",
            "-H",
            "-t",
            &format!("src {CLOUD_IP} and sport = :{PORT} and not dst {CLOUD_IP}"),
        ]))
        .map(drop)
    }
}

/// `ip netns exec` would hide the cgroup mounts behind a new /sys.
fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}
