use std::future::ready;

use futures_util::{FutureExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use testkit::client::{Alpn, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::request::context::BodyError;
use crate::runtime::drain;

/// How long a connection lasts whose client says this and no more.
async fn lasts(said: &[u8]) -> Option<Duration> {
    let (mut client, io) = tokio::io::duplex(4096);
    let service = service_fn(async |_| -> Result<Response, Infallible> { unreachable!("no head is whole") });
    let (_drain, draining) = drain::channel();
    client.write_all(said).await.unwrap();
    let began = Instant::now();
    timeout(2 * HEAD_TIMEOUT, drive(Box::new(io), service, Whose::Clients, draining)).await.ok().map(|_| began.elapsed())
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
    tokio::spawn(drive(Box::new(io), service, Whose::Clients, draining));
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

/// A connection that is closed with something unread takes its last answer with it.
#[tokio::test(start_paused = true)]
async fn what_a_client_says_over_http2_is_read_until_it_has_its_last_answer() {
    let (http1, http2) = ("GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more");
    for (said, closes, waits) in [(http1, false, 0), (http2, true, 0), (http2, false, 5)] {
        let (mut client, io) = tokio::io::duplex(4096);
        let mut greeted = Greeted::new(Lent::new(Box::new(io), Vec::new()), HEAD_TIMEOUT);
        client.write_all(said.as_bytes()).await.unwrap();
        greeted.read_exact(&mut vec![0; said.len()]).await.unwrap();
        greeted.is_served.store(true, Ordering::Relaxed);
        client.write_all(&[b'x'; 1000]).await.unwrap();
        let (began, client) = (Instant::now(), (!closes).then_some(client));
        greeted.shutdown().await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(waits), "{said:?}, closes: {closes}");
        drop(client);
    }
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
    S: Service<http::Request<Incoming>, Response = Response, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let (client, io) = tokio::io::duplex(4096);
    tokio::spawn(drive(Box::new(io), service, Whose::Clients, draining.clone()));
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

/// The answer to a watch, of frames that come when they are sent.
fn watch(frames: tokio::sync::mpsc::Receiver<Result<Bytes, BodyError>>) -> Response {
    let frames = stream::unfold(frames, async |mut frames: tokio::sync::mpsc::Receiver<_>| {
        frames.recv().await.map(|frame: Result<Bytes, BodyError>| (frame.map(Frame::data), frames))
    });
    let mut answer = Response::new(StreamBody::new(Box::pin(frames)).boxed_unsync());
    answer.extensions_mut().insert(Watch);
    answer
}

/// A connection whose requests are answered so, one after the other, and what the client reads and writes.
fn answering(mut answers: Vec<Response>, draining: &Draining) -> tokio::io::DuplexStream {
    let (client, io) = tokio::io::duplex(4096);
    answers.reverse();
    let answers = Mutex::new(answers);
    let service = service_fn(move |_| {
        let answer = answers.lock().unwrap().pop();
        async move { Ok(answer.expect("no more requests than answers")) }
    });
    tokio::spawn(drive(Box::new(io), service, Whose::Clients, draining.clone()));
    client
}

const GET: &[u8] = b"GET /?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads until the client has been told this.
async fn told(client: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut said = String::new();
    while !said.ends_with(end) {
        let mut some = vec![0; 4096];
        let read = client.read(&mut some).await.unwrap();
        assert!(read > 0, "it ends with {said}");
        said += std::str::from_utf8(&some[..read]).unwrap();
    }
    said
}

#[tokio::test]
async fn a_watch_over_http1_comes_in_chunks_and_leaves_its_connection_to_what_comes_next() {
    let (_drain, draining) = drain::channel();
    for broken in [false, true] {
        let (events, frames) = tokio::sync::mpsc::channel(9);
        let mut client = answering(vec![watch(frames), Response::new(full("well"))], &draining);
        client.write_all(GET).await.unwrap();
        let head = told(&mut client, "\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "before any event: {head}");
        assert!(["transfer-encoding: chunked", "date: "].iter().all(|field| head.contains(field)), "{head}");
        for event in ["one\n", "", "two\n"] {
            events.send(Ok(event.into())).await.unwrap();
        }
        assert_eq!(told(&mut client, "two\n\r\n").await, "4\r\none\n\r\n4\r\ntwo\n\r\n");
        // The next request may come before the watch has ended.
        client.write_all(GET).await.unwrap();
        if broken {
            events.send(Err(BodyError::Store("broken".into()))).await.unwrap();
        }
        drop(events);
        let mut rest = String::new();
        if broken {
            client.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "", "no last chunk, and no more answers");
        } else {
            assert!(told(&mut client, "well").await.starts_with("0\r\n\r\nHTTP/1.1 200 OK\r\n"));
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_its_watch_ends_it_whatever_it_has_said_meanwhile() {
    let (_drain, draining) = drain::channel();
    let (events, frames) = tokio::sync::mpsc::channel(9);
    let mut client = answering(vec![watch(frames)], &draining);
    client.write_all(GET).await.unwrap();
    client.read_u8().await.unwrap();
    client.write_all(GET).await.unwrap();
    drop(client);
    events.closed().await;
}

/// A client may send several requests at once, and read later: while hyper has something to write it keeps the connection.
#[tokio::test]
async fn what_comes_before_a_watch_is_told_first() {
    let (_drain, draining) = drain::channel();
    let (events, frames) = tokio::sync::mpsc::channel(9);
    let large = "x".repeat(100_000);
    let client = answering(vec![Response::new(full(large.clone())), watch(frames)], &draining);
    let (mut reader, mut writer) = tokio::io::split(client);
    writer.write_all(&[GET, GET].concat()).await.unwrap();
    events.send(Ok("one\n".into())).await.unwrap();
    drop(events);
    tokio::task::yield_now().await;
    let said = told(&mut reader, "4\r\none\n\r\n0\r\n\r\n").await;
    let (first, second) = said.split_at(said.rfind("HTTP/1.1 200 OK").unwrap());
    assert!(first.ends_with(&format!("\r\n\r\n{large}")) && second.contains("chunked"));
}
