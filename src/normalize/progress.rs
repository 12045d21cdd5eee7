//! How far a run is: for a terminal, and as entries.

use std::time::Duration;

use super::counters::Counters;
use super::pairs::Pairs;
use super::write::key;
use super::{Normalizer, text};
use crate::event::Timestamp;
use crate::loki::entry::EntrySink;
use crate::names::{kind, meta};

/// What a reader of progress sees, e.g. a terminal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Counts.
    pub counters: Counters,
    /// Since the run's start.
    pub elapsed: Duration,
    /// To the expected end, if it can be said.
    pub eta: Option<Duration>,
    /// Id of the test that has been running longest, and for how long.
    pub oldest: Option<(String, Duration)>,
    /// Tests under way that are hung.
    pub hung: u64,
}

impl Normalizer {
    /// Writes progress if something changed since the last time.
    pub fn settle(&mut self, now: Timestamp, out: &mut dyn EntrySink) {
        if self.changed && self.started.is_some() {
            self.write_progress(self.replayed.unwrap_or(now), out);
        }
    }

    /// The state for a terminal.
    pub fn progress(&self, now: Timestamp) -> Progress {
        let now = self.replayed.unwrap_or(now);
        let counters = self.tests.counters;
        let elapsed = self.started.map_or(Duration::ZERO, |s| now.since(s));
        Progress {
            counters,
            elapsed,
            eta: self.eta(elapsed, now),
            hung: self.tests.open().filter(|(_, open)| open.is_hung).count() as u64,
            oldest: self.tests.oldest().map(|o| (o.id.clone(), o.age(now))),
        }
    }

    pub(super) fn write_progress(&mut self, now: Timestamp, out: &mut dyn EntrySink) {
        let progress = self.progress(now);
        self.changed = false;
        self.last_progress = now;
        let counts = self.counts();
        let elapsed = progress.elapsed.as_millis().to_string();
        let eta = progress.eta.map(|d| d.as_millis().to_string()).unwrap_or_default();
        let host = self.info.host.clone();
        let worker = self.tests.oldest().map(|o| o.worker.clone()).unwrap_or_default();
        let (oldest, oldest_ms) =
            progress.oldest.map_or_else(Default::default, |(id, age)| (id, age.as_millis().to_string()));
        let mut pairs = Pairs::new("info");
        pairs.push(meta::HOST, &host);
        for (name, value) in &counts {
            pairs.push(name, value);
        }
        pairs.push(meta::counter::ELAPSED_MS, &elapsed);
        pairs.push(meta::counter::ETA_MS, &eta);
        pairs.push(meta::counter::OLDEST_TEST, text::prefix(&oldest, text::MAX_MESSAGE));
        pairs.push(meta::counter::OLDEST_WORKER, &worker);
        pairs.push(meta::counter::OLDEST_MS, &oldest_ms);
        let line = format!(
            "{} of {} done, {} failing",
            progress.counters.done(),
            progress.counters.planned,
            progress.counters.failing()
        );
        self.write(key(kind::PROGRESS, ""), now, &line, pairs, out);
    }

    /// Names and values of the counters that there are.
    pub(super) fn counts(&self) -> Vec<(&'static str, String)> {
        let counters = &self.tests.counters;
        let changes = counters.change_pairs().into_iter().filter(|(_, n)| *n > 0 || self.changes.is_told());
        let known = (counters.known > 0).then_some((meta::KNOWN, counters.known));
        counters.pairs().into_iter().chain(changes).chain(known).map(|(name, n)| (name, n.to_string())).collect()
    }
}
