//! What the shipper counts. Every counter is there, at 0, from the start.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use crate::loki::push::{Outcome, RetryClass};
use crate::loki::reason::Reason;
use crate::spool::{Backlog, Timings};

/// What became of pushes, by the name in metrics.
pub const OUTCOMES: [&str; 4] = ["accepted", "retried", "split", "refused"];

/// Counters since the start of the process.
#[derive(Debug)]
pub struct Stats {
    read: AtomicU64,
    late: AtomicU64,
    pushed: AtomicU64,
    pushed_bytes: AtomicU64,
    wire_bytes: AtomicU64,
    in_flight: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    retried: [AtomicU64; RetryClass::ALL.len()],
    rejected: [AtomicU64; Reason::ALL.len()],
    answers: Mutex<Timings>,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    error: Option<(SystemTime, String)>,
    success: Option<SystemTime>,
    /// Since when some stream has not been accepted.
    trouble: Option<Instant>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            read: AtomicU64::new(0),
            late: AtomicU64::new(0),
            pushed: AtomicU64::new(0),
            pushed_bytes: AtomicU64::new(0),
            wire_bytes: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            outcomes: array::from_fn(|_| AtomicU64::new(0)),
            retried: array::from_fn(|_| AtomicU64::new(0)),
            rejected: array::from_fn(|_| AtomicU64::new(0)),
            answers: Mutex::default(),
            last: Mutex::default(),
        }
    }
}

impl Stats {
    /// Entries read from the queue.
    pub fn read_entries(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Entries that were given the label `late`.
    pub fn late_entries(&self) -> u64 {
        self.late.load(Relaxed)
    }

    /// Entries that Loki accepted, those sent twice counted twice.
    pub fn pushed_entries(&self) -> u64 {
        self.pushed.load(Relaxed)
    }

    /// Encoded bytes of those entries, before compression.
    pub fn pushed_bytes(&self) -> u64 {
        self.pushed_bytes.load(Relaxed)
    }

    /// Bytes of the accepted bodies, compressed.
    pub fn wire_bytes(&self) -> u64 {
        self.wire_bytes.load(Relaxed)
    }

    /// Requests without an answer yet.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }

    /// Pushes by what became of them.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|count| count.load(Relaxed)))
    }

    /// Pushes to be tried again, by class.
    pub fn retried(&self) -> impl Iterator<Item = (RetryClass, u64)> {
        RetryClass::ALL.into_iter().zip(self.retried.iter().map(|count| count.load(Relaxed)))
    }

    /// Entries refused for good and kept aside, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.rejected.iter().map(|count| count.load(Relaxed)))
    }

    /// Entries refused for good and kept aside.
    pub fn rejected_total(&self) -> u64 {
        self.rejected().map(|(_, count)| count).sum()
    }

    /// How long Loki took to answer pushes, from the request's start; those without an answer count until they were given up.
    pub fn answers(&self) -> Timings {
        *self.answers.lock().expect("no holder of the lock panics")
    }

    /// The last error and when it came.
    pub fn last_error(&self) -> Option<(SystemTime, String)> {
        self.last().error.clone()
    }

    /// When Loki last accepted a push.
    pub fn last_success(&self) -> Option<SystemTime> {
        self.last().success
    }

    /// How delivery is doing, for a line on a terminal.
    pub fn delivery(&self, backlog: Backlog) -> Delivery {
        let last = self.last();
        let state = match last.trouble {
            None => DeliveryState::Ok,
            Some(since) => {
                let error = last.error.as_ref().map(|(_, error)| error.clone()).unwrap_or_default();
                DeliveryState::Waiting { since: since.elapsed(), error }
            }
        };
        Delivery { state, backlog }
    }

    pub(super) fn count_read(&self, entries: u32) {
        self.read.fetch_add(u64::from(entries), Relaxed);
    }

    pub(super) fn count_late(&self, entries: u32) {
        self.late.fetch_add(u64::from(entries), Relaxed);
    }

    pub(super) fn count_start(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn count_end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(super) fn count_outcome(&self, outcome: &Outcome, time: Duration) {
        self.answers.lock().expect("no holder of the lock panics").add(time);
        let index = match outcome {
            Outcome::Accepted => 0,
            Outcome::Retry { .. } => 1,
            Outcome::Split { .. } => 2,
            Outcome::Refused { .. } => 3,
        };
        self.outcomes[index].fetch_add(1, Relaxed);
    }

    pub(super) fn count_accepted(&self, entries: usize, bytes: usize, wire: usize) {
        self.pushed.fetch_add(entries as u64, Relaxed);
        self.pushed_bytes.fetch_add(bytes as u64, Relaxed);
        self.wire_bytes.fetch_add(wire as u64, Relaxed);
        self.last().success = Some(SystemTime::now());
    }

    pub(super) fn count_retry(&self, class: RetryClass, error: &str) {
        self.retried[class as usize].fetch_add(1, Relaxed);
        self.last().error = Some((SystemTime::now(), error.to_owned()));
    }

    pub(super) fn count_rejected(&self, reason: Reason, answer: &str) {
        self.rejected[reason as usize].fetch_add(1, Relaxed);
        self.last().error = Some((SystemTime::now(), answer.to_owned()));
    }

    pub(super) fn set_trouble(&self, since: Option<Instant>) {
        self.last().trouble = since;
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().expect("no holder of the lock panics")
    }
}

/// How delivery is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Whether Loki takes what it is given.
    pub state: DeliveryState,
    /// What is still on this side.
    pub backlog: Backlog,
}

/// Whether Loki takes what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryState {
    /// It does.
    Ok,
    /// At least one stream is being tried again.
    Waiting {
        /// For how long.
        since: Duration,
        /// The last error.
        error: String,
    },
}
