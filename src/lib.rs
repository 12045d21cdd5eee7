//! testwire turns any test runner's events and the application's logs into labelled Loki streams, live.

#![warn(missing_docs)]

pub mod commands;
pub mod decode;
pub mod event;
pub mod loki;
pub mod names;
pub mod normalize;
pub mod pipeline;
pub mod ship;
pub mod source;
pub mod spool;
