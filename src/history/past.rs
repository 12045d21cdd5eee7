//! Results of earlier runs, test by test, and what a result means beside them. Pure.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::brief::Brief;
use super::index::Index;
use super::slot::{Slot, hash};

/// Results that are kept of a test.
pub const KEPT: usize = 20;
/// A test id counts up to here, because that is as much of it as goes into Loki.
const MAX_ID: usize = 4 << 10;
/// Key of what is no test: from the last end of a test to the end of the run, which is kept as if it were one.
pub const RUN_END: u64 = u64::MAX;
/// Below so many durations nothing is usual yet.
const MIN_DURATIONS: usize = 3;
/// A test is not called slower for less than this: schedulers and disks take as much.
const LEAST_SLOWDOWN: Duration = Duration::from_millis(50);

/// What stands for a test in the history: a hash of its id, the same on every machine and in every version.
pub fn test_key(id: &str) -> u64 {
    hash(id.as_bytes().get(..MAX_ID).unwrap_or(id.as_bytes()))
}

/// Hashes [`test_key`]s, which are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by [`test_key`].
pub type ByTest<V> = HashMap<u64, V, BuildHasherDefault<KeyHasher>>;
/// A set of [`test_key`]s.
pub type TestKeys = HashSet<u64, BuildHasherDefault<KeyHasher>>;

/// What is known of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its [`test_key`].
    pub test: u64,
    /// Signature of its last failure; 0 if none is known.
    pub signature: u64,
    /// When it was first seen, as [`Slot::seconds`].
    pub first: u32,
    /// True if it had parts when it was last seen, so that its time is mostly that of other tests.
    pub has_parts: bool,
    len: u8,
    /// Code of the duration that is to be expected; 0: it is to be computed, or there is none.
    expected: u16,
    slots: [Slot; KEPT],
}

impl Record {
    /// A test of which nothing has been seen.
    pub fn new(test: u64) -> Self {
        let (signature, first, has_parts) = (0, u32::MAX, false);
        Self { test, signature, first, has_parts, len: 0, expected: 0, slots: [Slot::default(); KEPT] }
    }

    /// A record as it was stored, with its slots in order. Of more than [`KEPT`] slots the rest is left out.
    pub(super) fn stored(
        (test, signature, first): (u64, u64, u32),
        expected: u16,
        has_parts: bool,
        slots: impl Iterator<Item = Slot>,
    ) -> Self {
        let mut record = Self { signature, first, expected, has_parts, ..Self::new(test) };
        for (place, slot) in record.slots.iter_mut().zip(slots) {
            *place = slot;
            record.len += 1;
        }
        record
    }

    /// Its results, oldest first.
    pub fn slots(&self) -> &[Slot] {
        &self.slots[..usize::from(self.len)]
    }

    /// When it was last seen; 0: never.
    pub fn last(&self) -> u32 {
        self.slots().last().map_or(0, |slot| slot.seconds())
    }

    /// Takes a result. A later result of the same run replaces an earlier one: only the final outcome counts.
    pub fn insert(&mut self, slot: Slot, signature: u64) {
        self.first = self.first.min(slot.seconds());
        self.expected = 0;
        if let Some(at) = self.slots().iter().position(|known| known.tag() == slot.tag()) {
            if self.slots[at].seconds() > slot.seconds() {
                return;
            }
            self.slots.copy_within(at + 1..usize::from(self.len), at);
            self.len -= 1;
        }
        let place = self.slots().partition_point(|known| *known <= slot);
        if usize::from(self.len) < KEPT {
            self.slots.copy_within(place..usize::from(self.len), place + 1);
            self.slots[place] = slot;
            self.len += 1;
        } else if place > 0 {
            self.slots.copy_within(1..place, 0);
            self.slots[place - 1] = slot;
        } else {
            return;
        }
        let newer = |known: &Slot| known.seconds() > slot.seconds() && known.outcome().is_good() == Some(false);
        if signature != 0 && !self.slots().iter().any(newer) {
            self.signature = signature;
        }
    }

    /// Takes the results of another record of the same test.
    pub fn merge(&mut self, other: &Self) {
        // A full record may have seen the test before its oldest result.
        self.first = self.first.min(other.first);
        if other.last() >= self.last() {
            self.has_parts = other.has_parts;
        }
        for slot in other.slots() {
            self.insert(*slot, if slot.outcome().is_good() == Some(false) { other.signature } else { 0 });
        }
    }

    /// What was known of the test before `slot`: its results of other runs that are not later.
    pub(super) fn before(&self, slot: Slot) -> Cow<'_, Self> {
        let is_before = |known: &Slot| known.tag() != slot.tag() && known.seconds() <= slot.seconds();
        // Nearly always that is all.
        if self.slots().iter().all(is_before) {
            return Cow::Borrowed(self);
        }
        let slots = self.slots().iter().copied().filter(is_before);
        Cow::Owned(Self::stored((self.test, self.signature, self.first), 0, self.has_parts, slots))
    }

    /// Durations of results that say how long the test takes, as codes: those of good ones, else of all.
    pub(super) fn durations(&self) -> Durations {
        let of = |is_good: bool| {
            let mut found = Durations { codes: [0; KEPT], len: 0 };
            let known = self.slots().iter().filter(|slot| slot.duration_code() > 0);
            for slot in known.filter(|slot| slot.outcome().is_good() == Some(is_good)) {
                found.codes[found.len] = slot.duration_code();
                found.len += 1;
            }
            found
        };
        let best = of(true);
        if best.len > 0 { best } else { of(false) }
    }

    /// How long it takes, by all that is known: the median of its durations.
    pub fn expected(&self) -> Option<Duration> {
        let code = self.expected_code();
        (code > 0).then(|| Slot::decode_duration(code))
    }

    /// The lower one of two medians, for what takes longer only because the machine is busy.
    pub fn expected_at_rest(&self) -> Option<Duration> {
        let mut known = self.durations();
        let codes = &mut known.codes[..known.len];
        codes.sort_unstable();
        codes.get(codes.len().saturating_sub(1) / 2).map(|code| Slot::decode_duration(*code))
    }

    /// The same as [`Self::expected`] as a code; 0: it is not known.
    pub(super) fn expected_code(&self) -> u16 {
        if self.expected > 0 { self.expected } else { self.durations().median_code().unwrap_or(0) }
    }
}

/// Codes of durations.
pub(super) struct Durations {
    codes: [u16; KEPT],
    len: usize,
}

impl Durations {
    fn median_code(&self) -> Option<u16> {
        let mut codes = self.codes;
        let codes = &mut codes[..self.len];
        codes.sort_unstable();
        codes.get(codes.len() / 2).copied()
    }

    /// The longest duration that is nothing unusual beside the median: five times the median distance from it more, and at
    /// least as much as [`unusual`]. `None` while there are too few to say.
    pub(super) fn usual(&self, median: Duration) -> Option<Duration> {
        let mut distances = [Duration::ZERO; KEPT];
        for (distance, code) in distances.iter_mut().zip(&self.codes[..self.len]) {
            *distance = Slot::decode_duration(*code).abs_diff(median);
        }
        distances[..self.len].sort_unstable();
        let spread = distances[self.len / 2] * 5;
        (self.len >= MIN_DURATIONS).then(|| unusual(median).max(median + spread))
    }
}

/// The shortest duration that may be unusual for a test that takes `median`.
pub(super) fn unusual(median: Duration) -> Duration {
    median + (median / 2).max(LEAST_SLOWDOWN)
}

/// Results of all tests of a project, environment and runner.
#[derive(Clone, Debug, Default)]
pub struct Past {
    pub(super) records: Vec<Record>,
    index: Index,
    /// One for each record, or none while records change.
    pub(super) briefs: Vec<Brief>,
    /// The runs whose results are in the records, if there are briefs.
    pub(super) tags: HashSet<u32, foldhash::fast::RandomState>,
    /// True if all there is was read. Else a test that is not in it need not be new.
    pub is_whole: bool,
}

impl Past {
    /// From records, one for each test.
    pub fn new(records: Vec<Record>, is_whole: bool) -> Self {
        let mut past = Self { index: Index::new(&records), records, is_whole, ..Self::default() };
        past.settle();
        past
    }

    /// To be called when no more will be inserted: makes it quick to ask.
    pub fn settle(&mut self) {
        self.records.iter_mut().for_each(|record| record.expected = record.expected_code());
        self.briefs = self.records.iter().map(Brief::new).collect();
        self.tags.clear();
        let mut last = None;
        for tag in self.records.iter().flat_map(Record::slots).map(|slot| Some(slot.tag())) {
            if last != tag {
                self.tags.extend(tag);
                last = tag;
            }
        }
    }

    /// Number of tests.
    pub fn len(&self) -> usize {
        self.records.len() - usize::from(self.get(RUN_END).is_some())
    }

    /// True if there was no earlier run.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What is known of a test.
    pub fn get(&self, test: u64) -> Option<&Record> {
        self.records.get(self.place(test)?)
    }

    /// The place of its record.
    pub(super) fn place(&self, test: u64) -> Option<usize> {
        if self.briefs.is_empty() {
            return self.index.find(test, |at| Some(self.records.get(at)?.test));
        }
        self.index.find(test, |at| Some(self.briefs.get(at)?.test))
    }

    /// How long a test takes.
    pub fn expected(&self, test: u64) -> Option<Duration> {
        let at = self.place(test)?;
        self.briefs.get(at).map_or_else(|| self.records[at].expected(), |brief| brief.expected())
    }

    /// Every test.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes one result.
    pub fn insert(&mut self, test: u64, slot: Slot, signature: u64) {
        self.entry(test).insert(slot, signature);
    }

    /// Says of the tests with these keys that they have parts.
    pub fn mark_wholes(&mut self, keys: &TestKeys) {
        for key in keys {
            if let Some(at) = self.place(*key) {
                self.records[at].has_parts = true;
            }
        }
    }

    /// Takes all that another history knows.
    pub fn merge(&mut self, other: &Self) {
        for record in &other.records {
            self.entry(record.test).merge(record);
        }
    }

    fn entry(&mut self, test: u64) -> &mut Record {
        let at = self.place(test);
        self.briefs = Vec::new();
        let at = at.unwrap_or_else(|| {
            self.records.push(Record::new(test));
            self.index.add(&self.records);
            self.records.len() - 1
        });
        &mut self.records[at]
    }

    /// The same, of which nobody says any more that there is nothing else.
    #[must_use]
    pub fn in_part(&self) -> Self {
        Self { is_whole: false, ..self.clone() }
    }

    /// How long a test takes of which nothing is known: the median of all tests.
    pub fn median_expected(&self) -> Option<Duration> {
        let tests = self.records.iter().filter(|record| record.test != RUN_END);
        let mut all: Vec<Duration> = tests.filter_map(Record::expected).collect();
        let middle = all.len() / 2;
        (!all.is_empty()).then(|| *all.select_nth_unstable(middle).1)
    }

    /// The run that another one is likely to be like: of the last three the one with most tests, as a run of a few is often one
    /// that somebody tries something with.
    pub fn model_run(&self) -> Option<u32> {
        let mut runs: HashMap<u32, (u32, u32)> = HashMap::default();
        for slot in self.records.iter().flat_map(|record| record.slots().iter().rev().take(3)) {
            let (last, tests) = runs.entry(slot.tag()).or_default();
            *last = slot.seconds().max(*last);
            *tests += 1;
        }
        let mut runs: Vec<_> = runs.into_iter().map(|(tag, (last, tests))| (last, tests, tag)).collect();
        runs.sort_unstable();
        runs.iter().rev().take(3).max_by_key(|(last, tests, _)| (*tests, *last)).map(|(.., tag)| *tag)
    }
}
