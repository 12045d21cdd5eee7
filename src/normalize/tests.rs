//! What is known of the tests of a run: planned, open, ended.

use std::time::Duration;

use crate::event::{Status, TestStarted, Timestamp, wholes};
use crate::history::past::{ByTest, test_key};
use crate::normalize::counters::Counters;
use crate::normalize::open::Open;
use crate::normalize::text::prefix;

/// Names of planned tests are kept up to this many bytes, to say at the end which never ran; beyond, only their number.
const MAX_PLANNED_BYTES: usize = 16 << 20;
/// Longest name of a planned test that is kept, in bytes.
const MAX_NAME: usize = 4 << 10;
/// Ended tests are remembered in two generations of this many, 16 bytes each, so that a retry is known as one. A test
/// that comes again after more others than this counts as a new one; memory stays bounded whatever the run's length.
const GENERATION: usize = 400_000;

/// A test that was announced and has not been seen.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Planned {
    name: Box<str>,
    /// Place among those that were announced.
    order: u64,
    expected: Option<Duration>,
}

/// What is remembered of an ended test. Its serialized form has no names, as there are many of them.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
#[serde(from = "(u16, Status, bool)", into = "(u16, Status, bool)")]
struct Ended {
    attempts: u16,
    status: Status,
    failed_once: bool,
}

impl From<(u16, Status, bool)> for Ended {
    fn from((attempts, status, failed_once): (u16, Status, bool)) -> Self {
        Self { attempts, status, failed_once }
    }
}

impl From<Ended> for (u16, Status, bool) {
    fn from(ended: Ended) -> Self {
        (ended.attempts, ended.status, ended.failed_once)
    }
}

/// What a finished attempt means.
#[derive(Debug)]
pub(super) struct Finished {
    /// What was known of the attempt from its start.
    pub(super) open: Open,
    /// True if an earlier attempt failed and this one passed.
    pub(super) flaky: bool,
    /// True if the result before was a failure.
    pub(super) was_failing: bool,
}

/// All tests of a run.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Tests {
    pub(super) counters: Counters,
    open: ByTest<Open>,
    young: ByTest<Ended>,
    old: ByTest<Ended>,
    planned: ByTest<Planned>,
    planned_bytes: usize,
    planned_total: Option<u64>,
    /// Distinct tests that were announced by name or seen.
    known: u64,
    /// Tests that run by themselves.
    #[serde(default)]
    working: u64,
    #[serde(default)]
    plan: Plan,
    /// Announcements that named tests which were not named before.
    #[serde(default)]
    announcements: u32,
}

/// How much the announcements say of what is to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Plan {
    /// Nothing was announced.
    #[default]
    None,
    /// All is known by name, as far as one can see.
    Whole,
    /// More was announced when tests had ended already: runners begin one by one, and each knows its own tests only.
    InParts,
    /// Their number is known, or all of their names.
    Total,
}

impl Tests {
    fn ended(&self, key: u64) -> Option<Ended> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    /// Announces the number of tests of the whole run; replaces an earlier one.
    pub(super) fn plan_total(&mut self, total: u64) {
        self.planned_total = Some(total);
        self.plan = Plan::Total;
        self.update_planned();
    }

    /// Announces a test by name, and how long it usually takes.
    pub(super) fn plan(&mut self, key: u64, id: &str, expected: Option<Duration>) {
        if self.open.contains_key(&key) || self.ended(key).is_some() || self.planned.contains_key(&key) {
            return;
        }
        self.known += 1;
        if self.plan != Plan::Total {
            self.plan = if self.counters.done() == 0 { Plan::Whole } else { Plan::InParts };
        }
        if self.planned_bytes + MAX_NAME <= MAX_PLANNED_BYTES {
            let name = prefix(id, MAX_NAME);
            self.planned_bytes += name.len();
            self.planned.insert(key, Planned { name: name.into(), order: self.known, expected });
        }
        self.update_planned();
    }

    fn update_planned(&mut self) {
        let seen = self.counters.seen() + self.counters.running;
        self.counters.planned = self.planned_total.unwrap_or(self.known).max(seen);
    }

    /// A test is seen for the first time: it need not be named among those that never ran, and counts as announced
    /// if nobody did. Where names had to be dropped, it cannot be told whether it was among them: it counts as one.
    fn first_seen(&mut self, key: u64) {
        match self.planned.remove(&key) {
            Some(planned) => self.planned_bytes -= planned.name.len(),
            None if self.planned_bytes + MAX_NAME <= MAX_PLANNED_BYTES => self.known += 1,
            None => {}
        }
    }

    /// An attempt begins. Returns an attempt of the same test that was still open, and never ended.
    pub(super) fn start(&mut self, key: u64, start: &TestStarted<'_>, time: Timestamp, tags: String) -> Option<Open> {
        let TestStarted { test, attempt, repeat, .. } = start;
        let lost = self.close(key);
        let before = self.ended(key);
        let past = lost.as_ref().map(|o| o.attempt).max(before.map(|e| u32::from(e.attempts))).unwrap_or(0);
        let counted = attempt.is_some();
        let attempt = attempt.unwrap_or(past + 1);
        // A repeat of a test that passed is none of a failed one either: only what follows a failure is a retry, or what
        // the runner counts as one (pytest's JUnit XML does not say that the attempts before had failed).
        let failed_before =
            lost.is_some() || before.is_some_and(|e| e.status == Status::Retried || e.status.is_failing());
        if !*repeat && attempt > 1 && (counted || failed_before || before.is_none()) {
            self.counters.retried += 1;
        }
        if past == 0 {
            self.first_seen(key);
        }
        let whole = wholes(&test.id, &test.suite).map(test_key).find(|key| self.open.contains_key(key));
        if let Some(whole) = whole {
            self.change(whole, |whole| {
                whole.parts += 1;
                whole.has_parts = true;
            });
        }
        self.open.insert(key, Open { tags, whole, ..Open::new(test, attempt, time) });
        self.working += 1;
        self.counters.running = self.open.len() as u64;
        self.update_planned();
        lost
    }

    /// Takes an attempt out of those that are open.
    fn close(&mut self, key: u64) -> Option<Open> {
        let open = self.open.remove(&key)?;
        self.working -= u64::from(open.is_working()).min(self.working);
        if let Some(whole) = open.whole {
            self.change(whole, |whole| whole.parts = whole.parts.saturating_sub(1));
        }
        Some(open)
    }

    /// Changes what an open test does.
    fn change(&mut self, key: u64, change: impl FnOnce(&mut Open)) {
        let Some(open) = self.open.get_mut(&key) else { return };
        let before = open.is_working();
        change(open);
        self.working = (self.working + u64::from(open.is_working())).saturating_sub(u64::from(before));
    }

    /// An open test waits for its turn from now on.
    pub(super) fn pause(&mut self, key: u64, time: Timestamp) {
        self.change(key, |open| {
            open.ran = open.age(time);
            open.since = None;
        });
    }

    /// A test that waited runs.
    pub(super) fn resume(&mut self, key: u64, time: Timestamp) {
        self.change(key, |open| open.since = open.since.or(Some(time)));
    }

    /// Number of tests that run by themselves: neither paused, nor waiting for their parts.
    pub(super) fn working(&self) -> u64 {
        self.working
    }

    /// How much the announcements say of what is to come.
    pub(super) fn plan_says(&self) -> Plan {
        self.plan
    }

    /// Other tests count in the place of this one, which is open. False if an attempt of it has counted before: then it goes on
    /// to count.
    pub(super) fn hold(&mut self, key: u64) -> bool {
        if self.ended(key).is_some() {
            return false;
        }
        if let Some(open) = self.close(key) {
            self.known = self.known.saturating_sub(1);
            self.counters.retried -= u64::from(open.attempt > 1).min(self.counters.retried);
            self.counters.running = self.open.len() as u64;
            self.update_planned();
        }
        true
    }

    /// A test counts after all that was held. Whether it is flaky, and whether it was failing before.
    pub(super) fn count(&mut self, key: u64, status: Status, attempt: u32) -> (bool, bool) {
        self.known += 1;
        self.record(key, status, attempt)
    }

    /// The open attempt of a test.
    pub(super) fn get_open(&self, key: u64) -> Option<&Open> {
        self.open.get(&key)
    }

    /// The same, to add what others know of it.
    pub(super) fn get_open_mut(&mut self, key: u64) -> Option<&mut Open> {
        self.open.get_mut(&key)
    }

    /// Keys of the tests under way, and what is known of them.
    pub(super) fn open(&self) -> impl Iterator<Item = (u64, &Open)> {
        self.open.iter().map(|(test, open)| (*test, open))
    }

    /// Those under way that have become hung by `test`, the oldest first, each once.
    pub(super) fn become_hung(&mut self, test: impl Fn(u64, &Open) -> bool) -> Vec<(u64, Open)> {
        let news = self.open.iter_mut().filter(|(key, open)| !open.is_hung && test(**key, open));
        let mut news: Vec<(u64, Open)> = news
            .map(|(key, open)| {
                open.is_hung = true;
                (*key, open.clone())
            })
            .collect();
        news.sort_unstable_by(|(_, a), (_, b)| (a.started, &a.id).cmp(&(b.started, &b.id)));
        news
    }

    /// Place, key and usual duration of the tests that were announced by name and have not been seen.
    pub(super) fn planned(&self) -> impl Iterator<Item = (u64, u64, Option<Duration>)> {
        self.planned.iter().map(|(test, planned)| (planned.order, *test, planned.expected))
    }

    /// Says anew how long the tests usually take that have not been seen.
    pub(super) fn expect(&mut self, expected: impl Fn(u64) -> Option<Duration>) {
        self.planned.iter_mut().for_each(|(test, planned)| planned.expected = expected(*test));
    }

    /// Number of tests that were announced, have not been seen, and are not known by name.
    pub(super) fn unnamed(&self) -> u64 {
        let seen = self.counters.seen() + self.counters.running;
        self.counters.planned.saturating_sub(seen + self.planned.len() as u64)
    }

    /// The test that has been running longest; those that wait for their turn do not run.
    pub(super) fn oldest(&self) -> Option<&Open> {
        self.open.values().filter(|open| !open.is_paused()).min_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)))
    }

    /// An attempt ends; `None` if no attempt of this test is open.
    pub(super) fn finish(&mut self, key: u64, status: Status) -> Option<Finished> {
        let open = self.close(key)?;
        let (flaky, was_failing) = self.record(key, status, open.attempt);
        Some(Finished { open, flaky, was_failing })
    }

    /// The result of a test that has ended becomes another one; returns its number of attempts, and whether it was failing.
    pub(super) fn correct(&mut self, key: u64, status: Status) -> (u32, bool) {
        let attempts = self.ended(key).map_or(1, |e| u32::from(e.attempts));
        (attempts, self.record(key, status, attempts).1)
    }

    /// Moves a test to the count of its newest result. Whether that makes it flaky, and whether it was failing before.
    fn record(&mut self, key: u64, status: Status, attempt: u32) -> (bool, bool) {
        let before = self.ended(key);
        if let Some(e) = before {
            if let Some(count) = self.counters.of(e.status) {
                *count = count.saturating_sub(1);
            }
            if e.status == Status::Passed && e.failed_once {
                self.counters.flaky = self.counters.flaky.saturating_sub(1);
            }
        }
        let failed_once = before.is_some_and(|e| e.failed_once);
        let flaky = status == Status::Passed && failed_once;
        if let Some(count) = self.counters.of(status) {
            *count += 1;
        }
        self.counters.flaky += u64::from(flaky);
        self.counters.running = self.open.len() as u64;
        self.update_planned();
        let attempts = u16::try_from(attempt).unwrap_or(u16::MAX);
        let failed_once = failed_once || status.is_failing() || status == Status::Retried;
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, Ended { attempts, status, failed_once });
        (flaky, before.is_some_and(|e| e.status.is_failing()))
    }

    /// The tests under way, oldest first.
    pub(super) fn open_sorted(&self) -> Vec<&Open> {
        let mut open: Vec<_> = self.open.values().collect();
        open.sort_unstable_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        open
    }

    /// Takes the state of a run that another process began. Tests that were under way and are not named by `open`
    /// count as unfinished.
    pub(super) fn restore(&mut self, counters: Counters, open: impl Iterator<Item = Open>) {
        self.open = open.map(|open| (test_key(&open.id), open)).collect();
        self.counters = counters;
        self.working = self.open.values().filter(|open| open.is_working()).count() as u64;
        let running = self.open.len() as u64;
        self.counters.unfinished += counters.running.saturating_sub(running);
        self.counters.running = running;
        self.known = counters.planned;
    }

    /// Tests were announced by name; `known` were known before, and so many runners have begun. Several that each name their
    /// own may not be all there will be. Workers of one runner all name the same.
    pub(super) fn announced(&mut self, known: u64, runners: u64) {
        self.announcements += u32::from(self.known > known);
        if self.announcements > 1 && runners > 1 && self.plan == Plan::Whole {
            self.plan = Plan::InParts;
        }
    }

    /// Distinct tests that were announced by name or seen.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// What was announced by name is all, though parts of it may be announced by themselves.
    pub(super) fn plan_is_whole(&mut self) {
        self.plan = Plan::Total;
    }

    /// Tests that were announced before the state was restored are about to be announced again.
    pub(super) fn plan_anew(&mut self, tests: usize) {
        self.known = self.known.saturating_sub(tests as u64);
    }

    /// Number of announced tests that were never seen, and the names that are known of them, sorted.
    pub(super) fn never_ran(&self) -> (u64, Vec<&str>) {
        let missing = self.counters.planned.saturating_sub(self.counters.seen() + self.counters.running);
        let mut names: Vec<&str> = self.planned.values().map(|planned| planned.name.as_ref()).collect();
        names.sort_unstable();
        (missing, names)
    }
}

#[cfg(test)]
mod tests_ {
    use super::*;
    use crate::event::TestRef;

    fn test(id: &str) -> TestRef<'_> {
        TestRef { id: id.into(), ..TestRef::default() }
    }

    fn start(tests: &mut Tests, id: &str, repeat: bool) {
        let start = TestStarted { test: test(id), repeat, ..TestStarted::default() };
        tests.start(test_key(id), &start, Timestamp(0), String::new());
    }

    fn run(tests: &mut Tests, id: &str, status: Status) -> bool {
        start(tests, id, false);
        tests.finish(test_key(id), status).unwrap().flaky
    }

    #[test]
    fn a_failure_that_passes_on_retry_is_flaky_and_no_failure_any_more() {
        let mut t = Tests::default();
        t.plan(test_key("a"), "a", None);
        assert!(!run(&mut t, "a", Status::Failed));
        assert_eq!((t.counters.failed, t.counters.done(), t.counters.planned), (1, 1, 1));
        assert!(run(&mut t, "a", Status::Passed));
        let c = t.counters;
        assert_eq!((c.failed, c.passed, c.flaky, c.retried, c.done(), c.planned), (0, 1, 1, 1, 1, 1));
        assert!(!run(&mut t, "a", Status::Failed));
        let c = t.counters;
        assert_eq!((c.failed, c.passed, c.flaky, c.done()), (1, 0, 0, 1));
    }

    #[test]
    fn an_announced_retry_is_not_done_until_its_last_attempt() {
        let mut t = Tests::default();
        run(&mut t, "a", Status::Retried);
        assert_eq!((t.counters.done(), t.counters.retried, t.counters.planned), (0, 0, 1));
        run(&mut t, "a", Status::Retried);
        run(&mut t, "a", Status::Failed);
        assert_eq!((t.counters.failed, t.counters.retried, t.counters.done()), (1, 2, 1));
    }

    #[test]
    fn a_repeat_that_was_asked_for_is_no_retry() {
        let mut t = Tests::default();
        run(&mut t, "a", Status::Passed);
        start(&mut t, "a", true);
        assert_eq!(t.get_open(test_key("a")).unwrap().attempt, 2);
        t.finish(test_key("a"), Status::Passed);
        assert_eq!((t.counters.passed, t.counters.retried), (1, 0));
    }

    #[test]
    fn what_never_ran_is_known_by_name() {
        let mut t = Tests::default();
        for id in ["c", "a", "b", "a"] {
            t.plan(test_key(id), id, None);
        }
        run(&mut t, "b", Status::Passed);
        assert_eq!(t.never_ran(), (2, vec!["a", "c"]));
        assert_eq!(t.counters.planned, 3);
    }

    #[test]
    fn memory_of_ended_tests_is_bounded() {
        let mut t = Tests::default();
        for i in 0..(GENERATION * 2 + 10) {
            run(&mut t, &i.to_string(), Status::Passed);
        }
        assert!(t.young.len() + t.old.len() <= 2 * GENERATION);
        assert_eq!(t.counters.passed, (GENERATION * 2 + 10) as u64);
    }
}
