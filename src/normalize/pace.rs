//! When a run will be over: what its tests usually take, dealt out to its workers in the order in which they were announced,
//! at the speed of this run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::Normalizer;
use super::tests::Tests;
use crate::event::Timestamp;

/// What is usual counts as much as this part of the run having gone like that, so that the first tests alone do not set
/// the speed.
const PRIOR: f64 = 0.01;
/// The time left is computed anew no more often than this: it looks at every test that is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tests that are announced by number only are dealt out one by one up to this many.
const MAX_UNNAMED: u64 = 100_000;

/// How fast the run goes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    began: Option<Timestamp>,
    /// Seconds that the tests that have ended usually take, and took.
    usual: f64,
    took: f64,
    /// Most tests that were under way at a time.
    workers: usize,
    /// Time left, and when that was computed.
    eta: Option<(Timestamp, Duration)>,
}

impl Pace {
    /// A test begins; `running` are under way now.
    pub(super) fn start(&mut self, time: Timestamp, running: u64) {
        self.began = Some(self.began.map_or(time, |began| began.min(time)));
        self.workers = self.workers.max(usize::try_from(running).unwrap_or(usize::MAX));
    }

    /// An attempt has ended. What nobody expected took as long as it should.
    pub(super) fn end(&mut self, expected: Option<Duration>, took: Option<Duration>) {
        self.usual += expected.or(took).unwrap_or_default().as_secs_f64();
        self.took += took.or(expected).unwrap_or_default().as_secs_f64();
    }

    /// Time to the end. `unknown` is what a test takes of which nothing is known, `unnamed` the number and mean of tests
    /// that are announced by number only.
    fn left(&self, tests: &Tests, unknown: Duration, unnamed: (u64, Duration), now: Timestamp) -> Option<Duration> {
        let seconds = |expected: Option<Duration>| expected.unwrap_or(unknown).as_secs_f64();
        let mut queue: Vec<(u64, f64)> =
            tests.planned_expected().map(|(order, expected)| (order, seconds(expected))).collect();
        queue.sort_unstable_by_key(|(order, _)| *order);
        let unnamed = std::iter::repeat_n(unnamed.1.as_secs_f64(), unnamed.0.min(MAX_UNNAMED) as usize);
        let open: Vec<(f64, f64)> =
            tests.open().map(|open| (seconds(open.expected), now.since(open.started).as_secs_f64())).collect();
        let all = self.usual
            + queue.iter().map(|(_, seconds)| seconds).sum::<f64>()
            + open.iter().map(|(seconds, _)| seconds).sum::<f64>();
        let workers = self.workers.max(open.len()).max(1);
        let elapsed = now.since(self.began?).as_secs_f64();
        let prior = (PRIOR * all).max(f64::MIN_POSITIVE);
        // This machine may be faster or slower than usual; and between two tests a worker may be idle.
        let speed = (self.usual + prior) / (self.took + prior);
        let ages: f64 = open.iter().map(|(_, age)| age).sum();
        let busy = (self.took + ages + prior) / (workers as f64 * elapsed + prior);
        let per_test = 1.0 / (speed * busy.clamp(0.01, 1.0));
        let micros = |seconds: f64| Reverse((seconds * 1e6) as u64);
        let mut free: BinaryHeap<Reverse<u64>> =
            open.iter().map(|(expected, age)| micros((expected / speed - age).max(0.0))).collect();
        free.extend(std::iter::repeat_n(Reverse(0), workers.saturating_sub(open.len())));
        let mut end = free.iter().map(|Reverse(time)| *time).max().unwrap_or(0);
        for seconds in queue.into_iter().map(|(_, seconds)| seconds).chain(unnamed) {
            if let Some(mut first) = free.peek_mut() {
                first.0 = first.0.saturating_add(micros(seconds * per_test).0);
                end = end.max(first.0);
            }
        }
        Some(Duration::from_micros(end))
    }
}

impl Normalizer {
    /// Computes the time left anew, if it is time to.
    pub(super) fn look_ahead(&mut self, now: Timestamp) {
        // A recorded run is over; its clock would have this done for each of its seconds.
        let is_due = self.replayed.is_none() && self.pace.eta.is_none_or(|(at, _)| now.since(at) >= LOOK_EVERY);
        let Some(unknown) = self.changes.median().filter(|_| is_due && self.tests.counters.planned > 0) else { return };
        let unnamed = self.tests.unnamed();
        let mean = self.changes.mean_of_others().unwrap_or(unknown);
        let left = self.pace.left(&self.tests, unknown, (unnamed, mean), now);
        self.pace.eta = left.map(|left| (now, left));
    }

    /// Time to the expected end. Without a history the rest goes as what is done; nothing is said before the first result.
    pub(super) fn eta(&self, elapsed: Duration, now: Timestamp) -> Option<Duration> {
        let counters = &self.tests.counters;
        let left = counters.planned.checked_sub(counters.done())?;
        match self.pace.eta {
            Some((at, left)) => Some(left.saturating_sub(now.since(at))),
            None if counters.planned == 0 || counters.done() == 0 => None,
            None => Some(elapsed.mul_f64(left as f64 / counters.done() as f64)),
        }
    }
}
