//! The hub's settings, in two steps: as written ([`Raw`], flags over file) and as
//! checked ([`Settings`]). Nothing else of the hub ever sees an unchecked value.
//!
//! A bad one is a [`BadSetting`]: which field, which value, what is allowed.

mod check;
mod raw;

pub use check::{BadSetting, ClientFiles, Settings, WorkingMode, check};
pub use raw::{BadFile, Raw, Whole, read_file};

pub use crate::upstream::Proxies;
