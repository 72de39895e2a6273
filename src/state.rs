//! Snapshots that the loops write and the path reads: the link's verdict, the
//! credentials for the cloud, the rules. Readers never wait.

pub mod credentials;
pub mod link;
pub mod rules;
