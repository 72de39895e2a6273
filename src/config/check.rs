//! From settings as written to settings that hold.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{Raw, Whole};
use crate::kube::name;
use crate::state::filters::Filter;
use crate::state::inputs::Membership;
use crate::state::link::Balancing;
use crate::state::rules::Agents;
use crate::state::sharing::Sharing;
use crate::state::user_rule::{self, UserRule};
use crate::upstream::{Address, Proxies};

/// Which field, which value, what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{field}: {value:?} is not allowed: {allowed}")]
pub struct BadSetting {
    pub field: &'static str,
    pub value: String,
    pub allowed: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkingMode {
    Edge,
    /// No cache, no offline answers.
    Cloud,
}

/// What the hub shows to the cloud, and what it trusts there: PEM files.
#[derive(Debug, Clone)]
pub struct ClientFiles {
    pub certificate: PathBuf,
    /// May be the same file as `certificate`.
    pub key: PathBuf,
    pub authority: PathBuf,
}

/// Settings that hold.
#[derive(Debug, Clone)]
pub struct Settings {
    pub node_name: String,
    pub servers: Vec<Address>,
    /// Of the environment.
    pub proxies: Proxies,
    pub balancing: Balancing,
    pub admin: SocketAddr,
    pub loopback: SocketAddr,
    pub secure: SocketAddr,
    pub interface: String,
    pub manage_address: bool,
    pub root_dir: PathBuf,
    pub store_dir: PathBuf,
    pub cache_max_bytes: u64,
    pub cache_max_objects: u64,
    pub cache_max_idle: Duration,
    pub client: ClientFiles,
    /// Certificate and key; `None`: made by the hub.
    pub serving: Option<(PathBuf, PathBuf)>,
    pub working_mode: WorkingMode,
    pub namespace: String,
    pub cache_agents: Agents,
    pub filters: Vec<Filter>,
    /// The users' own rules.
    pub rules: Vec<Arc<UserRule>>,
    pub nodepool_name: Option<String>,
    pub membership: Membership,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub probe_failures: u32,
    pub probe_successes: u32,
    /// `None`: each watch is asked for by itself.
    pub sharing: Option<Sharing>,
    pub min_request_timeout: Duration,
    pub gc_frequency: Duration,
    pub verbosity: u8,
}

fn bad(field: &'static str, value: impl ToString, allowed: impl Into<String>) -> BadSetting {
    BadSetting { field, value: value.to_string(), allowed: allowed.into() }
}

fn number(
    field: &'static str,
    value: Option<Whole>,
    default: i64,
    range: std::ops::RangeInclusive<i64>,
) -> Result<i64, BadSetting> {
    let value = value.map_or(default, |Whole(value)| value);
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(bad(field, value, format!("a number from {} to {}", range.start(), range.end())))
    }
}

fn port(field: &'static str, value: Option<Whole>, default: u16) -> Result<u16, BadSetting> {
    let value = number(field, value, i64::from(default), 1..=65535)?;
    Ok(u16::try_from(value).expect("checked to be a port"))
}

fn seconds(field: &'static str, value: Option<Whole>, default: i64) -> Result<Duration, BadSetting> {
    Ok(Duration::from_secs(number(field, value, default, 1..=3600)?.unsigned_abs()))
}

fn count(field: &'static str, value: Option<Whole>, default: i64) -> Result<u32, BadSetting> {
    Ok(u32::try_from(number(field, value, default, 1..=100)?).expect("checked to be small"))
}

fn ip(field: &'static str, value: Option<String>, default: &str) -> Result<IpAddr, BadSetting> {
    let value = value.unwrap_or_else(|| default.to_owned());
    value.parse().map_err(|_| bad(field, &value, "an IPv4 or IPv6 address"))
}

fn required<T>(field: &'static str, value: Option<T>, what: &str) -> Result<T, BadSetting> {
    value.ok_or_else(|| bad(field, "", format!("it is required: {what}")))
}

fn file(field: &'static str, path: &Path) -> Result<(), BadSetting> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad(field, path.display(), format!("a PEM file that can be read; {error}"))),
    }
}

/// Checks everything; the first thing that does not hold is the error.
pub fn check(raw: Raw) -> Result<Settings, BadSetting> {
    let (bind, loopback, dummy) = addresses(&raw)?;
    let working_mode = working_mode(raw.working_mode.as_deref().unwrap_or("edge"))?;
    let root_dir = raw.root_dir.clone().unwrap_or_else(|| PathBuf::from("/var/lib/holdfast"));
    let admin = SocketAddr::new(bind, port("serve-port", raw.serve_port, 10267)?);
    let loopback = SocketAddr::new(loopback, port("proxy-port", raw.proxy_port, 10261)?);
    let secure = SocketAddr::new(dummy, port("proxy-secure-port", raw.proxy_secure_port, 10268)?);
    each_its_own([("serve-port", admin), ("proxy-port", loopback), ("proxy-secure-port", secure)])?;
    Ok(Settings {
        node_name: node_name(raw.node_name.clone())?,
        servers: servers(raw.server_addr.as_deref().unwrap_or_default())?,
        proxies: Proxies::default(),
        balancing: balancing(raw.lb_mode.as_deref().unwrap_or("rr"))?,
        admin,
        loopback,
        secure,
        interface: interface(raw.dummy_if_name.clone())?,
        manage_address: raw.manage_address.or(raw.enable_dummy_if).unwrap_or(true) && !dummy.is_loopback(),
        store_dir: raw.disk_cache_path.clone().unwrap_or_else(|| root_dir.join("store")),
        root_dir,
        cache_max_bytes: number("cache-max-bytes", raw.cache_max_bytes, 256 << 20, 1 << 20..=1 << 40)?.unsigned_abs(),
        cache_max_objects: number("cache-max-objects", raw.cache_max_objects, 200_000, 1000..=1 << 32)?.unsigned_abs(),
        cache_max_idle: cache_max_idle(raw.cache_max_idle.as_deref().unwrap_or("720h"))?,
        working_mode,
        namespace: namespace(raw.namespace.as_deref().unwrap_or("kube-system"))?,
        cache_agents: Agents::parse(raw.cache_agents.as_deref().unwrap_or("*")),
        filters: filters(&raw, working_mode)?,
        rules: user_rule::check(raw.filters.clone(), &[]).map_err(|error| bad("config", "filters", error.to_string()))?,
        nodepool_name: raw.nodepool_name.clone().filter(|name| !name.is_empty()),
        membership: membership(&raw),
        probe_interval: seconds("heartbeat-interval-seconds", raw.heartbeat_interval_seconds, 10)?,
        probe_timeout: seconds("heartbeat-timeout-seconds", raw.heartbeat_timeout_seconds, 2)?,
        probe_failures: count("heartbeat-failed-retry", raw.heartbeat_failed_retry, 3)?,
        probe_successes: count("heartbeat-healthy-threshold", raw.heartbeat_healthy_threshold, 2)?,
        sharing: sharing(&raw)?,
        min_request_timeout: duration("min-request-timeout", raw.min_request_timeout.as_deref().unwrap_or("30m"))?,
        gc_frequency: Duration::from_secs(60 * number("gc-frequency", raw.gc_frequency, 120, 1..=100_000)?.unsigned_abs()),
        verbosity: u8::try_from(number("v", raw.v, 2, 0..=10)?).expect("checked to be small"),
        // Last: what is wrong in the text is told before what is missing on the disk.
        client: client_files(&raw)?,
        serving: serving(&raw)?,
    })
}

fn client_files(raw: &Raw) -> Result<ClientFiles, BadSetting> {
    let certificate = required("client-certificate", raw.client_certificate.clone(), "the node's client certificate")?;
    let key = raw.client_key.clone().unwrap_or_else(|| certificate.clone());
    let authority = required("certificate-authority", raw.certificate_authority.clone(), "the cluster's CA certificate")?;
    for (field, path) in [("client-certificate", &certificate), ("client-key", &key), ("certificate-authority", &authority)] {
        file(field, path)?;
    }
    Ok(ClientFiles { certificate, key, authority })
}

fn addresses(raw: &Raw) -> Result<(IpAddr, IpAddr, IpAddr), BadSetting> {
    let bind = ip("bind-address", raw.bind_address.clone(), "127.0.0.1")?;
    let loopback = ip("bind-proxy-address", raw.bind_proxy_address.clone(), "127.0.0.1")?;
    if !loopback.is_loopback() {
        // Whoever reaches this port without a credential may be taken for the node.
        return Err(bad("bind-proxy-address", loopback, "a loopback address, as 127.0.0.1 or ::1"));
    }
    let dummy = ip("dummy-if-ip", raw.dummy_if_ip.clone(), "169.254.2.1")?;
    let local = match dummy {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_loopback(),
    };
    if !local {
        return Err(bad("dummy-if-ip", dummy, "an address within 169.254.0.0/16 or fc00::/7, or a loopback address"));
    }
    Ok((bind, loopback, dummy))
}

fn node_name(name: Option<String>) -> Result<String, BadSetting> {
    let name = required("node-name", name, "the name this node has in the cluster")?;
    let sane = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    if name.is_empty() || name.len() > 253 || !name.bytes().all(sane) {
        return Err(bad("node-name", &name, "a DNS subdomain: lower case letters, digits, '-' and '.', at most 253 characters"));
    }
    Ok(name)
}

fn namespace(name: &str) -> Result<String, BadSetting> {
    let allowed = "a namespace's name: lower case letters, digits and '-', at most 63 characters";
    if name::is_label(name) { Ok(name.to_owned()) } else { Err(bad("namespace", name, allowed)) }
}

/// Refuses listeners of which one would take the other's place; `0.0.0.0` and `::` are every address.
fn each_its_own(listeners: [(&'static str, SocketAddr); 3]) -> Result<(), BadSetting> {
    for (index, (field, address)) in listeners.iter().enumerate() {
        let is_taken = |other: &&(_, SocketAddr)| {
            let is_every = address.ip().is_unspecified() || other.1.ip().is_unspecified();
            let meet = address.ip() == other.1.ip() || is_every && address.is_ipv4() == other.1.is_ipv4();
            address.port() == other.1.port() && meet
        };
        if let Some((other, _)) = listeners[..index].iter().find(is_taken) {
            return Err(bad(field, address.port(), format!("a port of its own: {address} is that of --{other}")));
        }
    }
    Ok(())
}

fn servers(urls: &[String]) -> Result<Vec<Address>, BadSetting> {
    if urls.is_empty() {
        return Err(bad("server-addr", "", "it is required: one or more https URLs of kube-apiservers"));
    }
    urls.iter().map(|url| server(url)).collect()
}

fn server(url: &str) -> Result<Address, BadSetting> {
    let allowed = || bad("server-addr", url, "https://HOST or https://HOST:PORT, a comma between several");
    let uri: http::Uri = url.trim().parse().map_err(|_| allowed())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(allowed)?;
    if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(allowed());
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(allowed());
    }
    Address::new(host, uri.port_u16().unwrap_or(443)).ok_or_else(allowed)
}

fn interface(name: Option<String>) -> Result<String, BadSetting> {
    let name = name.unwrap_or_else(|| "hub-dummy0".to_owned());
    let sane = !name.is_empty()
        && name.len() <= 15
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if sane { Ok(name) } else { Err(bad("dummy-if-name", &name, "an interface name: at most 15 letters, digits, '-' and '_'")) }
}

fn serving(raw: &Raw) -> Result<Option<(PathBuf, PathBuf)>, BadSetting> {
    match (&raw.tls_cert_file, &raw.tls_private_key_file) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            file("tls-cert-file", certificate)?;
            file("tls-private-key-file", key)?;
            Ok(Some((certificate.clone(), key.clone())))
        }
        (Some(certificate), None) => Err(bad("tls-cert-file", certificate.display(), "together with --tls-private-key-file")),
        (None, Some(key)) => Err(bad("tls-private-key-file", key.display(), "together with --tls-cert-file")),
    }
}

fn balancing(mode: &str) -> Result<Balancing, BadSetting> {
    let names = Balancing::ALL.map(Balancing::name).join(", ");
    Balancing::from_name(mode).ok_or_else(|| bad("lb-mode", mode, format!("one of {names}")))
}

fn sharing(raw: &Raw) -> Result<Option<Sharing>, BadSetting> {
    const POOL: [&str; 2] = ["/v1/services", "discovery.k8s.io/v1/endpointslices"];
    let resource = |text: &str| {
        let allowed = "group/version/resource, like discovery.k8s.io/v1/endpointslices or /v1/services";
        text.trim().parse().map_err(|()| bad("pool-scope-resources", text, allowed))
    };
    let pool: Result<Vec<_>, _> = match &raw.pool_scope_resources {
        Some(given) => given.iter().filter(|text| !text.trim().is_empty()).map(|text| resource(text)).collect(),
        None => POOL.into_iter().map(resource).collect(),
    };
    let review_period = duration("access-review-period", raw.access_review_period.as_deref().unwrap_or("5m"))?;
    let pool = pool?;
    let resources = match raw.share_watches.as_deref().unwrap_or("all") {
        "none" => return Ok(None),
        "all" => None,
        "pool" => Some(pool),
        other => return Err(bad("share-watches", other, "all, pool or none")),
    };
    Ok(Some(Sharing { resources, review_period }))
}

fn working_mode(mode: &str) -> Result<WorkingMode, BadSetting> {
    match mode {
        "edge" => Ok(WorkingMode::Edge),
        "cloud" => Ok(WorkingMode::Cloud),
        _ => Err(bad("working-mode", mode, "edge or cloud")),
    }
}

/// As yurthub decides it.
fn membership(raw: &Raw) -> Membership {
    match (raw.enable_pool_service_topology, raw.enable_node_pool) {
        (Some(true), _) => Membership::Buckets,
        (_, Some(false)) => Membership::Nobody,
        _ => Membership::Any,
    }
}

/// The filters that are switched on.
fn filters(raw: &Raw, mode: WorkingMode) -> Result<Vec<Filter>, BadSetting> {
    let disabled = raw.disabled_resource_filters.as_deref().unwrap_or_default();
    let known = |name: &str| matches!(name, "*" | "") || Filter::from_name(name).is_some();
    if let Some(unknown) = disabled.iter().find(|name| !known(name)) {
        let names: Vec<&str> = Filter::ALL.iter().map(|filter| filter.name()).collect();
        return Err(bad("disabled-resource-filters", unknown, format!("{}, or * for all", names.join(", "))));
    }
    let off = |filter: &Filter| disabled.iter().any(|name| name == "*" || name == filter.name());
    let enabled = raw.enable_resource_filter.unwrap_or(true);
    let on = |filter: &Filter| enabled && !off(filter) && (mode == WorkingMode::Edge || filter.in_cloud_mode());
    Ok(Filter::ALL.into_iter().filter(on).collect())
}

/// When an agent was seen is known to the hour.
fn cache_max_idle(text: &str) -> Result<Duration, BadSetting> {
    const LEAST: Duration = Duration::from_secs(2 * 3600);
    let idle = duration("cache-max-idle", text)?;
    if idle >= LEAST { Ok(idle) } else { Err(bad("cache-max-idle", text, "a duration of 2h or more, as 720h")) }
}

/// Go's notation, as in `90s`, `30m`, `1h30m`.
fn duration(field: &'static str, text: &str) -> Result<Duration, BadSetting> {
    let wrong = || bad(field, text, "a duration as 90s, 30m or 1h30m");
    let (mut total, mut digits) = (0_u64, String::new());
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let unit = match letter {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let number: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        total = number.checked_mul(unit).and_then(|seconds| total.checked_add(seconds)).ok_or_else(wrong)?;
    }
    if digits.is_empty() && total > 0 { Ok(Duration::from_secs(total)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests;
