//! Faults, each seen from a client.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::super::{Fake, Fault};
use super::{config_map, connect, soon, start, try_connect};
use crate::client::{Alpn, Client};

const LIST: &str = "/api/v1/namespaces/a/configmaps";
const BOTH: [Alpn; 2] = [Alpn::H1, Alpn::H2];

async fn filled() -> Fake {
    let fake = start().await;
    fake.put("configmaps", "a", "x", config_map(&"x".repeat(3000)));
    fake
}

/// Whether an answer comes, and whole.
async fn works(client: &Client) -> bool {
    matches!(soon(client.get(LIST)).await, Some(Ok(answer)) if answer.status == 200 && answer.body.len() > 3000)
}

#[tokio::test]
async fn status_for_some_or_all() {
    let fake = filled().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.fault_next("/", Fault::Status(429));
    let answer = client.get(LIST).await.expect("answers");
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
    assert!(works(&client).await);
    fake.fault_at("/api/v1/nodes", Fault::Status(503));
    assert!(works(&client).await);
    assert_eq!(client.get("/api/v1/nodes").await.expect("answers").status, 503);
    fake.fault(Fault::Status(500));
    assert_eq!(client.get(LIST).await.expect("answers").status, 500);
    fake.heal().expect("still listening");
    assert!(works(&client).await);
}

#[tokio::test]
async fn bodies_break_off() {
    let fake = filled().await;
    for alpn in BOTH {
        for fault in [Fault::TruncateBody(10), Fault::TruncateBody(0), Fault::WrongContentLength, Fault::BadChunk] {
            let client = connect(&fake, alpn).await;
            fake.fault_next("/", fault);
            let result = tokio::time::timeout(Duration::from_secs(5), client.get(LIST)).await.expect("in time");
            assert!(result.is_err(), "{fault:?} over {alpn:?}: {result:?}");
        }
    }
    let client = connect(&fake, Alpn::H2).await;
    fake.fault_next("/", Fault::TruncateBody(10));
    client.get(LIST).await.expect_err("the stream is reset");
    assert!(works(&client).await, "the connection outlives its stream");
}

#[tokio::test]
async fn answers_stall() {
    let fake = filled().await;
    for alpn in BOTH {
        fake.fault(Fault::StallHeaders);
        let client = connect(&fake, alpn).await;
        assert!(soon(client.stream("GET", LIST, &[], "")).await.is_none());
        fake.heal().expect("still listening");
        fake.fault(Fault::StallBody(5));
        let client = connect(&fake, alpn).await;
        let mut stream = client.stream("GET", LIST, &[], "").await.expect("the head comes");
        assert_eq!(stream.chunk().await.expect("whole").map(|chunk| chunk.len()), Some(5));
        assert!(soon(stream.chunk()).await.is_none());
        fake.heal().expect("still listening");
    }
}

#[tokio::test]
async fn bodies_crawl() {
    let fake = filled().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.fault(Fault::SlowBody(10_000));
    let begun = std::time::Instant::now();
    let answer = client.get(LIST).await.expect("comes in the end");
    assert!(answer.body.len() > 3000 && begun.elapsed() > Duration::from_millis(250));
}

#[tokio::test]
async fn garbage_on_new_connections() {
    let fake = filled().await;
    let old = connect(&fake, Alpn::H2).await;
    fake.fault(Fault::GarbageTls);
    assert!(try_connect(&fake, Alpn::H2).await.is_err());
    fake.fault(Fault::Garbage);
    for alpn in BOTH {
        let result = match try_connect(&fake, alpn).await {
            Ok(client) => client.get(LIST).await,
            Err(error) => Err(error),
        };
        assert!(result.is_err());
    }
    assert!(works(&old).await);
    fake.heal().expect("still listening");
    assert!(works(&connect(&fake, Alpn::H2).await).await);
}

#[tokio::test]
async fn going_away_ends_connections_gently() {
    let fake = filled().await;
    for alpn in BOTH {
        let client = connect(&fake, alpn).await;
        assert!(works(&client).await);
        fake.fault(Fault::GoAway);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(client.is_closed().await || !works(&client).await);
        assert!(works(&connect(&fake, alpn).await).await);
    }
}

#[tokio::test]
async fn a_frozen_connection_thaws() {
    let fake = filled().await;
    for alpn in BOTH {
        let client = connect(&fake, alpn).await;
        assert!(works(&client).await);
        let mut watching =
            connect(&fake, alpn).await.watches(&["/api/v1/pods?watch=true&resourceVersion=0"]).await.expect("answers");
        fake.fault(Fault::Freeze);
        fake.put("pods", "a", &format!("{alpn:?}"), config_map("1"));
        let asked = client.get(LIST);
        tokio::pin!(asked);
        assert!(soon(asked.as_mut()).await.is_none());
        assert!(soon(watching[0].event()).await.is_none_or(|event| event.is_ok()), "what was sent before may come");
        assert!(works(&connect(&fake, alpn).await).await, "new connections are fine");
        fake.heal().expect("still listening");
        assert_eq!(soon(asked).await.expect("in time").expect("answers").status, 200);
        let event = tokio::time::timeout(Duration::from_secs(2), watching[0].event()).await.expect("in time");
        assert_eq!(event.expect("whole").expect("goes on")["type"], "ADDED");
    }
}

#[tokio::test]
async fn silence_meets_new_connections_too() {
    let fake = filled().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.fault(Fault::Silence);
    assert!(!works(&client).await);
    TcpStream::connect(fake.addr()).await.expect("the kernel accepts");
    let connecting = try_connect(&fake, Alpn::H2);
    tokio::pin!(connecting);
    assert!(soon(connecting.as_mut()).await.is_none());
    fake.heal().expect("still listening");
    assert!(soon(connecting).await.is_some_and(|result| result.is_ok()));
    assert!(works(&client).await);
}

#[tokio::test]
async fn reset_is_a_reset() {
    let fake = filled().await;
    let client = connect(&fake, Alpn::H2).await;
    let mut raw = TcpStream::connect(fake.addr()).await.expect("listening");
    while fake.connections().live < 2 {
        tokio::task::yield_now().await;
    }
    fake.fault(Fault::Reset);
    let error = raw.read(&mut [0; 8]).await.expect_err("no proper end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(!works(&client).await);
    assert!(try_connect(&fake, Alpn::H2).await.is_err());
    fake.heal().expect("still listening");
    assert!(works(&connect(&fake, Alpn::H2).await).await);
    assert_eq!(fake.connections().live, 1);
}

#[tokio::test]
async fn refusal_and_return_on_the_same_port() {
    let fake = filled().await;
    let client = connect(&fake, Alpn::H2).await;
    fake.fault(Fault::Refuse);
    let error = TcpStream::connect(fake.addr()).await.expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!works(&client).await);
    fake.heal().expect("the port is free");
    assert!(works(&connect(&fake, Alpn::H2).await).await);
}

#[tokio::test]
async fn one_request_can_cost_its_connection() {
    let fake = filled().await;
    let (struck, spared) = (connect(&fake, Alpn::H2).await, connect(&fake, Alpn::H2).await);
    fake.fault_next("/", Fault::Reset);
    assert!(struck.get(LIST).await.is_err());
    assert!(works(&spared).await);
}

#[tokio::test]
async fn dropping_the_fake_ends_it() {
    let fake = filled().await;
    let (addr, client) = (fake.addr(), connect(&fake, Alpn::H1).await);
    drop(fake);
    assert!(TcpStream::connect(addr).await.is_err());
    assert!(!works(&client).await);
}
