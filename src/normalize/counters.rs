//! Cumulative counters of a run's shard.

use crate::event::Status;
use crate::names::meta::counter;

/// Counts of tests by the result of their last attempt, and of attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
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
    /// Of the failing: did not fail before.
    pub new_failures: u64,
    /// Of the passed: failed before.
    pub fixed: u64,
    /// Of the failing: failed before.
    pub still_failing: u64,
    /// Never seen before, and not failing.
    pub new_tests: u64,
    /// Of the failing: somebody knows of it.
    pub known: u64,
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
            new_failures: self.new_failures + other.new_failures,
            fixed: self.fixed + other.fixed,
            still_failing: self.still_failing + other.still_failing,
            new_tests: self.new_tests + other.new_tests,
            known: self.known + other.known,
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

    /// Name and value of those that come from the history.
    pub(super) fn change_pairs(&self) -> [(&'static str, u64); 4] {
        [
            (counter::NEW_FAILURES, self.new_failures),
            (counter::FIXED, self.fixed),
            (counter::STILL_FAILING, self.still_failing),
            (counter::NEW_TESTS, self.new_tests),
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
        let mut text =
            if parts.is_empty() { format!("{tests} {noun}") } else { format!("{tests} {noun}: {}", parts.join(", ")) };
        let changes = [
            (self.new_failures, if self.new_failures == 1 { "new failure" } else { "new failures" }),
            (self.still_failing, "still failing"),
            (self.fixed, "fixed"),
            (self.new_tests, if self.new_tests == 1 { "new test" } else { "new tests" }),
            (self.known, if self.known == 1 { "known failure" } else { "known failures" }),
        ];
        let changes: Vec<String> =
            changes.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        if !changes.is_empty() {
            text.push_str("; ");
            text.push_str(&changes.join(", "));
        }
        text
    }
}
