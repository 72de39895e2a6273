//! The addresses of a server that has a name.
//!
//! The system's resolver takes its time, and takes longest when the link is down. It gets a thread of its own, never
//! more than one for each server, so that nobody else waits; where it is slow or fails, the addresses of before are used.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::address::Address;

/// Where addresses are known the resolver has this long to say others.
const PATIENCE: Duration = Duration::from_millis(300);

type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;
type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

pub(super) struct Resolver {
    host: String,
    port: u16,
    lookup: Box<Lookup>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Vec<SocketAddr>,
    /// Of the lookup that is under way.
    found: Option<watch::Receiver<Option<Found>>>,
}

impl Resolver {
    pub(super) fn new(address: &Address) -> Self {
        Self::with(address, Box::new(|host, port| Ok((host, port).to_socket_addrs()?.collect())))
    }

    fn with(address: &Address, lookup: Box<Lookup>) -> Self {
        Self { host: address.host.clone(), port: address.port, lookup, state: Mutex::default() }
    }

    /// As the name's addresses are now, or were when they could last be asked for. At least one.
    pub(super) async fn addresses(self: &Arc<Self>) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let (known, mut found) = self.ask()?;
        let answer = async { found.wait_for(Option::is_some).await.ok().and_then(|found| found.clone()) };
        let answer = if known.is_empty() { answer.await } else { tokio::time::timeout(PATIENCE, answer).await.unwrap_or(None) };
        match answer {
            Some(Ok(found)) => Ok(found),
            _ if !known.is_empty() => Ok(known),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error)),
            None => Err(io::Error::other("the resolver's thread ended")),
        }
    }

    /// What is known, and what a lookup will find that is under way from now on at the latest.
    fn ask(self: &Arc<Self>) -> io::Result<(Vec<SocketAddr>, watch::Receiver<Option<Found>>)> {
        let mut state = self.lock();
        let found = match &state.found {
            Some(found) => found.clone(),
            None => {
                let found = self.start()?;
                state.found.insert(found).clone()
            }
        };
        Ok((state.known.clone(), found))
    }

    fn start(self: &Arc<Self>) -> io::Result<watch::Receiver<Option<Found>>> {
        let (tell, found) = watch::channel(None);
        let resolver = self.clone();
        let look = move || {
            let answer = (resolver.lookup)(&resolver.host, resolver.port).and_then(at_least_one);
            let mut state = resolver.lock();
            if let Ok(addresses) = &answer {
                state.known.clone_from(addresses);
            }
            state.found = None;
            tell.send_replace(Some(answer.map_err(Arc::new)));
        };
        std::thread::Builder::new().name("resolver".to_owned()).spawn(look)?;
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn at_least_one(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() { Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")) } else { Ok(addresses) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A resolver that answers with what it is given, one answer for each lookup, and counts the lookups.
    fn resolver() -> (Arc<Resolver>, mpsc::SyncSender<io::Result<Vec<SocketAddr>>>, Arc<AtomicUsize>) {
        let (give, answers) = mpsc::sync_channel(8);
        let (answers, lookups) = (Mutex::new(answers), Arc::new(AtomicUsize::new(0)));
        let count = lookups.clone();
        let lookup = move |host: &str, port| {
            assert_eq!((host, port), ("cloud.example", 6443));
            count.fetch_add(1, Ordering::Relaxed);
            answers.lock().unwrap().recv().unwrap_or_else(|_| Err(io::Error::other("the test is over")))
        };
        let address = Address::new("cloud.example", 6443).unwrap();
        (Arc::new(Resolver::with(&address, Box::new(lookup))), give, lookups)
    }

    fn addresses(last: u8) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([192, 0, 2, last], 6443))]
    }

    #[tokio::test]
    async fn a_name_is_looked_up_again_each_time_and_once_for_all_who_wait() {
        let (resolver, give, lookups) = resolver();
        let both = tokio::join!(resolver.addresses(), resolver.addresses(), async { give.send(Ok(addresses(1))).unwrap() });
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (addresses(1), addresses(1)));
        assert_eq!(lookups.load(Ordering::Relaxed), 1);
        give.send(Ok(addresses(2))).unwrap();
        assert_eq!(resolver.addresses().await.unwrap(), addresses(2));
    }

    #[tokio::test]
    async fn where_the_resolver_is_of_no_use_the_addresses_of_before_are_used() {
        let (resolver, give, lookups) = resolver();
        give.send(Err(io::Error::other("no route to it"))).unwrap();
        assert_eq!(resolver.addresses().await.unwrap_err().to_string(), "no route to it");
        give.send(Ok(addresses(1))).unwrap();
        assert_eq!(resolver.addresses().await.unwrap(), addresses(1));
        for useless in [Err(io::Error::other("no route to it")), Ok(Vec::new())] {
            give.send(useless).unwrap();
            assert_eq!(resolver.addresses().await.unwrap(), addresses(1));
        }
        // It does not answer at all: one thread waits for it, however many ask.
        for _ in 0..3 {
            assert_eq!(resolver.addresses().await.unwrap(), addresses(1));
        }
        assert_eq!(lookups.load(Ordering::Relaxed), 5);
    }

    #[tokio::test]
    async fn an_address_is_its_own_name() {
        let of = |host| Arc::new(Resolver::new(&Address::new(host, 6443).unwrap()));
        assert_eq!(of("192.0.2.7").addresses().await.unwrap(), addresses(7));
        assert_eq!(of("[2001:db8::7]").addresses().await.unwrap(), ["[2001:db8::7]:6443".parse().unwrap()]);
    }
}
