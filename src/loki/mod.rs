//! Loki's side: entries, labels, wire messages, pushing, queries.

pub mod encode;
pub mod entry;
pub mod limits;
pub mod push;
pub mod query;
pub mod reason;
pub mod tls;
