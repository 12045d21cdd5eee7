//! Which entries of a batch are still to be pushed, and in which pieces; finds the refused ones.
//!
//! Pure: the caller pushes [`Work::next`] and says how it went. Entries are numbers from 0 in the order of the batch.
//!
//! A 400 does not name every refused entry (Loki lists at most ten of one kind, and one kind may hide another), so the
//! batch is halved until an entry is refused by itself. Two things keep that short: when one half is accepted, the
//! refused entry must be in the other, which is halved at once; and where the reason covers others (an entry as old as one
//! that was too old), they need no push of their own.

use std::ops::Range;
use std::sync::Arc;

use crate::event::Timestamp;
use crate::loki::reason::{Covers, Reason};

/// Loki's final answer to one entry.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Loki's name for the reason.
    pub reason: Reason,
    /// The text of the answer, bounded.
    pub answer: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    range: Range<usize>,
    /// A push that held this part was refused, and the rest of it was accepted: to push it whole would be in vain.
    suspect: bool,
    /// It was halved after a refusal, and the other half is the part below: if this one is accepted, that is suspect.
    clears: bool,
}

impl Part {
    fn plain(range: Range<usize>) -> Self {
        Self { range, suspect: false, clears: false }
    }
}

/// The rest of a batch. Survives retries: what was accepted is not pushed again.
#[derive(Debug)]
pub(super) struct Work {
    /// A stack: the last is pushed next. Never empty parts.
    parts: Vec<Part>,
    /// Whether the later half is pushed first.
    newest_first: bool,
    /// Refused, and not yet kept aside.
    refused: Vec<(usize, Arc<Refusal>)>,
}

impl Work {
    /// A batch of so many entries.
    pub(super) fn new(entries: usize) -> Self {
        let parts = if entries == 0 { Vec::new() } else { vec![Part::plain(0..entries)] };
        Self { parts, newest_first: false, refused: Vec::new() }
    }

    /// Leaves out entries that have not been pushed and shall not be; they are numbered in ascending order.
    pub(super) fn leave_out(&mut self, entries: &[usize]) {
        for part in std::mem::take(&mut self.parts) {
            let mut runs = Vec::new();
            let mut start = part.range.start;
            for entry in entries.iter().copied().filter(|entry| part.range.contains(entry)) {
                runs.push(start..entry);
                start = entry + 1;
            }
            runs.push(start..part.range.end);
            runs.into_iter().rev().for_each(|run| self.keep_run(run));
        }
    }

    /// What to push next; `None` when all is settled.
    pub(super) fn next(&mut self) -> Option<Range<usize>> {
        while let Some(part) = self.parts.last() {
            if !part.suspect || part.range.len() == 1 {
                return Some(part.range.clone());
            }
            self.halve(true);
        }
        None
    }

    /// The push of [`Work::next`] was accepted.
    pub(super) fn accepted(&mut self) {
        if let Some(part) = self.parts.pop()
            && part.clears
            && let Some(other) = self.parts.last_mut()
        {
            other.suspect = true;
        }
    }

    /// The push was too large. A single entry that is too large is refused.
    pub(super) fn too_large(&mut self, refusal: Refusal) {
        match self.parts.last() {
            Some(part) if part.range.len() > 1 => self.halve(false),
            Some(_) => self.refuse_one(refusal, &|_| None),
            None => {}
        }
    }

    /// What is next is to be pushed in halves, because pushes of its size do not get through.
    pub(super) fn shrink(&mut self) {
        if self.parts.last().is_some_and(|part| part.range.len() > 1) {
            self.halve(false);
        }
    }

    /// The push was refused. `time` tells the time of an entry.
    pub(super) fn refused(&mut self, refusal: Refusal, time: &dyn Fn(usize) -> Option<Timestamp>) {
        match self.parts.last() {
            Some(part) if part.range.len() > 1 => {
                // The entry whose refusal covers the most is to be found first.
                self.newest_first = refusal.reason.covers() == Covers::Older;
                self.halve(true);
            }
            Some(_) => self.refuse_one(refusal, time),
            None => {}
        }
    }

    /// Entries that were refused since the last call, with Loki's answer. Several may share one answer.
    pub(super) fn take_refused(&mut self) -> Vec<(usize, Arc<Refusal>)> {
        std::mem::take(&mut self.refused)
    }

    /// How many [`Work::take_refused`] would give.
    pub(super) fn refused_len(&self) -> usize {
        self.refused.len()
    }

    /// Puts back what could not be kept aside.
    pub(super) fn put_back_refused(&mut self, refused: Vec<(usize, Arc<Refusal>)>) {
        self.refused.extend(refused);
    }

    /// Replaces the part on top, of at least two entries, by its halves.
    fn halve(&mut self, after_refusal: bool) {
        let Some(part) = self.parts.pop() else { return };
        let middle = part.range.start + part.range.len() / 2;
        let (old, new) = (part.range.start..middle, middle..part.range.end);
        let (first, second) = if self.newest_first { (new, old) } else { (old, new) };
        self.parts.push(Part::plain(second));
        self.parts.push(Part { range: first, suspect: false, clears: after_refusal });
    }

    fn refuse_one(&mut self, refusal: Refusal, time: &dyn Fn(usize) -> Option<Timestamp>) {
        let Some(part) = self.parts.pop() else { return };
        let entry = part.range.start;
        let covers = refusal.reason.covers();
        let refusal = Arc::new(refusal);
        self.refused.push((entry, Arc::clone(&refusal)));
        let mine = time(entry);
        let covered = |other: usize| match covers {
            Covers::Entry => false,
            Covers::Stream => true,
            Covers::Older => mine.is_some() && time(other).is_some_and(|other| Some(other) <= mine),
            Covers::Newer => mine.is_some_and(|mine| time(other).is_some_and(|other| other >= mine)),
        };
        if covers != Covers::Entry {
            self.refuse_covered(&refusal, &covered);
        }
    }

    /// Takes the covered entries out of the parts; what is left of a part is pushed as runs.
    fn refuse_covered(&mut self, refusal: &Arc<Refusal>, covered: &dyn Fn(usize) -> bool) {
        for part in std::mem::take(&mut self.parts) {
            if !part.range.clone().any(covered) {
                self.parts.push(part);
                continue;
            }
            let mut run = part.range.start;
            for entry in part.range.clone() {
                if covered(entry) {
                    self.refused.push((entry, Arc::clone(refusal)));
                    self.keep_run(run..entry);
                    run = entry + 1;
                }
            }
            self.keep_run(run..part.range.end);
        }
        // The halves that would clear each other may be gone.
        for part in &mut self.parts {
            part.clears = false;
        }
    }

    fn keep_run(&mut self, run: Range<usize>) {
        if !run.is_empty() {
            self.parts.push(Part::plain(run));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: Reason) -> Refusal {
        Refusal { status: 400, reason, answer: String::new() }
    }

    /// Pushes a batch into a Loki that refuses these entries; gives what was stored, refused, and the number of pushes.
    fn bisect(entries: usize, reason: Reason, bad: impl Fn(usize) -> bool) -> (Vec<usize>, Vec<usize>, usize) {
        let mut work = Work::new(entries);
        let (mut stored, mut pushes) = (Vec::new(), 0);
        while let Some(range) = work.next() {
            pushes += 1;
            assert!(pushes <= 3 * entries + 1, "does not end");
            if range.clone().any(&bad) {
                work.refused(refusal(reason), &|entry| Some(Timestamp(entry as i64)));
            } else {
                stored.extend(range);
                work.accepted();
            }
        }
        stored.sort_unstable();
        let mut refused: Vec<_> = work.take_refused().into_iter().map(|(entry, _)| entry).collect();
        refused.sort_unstable();
        (stored, refused, pushes)
    }

    fn check(entries: usize, reason: Reason, bad: impl Fn(usize) -> bool) -> usize {
        let (stored, refused, pushes) = bisect(entries, reason, &bad);
        assert_eq!(stored, (0..entries).filter(|entry| !bad(*entry)).collect::<Vec<_>>());
        assert_eq!(refused, (0..entries).filter(|entry| bad(*entry)).collect::<Vec<_>>());
        pushes
    }

    #[test]
    fn three_bad_of_ten_thousand_are_found_with_few_pushes() {
        let pushes = check(10_000, Reason::LineTooLong, |entry| [17, 5_000, 9_999].contains(&entry));
        assert!(pushes <= 70, "{pushes} pushes");
    }

    #[test]
    fn any_set_of_bad_entries_is_found_exactly() {
        for entries in 0..8 {
            for set in 0..1_u32 << entries {
                check(entries as usize, Reason::Unknown, |entry| set >> entry & 1 == 1);
            }
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..50 {
            let bad: Vec<bool> = (0..300).map(|_| random.u8(..) < 20).collect();
            check(bad.len(), Reason::LineTooLong, |entry| bad[entry]);
        }
    }

    #[test]
    fn a_batch_that_is_too_old_is_known_after_one_chain_of_halves() {
        assert!(check(10_000, Reason::GreaterThanMaxSampleAge, |_| true) <= 16);
        assert!(check(10_000, Reason::TooFarBehind, |entry| entry < 6_000) <= 30);
        assert!(check(10_000, Reason::TooFarInFuture, |entry| entry >= 6_000) <= 30);
        assert!(check(10_000, Reason::LabelValueTooLong, |_| true) <= 16);
    }

    #[test]
    fn too_large_is_halved_down_to_the_entry_that_is_too_large_by_itself() {
        let mut work = Work::new(8);
        let mut stored = Vec::new();
        while let Some(range) = work.next() {
            if range.len() > 3 || range.contains(&5) {
                work.too_large(refusal(Reason::RequestTooLarge));
            } else {
                stored.extend(range);
                work.accepted();
            }
        }
        assert_eq!(stored, [0, 1, 2, 3, 4, 6, 7], "in order, without the refused one");
        assert_eq!(work.take_refused().iter().map(|(entry, _)| *entry).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_is_left_out_is_never_pushed_and_the_rest_keeps_its_order() {
        let mut work = Work::new(10);
        work.leave_out(&[0, 3, 4, 9]);
        let mut pushed = Vec::new();
        while let Some(range) = work.next() {
            pushed.push(range);
            work.accepted();
        }
        assert_eq!(pushed, [1..3, 5..9]);
        let mut none = Work::new(2);
        none.leave_out(&[0, 1]);
        assert_eq!(none.next(), None);
    }

    #[test]
    fn a_half_that_turns_out_good_after_all_is_pushed_and_not_refused() {
        let mut work = Work::new(4);
        work.next();
        work.refused(refusal(Reason::Unknown), &|_| None);
        let mut stored = Vec::new();
        while let Some(range) = work.next() {
            stored.extend(range);
            work.accepted();
        }
        assert_eq!(stored, [0, 1, 2, 3]);
        assert!(work.take_refused().is_empty());
    }
}
