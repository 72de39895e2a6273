//! What no log may ever say.

use base64::Engine as _;
use testkit::fake::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const SECRETS: &str = "/api/v1/namespaces/story/secrets";
/// Served by a rule that fails on what is secret, and ends their lists with the reason.
const READERS: [&str; 2] = ["reader-of-numbers", "reader-of-kinds"];
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Everything that brings or gets a secret, and words with which it goes wrong.
async fn say_secrets(rig: &Rig, hidden: &mut Vec<String>) {
    let kubelet = rig.hub.kubelet().await.unwrap();
    let pod = rig.pod().await;
    for accept in ["application/json", PROTOBUF] {
        let headers = [("accept", accept)];
        for path in [SECRETS.to_owned(), format!("{SECRETS}/allowed"), format!("{SECRETS}/forbidden")] {
            for client in [&kubelet, &pod] {
                client.request("GET", &path, &headers, "").await.unwrap();
            }
        }
        let watcher = rig.hub.kubelet().await.unwrap();
        let mut watch = watcher.stream("GET", &format!("{SECRETS}?watch=1"), &headers, "").await.unwrap();
        watch.chunk().await.unwrap();
    }
    for reader in READERS {
        let headers = [("user-agent", reader), ("accept", "application/json")];
        let _ = rig.hub.kubelet().await.unwrap().request("GET", SECRETS, &headers, "").await;
    }
    let json = [("content-type", "application/json")];
    let body = |value: &str| json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "new"}, "data": {"value": value}});
    for body in [body("bmV3LXNlY3JldA==").to_string(), "{\"data\": \"bmV3LXNlY3JldA==\"".into()] {
        kubelet.request("POST", SECRETS, &json, body).await.unwrap();
    }
    let tokens = "/api/v1/namespaces/story/serviceaccounts/sample/token";
    let request =
        r#"{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{"audiences":["a"],"expirationSeconds":3600}}"#;
    for request in [request, "{\"spec\":"] {
        let issued = kubelet.request("POST", tokens, &json, request).await.unwrap();
        let Some(token) = issued.json()["status"]["token"].as_str().map(str::to_owned) else { continue };
        rig.hub.pod(&token, Alpn::H1).await.unwrap().get(CONFIGMAPS).await.unwrap();
        hidden.extend(token.split('.').map(str::to_owned));
    }
    for credential in ["Bearer unknown-token", "Basic dXNlcjpwYXNzd29yZA==", "Bearer two tokens-in-one"] {
        pod.request("GET", CONFIGMAPS, &[("authorization", credential)], "").await.unwrap();
    }
    browse(rig).await;
    let mut broken = tokio::net::TcpStream::connect(rig.hub.loopback).await.unwrap();
    broken.write_all(b"GET /api HTTP/1.1\r\nauthorization Bearer broken-token\r\n\r\n").await.unwrap();
    broken.read_to_end(&mut Vec::new()).await.unwrap();
}

/// A session with a token in its protocol, as browsers send it, and a password in its command.
async fn browse(rig: &Rig) {
    let protocol = format!("base64url.bearer.authorization.k8s.io.{}, v5.channel.k8s.io", in_protocol());
    let headers = [("sec-websocket-protocol", protocol.as_str())];
    let path = "/api/v1/namespaces/story/pods/p/exec?command=mysql&command=-pcommand-password";
    let client = rig.hub.kubelet().await.unwrap();
    // The cloud's answer, if there is one; the words are said in any case.
    if let Ok(mut stream) = client.upgrade("GET", path, "websocket", &headers).await {
        stream.write_all(b"typed-password").await.unwrap();
        stream.read_exact(&mut [0; 14]).await.unwrap();
    }
}

fn in_protocol() -> String {
    base64::prelude::BASE64_URL_SAFE_NO_PAD.encode("browsers-token")
}

#[tokio::test]
async fn no_token_and_no_secret_is_ever_in_the_log() {
    let rig = Rig::with(testkit::fake::FakeOptions::default(), &["--v=10"]).await;
    rig.fake.put("serviceaccounts", "story", "sample", json!({}));
    let rule = |component, expression| {
        let serves = format!("{{components: [{component}], resources: [secrets], expression: {expression:?}}}");
        format!("- {{name: of-{component}, match: {serves}, drop: true, onError: refuse}}\n")
    };
    let rules = rule(READERS[0], "int(object.data.value) > 5") + &rule(READERS[1], "object.data.value > 5");
    rig.fake.put("configmaps", "kube-system", "yurt-hub-cfg", json!({"data": {"rules": rules}}));
    eventually("the rules are applied", SECONDS(10), async || Ok(rig.hub.log().contains("rules of ConfigMap"))).await.unwrap();
    let mut hidden: Vec<String> = [
        TOKEN,
        "czNjcjN0",
        "s3cr3t",
        "bm8=",
        "bmV3LXNlY3JldA",
        "new-secret",
        "unknown-token",
        "dXNlcjpwYXNzd29yZA",
        "tokens-in-one",
        "browsers-token",
        "broken-token",
        "command-password",
        "typed-password",
    ]
    .map(str::to_owned)
    .into();
    hidden.push(in_protocol());
    say_secrets(&rig, &mut hidden).await;
    rig.fake.fault(Fault::TruncateBody(60));
    let pod = rig.pod().await;
    for path in [CONFIGMAPS.to_owned(), format!("{SECRETS}/allowed")] {
        let _ = pod.get(&path).await;
    }
    rig.fake.heal().unwrap();
    rig.cut(Fault::Silence).await;
    say_secrets(&rig, &mut hidden).await;
    assert!(hidden.len() > 14, "a token was issued");
    let log = rig.hub.log();
    let much = ["DEBUG", SECRETS, "rule/of-reader-of-numbers", "rule/of-reader-of-kinds"];
    assert!(much.iter().all(|word| log.contains(word)), "{log}");
    for word in hidden {
        let line = log.lines().find(|line| line.contains(&word));
        assert_eq!(line, None, "{word}");
    }
}
