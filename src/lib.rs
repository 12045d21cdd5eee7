//! testwire turns any test runner's events and the application's logs into labelled Loki streams, live.

pub mod cli;
pub mod commands;
pub mod config;
pub mod decode;
pub mod event;
pub mod exit;
pub mod loki;
pub mod names;
pub mod normalize;
pub mod pipeline;
pub mod ship;
pub mod source;
pub mod spool;
