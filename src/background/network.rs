//! The address that Pods talk to, on an interface of the node's own.
//!
//! Ladder: dummy, ifb, bridge (each named `--dummy-if-name`), then lo: the first that
//! the kernel has. Made if missing, up, looked at every minute, left alone at the end: a
//! restart must not cut Pods off for longer than it takes.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec};

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
        let failed = |why: &dyn std::fmt::Display| NoAddress { address: self.address, why: why.to_string() };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| failed(&error))?;
        let driver = tokio::spawn(connection);
        let result = self.ensure_with(&handle).await.map_err(|error| failed(&error));
        driver.abort();
        result
    }

    async fn ensure_with(&self, handle: &Handle) -> Result<Carrier, rtnetlink::Error> {
        let addresses = handle.address().get().set_address_filter(self.address).execute();
        let indices: Vec<u32> = addresses.map_ok(|address| address.header.index).try_collect().await?;
        let mut links = Vec::new();
        for index in indices {
            links.push(found(handle.link().get().match_index(index)).await?);
        }
        if let Some(link) = links.iter().find(|link| is_up(link)) {
            return Ok(Carrier { interface: name(link), was: Was::There });
        }
        if let Some(link) = links.first() {
            raise(handle, link.header.index).await?;
            return Ok(Carrier { interface: name(link), was: Was::Down });
        }
        let interface = self.place(handle).await?;
        Ok(Carrier { interface, was: Was::Missing })
    }

    /// Puts the address on the first interface of the ladder; returns which.
    async fn place(&self, handle: &Handle) -> Result<String, rtnetlink::Error> {
        for kind in [InfoKind::Dummy, InfoKind::Ifb, InfoKind::Bridge] {
            if let Ok(index) = self.make(handle, kind).await {
                self.put(handle, index).await?;
                return Ok(self.interface.clone());
            }
        }
        let lo = index_of(handle, "lo").await?;
        raise(handle, lo).await?;
        self.put(handle, lo).await?;
        Ok("lo".to_owned())
    }

    async fn make(&self, handle: &Handle, kind: InfoKind) -> Result<u32, rtnetlink::Error> {
        if index_of(handle, &self.interface).await.is_err() {
            let mut message = LinkMessageBuilder::<LinkUnspec>::new().name(self.interface.clone()).build();
            message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
            handle.link().add(message).execute().await?;
        }
        let index = index_of(handle, &self.interface).await?;
        raise(handle, index).await?;
        Ok(index)
    }

    async fn put(&self, handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
        let prefix = if self.address.is_ipv4() { 32 } else { 128 };
        handle.address().add(index, self.address, prefix).execute().await
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

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    found(handle.link().get().match_name(name)).await.map(|link| link.header.index)
}

async fn found(request: rtnetlink::LinkGetRequest) -> Result<LinkMessage, rtnetlink::Error> {
    std::pin::pin!(request.execute()).try_next().await?.ok_or(rtnetlink::Error::RequestFailed)
}

fn is_up(link: &LinkMessage) -> bool {
    link.header.flags.contains(LinkFlags::Up)
}

fn name(link: &LinkMessage) -> String {
    let named = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    named.unwrap_or_else(|| format!("interface {}", link.header.index))
}

async fn raise(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
}

#[cfg(test)]
mod tests;
