//! A tunnel of an HTTP proxy (CONNECT, RFC 9110, 9.3.6).

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::upstream::address::Address;

/// Bytes of the proxy's answer.
pub(super) const ANSWER: usize = 8 * 1024;
const FIELDS: usize = 64;

pub(super) async fn tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &Address,
    authorization: Option<&HeaderValue>,
) -> Result<(), String> {
    let mut ask = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        ask.extend_from_slice(b"Proxy-Authorization: ");
        ask.extend_from_slice(authorization.as_bytes());
        ask.extend_from_slice(b"\r\n");
    }
    ask.extend_from_slice(b"\r\n");
    stream.write_all(&ask).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    loop {
        let room = ANSWER - answer.len();
        let read = stream.take(room as u64).read_buf(&mut answer).await.map_err(|error| error.to_string())?;
        if let Some(end) = granted(&answer)? {
            return if end == answer.len() { Ok(()) } else { Err("it says more than its answer".to_owned()) };
        }
        match (read, room) {
            (_, 0) => return Err(format!("its answer has more than {ANSWER} bytes")),
            (0, _) => return Err("it has closed the connection".to_owned()),
            _ => {}
        }
    }
}

/// Where the answer ends, if that has come.
fn granted(answer: &[u8]) -> Result<Option<usize>, String> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(answer).map_err(|error| format!("its answer is no HTTP: {error}"))?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    match head.code {
        Some(200..=299) => Ok(Some(end)),
        code => Err(format!("{} {}", code.unwrap_or_default(), head.reason.unwrap_or_default())),
    }
}
