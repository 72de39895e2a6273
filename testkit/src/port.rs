//! Ports for servers that are started later, and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that Linux gives to outgoing connections (`net.ipv4.ip_local_port_range`): none of them takes the port
/// while its server is not there. Above those that are somebody's by name.
const FIRST: u32 = 11_000;
const COUNT: u32 = 19_000;
/// Ports that a process tries before it meets those of the next one.
const OF_A_PROCESS: u32 = 64;

/// An address of loopback on which nobody listens now, another one each time.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let number = std::process::id().wrapping_mul(OF_A_PROCESS).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + number % COUNT)?;
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener.local_addr()?);
        }
    }
    anyhow::bail!("no port of loopback is free from {FIRST} on")
}
