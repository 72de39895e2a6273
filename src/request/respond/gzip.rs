//! Answers of the hub's own for the client that does not take them as they are.
//!
//! Receives a body as it comes and promises the same bytes in gzip, little by little: what each part of the body becomes
//! goes out before the next one is asked for. A body that breaks off breaks off here as well, without gzip's own end.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::response::Parts;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt as _;

use crate::request::context::{Body, BodyError};

/// Plain bytes that are compressed at once.
const PART: usize = 64 * 1024;

/// The same answer in gzip. Fields as the kube-apiserver sets them.
pub(super) fn gzipped(parts: &mut Parts, body: Body) -> Body {
    let headers = &mut parts.headers;
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    if !varies_by_encoding(headers) {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    Gzip { body, encoder: Some(encoder()), plain: Bytes::new(), trailers: None }.boxed_unsync()
}

fn varies_by_encoding(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    fields.map(str::trim).any(|field| field == "*" || field.eq_ignore_ascii_case("accept-encoding"))
}

fn encoder() -> GzEncoder<Vec<u8>> {
    // As the kube-apiserver: the least work.
    GzEncoder::new(Vec::new(), Compression::fast())
}

struct Gzip {
    body: Body,
    /// `None` once the end has been written.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// What the encoder has not seen yet.
    plain: Bytes,
    trailers: Option<HeaderMap>,
}

impl Gzip {
    /// What some of the plain bytes become; nothing where the encoder keeps them yet.
    fn compress(&mut self) -> std::io::Result<Vec<u8>> {
        let Some(encoder) = &mut self.encoder else { return Ok(Vec::new()) };
        let some = PART.min(self.plain.len());
        encoder.write_all(&self.plain[..some])?;
        self.plain.advance(some);
        Ok(std::mem::take(encoder.get_mut()))
    }

    fn end(&mut self) -> std::io::Result<Vec<u8>> {
        self.encoder.take().map_or(Ok(Vec::new()), GzEncoder::finish)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, BodyError>> {
        let failed = |error: std::io::Error| BodyError::Filter(format!("gzip: {error}"));
        loop {
            if !self.plain.is_empty() {
                let packed = self.compress().map_err(failed)?;
                if packed.is_empty() {
                    continue;
                }
                return Poll::Ready(Ok(packed));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.plain = data,
                Some(Err(frame)) => self.trailers = frame.into_trailers().ok(),
                None => return Poll::Ready(self.end().map_err(failed)),
            }
        }
    }
}

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.encoder.is_none() {
            return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let packed = ready!(self.poll_bytes(cx));
        Poll::Ready(Some(packed.map(|packed| Frame::data(Bytes::from(packed)))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;
    use crate::request::context::full;

    fn answer(body: Body) -> http::Response<Body> {
        let (mut parts, body) = http::Response::builder().header(CONTENT_LENGTH, 7).body(body).unwrap().into_parts();
        let body = gzipped(&mut parts, body);
        http::Response::from_parts(parts, body)
    }

    #[tokio::test]
    async fn the_same_bytes_come_in_parts() {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let plain: Vec<u8> = (0..1_000_000).map(|_| noise()).collect();
        let mut answer = answer(full(plain.clone()));
        let fields: Vec<_> = answer.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(fields, [("content-encoding", "gzip"), ("vary", "Accept-Encoding")]);
        let mut packed = Vec::new();
        while let Some(frame) = answer.body_mut().frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= 4 * PART, "{}", data.len());
            packed.extend_from_slice(&data);
        }
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*packed).read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == plain);
    }

    #[tokio::test]
    async fn what_breaks_off_has_no_end() {
        let parts = [Ok(Frame::data(Bytes::from_static(b"{"))), Err(BodyError::Store("gone".into()))];
        let mut answer = answer(StreamBody::new(stream::iter(parts)).boxed_unsync());
        let mut last = None;
        while let Some(frame) = answer.body_mut().frame().await {
            last = Some(frame);
            if matches!(last, Some(Err(_))) {
                break;
            }
        }
        assert!(matches!(last, Some(Err(BodyError::Store(_)))));
    }

    #[test]
    fn vary_says_it_once() {
        for (vary, expected) in [("Accept, accept-encoding", true), ("Accept", false), ("*", true)] {
            let headers = HeaderMap::from_iter([(VARY, HeaderValue::from_static(vary))]);
            assert_eq!(varies_by_encoding(&headers), expected, "{vary}");
        }
    }
}
