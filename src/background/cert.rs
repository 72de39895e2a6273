//! Certificates, for now from files; read again when they change.

pub mod files;
