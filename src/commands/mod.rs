//! What each command does.

mod events_file;
pub mod pipe;
pub mod run;
mod session;
pub mod status_line;
