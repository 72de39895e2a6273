//! Kubernetes' vocabulary, without IO: requests, representations, objects, lists,
//! watches, as bytes. Nothing here knows of connections or of the store.

pub mod coding;
pub mod discovery;
pub mod group;
pub mod json;
pub mod layout;
pub mod list;
pub mod media;
pub mod message;
pub mod metadata;
pub mod name;
pub mod object;
pub mod openapi;
pub mod path;
pub mod proto;
pub mod request;
pub mod review;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
pub mod token;
pub mod typed;
pub mod watch;
