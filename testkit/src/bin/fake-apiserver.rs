//! The fake API server as a program, for benchmarks and demonstrations.
//!
//! Prints its URL, then takes one command a line on standard input and answers `ok`, or `error`
//! and why. Ends with standard input.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use testkit::fake::{Fake, FakeOptions, Fault};
use testkit::pki::{Identity, Pki};

const USAGE: &str = "\
fake-apiserver [--listen ADDR] [--cert FILE --key FILE] [--client-ca FILE] [--objects N]
               [--write-pki DIR] [--gzip] [--anonymous] [--http1] [--max-streams N]
               [--keep-requests N]

--objects N      starts with N ConfigMaps of about 4 KB in namespace `bench`
--write-pki DIR  makes an authority; writes ca.crt, server.crt, admin.crt (system:masters), keys

commands: cut | freeze | silence | reset | heal | compact | goaway | garbage | stats
          status CODE | stall | slow BYTES_PER_SECOND
          put PATH JSON | delete PATH | token T USER [GROUP,..]
          fill NAMESPACE N, ConfigMaps of about 4 KB
          allow USER VERB RESOURCE NAMESPACE NAME
";

struct Arguments {
    options: FakeOptions,
    objects: usize,
    write_pki: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = arguments(std::env::args().skip(1))?;
    let fake = Arc::new(Fake::start(arguments.options).await?);
    if let Some(dir) = &arguments.write_pki {
        write_pki(fake.pki(), dir)?;
    }
    fill(&fake, "bench", arguments.objects);
    say(&fake.url());
    let (done, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        commands(&fake);
        done.send(()).ok();
    });
    ended.await.ok();
    Ok(())
}

fn arguments(mut given: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut options = FakeOptions::default();
    let (mut objects, mut write_pki) = (0, None);
    let (mut cert, mut key) = (None, None);
    while let Some(flag) = given.next() {
        let mut value = || given.next().with_context(|| format!("{flag} needs a value\n{USAGE}"));
        match flag.as_str() {
            "--listen" => options.listen = value()?.parse().context("--listen")?,
            "--cert" => cert = Some(read(&value()?)?),
            "--key" => key = Some(read(&value()?)?),
            "--client-ca" => options.client_ca_pem = Some(read(&value()?)?),
            "--objects" => objects = value()?.parse().context("--objects")?,
            "--write-pki" => write_pki = Some(PathBuf::from(value()?)),
            "--max-streams" => options.max_concurrent_streams = value()?.parse().context("--max-streams")?,
            "--keep-requests" => options.keep_requests = value()?.parse().context("--keep-requests")?,
            "--gzip" => options.gzip = true,
            "--anonymous" => options.anonymous = true,
            "--http1" => options.http2 = false,
            _ => bail!("unknown argument {flag}\n{USAGE}"),
        }
    }
    options.identity = match (cert, key) {
        (Some(cert_pem), Some(key_pem)) => Some(Identity { cert_pem, key_pem }),
        (None, None) => None,
        _ => bail!("--cert and --key go together"),
    };
    if write_pki.is_some() && options.identity.is_none() {
        let pki = Arc::new(Pki::new());
        let listen = options.listen.ip().to_string();
        let names = [listen.as_str(), "127.0.0.1", "localhost", "kubernetes", "kubernetes.default"];
        options.identity = Some(pki.server(&names));
        options.pki = Some(pki);
    }
    Ok(Arguments { options, objects, write_pki })
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

fn write_pki(pki: &Pki, dir: &std::path::Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    pki.write_to(dir)?;
    pki.client("admin", "system:masters").write_to(dir, "admin")?;
    pki.server(&["127.0.0.1", "localhost"]).write_to(dir, "server")?;
    Ok(())
}

fn fill(fake: &Fake, namespace: &str, count: usize) {
    for index in 0..count {
        fake.put("configmaps", namespace, &format!("bench-{index:06}"), config_map(index));
    }
}

/// About 4 KB of text that compresses as configuration does.
fn config_map(index: usize) -> Value {
    let lines: Vec<String> = (0..64)
        .map(|line| format!("setting.{line:03}.of.object.{index:06} = value-{:08x} # comment", line * 7919 + index))
        .collect();
    json!({"metadata": {"labels": {"app": "bench", "shard": (index % 10).to_string()}},
        "data": {"settings.properties": lines.join("\n")}})
}

fn commands(fake: &Fake) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        match obey(fake, line.trim()) {
            Ok(answer) => say(&answer),
            Err(error) => say(&format!("error {error:#}")),
        }
    }
}

/// Carries out one command; returns what to say.
fn obey(fake: &Fake, line: &str) -> anyhow::Result<String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    match (command, words.as_slice()) {
        ("cut", _) => fake.fault(Fault::Refuse),
        ("freeze", _) => fake.fault(Fault::Freeze),
        ("silence", _) => fake.fault(Fault::Silence),
        ("reset", _) => fake.fault(Fault::Reset),
        ("goaway", _) => fake.fault(Fault::GoAway),
        ("garbage", _) => fake.fault(Fault::Garbage),
        ("stall", _) => fake.fault(Fault::StallHeaders),
        ("status", [code]) => fake.fault(Fault::Status(code.parse()?)),
        ("slow", [rate]) => fake.fault(Fault::SlowBody(rate.parse()?)),
        ("heal", _) => fake.heal()?,
        ("compact", _) => fake.compact(),
        ("fill", [namespace, count]) => fill(fake, namespace, count.parse()?),
        ("delete", [path]) => drop(fake.delete_path(path)?),
        ("put", [path, ..]) => {
            let object = rest.split_once(' ').context("put PATH JSON")?.1;
            fake.put_path(path, serde_json::from_str(object)?)?;
        }
        ("token", [token, user]) => fake.add_token(token, user, &[]),
        ("token", [token, user, groups]) => fake.add_token(token, user, &groups.split(',').collect::<Vec<_>>()),
        ("allow", [user, verb, resource, namespace, name]) => fake.allow(user, verb, resource, namespace, name),
        ("stats", _) => {
            let connections = fake.connections();
            let (live, accepted, requests) = (connections.live, connections.accepted, fake.requests().len());
            return Ok(format!("ok live={live} accepted={accepted} requests={requests}"));
        }
        _ => return Err(anyhow!("do not know {line:?}")),
    }
    Ok("ok".to_owned())
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}
