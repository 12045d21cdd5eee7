//! `testwire tail` through everything that happens to log files: lines written, lines in the sink, lost, doubled.
//! `tests/tail/table.sh` prints the rows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../common/fake_loki.rs"]
mod fake_loki;
mod following;
mod rotation;
mod trouble;
mod unusual;

use fake_loki::{Answer, Push};

/// A Loki that takes everything.
fn good(_: &Push) -> Answer {
    Answer::stored()
}
