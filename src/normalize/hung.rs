//! Tests that run far longer than they ever did.
//!
//! Such a test is announced once: an entry with `kind="test"`, `status="started"` (that is what it still is) and the metadata
//! `hung=true`. Its end entry, whatever the result, carries `hung=false` and so takes that back: of a test's entries in a
//! run, the newest one that has `hung` says whether it hangs.

use std::time::Duration;

use super::Normalizer;
use super::open::Open;
use super::pairs::Pairs;
use super::text::{first_line, millis, prefix, push_duration};
use super::write::key;
use crate::event::Timestamp;
use crate::loki::entry::EntrySink;
use crate::names::{kind, meta, status};

/// Without `--hung-after`.
const HUNG_AFTER: Duration = Duration::from_secs(5 * 60);
/// So many times its usual duration is not unusual enough.
const TIMES_EXPECTED: u32 = 10;
/// How often running tests are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of a test's last line of output so much is kept, in bytes.
pub(super) const MAX_OUTPUT: usize = 500;

/// When a test counts as hung, and when that was looked at.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) after: Duration,
    looked: Timestamp,
}

impl Default for Watch {
    fn default() -> Self {
        Self { after: HUNG_AFTER, looked: Timestamp::default() }
    }
}

impl Normalizer {
    /// After how long a test counts as hung that usually takes less than a tenth of it.
    pub fn set_hung_after(&mut self, after: Duration) {
        self.watch.after = after;
    }

    /// Announces tests that have become hung.
    pub(super) fn look_for_hung(&mut self, now: Timestamp, out: &mut dyn EntrySink) {
        if now.since(self.watch.looked) < LOOK_EVERY {
            return;
        }
        self.watch.looked = now;
        let after = self.watch.after;
        let is_hung = |test: u64, open: &Open| {
            let age = open.age(now);
            age > after && self.changes.expected(test).is_none_or(|expected| age > expected * TIMES_EXPECTED)
        };
        for (test, open) in self.tests.become_hung(is_hung) {
            let (age, expected) = (open.age(now), self.changes.expected(test));
            let mut line = format!("HUNG {}", open.id);
            push_duration(&mut line, age);
            if let Some(expected) = expected {
                line.push_str(", usually");
                push_duration(&mut line, expected);
            }
            if !open.last_output.is_empty() {
                line.push_str("\nits last output: ");
                line.push_str(&open.last_output);
            }
            let attempt = if open.attempt > 1 { open.attempt.to_string() } else { String::new() };
            let (age, expected) = (millis(age), expected.map(millis).unwrap_or_default());
            let mut pairs = Pairs::new("error");
            pairs.push(meta::TEST, &open.id);
            pairs.push(meta::SUITE, &open.suite);
            pairs.push(meta::WORKER, &open.worker);
            pairs.push(meta::ATTEMPT, &attempt);
            pairs.push(meta::DURATION_MS, &age);
            pairs.push(meta::EXPECTED_MS, &expected);
            pairs.push(meta::TAGS, &open.tags);
            pairs.push(meta::MESSAGE, first_line(&open.last_output));
            pairs.push(meta::HUNG, "true");
            self.write(key(kind::TEST, status::STARTED), now, &line, pairs, out);
        }
    }
}

/// The last line of `text` that is not blank, as far as it is kept.
pub(super) fn last_line(text: &str) -> &str {
    prefix(text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or(""), MAX_OUTPUT)
}
