//! The process that has taken this one's place on the node: it is asked for what clients of this one still wait for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::body::Body;
use super::connection::Connection;
use super::error::{Error, Fault};
use super::timing::Timing;

/// On the same machine: its end is told by the kernel, and only a process that hangs is found by these.
const PATIENT: Timing = Timing {
    connect: Duration::from_secs(10),
    patience: Duration::from_secs(30),
    pong: Duration::from_secs(30),
    keepalive: Duration::from_secs(60),
};

/// One HTTP/2 connection to it.
pub struct Successor {
    connection: Connection,
    gone: watch::Receiver<bool>,
}

impl Successor {
    /// # Errors
    /// When it does not speak HTTP/2 there.
    pub async fn over(socket: UnixStream) -> Result<Self, Error> {
        let (end, gone) = watch::channel(false);
        let died = move |_| _ = end.send_replace(true);
        let connection = Connection::start(socket, 0, PATIENT, Arc::default(), died).await?;
        Ok(Self { connection, gone })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When it has ended, or takes no more.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let refused = |why: &str| Error::new(Fault::Refused, false, why);
        let place = self.connection.take_place().ok_or_else(|| refused("it takes no more requests"))?;
        let (mut head, body) = request.into_parts();
        let mut uri = std::mem::take(&mut head.uri).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(Authority::from_static("successor"));
        head.uri = Uri::from_parts(uri).map_err(|error| refused(&error.to_string()))?;
        head.version = http::Version::HTTP_2;
        let (answer, mut rest) = self.connection.send(Request::from_parts(head, ()), body.is_empty()).await?;
        if !body.is_empty() {
            rest.send_data(body, true).map_err(|error| Error::from_h2(&error, true))?;
        }
        let response = self.connection.answer(answer).await?;
        Ok(response.map(|stream| Body::h2(stream, place)))
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
    }
}
