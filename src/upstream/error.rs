//! What went wrong on the way to the cloud, as answers to the questions the path asks.

use std::fmt;

/// An opaque failure with questions.
#[derive(Debug, Clone)]
pub struct Error {
    fault: Fault,
    sent: bool,
    silent: bool,
    message: String,
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection could be made, or one broke or fell silent: the link.
    Link,
    /// The server refused this stream before looking at it: safe to send again.
    Refused,
    /// The server sent something that is not HTTP, or broke its rules.
    Server,
    /// The client's own body failed.
    Client,
}

impl Error {
    pub(crate) fn new(fault: Fault, sent: bool, message: impl fmt::Display) -> Self {
        Self { fault, sent, silent: false, message: message.to_string() }
    }

    /// Nothing came for as long as there was patience.
    pub(crate) fn silence(sent: bool, message: impl fmt::Display) -> Self {
        Self { silent: true, ..Self::new(Fault::Link, sent, message) }
    }

    /// The client's own body failed.
    pub fn client(message: &dyn fmt::Display) -> Self {
        Self::new(Fault::Client, true, message)
    }

    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// The store may answer a read instead, and no other server was at fault. A server that
    /// looks at nothing has answered as little as one that cannot be reached.
    pub fn is_link(&self) -> bool {
        matches!(self.fault, Fault::Link | Fault::Refused)
    }

    /// Whether a server may have acted on the request.
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// Whether it is only that nothing has come: on a link that loses much, more may come yet.
    pub fn is_silence(&self) -> bool {
        self.silent
    }

    /// The failure of a stream or connection in h2's words.
    pub(crate) fn from_h2(error: &h2::Error, sent: bool) -> Self {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR));
        let fault = if refused {
            Fault::Refused
        } else if error.is_io() || error.is_go_away() && !error.is_library() {
            Fault::Link
        } else if error.is_reset() || error.is_library() {
            Fault::Server
        } else {
            Fault::Link
        };
        Self::new(fault, sent && !refused, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_stream_is_safe_to_repeat_and_leaves_a_read_to_the_store() {
        let error = Error::from_h2(&h2::Reason::REFUSED_STREAM.into(), true);
        assert!(!error.was_sent() && error.is_link(), "{error}");
    }
}
