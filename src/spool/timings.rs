//! How long something took, over many times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper bounds of the classes, in milliseconds; what took longer is in one more class.
const BOUNDS_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];

/// Times of something that is done again and again, such as syncs of the spool, or pushes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    classes: [u64; BOUNDS_MS.len() + 1],
    total_us: u64,
    longest_us: u64,
}

impl Timings {
    /// Counts one more that took `time`.
    pub fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.classes[BOUNDS_MS.partition_point(|bound| bound * 1_000 < micros)] += 1;
        self.total_us = self.total_us.saturating_add(micros);
        self.longest_us = self.longest_us.max(micros);
    }

    /// Counts those of `other` too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.classes.iter_mut().zip(other.classes) {
            *mine += theirs;
        }
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.longest_us = self.longest_us.max(other.longest_us);
    }

    /// Those that came after `earlier`, which is an older copy of it; the longest is the longest of all.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut new = *self;
        for (mine, theirs) in new.classes.iter_mut().zip(earlier.classes) {
            *mine = mine.saturating_sub(theirs);
        }
        new.total_us = new.total_us.saturating_sub(earlier.total_us);
        new
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Their time together.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    /// The longest; zero if there was none.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us)
    }

    /// A time that the part `share` (0 to 1) of them kept within: the bound of a class, and at most the longest.
    pub fn within(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let enough = self.cumulative().find(|(_, so_far)| *so_far >= wanted.max(1));
        enough.and_then(|(bound, _)| bound).map_or(self.longest(), |bound| bound.min(self.longest()))
    }

    /// Each bound, and how many kept within it; `None` as bound is all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_MS.into_iter().map(|ms| Some(Duration::from_millis(ms))).chain([None]);
        let mut so_far = 0;
        bounds.zip(self.classes).map(move |(bound, count)| {
            so_far += count;
            (bound, so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_by_the_bound_that_they_kept_within() {
        let ms = Duration::from_millis;
        let mut timings = Timings::default();
        assert_eq!((timings.within(0.5), timings.longest(), timings.count()), (ms(0), ms(0), 0));
        for time in (1..=98).map(|_| ms(4)).chain([ms(70), ms(20_000)]) {
            timings.add(time);
        }
        assert_eq!((timings.within(0.5), timings.within(0.99), timings.within(1.0)), (ms(5), ms(100), ms(20_000)));
        assert_eq!(timings.total(), ms(98 * 4 + 70 + 20_000));
        let mut twice = timings;
        twice.merge(&timings);
        assert_eq!((twice.count(), twice.longest()), (200, ms(20_000)));
        assert_eq!(twice.since(&timings), timings);
        assert_eq!(timings.since(&timings).count(), 0);
        assert_eq!(twice.cumulative().last(), Some((None, 200)));
    }

    #[test]
    fn a_time_on_a_bound_is_within_it() {
        let mut timings = Timings::default();
        timings.add(Duration::from_millis(2));
        timings.add(Duration::from_millis(9));
        assert_eq!(timings.within(0.5), Duration::from_millis(2));
        assert_eq!(timings.within(1.0), Duration::from_millis(9), "no more than the longest");
    }
}
