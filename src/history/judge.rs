//! What a result means beside those before it. Pure.

use std::time::Duration;

use super::brief::Brief;
use super::past::{Past, Record, unusual};
use super::slot::{Outcome, Slot};

/// What a result means beside those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Change {
    /// It fails, and did not when it last passed or failed; also if it was never seen.
    NewFailure,
    /// It fails, and did the last time.
    StillFailing,
    /// It passes, and failed the last time.
    Fixed,
    /// It was never seen before, and does not fail.
    NewTest,
}

/// All that the history says about a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The result before this one, skips included; `None`: the test was never seen.
    pub previous: Option<Outcome>,
    /// What changed; `None`: nothing.
    pub change: Option<Change>,
    /// How long it usually takes.
    pub expected: Option<Duration>,
    /// How much longer than expected it took, where that is beyond its usual spread.
    pub slower_by: Option<Duration>,
    /// How often it went from failing to passing or back among its last 20 results, this one included. A result that
    /// needed a retry is such a flip by itself.
    pub flaky_score: u32,
}

impl Past {
    /// What `slot`, the result of a test, means.
    pub fn judge(&self, test: u64, slot: Slot) -> Judgement {
        // Of the first run of all, nothing is new.
        if self.is_empty() {
            let flaky_score = u32::from(slot.outcome() == Outcome::Flaky);
            return Judgement { flaky_score, ..Judgement::default() };
        }
        let at = self.place(test);
        // Where results of the same run are in the record, or later ones, and where the test took long, it takes more.
        let suffices = |brief: &&Brief| {
            let is_slow = brief.expected().is_some_and(|expected| slot.duration() > unusual(expected));
            !is_slow && brief.newest <= slot.seconds() && !self.tags.contains(&slot.tag())
        };
        if let Some(brief) = at.and_then(|at| self.briefs.get(at)).filter(suffices) {
            return self.judge_by(*brief, slot);
        }
        let Some(record) = at.and_then(|at| self.records.get(at)) else { return self.judge_by(Brief::default(), slot) };
        let record = record.before(slot);
        let judgement = self.judge_by(Brief::new(&record), slot);
        Judgement { slower_by: slower_by(&record, slot.duration()), ..judgement }
    }

    /// The same, but for how much slower it was.
    fn judge_by(&self, brief: Brief, slot: Slot) -> Judgement {
        let (outcome, previous) = (slot.outcome(), brief.previous());
        let change = match (outcome.is_good(), brief.last()) {
            (Some(false), Some(false)) => Some(Change::StillFailing),
            (Some(false), Some(true)) => Some(Change::NewFailure),
            (Some(false), None) if previous.is_some() || self.is_whole => Some(Change::NewFailure),
            (Some(true), Some(false)) => Some(Change::Fixed),
            (_, _) if previous.is_none() && self.is_whole => Some(Change::NewTest),
            _ => None,
        };
        let (expected, flaky_score) = (brief.expected(), brief.flips(outcome));
        Judgement { previous, change, expected, slower_by: None, flaky_score }
    }
}

/// How much longer than expected a test took, if that is beyond its usual spread.
fn slower_by(record: &Record, took: Duration) -> Option<Duration> {
    // Few tests are slow enough for their spread to matter.
    let expected = record.expected().filter(|expected| took > unusual(*expected))?;
    record.durations().usual(expected).filter(|usual| took > *usual).map(|_| took.saturating_sub(expected))
}
