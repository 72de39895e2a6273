//! The connections to one server under one identity.
//!
//! A stream goes on the first connection with a free place; if none has one, a
//! connection is made, once for all who wait. Connections of an older generation of
//! credentials take no new streams and end with their last one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::connect::{self, Peer};
use super::connection::{Connection, Place, Signs};
use super::error::{Error, Fault};
use super::lane::{Io, Lanes};
use super::timing::Timing;
use crate::state::link::Link;

#[derive(Default)]
pub(super) struct Pool {
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held by the one who makes a connection; has the last failure to make one.
    connecting: tokio::sync::Mutex<Option<(Instant, Error)>>,
    pub(super) lanes: Arc<Lanes>,
}

/// What a pool needs to make a connection.
pub(super) struct Maker<'a> {
    /// The server's number.
    pub(super) index: usize,
    pub(super) peer: &'a Arc<Peer>,
    pub(super) config: Arc<rustls::ClientConfig>,
    pub(super) generation: u64,
    pub(super) timing: Timing,
    pub(super) link: &'a Arc<Link>,
    pub(super) runtime: &'a tokio::runtime::Handle,
    pub(super) signs: &'a Arc<Signs>,
}

/// A place on a connection, or a fresh connection that speaks only HTTP/1.1.
pub(super) enum Taken {
    H2(Arc<Connection>, Place),
    H1(Box<connect::Stream>),
}

enum Made {
    H2(Connection),
    H1(Box<connect::Stream>),
}

impl Maker<'_> {
    /// Makes a connection on the path's runtime, where its driver then stays, whoever
    /// asked for it.
    async fn make(&self) -> Result<Made, Error> {
        let (peer, config, timing, generation) = (self.peer.clone(), self.config.clone(), self.timing, self.generation);
        let (link, index, signs) = (self.link.clone(), self.index, self.signs.clone());
        let task = self.runtime.spawn(async move {
            let io = connect::tls(&peer, config, timing.connect).await?;
            signs.replies.fetch_add(1, Ordering::Relaxed);
            if io.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Ok(Made::H1(Box::new(io)));
            }
            let died = move |clean: bool| {
                if !clean {
                    link.suspect(index);
                }
            };
            tokio::time::timeout(timing.connect, Connection::start(io, generation, timing, signs, died))
                .await
                .unwrap_or_else(|_| Err(Error::silence(false, "no HTTP/2 handshake in time")))
                .map(Made::H2)
        });
        task.await.unwrap_or_else(|_| Err(Error::new(Fault::Link, false, "the hub is ending")))
    }
}

impl Pool {
    pub(super) async fn take(&self, maker: Maker<'_>) -> Result<Taken, Error> {
        if let Some((connection, place)) = self.free(maker.generation) {
            return Ok(Taken::H2(connection, place));
        }
        let asked = Instant::now();
        let mut failed = self.connecting.lock().await;
        if let Some((connection, place)) = self.free(maker.generation) {
            return Ok(Taken::H2(connection, place));
        }
        // One failure is everybody's who waited for it: tries in a row would add up.
        if let Some((_, error)) = failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        let made = maker.make().await.inspect_err(|error| {
            maker.link.suspect(maker.index);
            *failed = Some((Instant::now(), error.clone()));
        })?;
        let connection = match made {
            Made::H2(connection) => connection,
            Made::H1(io) => return Ok(Taken::H1(io)),
        };
        let connection = Arc::new(connection);
        let place = connection.take_place().ok_or_else(|| Error::new(Fault::Server, false, "the server allows no streams"))?;
        self.lock().push(connection.clone());
        Ok(Taken::H2(connection, place))
    }

    /// Opens one more lane, while the request at hand goes its way.
    pub(super) fn open_lane(&self, maker: &Maker<'_>) {
        let (peer, timing, generation) = (maker.peer.clone(), maker.timing, maker.generation);
        let (lanes, config) = (self.lanes.clone(), connect::http1_only(&maker.config));
        maker.runtime.spawn(async move {
            let began = tokio::time::Instant::now();
            let io = connect::tls(&peer, config, timing.connect).await;
            lanes.opened(io.ok().map(|io| Box::new(io) as Box<dyn Io>), generation, began);
        });
    }

    fn free(&self, generation: u64) -> Option<(Arc<Connection>, Place)> {
        let mut connections = self.lock();
        connections.retain(|connection| !connection.is_dead() && (connection.generation == generation || !connection.is_idle()));
        connections
            .iter()
            .filter(|connection| connection.generation == generation)
            .find_map(|connection| connection.take_place().map(|place| (connection.clone(), place)))
    }

    /// How often something came: another number than before is a sign of life.
    pub(super) fn heard(&self) -> u64 {
        self.lock().iter().fold(0, |sum, connection| sum.wrapping_add(connection.heard()))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.lock().iter().any(|connection| !connection.is_dead())
    }

    /// Forgets every connection: new streams get new ones.
    pub(super) fn forget(&self) {
        self.lock().clear();
        self.lanes.forget();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
