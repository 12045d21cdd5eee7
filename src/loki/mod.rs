//! Loki's side: entries, labels, wire messages, pushing, queries.

pub mod entry;
