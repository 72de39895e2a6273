//! The sockets that clients come to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use anyhow::Context as _;
use socket2::SockRef;
use tokio::net::TcpListener;

use crate::config::Settings;

pub(super) struct Doors {
    pub admin: TcpListener,
    pub loopback: TcpListener,
    pub secure: TcpListener,
}

impl Doors {
    /// Those that a process before this one has had are taken from it, so that nobody who waits there is sent away.
    pub(super) async fn bind(settings: &Settings, mut inherited: Vec<std::net::TcpListener>) -> anyhow::Result<Self> {
        let mut bind = async |what: &str, flag: &str, address: SocketAddr| {
            let of_address = inherited.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address));
            match of_address.map(|index| inherited.swap_remove(index)) {
                Some(socket) => taken(socket).with_context(|| format!("{what} listener {address}, from the process before")),
                None => TcpListener::bind(address)
                    .await
                    .with_context(|| format!("{what} listener {address}: another address or port can be set with --{flag}")),
            }
        };
        Ok(Self {
            admin: bind("admin", "serve-port", settings.admin).await?,
            loopback: bind("plain HTTP", "proxy-port", settings.loopback).await?,
            secure: bind("HTTPS", "proxy-secure-port", settings.secure).await?,
        })
    }

    /// The same sockets once more, for another process.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let copy = |socket| SockRef::from(socket).try_clone().map(OwnedFd::from);
        [&self.admin, &self.loopback, &self.secure].into_iter().map(copy).collect()
    }
}

fn taken(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
