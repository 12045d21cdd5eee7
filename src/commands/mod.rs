//! What each command does.

pub mod audit;
pub mod check;
pub mod dashboards;
mod events_file;
pub mod listen;
pub mod pipe;
pub mod run;
mod session;
mod status_line;
