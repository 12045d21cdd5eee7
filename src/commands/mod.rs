//! What each command does.

pub mod audit;
pub mod check;
pub mod dashboards;
pub mod demo;
mod events_file;
pub mod pipe;
pub mod run;
mod session;
mod status_line;
