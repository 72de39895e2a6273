//! Where a body's data is between its frames (RFC 9112, 6 and 7).

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

const MAX_TRAILERS: usize = 16 * 1024;
/// A chunk's size with its extensions.
const MAX_SIZE_LINE: usize = 4 * 1024;

/// How far a body is.
#[derive(Debug)]
pub(super) struct Framing(State);

#[derive(Debug)]
enum State {
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    End,
}

/// What the bytes at hand are.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// More bytes are needed to say it.
    More,
}

impl Framing {
    pub(super) fn length(length: u64) -> Self {
        Self(if length == 0 { State::End } else { State::Length(length) })
    }

    pub(super) fn chunked() -> Self {
        Self(State::ChunkSize)
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(self.0, State::End)
    }

    pub(super) fn left(&self) -> Option<u64> {
        match self.0 {
            State::Length(left) => Some(left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes what it can from the front of `buf`.
    pub(super) fn step(&mut self, buf: &mut BytesMut) -> Result<Step, &'static str> {
        loop {
            match self.0 {
                State::End => return Ok(Step::End),
                State::Length(_) | State::Chunk(_) if buf.is_empty() => return Ok(Step::More),
                State::Length(left) => {
                    let data = split(buf, left);
                    *self = Self::length(left - data.len() as u64);
                    return Ok(Step::Data(data));
                }
                State::Chunk(left) => {
                    let data = split(buf, left);
                    let left = left - data.len() as u64;
                    self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    return Ok(Step::Data(data));
                }
                State::ChunkSize => match httparse::parse_chunk_size(buf) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        buf.advance(line);
                        self.0 = if size == 0 { State::Trailers } else { State::Chunk(size) };
                    }
                    Ok(httparse::Status::Partial) if buf.len() < MAX_SIZE_LINE => return Ok(Step::More),
                    _ => return Err("not the size of a chunk"),
                },
                State::ChunkEnd => match &buf[..] {
                    [b'\r', b'\n', ..] => {
                        buf.advance(2);
                        self.0 = State::ChunkSize;
                    }
                    [] | [b'\r'] => return Ok(Step::More),
                    _ => return Err("not the end of a chunk"),
                },
                State::Trailers => return self.trailers(buf),
            }
        }
    }

    fn trailers(&mut self, buf: &mut BytesMut) -> Result<Step, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let (length, fields) = match httparse::parse_headers(buf, &mut fields) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) if buf.len() < MAX_TRAILERS => return Ok(Step::More),
            _ => return Err("not trailers"),
        };
        let mut trailers = HeaderMap::new();
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "not a trailer's name")?;
            trailers.append(name, HeaderValue::from_bytes(field.value).map_err(|_| "not a trailer's value")?);
        }
        buf.advance(length);
        self.0 = State::End;
        Ok(if trailers.is_empty() { Step::End } else { Step::Trailers(trailers) })
    }
}

fn split(buf: &mut BytesMut, left: u64) -> Bytes {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    buf.split_to(length).freeze()
}
