
pub mod fake;
pub mod pki;
pub mod client;
pub mod cluster;
