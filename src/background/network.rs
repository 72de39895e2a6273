//! The address that Pods talk to, on an interface of the node's own.
//!
//! Ladder: dummy, ifb, bridge (each named `--dummy-if-name`), then lo: the first that
//! the kernel has. Made if missing, up, looked at every minute, left alone at the end: a
//! restart must not cut Pods off for longer than it takes.

mod netlink;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use netlink::Netlink;

const LOOK: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
#[error(
    "address {address} could not be put on any interface (dummy, ifb, bridge, lo): {why}; the hub needs CAP_NET_ADMIN, or --manage-address=false and an address made by you"
)]
pub struct NoAddress {
    address: IpAddr,
    why: String,
}

/// The address and where it goes.
#[derive(Debug, Clone)]
pub struct LocalAddress {
    pub address: IpAddr,
    pub interface: String,
}

/// What carries the address now, and how it was found.
#[derive(Debug)]
pub struct Carrier {
    pub interface: String,
    was: Was,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    There,
    /// On an interface that was down.
    Down,
    /// With an interface that goes down an IPv6 address is gone.
    Missing,
}

impl LocalAddress {
    /// Makes sure of the address.
    pub async fn ensure(&self) -> Result<Carrier, NoAddress> {
        self.ensured().await.map_err(|error| NoAddress { address: self.address, why: error.to_string() })
    }

    async fn ensured(&self) -> io::Result<Carrier> {
        let kernel = Netlink::connect().await?;
        let with_it = kernel.indices_with(self.address).await?;
        let mut links = kernel.links().await?;
        links.retain(|link| with_it.contains(&link.index));
        if let Some(link) = links.iter().find(|link| link.is_up) {
            return Ok(Carrier { interface: link.name.clone(), was: Was::There });
        }
        if let Some(link) = links.pop() {
            kernel.set_up(link.index).await?;
            return Ok(Carrier { interface: link.name, was: Was::Down });
        }
        let interface = self.place(&kernel).await?;
        Ok(Carrier { interface, was: Was::Missing })
    }

    /// Puts the address on the first interface of the ladder; returns which.
    async fn place(&self, kernel: &Netlink) -> io::Result<String> {
        for kind in ["dummy", "ifb", "bridge"] {
            if let Ok(index) = self.make(kernel, kind).await {
                kernel.add_address(index, self.address).await?;
                return Ok(self.interface.clone());
            }
        }
        let lo = index_of(kernel, "lo").await?;
        kernel.set_up(lo).await?;
        kernel.add_address(lo, self.address).await?;
        Ok("lo".to_owned())
    }

    async fn make(&self, kernel: &Netlink, kind: &str) -> io::Result<u32> {
        if index_of(kernel, &self.interface).await.is_err() {
            kernel.add_link(&self.interface, kind).await?;
        }
        let index = index_of(kernel, &self.interface).await?;
        kernel.set_up(index).await?;
        Ok(index)
    }

    /// Puts the address back whenever it is gone, and its interface up whenever that is down.
    pub async fn keep(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.ensure().await {
                Ok(Carrier { was: Was::There, .. }) => {}
                Ok(Carrier { interface, was }) => {
                    tracing::warn!(address = %self.address, interface, ?was, "the local address was not kept: it is back");
                }
                Err(error) => tracing::error!(%error, "the local address is missing"),
            }
        }
    }
}

async fn index_of(kernel: &Netlink, name: &str) -> io::Result<u32> {
    let links = kernel.links().await?;
    let found = links.iter().find(|link| link.name == name);
    found.map(|link| link.index).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {name}")))
}

#[cfg(test)]
mod tests;
