//! What each command does.

mod adopt;
pub mod audit;
pub mod check;
pub mod dashboards;
pub mod demo;
mod events_file;
pub mod flush;
pub mod health;
pub mod import;
pub mod listen;
pub mod pipe;
pub mod run;
mod runs_kept;
mod session;
mod shipping;
pub mod status;
mod status_line;
pub mod tail;
mod tails;
mod totals;
