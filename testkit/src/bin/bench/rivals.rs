//! nginx and haproxy, set up for the same work: TLS on both sides, kept-alive upstream
//! connections, HTTP/2 at the front, one worker, no access log.
//!
//! nginx has no HTTP/2 towards its upstream and speaks HTTP/1.1 there; haproxy speaks HTTP/2.
//! Answers are not buffered: a watch's events must go out at once.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::bail;
use testkit::pki::Pki;
use testkit::port::free_address;

use crate::process::Running;

/// Where Debian keeps servers, which is not in everybody's PATH.
const NGINX: &str = "nginx";
const HAPROXY: &str = "haproxy";

/// A rival at work.
pub(crate) struct Rival {
    pub(crate) running: Running,
    pub(crate) addr: SocketAddr,
}

fn program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Says what is missing, and how to get it.
pub(crate) fn check_installed() -> anyhow::Result<()> {
    let missing: Vec<&str> = [NGINX, HAPROXY].into_iter().filter(|name| program(name).is_none()).collect();
    if !missing.is_empty() {
        bail!(
            "{} not found, and without them there is nothing to compare with: apt-get install -y nginx-light haproxy",
            missing.join(" and ")
        );
    }
    Ok(())
}

/// The first line of `PROGRAM -v`.
pub(crate) fn version(name: &str) -> String {
    let output = program(name).and_then(|program| Command::new(program).arg("-v").output().ok());
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or_default().split(" - ").next().unwrap_or_default().to_owned()
}

pub(crate) fn nginx(folder: &Path, pki: &Pki, cloud: SocketAddr) -> anyhow::Result<Rival> {
    let addr = free_address()?;
    let (cert, key) = pki.server(&["localhost", "127.0.0.1"]).write_to(folder, "nginx")?;
    let config = folder.join("nginx.conf");
    let place = folder.display();
    let (cert, key) = (cert.display(), key.display());
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {place}/nginx.pid; error_log {place}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
  fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
  http2_max_concurrent_streams 2048; keepalive_requests 100000000; keepalive_timeout 1h;
  upstream cloud {{ server {cloud}; keepalive 64; keepalive_requests 100000000; keepalive_timeout 1h; }}
  server {{
    listen {addr} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{
      proxy_pass https://cloud; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;
      proxy_ssl_verify on; proxy_ssl_trusted_certificate {place}/ca.crt; proxy_ssl_name localhost; proxy_ssl_server_name on;
      proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_read_timeout 1h;
    }}
  }}
}}
"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program(NGINX).unwrap_or_default());
    command.arg("-p").arg(folder).arg("-c").arg(&config).arg("-e").arg(folder.join("nginx.log"));
    Ok(Rival { running: Running::start(command, &folder.join("nginx.out"))?, addr })
}

pub(crate) fn haproxy(folder: &Path, pki: &Pki, cloud: SocketAddr) -> anyhow::Result<Rival> {
    let addr = free_address()?;
    let bundle = folder.join("haproxy.pem");
    pki.server(&["localhost", "127.0.0.1"]).write_bundle(&bundle)?;
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global
  nbthread 1
  maxconn 4096
  tune.h2.max-concurrent-streams 2048
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend pods
  bind {addr} ssl crt {bundle} alpn h2,http/1.1
  default_backend cloud
backend cloud
  http-reuse always
  server cloud {cloud} ssl verify required ca-file {ca} verifyhost localhost alpn h2,http/1.1
",
        bundle = bundle.display(),
        ca = folder.join("ca.crt").display(),
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program(HAPROXY).unwrap_or_default());
    command.arg("-db").arg("-f").arg(&config);
    Ok(Rival { running: Running::start(command, &folder.join("haproxy.out"))?, addr })
}
