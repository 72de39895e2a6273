//! Services, what is behind them and before them.

use serde_json::Value;

use super::age::Now;
use super::column::{AGE, NAME, text};
use super::printer::BuiltIn;
use super::value::{at, labels, list, name, number, text as text_at, text_or};

pub(super) const SERVICES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Type", "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types"),
        text("Cluster-IP", "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
        text("External-IP", "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system."),
        text("Port(s)", "The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies"),
        AGE,
        text("Selector", "Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/").wide(),
    ],
    service,
);

pub(super) const ENDPOINTS: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "Endpoints",
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
        ),
        AGE,
    ],
    |object, now| vec![name(object), endpoints(object).into(), now.age(object)],
);

pub(super) const ENDPOINT_SLICES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text(
            "AddressType",
            "addressType specifies the type of address carried by this EndpointSlice. All addresses in this slice must be the same type. This field is immutable after creation. The following address types are currently supported: * IPv4: Represents an IPv4 Address. * IPv6: Represents an IPv6 Address. * FQDN: Represents a Fully Qualified Domain Name.",
        ),
        text(
            "Ports",
            "ports specifies the list of network ports exposed by each endpoint in this slice. Each port must have a unique name. When ports is empty, it indicates that there are no defined ports. When a port is defined with a nil port value, it indicates \"all ports\". Each slice may include a maximum of 100 ports.",
        ),
        text(
            "Endpoints",
            "endpoints is a list of unique endpoints in this slice. Each slice may include a maximum of 1000 endpoints.",
        ),
        AGE,
    ],
    endpoint_slice,
);

pub(super) const INGRESSES: BuiltIn = BuiltIn::new(
    &[
        NAME,
        text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        text("Address", "Address is a list containing ingress points for the load-balancer"),
        text("Ports", "Ports of TLS configurations that open"),
        AGE,
    ],
    ingress,
);

/// So many are named, the others counted.
const NAMED: usize = 3;

fn texts<'a>(object: &'a Value, path: &str) -> Vec<&'a str> {
    list(object, path).iter().filter_map(Value::as_str).collect()
}

fn service(service: &Value, now: Now) -> Vec<Value> {
    let ports: Vec<String> = list(service, "spec.ports").iter().map(port).collect();
    vec![
        name(service),
        text_at(service, "spec.type").into(),
        texts(service, "spec.clusterIPs").first().copied().unwrap_or("<none>").into(),
        external(service).into(),
        if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }.into(),
        now.age(service),
        labels(at(service, "spec.selector")).into(),
    ]
}

fn port(port: &Value) -> String {
    let (number, node, protocol) = (number(port, "port"), number(port, "nodePort"), text_at(port, "protocol"));
    if node > 0 { format!("{number}:{node}/{protocol}") } else { format!("{number}/{protocol}") }
}

fn external(service: &Value) -> String {
    let mut addresses = texts(service, "spec.externalIPs");
    let (ingress, otherwise) = match text_at(service, "spec.type") {
        "ClusterIP" | "NodePort" => (String::new(), "<none>"),
        "LoadBalancer" => (ingress_points(service), "<pending>"),
        "ExternalName" => return text_at(service, "spec.externalName").to_owned(),
        _ => return "<unknown>".to_owned(),
    };
    if !ingress.is_empty() {
        addresses.insert(0, &ingress);
    }
    if addresses.is_empty() { otherwise.to_owned() } else { addresses.join(",") }
}

/// Where a load balancer is reached.
fn ingress_points(object: &Value) -> String {
    let points = list(object, "status.loadBalancer.ingress").iter().map(|point| text_or(point, "ip", text_at(point, "hostname")));
    let mut points: Vec<&str> = points.filter(|point| !point.is_empty()).collect();
    points.sort_unstable();
    points.dedup();
    points.join(",")
}

/// The first few of all, and how many more there are.
fn some(all: &[String]) -> String {
    let named = all[..all.len().min(NAMED)].join(",");
    if all.len() > NAMED { format!("{named} + {} more...", all.len() - NAMED) } else { named }
}

fn endpoints(endpoints: &Value) -> String {
    let subsets = list(endpoints, "subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = || list(subset, "addresses").iter().map(|address| text_at(address, "ip"));
        let ports = list(subset, "ports");
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, "port");
            all.extend(addresses().map(|ip| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }));
        }
    }
    some(&all)
}

fn endpoint_slice(slice: &Value, now: Now) -> Vec<Value> {
    let port = |port: &Value| match (at(port, "port").as_i64(), at(port, "name").as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let ports: Vec<String> = list(slice, "ports").iter().map(port).collect();
    let addresses = list(slice, "endpoints").iter().flat_map(|endpoint| texts(endpoint, "addresses"));
    let addresses: Vec<String> = addresses.map(str::to_owned).collect();
    let or_unset = |text: String| Value::from(if text.is_empty() { "<unset>".to_owned() } else { text });
    vec![name(slice), text_at(slice, "addressType").into(), or_unset(some(&ports)), or_unset(some(&addresses)), now.age(slice)]
}

fn ingress(ingress: &Value, now: Now) -> Vec<Value> {
    let secured = !list(ingress, "spec.tls").is_empty();
    vec![
        name(ingress),
        at(ingress, "spec.ingressClassName").as_str().unwrap_or("<none>").into(),
        hosts(list(ingress, "spec.rules")).into(),
        ingress_points(ingress).into(),
        if secured { "80, 443" } else { "80" }.into(),
        now.age(ingress),
    ]
}

/// Of rules without a host none is named, but they are counted.
fn hosts(rules: &[Value]) -> String {
    let mut hosts = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == NAMED;
        let host = text_at(rule, "host");
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    match hosts.join(",") {
        hosts if hosts.is_empty() => "*".to_owned(),
        hosts if more => format!("{hosts} + {} more...", rules.len() - NAMED),
        hosts => hosts,
    }
}
