//! Structured metadata of an entry in the making.

use super::RunInfo;
use super::fit::{fit, fits};
use super::text::prefix;
use crate::loki::limits::Limits;
use crate::names::meta;

/// Longest metadata value but for `message`, in bytes: a test id of kilobytes is a parameter gone wild, and all
/// metadata of an entry together may have 64 KiB.
const MAX_VALUE: usize = 4 << 10;
/// Pairs that an entry may have by itself: run, level, shard, part.
const OWN: usize = 4;
/// Pairs for which there is room at once.
const ROOM: usize = OWN + 12;

/// Names and values; what every entry has comes first.
#[derive(Clone)]
pub(super) struct Pairs<'p> {
    level: &'p str,
    /// The first [`OWN`] places are kept for what every entry has, which is known last: so one piece of memory does for an
    /// entry, of which there are a million a second.
    pairs: Vec<(&'p str, &'p str)>,
}

impl<'p> Pairs<'p> {
    pub(super) fn new(level: &'p str) -> Self {
        let mut pairs = Vec::with_capacity(ROOM);
        pairs.resize(OWN, ("", ""));
        Self { level, pairs }
    }

    /// Adds a pair, unless its value is empty: Loki drops those.
    pub(super) fn push(&mut self, name: &'p str, value: &'p str) {
        if !value.is_empty() {
            self.pairs.push((name, prefix(value, MAX_VALUE)));
        }
    }

    /// All pairs of one entry within Loki's limits.
    pub(super) fn finish(&mut self, info: &'p RunInfo, part: &'p str, limits: &Limits) -> &[(&'p str, &'p str)] {
        let own = [
            (meta::PART, part),
            (meta::SHARD, info.shard.as_str()),
            (meta::LEVEL, self.level),
            (meta::RUN_ID, info.run_id.as_str()),
        ];
        let mut first = OWN;
        for (name, value) in own.into_iter().filter(|(name, value)| !value.is_empty() || *name == meta::RUN_ID) {
            first -= 1;
            self.pairs[first] = (name, value);
        }
        if !fits(&self.pairs[first..], limits) {
            self.pairs.drain(..first);
            fit(&mut self.pairs, limits);
            first = 0;
        }
        &self.pairs[first..]
    }
}
