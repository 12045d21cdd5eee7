//! testwire turns any test runner's events and the application's logs into labelled Loki streams, live.

#![warn(missing_docs)]

pub mod cli;
pub mod config;
pub mod decode;
pub mod event;
pub mod exit;
pub mod loki;
pub mod names;
