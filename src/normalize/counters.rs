//! Cumulative counters of a run's shard.

use crate::event::Status;
use crate::names::meta::counter;

/// Counts of tests by the result of their last attempt, and of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Tests announced, or seen if more.
    pub planned: u64,
    /// Last attempt passed, flaky tests included.
    pub passed: u64,
    /// Last attempt failed.
    pub failed: u64,
    /// Last attempt broke.
    pub errored: u64,
    /// Not run on purpose.
    pub skipped: u64,
    /// Failed as expected.
    pub xfailed: u64,
    /// Passed although a failure was expected.
    pub xpassed: u64,
    /// Of the passed: failed at least once before.
    pub flaky: u64,
    /// Attempts beyond the first, asked-for repeats not included.
    pub retried: u64,
    /// Started and never ended.
    pub unfinished: u64,
    /// Under way.
    pub running: u64,
}

impl Counters {
    /// Tests with a result.
    pub fn done(&self) -> u64 {
        self.passed + self.failed + self.errored + self.skipped + self.xfailed + self.xpassed
    }

    /// Tests that were seen: with a result, unfinished or under way.
    pub fn seen(&self) -> u64 {
        self.done() + self.unfinished
    }

    /// Tests that make the run fail.
    pub fn failing(&self) -> u64 {
        self.failed + self.errored
    }

    /// The sum with those of another run.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            planned: self.planned + other.planned,
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            errored: self.errored + other.errored,
            skipped: self.skipped + other.skipped,
            xfailed: self.xfailed + other.xfailed,
            xpassed: self.xpassed + other.xpassed,
            flaky: self.flaky + other.flaky,
            retried: self.retried + other.retried,
            unfinished: self.unfinished + other.unfinished,
            running: self.running + other.running,
        }
    }

    /// The count that a last attempt with this status belongs to; `None` for one that will be repeated.
    pub(super) fn of(&mut self, status: Status) -> Option<&mut u64> {
        Some(match status {
            Status::Passed => &mut self.passed,
            Status::Failed => &mut self.failed,
            Status::Errored => &mut self.errored,
            Status::Skipped => &mut self.skipped,
            Status::Xfailed => &mut self.xfailed,
            Status::Xpassed => &mut self.xpassed,
            Status::Unfinished => &mut self.unfinished,
            Status::Retried => return None,
        })
    }

    /// Name and value of each, in DESIGN's order.
    pub(super) fn pairs(&self) -> [(&'static str, u64); 12] {
        [
            (counter::PLANNED, self.planned),
            (counter::DONE, self.done()),
            (counter::PASSED, self.passed),
            (counter::FAILED, self.failed),
            (counter::ERRORED, self.errored),
            (counter::SKIPPED, self.skipped),
            (counter::XFAILED, self.xfailed),
            (counter::XPASSED, self.xpassed),
            (counter::FLAKY, self.flaky),
            (counter::RETRIED, self.retried),
            (counter::UNFINISHED, self.unfinished),
            (counter::RUNNING, self.running),
        ]
    }

    /// `120 tests: 100 passed (2 flaky), 12 failed, 8 skipped`, zeroes left out.
    pub fn summary(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |n: u64, word: &str| {
            if n > 0 {
                parts.push(format!("{n} {word}"));
            }
        };
        let flaky = if self.flaky > 0 { format!("passed ({} flaky)", self.flaky) } else { "passed".into() };
        part(self.passed, &flaky);
        part(self.failed, "failed");
        part(self.errored, "errored");
        part(self.skipped, "skipped");
        part(self.xfailed, "xfailed");
        part(self.xpassed, "xpassed");
        part(self.unfinished, "unfinished");
        part(self.planned.saturating_sub(self.seen() + self.running), "never ran");
        let tests = self.seen() + self.running;
        let noun = if tests == 1 { "test" } else { "tests" };
        if parts.is_empty() { format!("{tests} {noun}") } else { format!("{tests} {noun}: {}", parts.join(", ")) }
    }
}
