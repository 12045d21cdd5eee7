//! What each command does.

mod adopt;
pub mod audit;
pub mod check;
pub mod dashboards;
pub mod demo;
mod events_file;
pub mod flush;
mod history;
pub mod import;
pub mod listen;
pub mod pipe;
pub mod run;
mod session;
mod shipping;
pub mod status;
mod status_line;
mod totals;
