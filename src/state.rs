//! Snapshots that the loops write and the path reads: the link's verdict, the
//! credentials for the cloud, the rules, what filters go by, what clients were told by them and what not, which watches are shared. Readers never wait.

pub mod credentials;
pub mod filters;
pub mod hidden;
pub mod inputs;
pub mod link;
pub mod mark;
pub mod rules;
pub mod sharing;
pub mod told;
pub mod user_rule;
