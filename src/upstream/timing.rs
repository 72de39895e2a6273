//! How long the way to the cloud may take.

use std::time::Duration;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// TCP, TLS and HTTP/2 handshakes, each.
    pub connect: Duration,
    /// A request without an answer for this long has its connection pinged.
    pub patience: Duration,
    /// A ping without reply for this long means the connection is dead.
    pub pong: Duration,
    /// A connection in use that brings nothing for this long is pinged.
    pub keepalive: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(1500),
            patience: Duration::from_millis(900),
            pong: Duration::from_millis(900),
            keepalive: Duration::from_secs(5),
        }
    }
}
