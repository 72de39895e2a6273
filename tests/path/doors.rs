//! The two doors: what may speak to them, and how.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A TLS connection to the HTTPS door in this version alone.
async fn tls(rig: &Rig, version: &'static rustls::SupportedProtocolVersion, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(rig.fake.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(rig.hub.secure).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn tls_1_2_is_spoken_and_tls_1_1_is_not() {
    let rig = Rig::start().await;
    for (alpn, protocol) in [(Alpn::H1, &b"http/1.1"[..]), (Alpn::H2, &b"h2"[..])] {
        let stream = tls(&rig, &rustls::version::TLS12, protocol).await;
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
        let client = Client::over(stream, alpn, "https", "127.0.0.1").await.unwrap().with_token(TOKEN);
        assert_eq!(client.get(CONFIGMAPS).await.unwrap().status, 200);
    }
    let answer = answer_to_hello(&rig, 3).await;
    assert_eq!(answer[0], 0x16, "the same ClientHello of TLS 1.2 is answered with a ServerHello: {answer:x?}");
    // A fatal alert, protocol_version (RFC 5246, 7.2).
    let answer = answer_to_hello(&rig, 2).await;
    assert_eq!((answer[0], &answer[3..]), (0x15, &[0, 2, 2, 70][..]), "{answer:x?}");
}

/// The first seven bytes of what is said to a ClientHello whose best is TLS 1.`minor - 1` (RFC 5246, 7.4.1.2).
async fn answer_to_hello(rig: &Rig, minor: u8) -> [u8; 7] {
    let mut hello = vec![3, minor];
    hello.extend([7; 32]);
    // No session, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    hello.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // x25519, ecdsa_secp256r1_sha256, uncompressed points.
    hello.extend([0, 22, 0, 10, 0, 4, 0, 2, 0, 0x1d, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    let mut stream = TcpStream::connect(rig.hub.secure).await.unwrap();
    stream.write_all(&[&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat()).await.unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn http_2_by_prior_knowledge_is_spoken_on_the_plain_port() {
    let rig = Rig::start().await;
    let client = Client::http2(rig.hub.loopback).await.unwrap().with_header("user-agent", "kubelet/v1.34.4");
    let answer = client.get(CONFIGMAPS).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.version), (200, http::Version::HTTP_2), "{}", answer.text());
    let version = rig.fake.resource_version();
    let mut watch = client.stream("GET", &format!("{CONFIGMAPS}?watch=1&resourceVersion={version}"), &[], "").await.unwrap();
    rig.fake.put("configmaps", "story", "fresh", json!({"data": {}}));
    assert_eq!(watch.event().await.unwrap().unwrap()["object"]["metadata"]["name"], "fresh");
}

/// Sends a head that expects 100, waits for it, and only then sends the body.
async fn create_expecting(io: &mut (impl AsyncRead + AsyncWrite + Unpin), name: &str) -> String {
    let body = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}}).to_string();
    let head = format!(
        "POST {CONFIGMAPS} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    io.write_all(head.as_bytes()).await.unwrap();
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut interim = vec![0; expected.len()];
    io.read_exact(&mut interim).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&interim), String::from_utf8_lossy(expected));
    io.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    io.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn who_expects_100_gets_it_before_the_body_is_sent() {
    let rig = Rig::start().await;
    rig.fake.allow("system:serviceaccount:story:sample", "create", "configmaps", "story", "*");
    let mut plain = TcpStream::connect(rig.hub.loopback).await.unwrap();
    let mut secure = tls(&rig, &rustls::version::TLS13, b"http/1.1").await;
    let answers = [create_expecting(&mut plain, "plain").await, create_expecting(&mut secure, "secure").await];
    for (name, answer) in ["plain", "secure"].into_iter().zip(answers) {
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        assert!(rig.fake.get("configmaps", "story", name).is_some(), "{name}");
    }
}

/// Pods get the CA from the node; the certificate is for the addresses of both doors.
#[tokio::test]
async fn the_certificate_that_the_hub_makes_is_verified_by_its_own_ca() {
    let (fake, mut hub) = prepared().await;
    fake.add_token(TOKEN, "system:admin", &["system:masters"]);
    for flag in ["--tls-cert-file", "--tls-private-key-file", "--dummy-if-ip"] {
        hub.remove_flag(flag);
    }
    // Another of the addresses that every Linux has, as 169.254.2.1 is another than loopback's.
    let secure = std::net::SocketAddr::from(([127, 0, 0, 2], hub.secure.port()));
    hub.add_flag("--dummy-if-ip=127.0.0.2");
    hub.add_flag("--manage-address=false");
    hub.run().await.unwrap();
    let file = hub.folder().join("root/pki/ca.crt");
    let ca = || std::fs::read_to_string(&file).unwrap();
    let first = ca();
    for name in ["127.0.0.2", "127.0.0.1", "localhost", "kubernetes.default.svc"] {
        let client = Client::https(secure, &first, name, Alpn::H2).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(client.with_token(TOKEN).get(CONFIGMAPS).await.unwrap().status, 200);
    }
    assert!(Client::https(secure, &first, "127.0.0.3", Alpn::H2).await.is_err(), "an address that is not the hub's");
    assert!(Client::https(secure, fake.ca_pem(), "127.0.0.2", Alpn::H2).await.is_err(), "the cluster's CA did not sign it");
    hub.signal("TERM").unwrap();
    hub.ended(SECONDS(10)).await.unwrap();
    hub.run().await.unwrap();
    assert!(ca() == first, "Pods go on trusting it after a restart");
    assert!(Client::https(secure, &first, "127.0.0.2", Alpn::H2).await.is_ok());
}

#[tokio::test]
async fn a_client_that_would_rather_speak_http2_is_answered_as_any_other() {
    let rig = Rig::start().await;
    // As `curl --http2` asks on a port without TLS.
    let headers = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")];
    let kubelet = rig.hub.kubelet().await.unwrap();
    let path = format!("{CONFIGMAPS}/greeting");
    let online = kubelet.request("GET", &path, &headers, "").await.unwrap();
    assert_eq!(online.status, 200, "{}", online.text());
    rig.cut(testkit::fake::Fault::Refuse).await;
    let offline = kubelet.request("GET", &path, &headers, "").await.unwrap();
    assert_eq!((offline.status.as_u16(), &offline.body), (200, &online.body), "{}", offline.text());
}

#[tokio::test]
async fn heartbeats_that_went_well_are_told_at_v_4_alone() {
    const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-1";
    for (flags, told) in [(&[][..], 1), (&["--v=4"][..], 2)] {
        let rig = Rig::with(testkit::fake::FakeOptions::default(), flags).await;
        let kubelet = rig.hub.kubelet().await.unwrap();
        let renew = async || {
            let lease = json!({"metadata": {"name": "edge-1"}, "spec": {"holderIdentity": "edge-1"}}).to_string();
            let answer = kubelet.request("PUT", LEASE, &[("content-type", "application/json")], lease).await.unwrap();
            answer.status.as_u16()
        };
        assert!((200..300).contains(&renew().await));
        // One that did not go well is told in any case, and after the other one.
        rig.fake.fault_at(LEASE, testkit::fake::Fault::Status(409));
        assert_eq!(renew().await, 409);
        let lines = || rig.hub.log().lines().filter(|line| line.contains("access:") && line.contains(LEASE)).count();
        let failure = async || Ok(rig.hub.log().lines().any(|line| line.contains(LEASE) && line.contains("status=409")));
        eventually("the failure is told", SECONDS(5), failure).await.unwrap();
        assert_eq!(lines(), told, "{flags:?}");
    }
}
