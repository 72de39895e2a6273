//! The loops, on a runtime of their own: what they find out they publish into
//! `state`, what they must do they do through the store and the servers. A loop that
//! fails logs, waits and goes on; the path never waits for one.

pub mod cert;
pub mod cluster;
pub mod config_watch;
pub mod discovery;
pub mod gc;
pub mod history;
pub mod inputs;
pub mod mend;
pub mod network;
pub mod reconcile;
pub mod told;
