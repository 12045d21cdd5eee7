//! What mostly suffices of a test's record to judge its next result, in sixteen bytes.
//!
//! A record has 200 bytes, and those of all tests lie far apart from the one that ends now, so that each look at one waits
//! for memory, and takes the place of other things in the processor's cache. This is a twelfth of it.

use std::time::Duration;

use super::past::{KEPT, Record};
use super::slot::{Outcome, Slot};

/// The results of a test in short. The default is for a test that was never seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Brief {
    /// Its key.
    pub(super) test: u64,
    /// When it was last seen, as [`Slot::seconds`].
    pub(super) newest: u32,
    /// Code of the duration that is to be expected; 0: none.
    expected: u16,
    /// Bits: flips among the latest 19 results (6), the newest that was good or not among those (2), the same among all (2),
    /// the newest outcome (3), whether there is one (1).
    state: u16,
}

impl Brief {
    /// Of a record.
    pub(super) fn new(record: &Record) -> Self {
        let slots = record.slots();
        let (flips, latest) = flips(slots);
        let any = slots.iter().rev().find_map(|slot| slot.outcome().is_good());
        let newest = slots.last().map_or(0, |slot| 1 | slot.outcome_code() << 1);
        let state = newest | code(any) << 4 | code(latest) << 6 | (flips as u16) << 8;
        Self { test: record.test, newest: record.last(), expected: record.expected_code(), state }
    }

    /// The newest outcome.
    pub(super) fn previous(self) -> Option<Outcome> {
        (self.state & 1 > 0).then(|| Outcome::of_code(self.state >> 1 & 7))
    }

    /// Whether the newest result was good that says so.
    pub(super) fn last(self) -> Option<bool> {
        of_code(self.state >> 4)
    }

    /// How long it takes.
    pub(super) fn expected(self) -> Option<Duration> {
        (self.expected > 0).then(|| Slot::decode_duration(self.expected))
    }

    /// Flips among the last 20 results up to one with this outcome, which comes after all that are known.
    pub(super) fn flips(self, outcome: Outcome) -> u32 {
        let is_flip = matches!((of_code(self.state >> 6), outcome.is_good()), (Some(a), Some(b)) if a != b);
        u32::from(self.state >> 8) + u32::from(is_flip) + u32::from(outcome == Outcome::Flaky)
    }
}

/// How often the latest 19 results went from good to bad or back, those that needed a retry included, and whether the
/// newest of them was good.
fn flips(slots: &[Slot]) -> (u32, Option<bool>) {
    let (mut count, mut newest, mut after) = (0, None, None);
    for outcome in slots.iter().rev().take(KEPT - 1).map(|slot| slot.outcome()) {
        count += u32::from(outcome == Outcome::Flaky);
        if let Some(good) = outcome.is_good() {
            count += u32::from(after.is_some_and(|after| after != good));
            newest = newest.or(Some(good));
            after = Some(good);
        }
    }
    (count, newest)
}

fn code(good: Option<bool>) -> u16 {
    good.map_or(0, |good| 2 | u16::from(good))
}

fn of_code(code: u16) -> Option<bool> {
    (code & 2 > 0).then_some(code & 1 > 0)
}
