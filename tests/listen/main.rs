//! `testwire listen`, asked over real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;
mod loader;
mod own;
mod realtime;
mod replay;
mod resultsdb;
mod server;
mod stpt;
