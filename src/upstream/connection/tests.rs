//! What silence is taken for, on a paused clock.

use http_body_util::BodyExt as _;
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use super::*;
use crate::upstream::{Beginning, Body};

const HOURS: Duration = Duration::from_secs(12 * 3600);

/// What a server does with the first stream.
type Serve = fn(h2::SendStream<Bytes>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that serves one answer, and replies to pings for as long as it is not silent.
async fn serve(io: DuplexStream, silent_after: Duration, serve: Serve) {
    let mut server = h2::server::handshake(io).await.unwrap();
    let (_, mut respond) = server.accept().await.unwrap().unwrap();
    let body = respond.send_response(http::Response::new(()), false).unwrap();
    tokio::spawn(serve(body));
    let _ = tokio::time::timeout(silent_after, async { while server.accept().await.is_some() {} }).await;
    // It is there, and does nothing.
    tokio::time::sleep(HOURS).await;
}

async fn answer_over(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Body {
    let connection = Connection::start(io, 0, Timing::default(), Arc::default(), |_| {}).await.unwrap();
    let place = connection.take_place().unwrap();
    let (answer, _) = connection.send(http::Request::get("https://x/").body(()).unwrap(), true).await.unwrap();
    Body::h2(connection.answer(answer).await.unwrap().into_body(), place)
}

/// How long the connection is silent before its body fails.
async fn found_after(silent_after: Duration, has_an_end: bool) -> Duration {
    let (io, server) = tokio::io::duplex(4096);
    tokio::spawn(serve(server, silent_after, |mut body| {
        Box::pin(async move {
            body.send_data("begun".into(), false).unwrap();
            tokio::time::sleep(HOURS).await;
        })
    }));
    let mut body = answer_over(io).await;
    if has_an_end {
        body.has_an_end();
    }
    let began = Instant::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(error.is_link() && error.to_string().contains("silent"), "{error}");
    began.elapsed() - silent_after
}

#[tokio::test(start_paused = true)]
async fn silence_in_the_middle_of_a_list_is_found_within_two_seconds() {
    for milliseconds in [1, 100, 449, 451, 800, 5000, 61_234] {
        let after = found_after(Duration::from_millis(milliseconds), true).await;
        assert!(after < Duration::from_millis(1500), "silent after {milliseconds} ms: {after:?}");
    }
}

/// With the probe that follows, six seconds.
#[tokio::test(start_paused = true)]
async fn silence_behind_a_watch_is_found_within_four_seconds() {
    for milliseconds in [1, 100, 2999, 3001, 5000, 61_234] {
        let after = found_after(Duration::from_millis(milliseconds), false).await;
        assert!(after < Duration::from_secs(4), "silent after {milliseconds} ms: {after:?}");
    }
}

/// A watch that nothing happens to: it is pinged and never cut, while the server replies.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_silent_for_hours_is_not_cut() {
    let (io, server) = tokio::io::duplex(4096);
    tokio::spawn(serve(server, 2 * HOURS, |mut body| {
        Box::pin(async move {
            tokio::time::sleep(HOURS).await;
            body.send_data("at last".into(), true).unwrap();
        })
    }));
    assert_eq!(answer_over(io).await.collect().await.unwrap().to_bytes(), "at last");
}

/// What comes from it comes in pieces, with pauses.
struct Slow {
    io: DuplexStream,
    pause: Duration,
    until: Pin<Box<Sleep>>,
    /// Pieces to come.
    left: usize,
}

const PIECE: usize = 2048;

impl Slow {
    fn new(io: DuplexStream, pause: Duration, left: usize) -> Self {
        Self { io, pause, until: Box::pin(tokio::time::sleep(pause)), left }
    }
}

impl AsyncRead for Slow {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        std::task::ready!(self.until.as_mut().poll(cx));
        if self.left == 0 {
            return Poll::Pending;
        }
        let mut bytes = [0; PIECE];
        let mut piece = ReadBuf::new(&mut bytes[..PIECE.min(buf.remaining())]);
        std::task::ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
        buf.put_slice(piece.filled());
        let until = Instant::now() + self.pause;
        self.until.as_mut().reset(until);
        self.left -= 1;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Slow {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Long enough for a ping, whose reply is then behind all that is under way.
const PAUSES: [u64; 4] = [460, 500, 800, 890];

async fn long_answer(pause: Duration, pieces: usize) -> Body {
    let (io, server) = tokio::io::duplex(2 * LENGTH);
    tokio::spawn(serve(server, HOURS, |mut body| {
        Box::pin(async move {
            (1..=LENGTH / PIECE).for_each(|piece| body.send_data(vec![0; PIECE].into(), piece == LENGTH / PIECE).unwrap());
        })
    }));
    let mut body = answer_over(Slow::new(io, pause, pieces)).await;
    body.has_an_end();
    body
}

const LENGTH: usize = 48 * 1024;

#[tokio::test(start_paused = true)]
async fn a_link_that_is_slow_is_not_silent() {
    for pause in PAUSES {
        let body = long_answer(Duration::from_millis(pause), usize::MAX).await;
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), LENGTH, "{pause} ms");
    }
}

/// What has come while a ping's reply was waited for gives the reply no more time than the ping had.
#[tokio::test(start_paused = true)]
async fn silence_of_a_link_that_is_slow_is_found_as_soon() {
    for pause in PAUSES {
        for pieces in 4..12 {
            let (began, pause) = (Instant::now(), Duration::from_millis(pause));
            let mut body = long_answer(pause, pieces as usize).await;
            while body.frame().await.unwrap().is_ok() {}
            let after = began.elapsed() - pause * pieces;
            assert!(after <= Duration::from_millis(901), "{pause:?}, {pieces} pieces: {after:?}");
        }
    }
}

static NO_ROOM: Semaphore = Semaphore::const_new(0);

/// Of what is fast, which is anything.
const fn beginning(most: usize, within: Duration) -> Beginning {
    Beginning { most, slow: 0, room: &NO_ROOM, within }
}

#[tokio::test(start_paused = true)]
async fn the_beginning_of_an_answer_is_waited_for_and_not_forever() {
    let second = Duration::from_secs(1);
    for (pause, most, within, waits) in
        [(0, LENGTH, second, 0..=0), (500, PIECE, HOURS, 1..=4), (500, LENGTH, second, 2..=2), (500, LENGTH, HOURS, 23..=26)]
    {
        let body = long_answer(Duration::from_millis(pause), usize::MAX).await;
        let began = Instant::now();
        let body = body.begun(beginning(most, within), || {}).await.unwrap();
        let waited = began.elapsed().as_millis() / u128::from(pause.max(1));
        assert!(waits.contains(&waited), "{pause} ms, {most} bytes, {within:?}: {waited} pieces");
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), LENGTH, "nothing is lost");
    }
    let broken = long_answer(Duration::from_millis(500), 4).await.begun(beginning(LENGTH, HOURS), || {}).await;
    assert!(broken.is_err_and(|error| error.is_link()), "nobody was shown any of it");
}

/// Pieces of 2 KiB, two a second.
#[tokio::test(start_paused = true)]
async fn of_what_comes_slowly_more_is_held_as_long_as_there_is_room() {
    static ROOM: Semaphore = Semaphore::const_new(LENGTH);
    let answer = async || long_answer(Duration::from_millis(500), usize::MAX).await;
    let slow = Beginning { most: PIECE, slow: 32 * 1024, room: &ROOM, within: HOURS };
    let began = Instant::now();
    let whole = answer().await.begun(slow, || {}).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(11), "all of it");
    assert!(ROOM.available_permits() < 2 * PIECE, "{}", ROOM.available_permits());
    let began = Instant::now();
    let other = answer().await.begun(slow, || {}).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "there is no room");
    for body in [whole, other] {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), LENGTH, "nothing is lost");
    }
    assert_eq!(ROOM.available_permits(), LENGTH, "given back");
    let began = Instant::now();
    drop(answer().await.begun(Beginning { slow: 1024, ..slow }, || {}).await.unwrap());
    assert!(began.elapsed() < Duration::from_secs(3), "it is fast");
    assert_eq!(ROOM.available_permits(), LENGTH);
}

/// Over HTTP/1.1 nothing is sent behind what its length says is all.
#[tokio::test]
async fn an_answer_with_trailers_has_no_length_and_keeps_them() {
    let (io, server) = tokio::io::duplex(4096);
    tokio::spawn(serve(server, HOURS, |mut body| {
        Box::pin(async move {
            body.send_data("all".into(), false).unwrap();
            body.send_trailers(http::HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("e"))])).unwrap();
        })
    }));
    let body = answer_over(io).await.begun(beginning(LENGTH, HOURS), || {}).await.unwrap();
    assert_eq!(http_body::Body::size_hint(&body).exact(), None);
    let whole = body.collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["etag"], "e");
    assert_eq!(whole.to_bytes(), "all");
}
