//! How long the way to the cloud may take.

use std::time::Duration;

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// TCP, TLS and HTTP/2 handshakes, each.
    pub connect: Duration,
    /// A request that waits this long has had its connection pinged.
    pub patience: Duration,
    /// A ping without reply for this long means the connection is dead.
    pub pong: Duration,
    /// A connection that only watches use, and that brings nothing for this long, is pinged. With the ping and
    /// the probe that then follows, silence is known in six seconds although nobody asks for anything.
    pub keepalive: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(1400),
            patience: Duration::from_millis(900),
            pong: Duration::from_millis(900),
            keepalive: Duration::from_secs(3),
        }
    }
}
