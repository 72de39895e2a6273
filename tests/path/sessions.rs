//! Connections that have left HTTP behind: counted, told and waited for like any other.

use std::os::unix::process::ExitStatusExt as _;

use testkit::fake::Fault;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::*;

const EXEC: &str = "/api/v1/namespaces/story/pods/p/exec?command=cat";

/// A session whose other end says everything again, and has said this.
async fn session(rig: &Rig, said: &[u8]) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    session_of(rig.hub.kubelet().await.unwrap(), said).await
}

async fn session_of(client: Client, said: &[u8]) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
    let mut stream = client.upgrade("POST", EXEC, "SPDY/3.1", &[]).await.unwrap();
    echo(&mut stream, said).await;
    stream
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), said: &[u8]) {
    stream.write_all(said).await.unwrap();
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, said);
}

/// What the access lines say of the sessions.
fn lines(rig: &Rig) -> Vec<String> {
    rig.hub.log().lines().filter(|line| line.contains("access:") && line.contains("/exec?")).map(str::to_owned).collect()
}

/// Waits for the one line, and returns whether it says all of these.
async fn line_says(rig: &Rig, words: &[&str]) {
    eventually("the session has its line", SECONDS(5), async || Ok(!lines(rig).is_empty())).await.unwrap();
    let lines = lines(rig);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for word in words {
        assert!(lines[0].contains(word), "{word}: {}", lines[0]);
    }
}

async fn in_flight(rig: &Rig) -> bool {
    let text = Client::http1(rig.hub.admin).await.unwrap().get("/metrics").await.unwrap().text();
    let mut lines = text.lines().filter(|line| line.contains("in_flight_requests_collector") && line.contains("\"exec\""));
    lines.any(|line| line.ends_with(" 1"))
}

#[tokio::test]
async fn a_session_is_counted_and_told_when_it_has_ended() {
    let rig = Rig::start().await;
    let large = vec![b'x'; 300_000];
    let mut stream = session(&rig, b"hello").await;
    let (mut from, mut to) = tokio::io::split(&mut stream);
    let send = async { to.write_all(&large).await.unwrap() };
    let mut heard = vec![0; large.len()];
    tokio::join!(send, async { from.read_exact(&mut heard).await.unwrap() });
    assert!(heard == large);
    assert!(in_flight(&rig).await);
    assert_eq!(lines(&rig), Vec::<String>::new(), "it goes on");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "the other end has closed too");
    line_says(&rig, &["status=101", "bytes=300005", "outcome=\"ok\"", "route=\"remote\""]).await;
    assert!(!in_flight(&rig).await);
    let traffic = Client::http1(rig.hub.admin).await.unwrap().get("/metrics").await.unwrap().text();
    let traffic =
        traffic.lines().find(|line| line.contains("traffic_collector") && line.contains("\"exec\"")).unwrap().to_owned();
    assert!(traffic.ends_with(" 300005"), "{traffic}");
}

#[tokio::test]
async fn the_line_says_who_ended_a_session() {
    let rig = Rig::start().await;
    rig.fake.allow("system:serviceaccount:story:sample", "create", "pods/exec", "story", "*");
    // Over TLS a client that goes without a word has not ended what it said.
    drop(session_of(rig.hub.pod(TOKEN, Alpn::H1).await.unwrap(), b"good day").await);
    line_says(&rig, &["status=101", "bytes=8", "outcome=\"aborted\""]).await;
    let rig = Rig::start().await;
    let _session = session(&rig, b"hello").await;
    rig.fake.fault(Fault::Reset);
    line_says(&rig, &["status=101", "bytes=5", "outcome=\"broken\""]).await;
}

#[tokio::test]
async fn a_session_is_waited_for_at_the_end_and_a_second_signal_cuts_it() {
    for is_cut in [false, true] {
        let mut rig = Rig::start().await;
        let mut stream = session(&rig, b"before").await;
        rig.hub.signal("TERM").unwrap();
        let closed = async || Ok(Client::http1(rig.hub.loopback).await.is_err());
        eventually("no new connection is taken", SECONDS(5), closed).await.unwrap();
        echo(&mut stream, b"behind").await;
        if is_cut {
            rig.hub.signal("TERM").unwrap();
        } else {
            drop(stream);
        }
        let status = rig.hub.ended(SECONDS(10)).await.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{}", rig.hub.log());
        let outcome = if is_cut { "outcome=\"drained\"" } else { "outcome=\"ok\"" };
        line_says(&rig, &["status=101", "bytes=12", outcome]).await;
    }
}

/// Its client asks anew, as for any other watch.
#[tokio::test]
async fn a_watch_over_websocket_does_not_keep_the_hub() {
    let mut rig = Rig::start().await;
    let client = rig.hub.kubelet().await.unwrap();
    let mut watch = client.upgrade("GET", &format!("{CONFIGMAPS}?watch=1"), "websocket", &[]).await.unwrap();
    echo(&mut watch, b"open").await;
    rig.hub.signal("TERM").unwrap();
    rig.hub.ended(SECONDS(10)).await.unwrap();
    assert!(rig.hub.log().contains("outcome=\"drained\""), "{}", rig.hub.log());
}
