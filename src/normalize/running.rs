//! Which tests were running when a line was written.
//!
//! A line says when it was written as finely as its time is, and a test runs from its start to its end, both by the clock
//! of the same host. A line belongs to a test if that was the only one to run at its time. What the line names itself
//! narrows that down: a worker to the tests of that worker, a test to that test, a trace id to the test that it was seen
//! with before.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::{FixedState, RandomState};

use crate::event::Timestamp;

/// Ended tests that are remembered, for lines that come late. A line from before them is of no test.
const MAX_ENDED: usize = 10_000;
/// Trace ids are remembered in two generations of this many.
const MAX_TRACES: usize = 20_000;
/// Names of workers that are remembered.
const MAX_WORKERS: usize = 1_000;
/// Runners write the times of tests as coarsely as this, so that an end may seem to be before the test's last line. It
/// counts only where no test runs at the time itself.
const SLACK: i64 = 1_000_000;
/// From the time that a runner gives a test's start to the moment at which it can be read, on a busy machine.
const LAG: i64 = 20_000_000;
/// How long a line waits at most for news of the tests.
const PATIENCE: i64 = 2_000_000_000;

/// When a line was written: between two instants, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl Window {
    /// Of a line with a time that is `resolution` nanoseconds fine, or none, and that was read at `read_at`. It was not
    /// written after that, so a time that lies ahead of it is another clock's, and is not used.
    pub fn new(time: Option<Timestamp>, resolution: i64, read_at: Timestamp) -> Self {
        match time {
            Some(from) if from <= read_at => {
                let last = from.0.saturating_add((resolution - 1).max(0));
                Self { from, to: Timestamp(last).min(read_at) }
            }
            _ => Self { from: read_at, to: read_at },
        }
    }
}

/// What a line names itself; empty where it names nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints<'a> {
    /// A test: its id, or the end of it.
    pub test: &'a str,
    /// A worker.
    pub worker: &'a str,
    /// A trace or request id.
    pub trace: &'a str,
}

/// What is known of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No test was running, or it is too long ago.
    None,
    /// It belongs to this test.
    Test(Arc<str>),
    /// It may belong to any of so many.
    Several(usize),
}

impl Found {
    /// The test that it belongs to for sure.
    pub fn test(&self) -> Option<&str> {
        match self {
            Self::Test(id) => Some(id),
            Self::None | Self::Several(_) => None,
        }
    }
}

/// A test and when it runs.
#[derive(Clone, Debug)]
struct Span {
    id: Arc<str>,
    worker: Arc<str>,
    from: Timestamp,
    /// `None` while it runs.
    to: Option<Timestamp>,
}

impl Span {
    fn overlaps(&self, window: Window, slack: i64) -> bool {
        let ends = self.to.is_none_or(|to| to.0.saturating_add(slack) > window.from.0);
        ends && self.from.0.saturating_sub(slack) <= window.to.0
    }
}

/// The tests that run on a host, and those that ended not long ago. Its memory is bounded.
#[derive(Debug, Default)]
pub struct Running {
    open: HashMap<Arc<str>, Span, RandomState>,
    /// By their ends, the latest last.
    ended: VecDeque<Span>,
    /// The latest end that is not remembered any more.
    forgotten: Timestamp,
    workers: HashSet<Arc<str>, RandomState>,
    traces: Traces,
    heard: Timestamp,
}

impl Running {
    /// A test begins. One that is open already begins anew.
    pub fn start(&mut self, id: &str, worker: &str, time: Timestamp) {
        self.end(id, time);
        let worker: Arc<str> = match self.workers.get(worker) {
            Some(known) => Arc::clone(known),
            None => worker.into(),
        };
        if !worker.is_empty() && self.workers.len() < MAX_WORKERS {
            self.workers.insert(Arc::clone(&worker));
        }
        let id: Arc<str> = id.into();
        self.open.insert(Arc::clone(&id), Span { id, worker, from: time, to: None });
    }

    /// A test ends. One that is not open is not known to have run.
    pub fn end(&mut self, id: &str, time: Timestamp) {
        let Some(span) = self.open.remove(id) else { return };
        let span = Span { to: Some(time), ..span };
        // Ends come nearly in order: workers report theirs a little later than others.
        let behind = self.ended.iter().rev().take_while(|ended| ended.to > span.to).count();
        self.ended.insert(self.ended.len() - behind, span);
        if self.ended.len() > MAX_ENDED
            && let Some(old) = self.ended.pop_front()
        {
            self.forgotten = old.to.unwrap_or_default();
        }
    }

    /// Everything that runners had written up to `time` has been told.
    pub fn heard(&mut self, time: Timestamp) {
        self.heard = time.max(self.heard);
    }

    /// True once no news of tests is to be waited for, for a line that was read at `read_at`: lines are often read a little
    /// before the start of their test.
    pub fn is_settled(&self, read_at: Timestamp, now: Timestamp) -> bool {
        self.heard.0 >= read_at.0.saturating_add(LAG) || now.0 >= read_at.0.saturating_add(PATIENCE)
    }

    /// Finds the test of a line. What is sure of a line with a trace id is remembered for the lines that share it.
    pub fn find(&mut self, window: Window, hints: Hints<'_>) -> Found {
        if let Some(id) = self.named(window, hints.test) {
            self.traces.learn(hints.trace, &id);
            return Found::Test(id);
        }
        if let Some(id) = self.traces.get(hints.trace) {
            return Found::Test(id);
        }
        if window.from < self.forgotten {
            return Found::None;
        }
        let worker = if self.workers.contains(hints.worker) { hints.worker } else { "" };
        let found = match self.overlapping(window, worker, 0) {
            // A count that rests on rounding says nothing.
            Found::None => match self.overlapping(window, worker, SLACK) {
                Found::Several(_) => Found::None,
                found => found,
            },
            found => found,
        };
        if let Found::Test(id) = &found {
            self.traces.learn(hints.trace, id);
        }
        found
    }

    /// The test of a line that came in the same stream as the tests' events: their order says more than times.
    pub fn now(&self) -> Found {
        match (self.open.len(), self.open.keys().next()) {
            (_, None) => Found::None,
            (1, Some(only)) => Found::Test(Arc::clone(only)),
            (count, _) => Found::Several(count),
        }
    }

    /// Tests that ran within a window.
    fn within(&self, window: Window, slack: i64) -> impl Iterator<Item = &Span> {
        let late_enough = move |span: &&Span| span.to.is_some_and(|to| to.0.saturating_add(slack) > window.from.0);
        let ended = self.ended.iter().rev().take_while(late_enough);
        self.open.values().chain(ended).filter(move |span| span.overlaps(window, slack))
    }

    fn overlapping(&self, window: Window, worker: &str, slack: i64) -> Found {
        let spans = self.within(window, slack).filter(|span| worker.is_empty() || *span.worker == *worker);
        let mut first: Option<&Span> = None;
        let mut count = 0;
        for span in spans {
            // Attempts of one test are one test.
            if first.is_none_or(|first| first.id != span.id) {
                count += 1;
            }
            first = first.or(Some(span));
        }
        match first {
            None => Found::None,
            Some(span) if count == 1 => Found::Test(Arc::clone(&span.id)),
            Some(_) => Found::Several(count),
        }
    }

    /// The test that a line names, by its id or by the end of it: one that ran then, else one that is remembered.
    fn named(&self, window: Window, name: &str) -> Option<Arc<str>> {
        if name.is_empty() {
            return None;
        }
        only_named(self.within(window, SLACK), name)
            .or_else(|| only_named(self.open.values().chain(self.ended.iter().rev()), name))
    }
}

/// The test of this name, or the only one whose id ends with it.
fn only_named<'s>(spans: impl Iterator<Item = &'s Span>, name: &str) -> Option<Arc<str>> {
    let mut found: Option<&Span> = None;
    let mut is_only = true;
    for span in spans {
        if *span.id == *name {
            return Some(Arc::clone(&span.id));
        }
        if ends_with(&span.id, name) {
            is_only &= found.is_none_or(|found| found.id == span.id);
            found = Some(span);
        }
    }
    found.filter(|_| is_only).map(|span| Arc::clone(&span.id))
}

/// True if `name` is the last part of `id`, or its last parts.
fn ends_with(id: &str, name: &str) -> bool {
    id.strip_suffix(name).is_some_and(|before| before.ends_with(['.', ':', '/', ' ', '>']))
}

/// Trace ids and their tests.
#[derive(Debug, Default)]
struct Traces {
    hasher: FixedState,
    young: HashMap<u64, Arc<str>>,
    old: HashMap<u64, Arc<str>>,
}

impl Traces {
    fn get(&self, trace: &str) -> Option<Arc<str>> {
        if trace.is_empty() {
            return None;
        }
        let key = self.hasher.hash_one(trace);
        self.young.get(&key).or_else(|| self.old.get(&key)).cloned()
    }

    fn learn(&mut self, trace: &str, id: &Arc<str>) {
        if trace.is_empty() {
            return;
        }
        if self.young.len() >= MAX_TRACES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(self.hasher.hash_one(trace), Arc::clone(id));
    }
}

/// The running tests of a run, seen by those who take its events and by those who read logs beside it.
#[derive(Clone, Debug, Default)]
pub struct SharedRunning(Arc<Mutex<Running>>);

impl SharedRunning {
    /// Exclusive access, for moments only.
    pub fn lock(&self) -> MutexGuard<'_, Running> {
        // What a panicking thread leaves is whole: every change is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn ms(millis: i64) -> Timestamp {
        Timestamp(millis * MS)
    }

    /// Of a line of this millisecond, read long after.
    fn line(running: &mut Running, millis: i64, hints: Hints<'_>) -> String {
        show(running.find(Window::new(Some(ms(millis)), MS, ms(1_000_000)), hints))
    }

    fn show(found: Found) -> String {
        match found {
            Found::None => "-".into(),
            Found::Test(id) => id.to_string(),
            Found::Several(count) => count.to_string(),
        }
    }

    fn worker(worker: &str) -> Hints<'_> {
        Hints { worker, ..Hints::default() }
    }

    /// a and b overlap on two workers; c runs alone and is open.
    fn three() -> Running {
        let mut running = Running::default();
        running.start("m.a", "gw0", ms(100));
        running.start("m.b", "gw1", ms(150));
        running.end("m.a", ms(200));
        running.end("m.b", ms(250));
        running.start("m.c", "gw0", ms(300));
        running
    }

    #[test]
    fn a_line_belongs_to_the_only_test_that_ran_at_its_own_time() {
        let running = &mut three();
        let found: Vec<_> =
            [98, 100, 149, 150, 199, 200, 249, 252, 270, 300, 9_000].map(|t| line(running, t, Hints::default())).into();
        assert_eq!(found, ["-", "m.a", "m.a", "2", "2", "m.b", "m.b", "-", "-", "m.c", "m.c"]);
    }

    #[test]
    fn a_worker_in_the_line_narrows_it_down_if_it_is_one() {
        let running = &mut three();
        assert_eq!(line(running, 160, worker("gw1")), "m.b");
        assert_eq!(line(running, 160, worker("gw0")), "m.a");
        assert_eq!(line(running, 160, worker("http-1")), "2");
        assert_eq!(line(running, 240, worker("gw0")), "-");
    }

    #[test]
    fn a_trace_is_of_the_test_that_it_was_seen_with_even_when_others_run() {
        let running = &mut three();
        let trace = Hints { trace: "7f", ..Hints::default() };
        assert_eq!(line(running, 160, trace), "2");
        assert_eq!(line(running, 120, trace), "m.a");
        assert_eq!(line(running, 160, trace), "m.a");
        assert_eq!(line(running, 400, trace), "m.a");
        assert_eq!(line(running, 160, Hints { trace: "80", worker: "gw1", ..Hints::default() }), "m.b");
        assert_eq!(line(running, 320, Hints { trace: "80", ..Hints::default() }), "m.b");
    }

    #[test]
    fn a_test_that_the_line_names_is_taken_if_it_is_known_and_no_other_is_meant() {
        let running = &mut three();
        let test = |test| Hints { test, ..Hints::default() };
        assert_eq!(line(running, 160, test("m.b")), "m.b");
        assert_eq!(line(running, 160, test("b")), "m.b");
        assert_eq!(line(running, 160, test("z")), "2");
        running.start("n.b", "", ms(400));
        assert_eq!(line(running, 160, test("b")), "m.b");
        assert_eq!(line(running, 420, test("b")), "n.b");
        running.end("n.b", ms(500));
        assert_eq!(line(running, 600, test("b")), "m.c");
    }

    #[test]
    fn coarse_times_are_of_every_test_within_them() {
        let running = &mut three();
        let second = |running: &mut Running, read| {
            show(running.find(Window::new(Some(ms(0)), 1_000 * MS, read), Hints::default()))
        };
        assert_eq!(second(running, ms(5_000)), "3");
        // It was not written after it was read.
        assert_eq!(second(running, ms(140)), "m.a");
        let exact = |nanos| Window::new(Some(Timestamp(nanos)), 0, ms(9_000));
        assert_eq!(show(running.find(exact(150 * MS - 1), Hints::default())), "m.a");
        assert_eq!(show(running.find(exact(150 * MS), Hints::default())), "2");
    }

    #[test]
    fn a_line_without_a_time_or_from_the_future_counts_as_written_when_read() {
        let running = &mut three();
        for time in [None, Some(ms(9_999_999))] {
            assert_eq!(show(running.find(Window::new(time, MS, ms(120)), Hints::default())), "m.a");
        }
    }

    #[test]
    fn attempts_of_one_test_are_one_test() {
        let running = &mut Running::default();
        running.start("a", "", ms(100));
        running.start("a", "", ms(200));
        assert_eq!(show(running.find(Window::new(Some(ms(0)), 1_000 * MS, ms(5_000)), Hints::default())), "a");
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_not_guessed() {
        let running = &mut Running::default();
        for number in 0..(MAX_ENDED as i64 + 10) {
            let id = number.to_string();
            running.start(&id, &id, ms(number * 10));
            assert_eq!(line(running, number * 10, Hints { trace: &id, ..Hints::default() }), id);
            running.end(&id, ms(number * 10 + 5));
        }
        assert_eq!(running.ended.len(), MAX_ENDED);
        assert_eq!(running.workers.len(), MAX_WORKERS);
        assert_eq!(line(running, 12, Hints::default()), "-");
        assert_eq!(line(running, 200, Hints::default()), "20");
        running.start("open", "", ms(0));
        assert_eq!(line(running, 12, Hints::default()), "-");
    }

    #[test]
    fn a_line_waits_for_news_of_the_tests_but_not_for_ever() {
        let mut running = Running::default();
        assert!(!running.is_settled(ms(100), ms(130)));
        running.heard(ms(119));
        assert!(!running.is_settled(ms(100), ms(130)));
        running.heard(ms(120));
        assert!(running.is_settled(ms(100), ms(130)));
        assert!(running.is_settled(ms(200), ms(2_200)));
    }

    #[test]
    fn ends_that_are_told_late_are_put_in_order() {
        let running = &mut Running::default();
        for (id, worker, from) in [("a", "0", 0), ("b", "1", 0)] {
            running.start(id, worker, ms(from));
        }
        running.end("b", ms(300));
        running.end("a", ms(100));
        assert_eq!(line(running, 50, Hints::default()), "2");
        assert_eq!(line(running, 200, Hints::default()), "b");
        assert_eq!(line(running, 310, Hints::default()), "-");
    }
}
