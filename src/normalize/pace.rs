//! When a run will be over: what its tests usually take, at the pace of this run.

use std::time::Duration;

use super::Normalizer;
use super::tests::Tests;
use crate::event::Timestamp;

/// What the workers seen would do of all work counts as much as this part of it having been done, so that the first
/// tests alone do not set the pace.
const PRIOR: f64 = 0.03;

/// How fast the run goes, in seconds of work, as it usually takes, by seconds of time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: Option<Timestamp>,
    /// Usual seconds of the tests that have ended.
    done: f64,
    /// Most tests that were under way at a time.
    workers: usize,
}

impl Pace {
    /// A test begins; `running` are under way now.
    pub(super) fn start(&mut self, time: Timestamp, running: u64) {
        self.began = Some(self.began.map_or(time, |began| began.min(time)));
        self.workers = self.workers.max(usize::try_from(running).unwrap_or(usize::MAX));
    }

    /// An attempt has ended. What nobody expected took as long as it should.
    pub(super) fn end(&mut self, expected: Option<Duration>, duration: Option<Duration>) {
        self.done += expected.or(duration).unwrap_or_default().as_secs_f64();
    }

    /// Time to the end. `unknown` is what a test takes of which nothing is known, `unnamed` the number and mean of tests
    /// that are announced by number only.
    fn eta(&self, tests: &Tests, unknown: Duration, unnamed: (u64, Duration), now: Timestamp) -> Option<Duration> {
        let mut longest = 0.0_f64;
        let mut left = unnamed.0 as f64 * unnamed.1.as_secs_f64();
        for expected in tests.planned_expected() {
            let seconds = expected.unwrap_or(unknown).as_secs_f64();
            left += seconds;
            longest = longest.max(seconds);
        }
        let mut done = self.done;
        for open in tests.open() {
            let (expected, age) =
                (open.expected.unwrap_or(unknown).as_secs_f64(), now.since(open.started).as_secs_f64());
            let rest = (expected - age).max(0.0);
            done += age.min(expected);
            left += rest;
            longest = longest.max(rest);
        }
        let workers = self.workers.max(1) as f64;
        let prior = PRIOR * (done + left);
        let elapsed = now.since(self.began?).as_secs_f64();
        let pace = (done + prior) / (elapsed + prior / workers);
        let seconds = (left / pace).max(longest * workers / pace);
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Normalizer {
    /// Time to the expected end. Without a history the rest goes as what is done; nothing is said before the first result.
    pub(super) fn eta(&self, elapsed: Duration, now: Timestamp) -> Option<Duration> {
        let counters = &self.tests.counters;
        let left = counters.planned.checked_sub(counters.done())?;
        if counters.planned == 0 {
            return None;
        }
        if let Some(unknown) = self.changes.median() {
            let unnamed = self.tests.unnamed();
            let mean = if unnamed > 0 { self.changes.mean_of_others().unwrap_or(unknown) } else { unknown };
            if let Some(eta) = self.pace.eta(&self.tests, unknown, (unnamed, mean), now) {
                return Some(eta);
            }
        }
        (counters.done() > 0).then(|| elapsed.mul_f64(left as f64 / counters.done() as f64))
    }
}
