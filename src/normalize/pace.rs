//! When a run will be over: what its tests usually take, dealt out to its workers in the order in which they were announced,
//! at the speed of this run.
//!
//! Only tests that run by themselves count: one that waits for its turn (`t.Parallel()`) takes no worker, and one that has
//! parts takes the time of those. Where a runner does not announce its tests, as Go's, the last run's are expected again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::time::Duration;

use super::Normalizer;
use super::open::Open;
use super::tests::Plan;
use crate::event::Timestamp;
use crate::history::past::TestKeys;

/// What is usual counts as much as this part of the run having gone like that, so that the first tests alone do not set
/// the speed.
const PRIOR: f64 = 0.01;
/// The time left is computed anew no more often than this: it looks at every test that is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tests that are announced by number only are dealt out one by one up to this many.
const MAX_UNNAMED: usize = 100_000;
/// So many tests run at a time as did during this part of the time: others only seemed to, because workers report late.
const OFTEN: f64 = 0.1;
/// So much of a worker is none: what is measured is never exact.
const SLIGHT: f64 = 0.35;
/// Durations may be rounded so that a test seems to have ended so many nanoseconds after the next one began.
const ROUNDING: i64 = 20_000_000;
/// More workers than this are not told apart.
const MAX_WORKERS: usize = 4096;

/// How fast the run goes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds that the tests that have ended usually take, and took.
    usual: f64,
    took: f64,
    /// The first beginning.
    began: Option<Timestamp>,
    /// Tests that run, and since when it is so many.
    working: usize,
    changed: Timestamp,
    /// Seconds during which so many ran.
    held: Vec<f64>,
    /// Ends that no beginning has followed yet: workers between two tests.
    free: Vec<Timestamp>,
    /// Beginnings that followed no end: of new workers, or before the end was told.
    early: Vec<Timestamp>,
    /// Seconds between two tests of a worker, and how often there were two.
    between: f64,
    turns: u32,
    /// The last end.
    pub(super) ended: Option<Timestamp>,
    /// Time left, and when that was computed.
    eta: Option<(Timestamp, Duration)>,
}

/// What is to be done yet, in seconds that it usually takes.
#[derive(Debug, Default)]
struct Work {
    /// Tests that run, and for how many seconds they have.
    running: Vec<(f64, f64)>,
    /// Tests that do not, in the order in which they will.
    queue: Vec<f64>,
}

impl Pace {
    /// So many tests run from now on.
    pub(super) fn turn(&mut self, time: Timestamp, working: u64) {
        let working = usize::try_from(working).unwrap_or(MAX_WORKERS).min(MAX_WORKERS);
        self.began = self.began.or(Some(time));
        if self.held.len() <= self.working {
            self.held.resize(self.working + 1, 0.0);
        }
        if self.changed > Timestamp::default() {
            self.held[self.working] += time.since(self.changed).as_secs_f64();
        }
        self.changed = self.changed.max(time);
        if self.working == 0 && self.seen(time) > 1 {
            // All workers had nothing to do at once, so the runner was busy: Go builds its next package, for example.
            self.free.clear();
        }
        for _ in self.working..working {
            // The last one to end is the likeliest to go on.
            match self.free.pop() {
                Some(ended) => self.go_on(ended, time),
                None if self.early.len() < MAX_WORKERS => self.early.push(time),
                None => {}
            }
        }
        self.free.extend((working..self.working).map(|_| time));
        self.working = working;
    }

    /// A test that ran from one time to another has ended, which is told now, and so many run from now on. Go tells of some
    /// ends only when another test has begun in the meantime.
    pub(super) fn turn_late(&mut self, ran: Range<Timestamp>, time: Timestamp, working: u64) {
        let free = self.free.len();
        self.turn(time, working);
        let follows = |began: &Timestamp| *began > ran.start && began.0 + ROUNDING >= ran.end.0;
        if self.free.len() > free
            && let Some(at) = self.early.iter().position(follows)
        {
            self.free.pop();
            let began = self.early.swap_remove(at);
            self.go_on(ran.end, began);
        }
    }

    fn go_on(&mut self, ended: Timestamp, began: Timestamp) {
        self.between += began.since(ended).as_secs_f64();
        self.turns += 1;
    }

    /// An attempt has ended. What nobody expected took as long as it should.
    pub(super) fn end(&mut self, time: Timestamp, expected: Option<Duration>, took: Duration) {
        self.ended = self.ended.max(Some(time));
        self.usual += expected.unwrap_or(took).as_secs_f64();
        self.took += took.as_secs_f64();
    }

    /// Tests that run at a time, when there are enough: as many as were seen often, but no more than did the work. Go tells of
    /// some ends late, so that more tests seem to run.
    fn workers(&self, work: &Work, now: Timestamp) -> usize {
        // One that is overdue may have ended.
        let ages: f64 = work.running.iter().map(|(usual, age)| age.min(*usual)).sum();
        let elapsed = self.began.map_or(0.0, |began| now.since(began).as_secs_f64());
        // Each of them is in a test or between two of them.
        let busy = if elapsed > 0.0 { (self.took + ages + self.between) / elapsed } else { 1.0 };
        self.seen(now).min((busy - SLIGHT).ceil() as usize).max(1)
    }

    /// Tests that ran at a time for long enough.
    fn seen(&self, now: Timestamp) -> usize {
        let seconds = |count: usize| {
            let is_now = count == self.working && self.changed > Timestamp::default();
            let lately = if is_now { now.since(self.changed).as_secs_f64() } else { 0.0 };
            self.held.get(count).unwrap_or(&0.0) + lately
        };
        let counts = 1..self.held.len().max(self.working + 1);
        let all: f64 = counts.clone().map(seconds).sum();
        let mut at_least = 0.0;
        let often = counts.rev().find(|count| {
            at_least += seconds(*count);
            at_least > OFTEN * all
        });
        often.unwrap_or(1)
    }

    /// Time to the end.
    fn left(&self, work: &Work, now: Timestamp) -> Duration {
        let running: f64 = work.running.iter().map(|(usual, _)| usual).sum();
        let all = self.usual + running + work.queue.iter().sum::<f64>();
        let prior = (PRIOR * all).max(f64::MIN_POSITIVE);
        // This machine may be faster or slower than usual.
        let slowness = (self.took + prior) / (self.usual + prior);
        let between = self.between / f64::from(self.turns.max(1));
        let micros = |seconds: f64| Reverse((seconds.max(0.0) * 1e6) as u64);
        let mut free: BinaryHeap<Reverse<u64>> =
            work.running.iter().map(|(usual, age)| micros(usual * slowness - age)).collect();
        let workers = self.workers(work, now);
        // Where more seem to run than there are workers, some have ended, which is not told yet.
        while free.len() > workers && free.peek() == Some(&micros(0.0)) {
            free.pop();
        }
        let idle = workers.saturating_sub(free.len());
        // One that has ended just now will begin the next test in a moment.
        let rest = |ended: &Timestamp| micros(between - now.since(*ended).as_secs_f64());
        free.extend((0..idle).map(|at| self.free.iter().rev().nth(at).map_or(Reverse(0), rest)));
        if free.is_empty() {
            free.push(Reverse(0));
        }
        let mut end = free.iter().map(|Reverse(time)| *time).max().unwrap_or(0);
        for usual in &work.queue {
            if let Some(mut first) = free.peek_mut() {
                first.0 = first.0.saturating_add(micros(usual * slowness + between).0);
                end = end.max(first.0);
            }
        }
        Duration::from_micros(end)
    }
}

impl Normalizer {
    /// Computes the time left anew, if it is time to.
    pub(super) fn look_ahead(&mut self, now: Timestamp) {
        // A recorded run is over; its clock would have this done for each of its seconds.
        let is_due = self.replayed.is_none() && self.pace.eta.is_none_or(|(at, _)| now.since(at) >= LOOK_EVERY);
        if is_due && self.changes.is_told() && self.tests.counters.planned > 0 {
            let work = self.work(now);
            let left = self.pace.left(&work, now) + self.changes.usual_end();
            self.pace.eta = Some((now, left));
        }
    }

    /// What is to be done yet.
    fn work(&mut self, now: Timestamp) -> Work {
        let unknown = self.changes.median().unwrap_or_default();
        let seconds = |expected: Option<Duration>| expected.unwrap_or(unknown).as_secs_f64();
        let (mut work, mut paused) = (Work::default(), Vec::new());
        let is_whole = |test: u64, open: &Open| open.has_parts || self.changes.has_parts(test);
        for (test, open) in self.tests.open().filter(|(test, open)| !is_whole(*test, open)) {
            let (usual, age) = (seconds(self.changes.expected(test)), open.age(now).as_secs_f64());
            if open.is_paused() {
                paused.push((open.started, (usual - age).max(0.0)));
            } else {
                work.running.push((usual, age));
            }
        }
        // Go lets those go on first that paused last.
        paused.sort_unstable_by_key(|(started, _)| Reverse(*started));
        work.queue.extend(paused.iter().map(|(_, left)| left));
        let mut planned: Vec<_> = self.tests.planned().collect();
        planned.sort_unstable_by_key(|(order, ..)| *order);
        work.queue.extend(planned.iter().map(|(.., expected)| seconds(*expected)));
        let most = match self.tests.plan_says() {
            Plan::Whole => 0,
            Plan::Total => usize::try_from(self.tests.unnamed()).unwrap_or(MAX_UNNAMED).min(MAX_UNNAMED),
            Plan::None | Plan::InParts => MAX_UNNAMED,
        };
        if most > 0 {
            let open = self.tests.open().map(|(test, _)| test);
            let known: TestKeys = planned.iter().map(|(_, test, _)| *test).chain(open).collect();
            let unseen = self.changes.unseen(|test| known.contains(&test));
            work.queue.extend(unseen.iter().take(most).map(|expected| seconds(*expected)));
            if self.tests.plan_says() == Plan::Total {
                work.queue.extend((unseen.len()..most).map(|_| unknown.as_secs_f64()));
            }
        }
        work
    }

    /// Time to the expected end. Without a history the rest goes as what is done; nothing is said before the first result, nor
    /// where nobody knows what is to come.
    pub(super) fn eta(&self, elapsed: Duration, now: Timestamp) -> Option<Duration> {
        let counters = &self.tests.counters;
        let left = counters.planned.checked_sub(counters.done())?;
        match self.pace.eta {
            Some((at, left)) => Some(left.saturating_sub(now.since(at))),
            None if self.tests.plan_says() == Plan::None || counters.done() == 0 => None,
            None => Some(elapsed.mul_f64(left as f64 / counters.done() as f64)),
        }
    }
}
