//! How the hub starts and ends: clear words and exit codes.

use std::process::Stdio;

use testkit::fake::Fault;
use testkit::pki::Pki;

use super::*;

fn ended(arguments: &[&str]) -> (i32, String) {
    ended_in(&[], arguments)
}

fn ended_in(environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let mut hub = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"));
    let output = hub.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn bad_flags_and_files_end_with_78_and_say_what_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let junk = file("junk.pem", "this is no certificate");
    let junk = junk.as_str();
    let base = ["hub", "--node-name=n", "--server-addr=https://127.0.0.1:1", "--dummy-if-ip=127.0.0.1"];
    let with = |more: &[&str]| ended(&[&base[..], more].concat());
    for (more, words) in [
        (vec![], "--client-certificate"),
        (vec!["--proxy-port=99999"], "a number from 1 to 65535"),
        (vec!["--proxy-port=ten"], "'ten' for '--proxy-port <PROXY_PORT>': a whole number is allowed"),
        (vec!["--no-such-flag"], "no-such-flag"),
        (vec!["--bind-proxy-address=0.0.0.0"], "a loopback address"),
        (vec!["--config=/nowhere.yaml"], "/nowhere.yaml"),
        (vec!["--namespace=Kube_System"], "--namespace"),
        (vec!["--proxy-port=10267"], "a port of its own: 127.0.0.1:10267 is that of --serve-port"),
    ] {
        let (code, text) = with(&more);
        assert_eq!(code, 78, "{more:?}: {text}");
        assert!(text.contains(words), "{more:?}: {text}");
    }
    for (url, words) in
        [("socks4://user:secret@proxy.example", "socks5://HOST:PORT"), ("https://user:secret@proxy.example", junk)]
    {
        let (code, text) = ended_in(&[("HTTPS_PROXY", url), ("SSL_CERT_FILE", junk)], &base);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains("HTTPS_PROXY") && text.contains(words) && !text.contains("secret"), "{text}");
    }
    let root = format!("--root-dir={}", folder.path().join("root").display());
    let (certificate, authority) = (format!("--client-certificate={junk}"), format!("--certificate-authority={junk}"));
    let (code, text) = with(&[&certificate, &authority, &root]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains(junk), "{text}");
    assert!(text.contains("--certificate-authority") && text.contains("CERTIFICATE block"), "{text}");
    for (name, text, words) in [
        ("kind.yaml", "apiVersion: v1\nkind: Pod\n", "HubConfiguration"),
        ("unknown.yaml", "apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nproxyPort: 1\nnoSuch: 2\n", "noSuch"),
        ("type.yaml", "apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nproxyPort: ten\n", "a whole number is allowed"),
        ("list.yaml", "apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\nserverAddr: 5\n", "a list of texts is allowed"),
    ] {
        let (code, text) = with(&[&format!("--config={}", file(name, text))]);
        assert_eq!(code, 78, "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn a_pem_file_that_cannot_be_used_is_named_with_its_flag() {
    for (flag, words) in [
        ("certificate-authority", "CERTIFICATE block"),
        ("client-certificate", "CERTIFICATE block"),
        ("client-key", "PRIVATE KEY block"),
        ("tls-cert-file", "CERTIFICATE block"),
        ("tls-private-key-file", "PRIVATE KEY block"),
    ] {
        let (fake, mut hub) = prepared().await;
        // The CA's certificate is no key, and half of a certificate is none.
        let file = hub.folder().join("half.pem");
        std::fs::write(&file, &fake.ca_pem()[..200]).unwrap();
        hub.add_flag(&format!("--{flag}={}", file.display()));
        let output = hub.command().output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{flag}: {text}");
        for word in [&format!("--{flag}"), &file.display().to_string(), words] {
            assert!(text.contains(word), "{flag}: {text}");
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let pki = Pki::new();
    let options = HubOptions {
        binary: env!("CARGO_BIN_EXE_holdfast"),
        servers: vec!["https://127.0.0.1:1".into()],
        pki: &pki,
        flags: Vec::new(),
    };
    let hub = Hub::prepare(options).unwrap();
    let _taken = std::net::TcpListener::bind(hub.loopback).unwrap();
    let output = hub.command().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(&hub.loopback.to_string()) && text.contains("--proxy-port") && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn a_foreign_or_damaged_store_is_kept_beside_an_empty_one() {
    let (_fake, mut hub) = prepared().await;
    std::fs::create_dir_all(hub.store_file().parent().unwrap()).unwrap();
    let foreign = vec![0x5a; 100_000];
    std::fs::write(hub.store_file(), &foreign).unwrap();
    hub.run().await.unwrap();
    let aside = hub.store_file().with_extension("unreadable-1");
    assert_eq!(std::fs::read(aside).unwrap(), foreign);
    assert!(hub.log().contains("unreadable-1"));
    hub.kill();
    // Another node's key: the rows are not ours to read.
    std::fs::write(hub.folder().join("root/store.key"), [9; 32]).unwrap();
    hub.run().await.unwrap();
    assert!(hub.store_file().with_extension("unreadable-2").exists());
    assert!(hub.log().contains("sealed with another key"));
}

#[tokio::test]
async fn ready_without_the_cloud_and_sigterm_drains() {
    let mut rig = Rig::start().await;
    let client = rig.pod().await;
    let mut watch = client
        .stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion={}", rig.fake.resource_version()), &[], "")
        .await
        .unwrap();
    rig.hub.signal("TERM").unwrap();
    assert!(watch.event().await.unwrap().is_none(), "the watch ends cleanly");
    drop((watch, client));
    let status = rig.hub.ended(SECONDS(10)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", rig.hub.log());
    rig.fake.fault(Fault::Silence);
    rig.hub.run().await.unwrap();
    let client = rig.pod().await;
    let answer = client.get("/api/v1/namespaces/story/configmaps/greeting").await.unwrap();
    assert!(matches!(answer.status.as_u16(), 401 | 403 | 503), "{}", answer.text());
}

#[tokio::test]
async fn a_request_in_flight_is_answered_whole_before_the_end() {
    for alpn in [Alpn::H1, Alpn::H2] {
        let mut rig = Rig::start().await;
        rig.fake.put("configmaps", "story", "large", json!({"data": {"text": "x".repeat(200_000)}}));
        let path = format!("{CONFIGMAPS}/large");
        let client = rig.hub.pod(TOKEN, alpn).await.unwrap();
        let whole = client.get(&path).await.unwrap();
        rig.fake.fault_at(&path, Fault::SlowBody(200_000));
        let answer = client.stream("GET", &path, &[], "").await.unwrap();
        rig.hub.signal("TERM").unwrap();
        let closed = async || Ok(Client::http1(rig.hub.loopback).await.is_err());
        eventually("no new connection is taken", SECONDS(5), closed).await.unwrap();
        assert!(answer.finish().await.unwrap().body == whole.body, "{alpn:?}");
        let status = rig.hub.ended(SECONDS(5)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", rig.hub.log());
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    for signal in ["TERM", "INT"] {
        let mut rig = Rig::start().await;
        let path = format!("{CONFIGMAPS}/never-answered");
        rig.fake.fault_at(&path, Fault::StallHeaders);
        let client = rig.pod().await;
        let waiting = async { client.get(&path).await.is_err() };
        let end = async {
            let asked = async || Ok(rig.fake.open(&path) == 1);
            eventually("it is asked for", SECONDS(5), asked).await.unwrap();
            rig.hub.signal("TERM").unwrap();
            let draining = async || Ok(rig.hub.log().contains("draining"));
            eventually("the hub drains", SECONDS(5), draining).await.unwrap();
            rig.hub.signal(signal).unwrap();
            rig.hub.ended(SECONDS(5)).await.unwrap()
        };
        let (is_cut, status) = tokio::join!(waiting, end);
        assert_eq!((is_cut, status.code()), (true, Some(0)), "{}", rig.hub.log());
    }
}

#[tokio::test]
async fn under_the_name_yurthub_it_starts_as_yurthub_is_started() {
    let rig = Rig::start().await;
    let options = HubOptions {
        binary: env!("CARGO_BIN_EXE_holdfast"),
        servers: vec![rig.fake.url()],
        pki: rig.fake.pki(),
        flags: vec!["--disk-cache-path=STORE".into()],
    };
    let hub = Hub::prepare(options).unwrap();
    let name = hub.folder().join("yurthub");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_holdfast"), &name).unwrap();
    // As in OpenYurt's template of the static Pod; ports, certificates and folders are the test's.
    let shipped = "--v=2 --bind-address=127.0.0.1 --bootstrap-file=/var/lib/yurthub/bootstrap-hub.conf --working-mode=edge \
                   --namespace=kube-system --nodepool-name=pool --server-addr=";
    let store = hub.folder().join("store").display().to_string();
    let command = hub.command();
    let own = command.get_args().skip(1).map(|flag| flag.to_str().unwrap().replace("STORE", &store));
    let own = own.filter(|flag| !flag.starts_with("--server-addr="));
    let mut child = tokio::process::Command::new(&name)
        .args(format!("{shipped}{}", rig.fake.url()).split_whitespace())
        .args(own)
        .stderr(std::fs::File::create(hub.log_path()).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = async || anyhow::Ok(Client::http1(hub.admin).await?.get("/v1/readyz").await?.status);
    let ready = async || Ok(status().await.is_ok_and(|status| status == 200));
    eventually("the hub is ready", SECONDS(10), ready).await.unwrap_or_else(|error| panic!("{error:#}\n{}", hub.log()));
    let warnings = hub.log().lines().filter(|line| line.contains("--bootstrap-file")).count();
    assert_eq!(warnings, 1, "{}", hub.log());
    // Of others than yurthub's own components nothing is remembered.
    let client = hub.pod(TOKEN, Alpn::H2).await.unwrap();
    let (path, coredns) = (format!("{CONFIGMAPS}/greeting"), [("user-agent", "coredns/v1")]);
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    let seen = client.request("GET", &path, &coredns, "").await.unwrap();
    rig.fake.fault(Fault::Refuse);
    let again = client.request("GET", &path, &coredns, "").await.unwrap();
    assert_eq!((again.status.as_u16(), &again.body), (200, &seen.body), "{}", again.text());
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 503);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn certificates_are_read_again_when_they_change() {
    let rig = Rig::start().await;
    let open = rig.pod().await;
    let serial = async || {
        let client = Client::https(rig.hub.secure, rig.fake.ca_pem(), "renewed.example", Alpn::H2).await;
        Ok(client.is_ok())
    };
    assert!(!serial().await.unwrap());
    rig.fake.pki().server(&["127.0.0.1", "renewed.example"]).write_to(rig.hub.folder(), "serving").unwrap();
    eventually("the new certificate is served", SECONDS(30), serial).await.unwrap();
    assert_eq!(open.get(CONFIGMAPS).await.unwrap().status, 200, "what was open goes on");
    std::fs::write(rig.hub.folder().join("serving.crt"), "junk").unwrap();
    let told = async || Ok(rig.hub.log().contains("a changed serving certificate cannot be used"));
    eventually("the log says so", SECONDS(30), told).await.unwrap();
    assert!(serial().await.unwrap(), "junk changes nothing");
}

#[tokio::test]
async fn settings_may_come_from_a_file() {
    let (_fake, hub) = prepared().await;
    // The same settings as the flags of the other tests, one by one.
    let mut text = "apiVersion: holdfast.dev/v1alpha1\nkind: HubConfiguration\n".to_owned();
    let command = hub.command();
    for flag in command.get_args().skip(1) {
        let (name, value) = flag.to_str().unwrap().trim_start_matches('-').split_once('=').unwrap();
        let mut words = name.split('-');
        let first = words.next().unwrap().to_owned();
        let name = words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..]);
        let value = if name == "serverAddr" { format!("[\"{value}\"]") } else { value.to_owned() };
        text += &format!("{name}: {value}\n");
    }
    let file = hub.folder().join("hub.yaml");
    std::fs::write(&file, &text).unwrap();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .arg("hub")
        .arg(format!("--config={}", file.display()))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = async || anyhow::Ok(Client::http1(hub.admin).await?.get("/v1/readyz").await?.status);
    let ready = async || Ok(status().await.is_ok_and(|status| status == 200));
    eventually("the hub is ready", SECONDS(10), ready).await.unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    child.kill().await.unwrap();
}

#[tokio::test]
async fn ps_and_pkill_know_the_hub_by_the_name_it_was_started_under() {
    let rig = Rig::start().await;
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", rig.hub.pid().unwrap())).unwrap();
    assert_eq!(comm.trim_end(), "holdfast");
}

/// The store's key is a FIFO here, so that the store is open when the test wants it to be.
#[tokio::test]
async fn readyz_says_what_the_hub_waits_for_while_it_starts() {
    let (_fake, mut hub) = prepared().await;
    let key = hub.folder().join("root/store.key");
    std::fs::create_dir_all(key.parent().unwrap()).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());
    let admin = hub.admin;
    let while_it_starts = async {
        let ask = async |path: &str| Client::http1(admin).await?.get(path).await;
        let answers = async || Ok(ask("/v1/readyz").await.is_ok());
        eventually("the admin port answers", SECONDS(10), answers).await.unwrap();
        let answer = ask("/v1/readyz").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (500, "not ready: the store is being opened\n"));
        assert_eq!(ask("/v1/healthz").await.unwrap().status, 200);
        assert!(ask("/metrics").await.unwrap().text().contains("holdfast_"));
        tokio::task::spawn_blocking(move || std::fs::write(&key, [7; 32]).unwrap()).await.unwrap();
    };
    let (started, ()) = tokio::join!(hub.run(), while_it_starts);
    started.unwrap();
}

#[tokio::test]
async fn a_history_that_goes_back_while_the_hub_does_not_run_leaves_nothing_of_the_lost_one() {
    let mut rig = Rig::start().await;
    let lost =
        rig.fake.get("configmaps", "story", "zz-last").unwrap()["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let last = format!("{CONFIGMAPS}/zz-last");
    assert_eq!(rig.pod().await.get(CONFIGMAPS).await.unwrap().json()["items"].as_array().unwrap().len(), 2);
    assert_eq!(rig.pod().await.get(&last).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    let is_asked = || rig.fake.requests().iter().any(|request| request.path_and_query.starts_with("/api/v1/nodes?fieldSelector"));
    eventually("the hub asks where etcd stands", SECONDS(10), async || Ok(is_asked())).await.unwrap();
    rig.hub.signal("TERM").unwrap();
    rig.hub.ended(SECONDS(10)).await.unwrap();
    rig.fake.rewind(lost.parse::<u64>().unwrap() - 1);
    rig.hub.run().await.unwrap();
    let noticed = async || Ok(rig.hub.log().contains("the cluster's history went back"));
    eventually("it is noticed", SECONDS(10), noticed).await.unwrap();
    rig.cut(Fault::Refuse).await;
    for target in [CONFIGMAPS, &last] {
        let answer = rig.pod().await.get(target).await.unwrap();
        assert_eq!(answer.status, 503, "{target}: {}", answer.text());
    }
}

/// What it remembers has come no further than the new one: only who they are tells them apart.
#[tokio::test]
async fn a_cluster_built_anew_is_another_one_however_far_it_has_come() {
    let rig = Rig::start().await;
    let register = || {
        for (resource, namespace, name) in [("nodes", "", "edge-1"), ("services", "default", "kubernetes")] {
            rig.fake.delete(resource, namespace, name);
            rig.fake.put(resource, namespace, name, json!({}));
        }
    };
    // It looks when the link comes up.
    let look_again = async || {
        rig.fake.clear_requests();
        rig.cut(Fault::Refuse).await;
        rig.restore().await;
        eventually("it has looked", SECONDS(20), async || {
            Ok(rig.fake.requests().iter().any(|request| request.path_and_query.contains("/services/kubernetes")))
        })
        .await
        .unwrap();
    };
    register();
    look_again().await;
    let client = rig.pod().await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    rig.remembered(1.0).await;
    register();
    look_again().await;
    eventually("it is noticed", SECONDS(20), async || Ok(rig.hub.log().contains("this is another cluster"))).await.unwrap();
    rig.cut(Fault::Refuse).await;
    assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 503, "of the old one");
}
