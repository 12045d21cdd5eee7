//! RealtimeResults, a Robot Framework listener with a log tailer and a metric scraper.
//!
//! Its events name no run. A run begins with a suite that belongs into no open one and ends with the end of that suite; a
//! listener has one test open at a time, and events of another machine are of another run. Under Robot ≤ 6 no start is
//! ever sent, so runs and tests are also inferred from what else comes.

mod parse;
mod runs;

pub use self::parse::{Kind, Parsed, parse, parse_push};
pub use self::runs::Realtime;
