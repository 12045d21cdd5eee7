//! The durable spool: against a model of it, with faults of files and disk, and killed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod kill;
mod model;
mod records;
