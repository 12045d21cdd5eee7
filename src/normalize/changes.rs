//! What results mean beside those of earlier runs: each test's, and in numbers and names for the run's end.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::text::prefix;
use super::{RunInfo, known::Known};
use crate::event::{Status, Timestamp};
use crate::history::digest;
use crate::history::judge::{Change, Judgement};
use crate::history::memory::{self, Key, Memory, Observed, Opening};
use crate::history::past::{ByTest, Past, RUN_END, Record, test_key};
use crate::history::slot::{Outcome, Slot};
use crate::names::{change, meta};

/// Results of a run that are kept for later ones; as many as a history has tests.
const MAX_RESULTS: usize = 200_000;
/// Names of each sort that are kept, more than the run's end shows, because retries take some away again.
const MAX_NAMES: usize = 200;
/// Names of each sort that the run's end shows.
const SHOWN: usize = 20;
/// Tests that ended before the history was there are kept by name up to this many, to be judged later.
const MAX_EARLY: usize = 20_000;

/// Runner whose runs are comparable only if all that is said of them is equal: platform, version, style.
const RESULTS_DATABASE: &str = "resultsdb";

/// A result of this run. Its serialized form has no names, as there are many of them.
#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(from = "(Slot, u64, Option<Change>, bool, bool)", into = "(Slot, u64, Option<Change>, bool, bool)")]
struct Noted {
    slot: Slot,
    signature: u64,
    change: Option<Change>,
    is_known: bool,
    has_parts: bool,
}

/// A result of a test, perhaps another one than before.
pub(super) struct Result<'a> {
    pub(super) test: u64,
    pub(super) id: &'a str,
    pub(super) status: Status,
    pub(super) is_flaky: bool,
    pub(super) time: Timestamp,
    pub(super) duration: Option<Duration>,
    pub(super) signature: &'a str,
    /// True if other tests are parts of it.
    pub(super) has_parts: bool,
}

impl From<(Slot, u64, Option<Change>, bool, bool)> for Noted {
    fn from((slot, signature, change, is_known, has_parts): (Slot, u64, Option<Change>, bool, bool)) -> Self {
        Self { slot, signature, change, is_known, has_parts }
    }
}

impl From<Noted> for (Slot, u64, Option<Change>, bool, bool) {
    fn from(noted: Noted) -> Self {
        (noted.slot, noted.signature, noted.change, noted.is_known, noted.has_parts)
    }
}

/// Beside what the results of this run are seen, and what came of it. Its serialized form is what the run itself brought;
/// the earlier runs are asked for again.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Changes {
    #[serde(skip)]
    memory: Option<Box<dyn Memory>>,
    #[serde(skip)]
    past: Option<Arc<Past>>,
    #[serde(skip)]
    pub(super) known: Known,
    tag: u32,
    results: ByTest<Noted>,
    early: Vec<Box<str>>,
    names: [Vec<String>; 4],
    #[serde(skip)]
    median: Option<Duration>,
    /// The earlier run that this one is expected to be like, once that was asked.
    #[serde(skip)]
    model: Option<Option<u32>>,
    has_news: bool,
    #[serde(skip)]
    is_open: bool,
    /// True if somebody knows of what `xfailed`: a results database is told what was expected by the same who are told by
    /// a file of known failures elsewhere.
    #[serde(skip)]
    knows_expected: bool,
}

/// The value of the metadata `change`.
pub(super) fn word(change: Option<Change>) -> &'static str {
    match change {
        Some(Change::NewFailure) => change::NEW_FAILURE,
        Some(Change::StillFailing) => change::STILL_FAILING,
        Some(Change::Fixed) => change::FIXED,
        Some(Change::NewTest) => change::NEW_TEST,
        None => "",
    }
}

fn place(change: Change) -> usize {
    match change {
        Change::NewFailure => 0,
        Change::Fixed => 1,
        Change::StillFailing => 2,
        Change::NewTest => 3,
    }
}

fn count(counters: &mut Counters, change: Change) -> &mut u64 {
    match change {
        Change::NewFailure => &mut counters.new_failures,
        Change::Fixed => &mut counters.fixed,
        Change::StillFailing => &mut counters.still_failing,
        Change::NewTest => &mut counters.new_tests,
    }
}

impl Changes {
    /// With a history that `memory` keeps.
    pub(super) fn remember(&mut self, memory: Box<dyn Memory>) {
        self.memory = Some(memory);
        // Without one, opening had no effect.
        self.is_open = false;
    }

    /// The run begins. Only the first call counts.
    pub(super) fn open(&mut self, info: &RunInfo) {
        if std::mem::replace(&mut self.is_open, true) {
            return;
        }
        self.tag = Slot::run_tag(&info.run_id);
        self.knows_expected = info.runner == RESULTS_DATABASE;
        let Some(memory) = &mut self.memory else { return };
        let metadata = info.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let configuration = if self.knows_expected { memory::configuration(metadata.clone()) } else { String::new() };
        let branch = metadata.into_iter().find(|(name, _)| *name == meta::BRANCH).map_or("", |(_, value)| value);
        let past = memory.open(&Opening {
            key: Key {
                project: info.project.clone(),
                env: info.env.clone(),
                runner: info.runner.clone(),
                configuration,
            },
            run_id: info.run_id.clone(),
            branch: branch.to_owned(),
            is_shard: !info.shard.is_empty(),
        });
        self.set_past(past);
    }

    fn set_past(&mut self, past: Option<Arc<Past>>) {
        self.median = past.as_ref().and_then(|past| past.median_expected());
        self.model = None;
        let tests = past.as_ref().map_or(0, |past| past.len());
        self.results.reserve(tests.min(MAX_RESULTS).saturating_sub(self.results.len()));
        self.past = past;
    }

    /// Takes a history that has arrived since, and judges by it what has ended already. True if there is one.
    pub(super) fn poll(&mut self, counters: &mut Counters) -> bool {
        let Some(past) = self.memory.as_mut().and_then(|memory| memory.arrived()) else { return false };
        self.set_past(Some(past));
        for id in std::mem::take(&mut self.early) {
            if let Some(noted) = self.results.get(&test_key(&id)).copied() {
                let change = self.past.as_ref().and_then(|past| past.judge(test_key(&id), noted.slot).change);
                self.count(&id, Some(noted.change), change, counters);
                self.results.insert(test_key(&id), Noted { change, ..noted });
            }
        }
        true
    }

    /// True while earlier runs are being looked for elsewhere.
    pub(super) fn awaits(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.awaits())
    }

    /// True if results can be seen beside earlier ones.
    pub(super) fn is_told(&self) -> bool {
        self.past.as_ref().is_some_and(|past| !past.is_empty())
    }

    /// How long a test usually takes.
    pub(super) fn expected(&self, test: u64) -> Option<Duration> {
        self.past.as_ref()?.expected(test)
    }

    /// How long a test takes of which nothing is known.
    pub(super) fn median(&self) -> Option<Duration> {
        self.median
    }

    /// Whether the time of a test was mostly that of its parts.
    pub(super) fn has_parts(&self, test: u64) -> bool {
        self.past.as_ref().and_then(|past| past.get(test)).is_some_and(|record| record.has_parts)
    }

    /// How long the tests take of which a result is to be expected yet, as an earlier run had one, but for those that
    /// `is_known` and those that have parts; in the order in which they ended then.
    pub(super) fn unseen(&mut self, is_known: impl Fn(u64) -> bool) -> Vec<Option<Duration>> {
        let Some(past) = &self.past else { return Vec::new() };
        let model = *self.model.get_or_insert_with(|| past.model_run());
        let of_model = |record: &&Record| record.slots().iter().rev().find(|slot| Some(slot.tag()) == model).copied();
        let mut unseen: Vec<(Slot, Option<Duration>)> = past
            .records()
            .iter()
            .filter(|record| !record.has_parts && record.test != RUN_END)
            .filter(|record| !self.results.contains_key(&record.test) && !is_known(record.test))
            .filter_map(|record| Some((of_model(&record)?, record.expected())))
            .collect();
        unseen.sort_unstable();
        unseen.into_iter().map(|(_, expected)| expected).collect()
    }

    /// How long the runner usually takes to end after its last test.
    pub(super) fn usual_end(&self) -> Duration {
        let end = self.past.as_ref().and_then(|past| past.get(RUN_END));
        end.and_then(Record::expected_at_rest).unwrap_or_default()
    }

    /// The runner took so long.
    pub(super) fn note_end(&mut self, time: Timestamp, took: Duration) {
        if !self.results.is_empty() {
            let slot = Slot::new(time, self.tag, Outcome::Passed, Some(took));
            let noted = Noted { slot, signature: 0, change: None, is_known: false, has_parts: false };
            self.results.insert(RUN_END, noted);
        }
    }

    /// What a result means, and whether its failure is a known one. Without counters its history is kept, but it is no news.
    pub(super) fn note(&mut self, result: &Result<'_>, counters: Option<&mut Counters>) -> (Judgement, bool) {
        let Result { test, id, status, is_flaky, time, duration, signature, has_parts } = *result;
        let is_known =
            self.known.matches(id, time, status.is_failing()) || (self.knows_expected && status == Status::Xfailed);
        let Some(outcome) = Outcome::of(status, is_flaky) else { return (Judgement::default(), is_known) };
        let before = self.results.get(&test).copied();
        let slot = match (duration, before) {
            // A correction does not say how long the test took, but its end did.
            (None, Some(before)) => Slot::new(time, self.tag, outcome, Some(before.slot.duration())),
            _ => Slot::new(time, self.tag, outcome, duration),
        };
        let mut judgement = self.past.as_deref().unwrap_or(&Past::default()).judge(test, slot);
        let is_news = counters.is_some();
        let is_known = is_known && is_news;
        judgement.change = judgement.change.filter(|_| is_news);
        let signature = u64::from_str_radix(signature, 16).unwrap_or(0);
        if self.results.len() < MAX_RESULTS || before.is_some() {
            // A correction does not know of parts.
            let has_parts = has_parts || before.is_some_and(|before| before.has_parts);
            let noted = Noted { slot, signature, change: judgement.change, is_known, has_parts };
            self.results.insert(test, noted);
            if let Some(counters) = counters {
                self.count(id, before.map(|before| before.change), judgement.change, counters);
                let was_known = before.is_some_and(|before| before.is_known);
                counters.known = counters.known + u64::from(is_known) - u64::from(was_known).min(counters.known);
            }
            self.has_news = true;
        }
        if is_news && self.memory.is_some() && before.is_none() && self.early.len() < MAX_EARLY && !self.is_told_fully()
        {
            self.early.push(prefix(id, super::text::MAX_MESSAGE * 4).into());
        }
        (judgement, is_known)
    }

    fn is_told_fully(&self) -> bool {
        self.past.as_ref().is_some_and(|past| past.is_whole)
    }

    /// Moves a test from one change to another.
    fn count(&mut self, id: &str, before: Option<Option<Change>>, now: Option<Change>, counters: &mut Counters) {
        let before = before.flatten();
        if before == now {
            return;
        }
        if let Some(change) = before {
            let n = count(counters, change);
            *n = n.saturating_sub(1);
            self.names[place(change)].retain(|name| name != id);
        }
        if let Some(change) = now {
            *count(counters, change) += 1;
            let names = &mut self.names[place(change)];
            if names.len() < MAX_NAMES {
                names.push(id.to_owned());
            }
        }
    }

    /// Heads, numbers and names for the run's end.
    pub(super) fn lists<'a>(
        &'a self,
        counters: &Counters,
    ) -> [(&'static str, u64, impl Iterator<Item = &'a str> + use<'a>); 4] {
        let counts = [
            ("new failures", counters.new_failures),
            ("fixed", counters.fixed),
            ("still failing", counters.still_failing),
            ("new tests", counters.new_tests),
        ];
        let mut at = 0;
        counts.map(|(head, count)| {
            let names = self.names[at].iter().map(String::as_str).take(SHOWN);
            at += 1;
            (head, count, names)
        })
    }

    /// The results of a large run in a line, for machines that have no history.
    pub(super) fn digest(&self) -> Option<String> {
        let tests = self.results.len() - usize::from(self.results.contains_key(&RUN_END));
        let is_large = tests >= digest::MIN_TESTS;
        is_large.then(|| {
            let mut results: Vec<Observed> = self.observed().collect();
            results.sort_unstable_by_key(|result| (result.slot, result.test));
            digest::write(&results)
        })
    }

    fn observed(&self) -> impl Iterator<Item = Observed> {
        self.results.iter().map(|(test, noted)| {
            let Noted { slot, signature, has_parts, .. } = *noted;
            Observed { test: *test, slot, signature, has_parts }
        })
    }

    /// Hands the results to the memory, if there are new ones.
    pub(super) fn keep(&mut self, is_end: bool) {
        if self.results.is_empty() || !(self.has_news || is_end) {
            return;
        }
        let Some(mut memory) = self.memory.take_if(|_| self.is_open) else { return };
        memory.keep(&mut self.observed(), is_end);
        self.memory = Some(memory);
        self.has_news = false;
    }
}
