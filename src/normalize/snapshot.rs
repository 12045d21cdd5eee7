//! What must be known of a run to end it when its process is dead.

use serde::{Deserialize, Serialize};

use super::open::Open;
use super::{Counters, Normalizer, RunInfo};
use crate::event::{TestRef, Timestamp};

/// Open tests that a snapshot names; it is written with every append to the spool, so it must stay small.
const MAX_OPEN: usize = 500;

/// A run as far as its entries are in the spool. It is stored together with them, so that another process can go on
/// where a dead one stopped: with the next sequence number, and with the tests that were open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The run.
    pub run: RunInfo,
    /// Entries written.
    pub seq: u64,
    /// Start of the run in nanoseconds since the epoch; `None`: not begun.
    pub started: Option<i64>,
    /// True once the run's end was written.
    pub ended: bool,
    /// True if a suite failed.
    pub suite_failed: bool,
    /// Counts.
    pub counters: Counters,
    /// Tests under way, oldest first, at most 500.
    pub open: Vec<OpenTest>,
    /// Files under way of a batch, in whose place their tests count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<OpenTest>,
}

/// A test under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpenTest {
    /// Its identity.
    pub id: String,
    /// Its suite.
    pub suite: String,
    /// Its worker.
    pub worker: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// Its start in nanoseconds since the epoch.
    pub started: i64,
}

impl Normalizer {
    /// The run as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let open = self.tests.open_sorted().into_iter().take(MAX_OPEN).map(|open| OpenTest {
            id: open.id.clone(),
            suite: open.suite.clone(),
            worker: open.worker.clone(),
            attempt: open.attempt,
            started: open.started.0,
        });
        Snapshot {
            run: self.info.clone(),
            seq: self.seq,
            started: self.started.map(|t| t.0),
            ended: self.ended,
            suite_failed: self.verdict.suite_failed,
            counters: self.tests.counters,
            open: open.collect(),
            parts: self.open_parts(),
        }
    }

    /// A run that goes on from a snapshot. What ended before is known by number only.
    pub fn restore(snapshot: Snapshot) -> Self {
        let mut normalizer = Self::new(snapshot.run);
        normalizer.resume(snapshot.seq, snapshot.started);
        normalizer.verdict.suite_failed = snapshot.suite_failed;
        let open = snapshot.open.into_iter().map(|open| {
            let test = TestRef { id: open.id.into(), suite: open.suite.into(), worker: open.worker.into() };
            Open::new(&test, open.attempt, Timestamp(open.started))
        });
        normalizer.tests.restore(snapshot.counters, open);
        normalizer.restore_parts(snapshot.parts);
        normalizer.recall_running();
        normalizer
    }

    /// Tells those who read logs of the tests that are running, of a run that was restored.
    pub fn recall_running(&self) {
        let mut running = self.running.lock();
        for (_, open) in self.tests.open() {
            running.start(&open.id, &open.worker, open.started);
        }
    }

    /// Goes on behind the entry with number `seq`, after the events up to it were taken again for their state alone.
    pub fn resume(&mut self, seq: u64, started: Option<i64>) {
        self.seq = seq;
        self.started = started.map(Timestamp);
    }
}
