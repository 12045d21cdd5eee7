//! `testwire listen`, asked over real connections.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod daemon;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../common/fake_loki.rs"]
mod fake_loki;
mod garbage;
mod loader;
mod own;
mod realtime;
mod recordings;
mod replay;
mod restart;
mod resultsdb;
mod server;
mod spooled;
mod stpt;
mod testruns;
