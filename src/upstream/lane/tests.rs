//! What a GET on a lane brings, whatever the server does with its connection.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::upstream::Body;
use crate::upstream::error::Error;

/// A lane to a server that the test plays.
fn lane(lanes: &Arc<Lanes>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    lanes.opened(Some(Box::new(ours)), 1, Instant::now());
    theirs
}

fn head() -> http::request::Parts {
    let request = http::Request::get("/api/v1/namespaces/a/configmaps/c?pretty=false").header("accept", "application/json");
    request.body(()).unwrap().into_parts().0
}

async fn get(lanes: &Arc<Lanes>) -> Result<http::Response<Body>, Error> {
    let lane = lanes.take(1).expect("a free lane");
    Ok(lane.get(lanes, "cloud:6443", &head()).await?.map(Body::lane))
}

/// The whole answer to a GET for which the server says `answer` and then closes.
async fn answered(answer: &[u8]) -> Result<(u16, Bytes), Error> {
    let lanes = Arc::new(Lanes::default());
    let mut server = lane(&lanes);
    server.write_all(answer).await.unwrap();
    // It is there only after the lane is found quiet.
    let taken = lanes.0.lock().unwrap().idle.pop().unwrap();
    server.shutdown().await.unwrap();
    let answer = taken.get(&lanes, "cloud:6443", &head()).await?.map(Body::lane);
    let status = answer.status().as_u16();
    Ok((status, answer.into_body().collect().await?.to_bytes()))
}

#[tokio::test]
async fn a_get_goes_out_whole_and_its_lane_is_used_again() {
    let lanes = Arc::new(Lanes::default());
    let mut server = lane(&lanes);
    for round in 0..3 {
        let client = async {
            let answer = get(&lanes).await.unwrap();
            assert_eq!(answer.headers()["x-round"], round.to_string());
            assert!(lanes.lock().idle.is_empty(), "in use until its body ends");
            answer.into_body().collect().await.unwrap().to_bytes()
        };
        let cloud = async {
            let mut request = vec![0; 4096];
            let length = server.read(&mut request).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nx-round: {round}\r\ncontent-length: 5\r\n\r\nhello");
            server.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        };
        let (body, request) = tokio::join!(client, cloud);
        assert_eq!(body, "hello");
        assert_eq!(
            request,
            "GET /api/v1/namespaces/a/configmaps/c?pretty=false HTTP/1.1\r\nhost: cloud:6443\r\naccept: application/json\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn whatever_is_no_whole_answer_is_an_error() {
    for broken in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        let error = answered(broken.as_bytes()).await.expect_err(broken);
        assert!(error.is_link() && error.was_sent(), "{broken}: {error}");
    }
    for (whole, status, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, "hello"),
        ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", 404, "{}"),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, ""),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, "hello!"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n!\r\n0\r\nx-t: 1\r\n\r\n", 200, "!"),
    ] {
        assert_eq!(answered(whole.as_bytes()).await.unwrap(), (status, Bytes::from(body)), "{whole}");
    }
}

#[tokio::test]
async fn a_lane_that_is_closed_or_speaks_unasked_is_not_taken() {
    let lanes = Arc::new(Lanes::default());
    drop(lane(&lanes));
    assert!(lanes.take(1).is_none(), "closed");
    let mut server = lane(&lanes);
    server.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    assert!(lanes.take(1).is_none(), "spoke");
    let _server = lane(&lanes);
    assert!(lanes.take(2).is_none(), "made with older credentials");
    let server = lane(&lanes);
    let taken = lanes.take(1).unwrap();
    lanes.forget();
    lanes.give_back(taken);
    assert!(lanes.take(1).is_none(), "the server was declared down meanwhile");
    drop(server);
}

#[tokio::test]
async fn a_lane_is_used_again_only_after_a_whole_answer() {
    for (answer, again) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..], true),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", false),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", false),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more", false),
    ] {
        let lanes = Arc::new(Lanes::default());
        let mut server = lane(&lanes);
        let taken = lanes.take(1).unwrap();
        server.write_all(answer).await.unwrap();
        let body = taken.get(&lanes, "cloud", &head()).await.unwrap().map(Body::lane).into_body();
        body.collect().await.unwrap();
        assert_eq!(lanes.take(1).is_some(), again, "{}", String::from_utf8_lossy(answer));
    }
    let lanes = Arc::new(Lanes::default());
    let mut server = lane(&lanes);
    let taken = lanes.take(1).unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await.unwrap();
    drop(taken.get(&lanes, "cloud", &head()).await.unwrap());
    assert!(lanes.take(1).is_none());
    let mut request = Vec::new();
    server.read_to_end(&mut request).await.unwrap();
    assert!(!request.is_empty(), "a client that went away closes its lane");
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_waited_for() {
    let lanes = Arc::new(Lanes::default());
    let _server = lane(&lanes);
    let _other = lane(&lanes);
    let began = Instant::now();
    let error = get(&lanes).await.err().expect("nobody answers");
    assert!(error.is_link() && began.elapsed() <= Duration::from_millis(101), "{error} {:?}", began.elapsed());
    assert!(lanes.take(1).is_none(), "the others are no better");
    (0..DENSE).for_each(|_| assert!(!lanes.wants_one(), "not again at once"));
    tokio::time::advance(PAUSE).await;
    assert!((0..DENSE).any(|_| lanes.wants_one()));

    let lanes = Arc::new(Lanes::default());
    let mut server = lane(&lanes);
    let taken = lanes.take(1).unwrap();
    server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await.unwrap();
    let body = taken.get(&lanes, "cloud", &head()).await.unwrap().map(Body::lane).into_body();
    let began = Instant::now();
    let error = body.collect().await.expect_err("the rest never comes");
    assert!(error.to_string().contains("stalled") && began.elapsed() < Duration::from_secs(7), "{error} {:?}", began.elapsed());
}

/// The timer of one exchange must not end the next.
#[tokio::test(start_paused = true)]
async fn each_exchange_has_its_own_patience() {
    let lanes = Arc::new(Lanes::default());
    let mut server = lane(&lanes);
    for _ in 0..10 {
        let cloud = async {
            assert!(server.read(&mut [0; 4096]).await.unwrap() > 0);
            tokio::time::sleep(Duration::from_millis(70)).await;
            server.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(get(&lanes), cloud);
        answer.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_are_opened_while_gets_are_dense_and_closed_when_nobody_uses_them() {
    let lanes = Arc::new(Lanes::default());
    for _ in 0..DENSE * 2 {
        assert!(!lanes.wants_one(), "one now and then");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    let mut servers = Vec::new();
    for _ in 0..DENSE * 100 {
        if lanes.wants_one() {
            assert!(!lanes.wants_one(), "one at a time");
            servers.push(lane(&lanes));
        }
    }
    assert_eq!(servers.len(), LANES, "and not more than these");
    tokio::time::sleep(IDLE * 3).await;
    for mut server in servers {
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "closed");
    }
    assert!(!lanes.lock().closing_idle);

    let far = Instant::now().checked_sub(NEAR).unwrap();
    let (io, mut server) = tokio::io::duplex(1024);
    lanes.opened(Some(Box::new(io)), 1, far);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0, "a far server");
    (0..DENSE).for_each(|_| assert!(!lanes.wants_one(), "is left alone"));
}

proptest! {
    /// However an answer is cut into reads, its body is the same; cut short, it is an error.
    #[test]
    fn a_chunked_body_is_whole_or_an_error(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        read in 1_usize..17,
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        let cut = cut.index(wire.len());
        for (bytes, whole) in [(&wire[..], true), (&wire[..cut], false)] {
            let (mut framing, mut buf, mut body) = (framing::Framing::chunked(), BytesMut::new(), Vec::new());
            for part in bytes.chunks(read) {
                buf.extend_from_slice(part);
                while let framing::Step::Data(data) = framing.step(&mut buf).unwrap() {
                    body.extend_from_slice(&data);
                }
            }
            prop_assert_eq!(framing.is_end(), whole);
            if whole {
                prop_assert_eq!(body, chunks.concat());
            }
        }
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut framing, mut buf) = (framing::Framing::chunked(), BytesMut::from(&bytes[..]));
        while let Ok(framing::Step::Data(_)) = framing.step(&mut buf) {}
    }
}
