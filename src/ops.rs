//! The admin door: health, readiness with its reason, figures. Plain HTTP/1.1 on
//! `--bind-address`:`--serve-port`, for the node alone.

mod admin;

pub use admin::{Admin, Readiness};
