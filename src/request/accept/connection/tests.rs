use std::future::ready;

use futures_util::{FutureExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use testkit::client::{Alpn, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::runtime::drain;

/// How long a connection lasts whose client says this and no more.
async fn lasts(said: &[u8]) -> Option<Duration> {
    let (mut client, io) = tokio::io::duplex(4096);
    let service = service_fn(async |_| -> Result<Response, Infallible> { unreachable!("no head is whole") });
    let (_drain, draining) = drain::channel();
    client.write_all(said).await.unwrap();
    let began = Instant::now();
    timeout(2 * HEAD_TIMEOUT, drive(io, service, draining)).await.ok().map(|_| began.elapsed())
}

/// The place at the door is its task's.
#[tokio::test(start_paused = true)]
async fn a_connection_that_left_http_behind_goes_on_until_its_joined_end() {
    let (mut client, io) = tokio::io::duplex(4096);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let body = StreamBody::new(stream::once(ended.map(|_| Ok(Frame::data(Bytes::new()))))).boxed_unsync();
    let answer = http::Response::builder().status(101).header("connection", "upgrade").body(body).unwrap();
    let answer = Mutex::new(Some(answer));
    let service = service_fn(move |_| ready(Ok(answer.lock().unwrap().take().unwrap())));
    let (drain, draining) = drain::channel();
    tokio::spawn(drive(io, service, draining));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await.unwrap();
    let mut said = [0; 12];
    client.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 101", "before the end begins: a request that comes with it may find nobody");
    let mut drained = pin!(drain.drained());
    let hour = Duration::from_secs(3600);
    assert!(timeout(hour, drained.as_mut()).await.is_err(), "it is waited for");
    drop(end);
    assert!(timeout(hour, drained).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_not_kept() {
    for said in ["", "P", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\n"] {
        let lasted = lasts(said.as_bytes()).await;
        let bounds = HEAD_TIMEOUT..HEAD_TIMEOUT + Duration::from_secs(1);
        assert!(lasted.is_some_and(|lasted| bounds.contains(&lasted)), "{said:?}: {lasted:?}");
    }
}

/// A client of its own connection, whose requests this answers.
async fn client<S>(alpn: Alpn, service: S, draining: &Draining) -> Client
where
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    let (client, io) = tokio::io::duplex(4096);
    tokio::spawn(drive(io, service, draining.clone()));
    Client::over(client, alpn, "http", "x").await.unwrap()
}

/// A watch, or a log that is followed: there is no deadline on an answer.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_silent_for_days_is_not_cut() {
    const DAYS: Duration = Duration::from_secs(3 * 24 * 3600);
    let (_drain, draining) = drain::channel();
    for alpn in [Alpn::H1, Alpn::H2] {
        let service = service_fn(async |_| {
            let later = tokio::time::sleep(DAYS).map(|()| Ok(Frame::data(Bytes::from_static(b"at last"))));
            Ok(Response::new(StreamBody::new(stream::once(later)).boxed_unsync()))
        });
        let client = client(alpn, service, &draining).await;
        let began = Instant::now();
        let answer = client.get("/").await.unwrap();
        assert_eq!((answer.text(), began.elapsed() >= DAYS), ("at last".into(), true), "{alpn:?}");
    }
}

/// Over HTTP/2 it ends its own stream alone.
#[tokio::test]
async fn a_panic_ends_no_other_connection() {
    let (_drain, draining) = drain::channel();
    let service = || {
        service_fn(async |request: http::Request<Incoming>| {
            assert_ne!(request.uri().path(), "/panic", "a fault of the hub's own");
            Ok(Response::new(full("well")))
        })
    };
    for alpn in [Alpn::H1, Alpn::H2] {
        let (hit, neighbour) = (client(alpn, service(), &draining).await, client(alpn, service(), &draining).await);
        assert_eq!(neighbour.get("/").await.unwrap().text(), "well");
        hit.get("/panic").await.unwrap_err();
        assert_eq!(neighbour.get("/").await.unwrap().text(), "well");
        assert_eq!(hit.get("/").await.is_ok(), alpn == Alpn::H2);
    }
}
