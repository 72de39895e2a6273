//! No source takes every place at a door: each address has its share, and one connection more is closed at once.
//!
//! Not the node's own addresses: kubelet, the node's agents and Pods in its network share them, and one of them must not
//! cost another its place. Who they are is asked of the kernel, and only when a share is used up.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between lines that say so: whoever is refused may try again at any pace.
const TOLD_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Shares {
    /// Connections from one address.
    places: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    taken: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// One place of a source's share; given back when dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    source: IpAddr,
}

impl Shares {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, inner: Mutex::default() })
    }

    /// A place for a connection from there; `None`: it has its share.
    pub(super) fn take(self: &Arc<Self>, source: IpAddr) -> Option<Share> {
        let source = source.to_canonical();
        let mut inner = self.lock();
        let taken = inner.taken.get(&source).copied().unwrap_or_default();
        if taken >= self.places && !is_own(source) {
            inner.tell(source, taken);
            return None;
        }
        inner.taken.insert(source, taken + 1);
        Some(Share { shares: self.clone(), source })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, source: IpAddr, taken: usize) {
        if self.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(%source, taken, "a source has its share of the places: its further connections are closed");
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut inner = self.shares.lock();
        if let Some(taken) = inner.taken.get_mut(&self.source) {
            *taken -= 1;
            if *taken == 0 {
                inner.taken.remove(&self.source);
            }
        }
    }
}

/// Whether an address is the node's own: what it sends there it sends from there. No packet leaves.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    address.is_loopback() || source().is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody's (RFC 5737).
    const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2));

    #[test]
    fn a_source_has_its_share_and_no_other_pays_for_it() {
        let shares = Shares::new(3);
        let mut taken: Vec<_> = (0..3).map(|_| shares.take(POD).unwrap()).collect();
        assert!(shares.take(POD).is_none());
        let IpAddr::V4(pod) = POD else { unreachable!() };
        assert!(shares.take(pod.to_ipv6_mapped().into()).is_none(), "in other words the same");
        assert!(shares.take(OTHER).is_some());
        taken.pop();
        assert!(shares.take(POD).is_some());
        taken.clear();
        assert_eq!(shares.lock().taken.len(), 0, "nothing is kept of who has left");
    }

    #[test]
    fn the_nodes_own_addresses_have_no_share() {
        let shares = Shares::new(1);
        let toward = |address: IpAddr| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
            socket.connect((address, 9)).ok()?;
            socket.local_addr().ok()
        };
        let own = toward(POD).map(|own| own.ip());
        for source in [IpAddr::from([127, 0, 0, 1]), [127, 0, 0, 2].into(), Ipv6Addr::LOCALHOST.into()].into_iter().chain(own) {
            let taken: Vec<_> = (0..3).map(|_| shares.take(source)).collect();
            assert!(taken.iter().all(Option::is_some), "{source}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_not_filled_by_whoever_is_refused() {
        let shares = Shares::new(0);
        assert!(shares.take(POD).is_none());
        let told = || shares.lock().told;
        let first = told();
        tokio::time::advance(TOLD_EVERY - Duration::from_secs(1)).await;
        assert!(shares.take(POD).is_none());
        assert_eq!(told(), first);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(shares.take(OTHER).is_none());
        assert_ne!(told(), first);
    }
}
