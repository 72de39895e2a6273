//! The hub on a node's network, in namespaces of the tests' own.

use std::future::ready;

use testkit::network::Namespace;
use testkit::pki::Pki;
use tokio::process::{Child, Command};

use super::*;

const ADDRESS: &str = "169.254.2.1";

/// A node's network, or a Pod's.
struct Network(Namespace);

impl Network {
    /// `None`: this process may not make one.
    async fn make() -> Option<Self> {
        Namespace::make().await.unwrap().map(Self)
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> String {
        self.0.run(program, arguments).await.unwrap()
    }

    /// Runs a script of bash, which can open a connection.
    async fn bash(&self, script: &str) -> String {
        self.run("bash", &["-c", script]).await
    }

    /// A Pod's network, behind this node's: the Pod is 10.9.0.2 and 10.9.0.3.
    async fn pod(&self) -> Self {
        let pod = Self::make().await.unwrap();
        let [node, inside] = [self, &pod].map(|network| network.0.pid());
        let link = format!("link add veth-node netns {node} type veth peer name veth-pod netns {inside}");
        pod.run("ip", &link.split(' ').collect::<Vec<_>>()).await;
        self.bash("ip address add 10.9.0.1/24 dev veth-node && ip link set veth-node up").await;
        pod.bash("ip address add 10.9.0.2/24 dev veth-pod && ip address add 10.9.0.3/24 dev veth-pod").await;
        pod.bash(&format!("ip link set veth-pod up && ip route add {ADDRESS} dev veth-pod src 10.9.0.2")).await;
        pod
    }

    async fn addresses(&self) -> String {
        self.run("ip", &["address"]).await
    }

    /// A hub that is ready, or has ended.
    async fn start(&self, hub: &Hub) -> Child {
        let mut command = self.0.command("sh");
        // As in packaging/holdfast.service: as many as the doors have places.
        command.args(["-c", "ulimit -Sn $(ulimit -Hn); exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_holdfast")]);
        let log = std::fs::File::create(hub.log_path()).unwrap();
        let mut child = command.args(hub.command().get_args()).stderr(log).spawn().unwrap();
        let begun = || ready(child.try_wait().map(|ended| ended.is_some() || is_ready(hub)).map_err(Into::into));
        eventually("the hub is ready, or has ended", SECONDS(10), begun).await.unwrap();
        child
    }
}

fn is_ready(hub: &Hub) -> bool {
    hub.log().contains("holdfast::app: ready ")
}

/// Ends it as an operator does; what it ends with.
async fn ended(hub: &mut Child) -> Option<i32> {
    Command::new("kill").args(["-TERM", &hub.id().unwrap().to_string()]).status().await.unwrap();
    tokio::time::timeout(SECONDS(10), hub.wait()).await.unwrap().unwrap().code()
}

/// A hub whose cloud cannot be reached, at the address that it has where nobody says anything.
fn hub(pki: &Pki, more: &[&str]) -> Hub {
    let options = HubOptions {
        binary: env!("CARGO_BIN_EXE_holdfast"),
        servers: vec!["https://127.0.0.1:1".into()],
        pki,
        flags: more.iter().map(|flag| (*flag).to_owned()).collect(),
    };
    let mut hub = Hub::prepare(options).unwrap();
    hub.remove_flag("--dummy-if-ip");
    hub
}

#[tokio::test]
async fn the_address_is_made_and_stays_when_the_hub_ends() {
    let Some(network) = Network::make().await else { return skipped("root, to make a network namespace") };
    let pki = Pki::new();
    let hub = hub(&pki, &[]);
    assert!(!network.addresses().await.contains(ADDRESS));
    for _ in 0..2 {
        let mut running = network.start(&hub).await;
        assert!(is_ready(&hub), "{}", hub.log());
        network.bash(&format!("exec 3<>/dev/tcp/{ADDRESS}/{}", hub.secure.port())).await;
        assert_eq!(ended(&mut running).await, Some(0), "{}", hub.log());
        let addresses = network.addresses().await;
        assert_eq!(addresses.matches("169.254.2.1/32").count(), 1, "{addresses}");
    }
}

#[tokio::test]
async fn a_hub_that_is_not_to_manage_the_address_leaves_the_machine_as_it_is() {
    let Some(network) = Network::make().await else { return skipped("root, to make a network namespace") };
    let pki = Pki::new();
    let hub = hub(&pki, &["--manage-address=false"]);
    let before = network.addresses().await;
    let status = network.start(&hub).await.wait().await.unwrap();
    assert_eq!(status.code(), Some(1), "{}", hub.log());
    assert!(hub.log().contains(ADDRESS) && hub.log().contains("Cannot assign requested address"), "{}", hub.log());
    assert_eq!(network.addresses().await, before);
    network.run("ip", &["address", "add", "169.254.2.1/32", "dev", "lo"]).await;
    let before = network.addresses().await;
    let mut running = network.start(&hub).await;
    assert!(is_ready(&hub), "{}", hub.log());
    assert_eq!(ended(&mut running).await, Some(0));
    assert_eq!(network.addresses().await, before);
}

/// Opens this many connections and one more, and says how the one is met: `0` is its end, `124` that it is kept.
fn one_more_than(count: usize, port: u16) -> String {
    format!(
        "ulimit -Sn $(ulimit -Hn); for at in $(seq {count}); do exec {{fd}}<>/dev/tcp/{ADDRESS}/{port}; done
         exec {{more}}<>/dev/tcp/{ADDRESS}/{port}; timeout 2 cat <&$more; echo $?"
    )
}

#[tokio::test]
async fn one_pod_does_not_take_every_place_at_the_door() {
    let Some(node) = Network::make().await else { return skipped("root, to make a network namespace") };
    let pki = Pki::new();
    let hub = hub(&pki, &[]);
    let _running = node.start(&hub).await;
    assert!(is_ready(&hub), "{}", hub.log());
    let pod = node.pod().await;
    let port = hub.secure.port();
    // That its 1,024th was kept is what the figure says below.
    let script = format!(
        "{}; ip route replace {ADDRESS} dev veth-pod src 10.9.0.3; exec {{other}}<>/dev/tcp/{ADDRESS}/{port}; timeout 2 cat <&$other; echo $?",
        one_more_than(1024, port)
    );
    assert_eq!(pod.bash(&script).await, "0\n124\n", "the one more is closed, the other address's is not");
    assert_eq!(node.bash(&one_more_than(1100, port)).await, "124\n", "nor the node's own");
    let ask = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET /metrics HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n' >&3; cat <&3",
        hub.admin.port()
    );
    let metrics = node.bash(&ask).await;
    assert!(metrics.contains("holdfast_connections_refused_total 1"), "{metrics}");
    assert_eq!(hub.log().matches("source=10.9.0.2").count(), 1, "{}", hub.log());
}
