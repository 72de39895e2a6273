//! The address that Pods talk to, on an interface of the node's own.
//!
//! Ladder: dummy, ifb, bridge (each named `--dummy-if-name`), then lo: the first that
//! the kernel has. Made if missing, looked at every minute, left alone at the end: a
//! restart must not cut Pods off for longer than it takes.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo};
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

impl LocalAddress {
    /// Makes sure of the address; returns the interface that carries it.
    pub async fn ensure(&self) -> Result<String, NoAddress> {
        let failed = |why: &dyn std::fmt::Display| NoAddress { address: self.address, why: why.to_string() };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| failed(&error))?;
        let driver = tokio::spawn(connection);
        let result = self.ensure_with(&handle).await.map_err(|error| failed(&error));
        driver.abort();
        result
    }

    async fn ensure_with(&self, handle: &Handle) -> Result<String, rtnetlink::Error> {
        let mut addresses = handle.address().get().set_address_filter(self.address).execute();
        if let Some(found) = addresses.try_next().await? {
            return Ok(format!("interface {}", found.header.index));
        }
        for kind in [InfoKind::Dummy, InfoKind::Ifb, InfoKind::Bridge] {
            if let Ok(index) = self.make(handle, kind.clone()).await {
                self.put(handle, index).await?;
                return Ok(format!("{} ({kind:?})", self.interface));
            }
        }
        let lo = index_of(handle, "lo").await?;
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
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
        Ok(index)
    }

    async fn put(&self, handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
        let prefix = if self.address.is_ipv4() { 32 } else { 128 };
        handle.address().add(index, self.address, prefix).execute().await
    }

    /// Puts the address back whenever it is gone.
    pub async fn keep(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.ensure().await {
                tracing::error!(%error, "the local address is missing");
            }
        }
    }
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32, rtnetlink::Error> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let found = links.try_next().await?;
    found.map(|link| link.header.index).ok_or(rtnetlink::Error::RequestFailed)
}
