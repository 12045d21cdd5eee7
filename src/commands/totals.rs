//! What all processes of a state directory have delivered so far, for `testwire status`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::ship::Stats;
use crate::spool::Timings;

/// The file, and what is locked while it is changed.
const FILE: &str = "totals.json";
const LOCK: &str = "totals.lock";

/// Sums over processes that have ended, each counter there from the start.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    /// Entries read from the spool to be pushed.
    pub(super) read: u64,
    /// Entries that Loki accepted.
    pub(super) pushed: u64,
    /// Their encoded bytes, before compression.
    pub(super) pushed_bytes: u64,
    /// Bytes of the accepted bodies.
    pub(super) wire_bytes: u64,
    /// Pushes by what became of them.
    pub(super) pushes: BTreeMap<String, u64>,
    /// Pushes to be tried again, by class.
    pub(super) retried: BTreeMap<String, u64>,
    /// Entries that Loki refused for good, by its own reason names.
    pub(super) rejected: BTreeMap<String, u64>,
    /// How long Loki took to answer pushes.
    #[serde(default)]
    pub(super) answers: Timings,
    /// How long the spool's syncs took; none without `fsync`.
    #[serde(default)]
    pub(super) syncs: Timings,
    /// The last error of a push, and when it came, in seconds since the epoch.
    pub(super) last_error: Option<(u64, String)>,
}

impl Totals {
    /// Of this state directory; zeroes if nothing was delivered yet, or the file is not readable.
    pub(super) fn read_from(state_dir: &Path) -> Self {
        fs::read(state_dir.join(FILE))
            .ok()
            .and_then(|text| serde_json::from_slice::<Self>(&text).ok())
            .unwrap_or_default()
            .known()
    }

    /// Adds what a process has delivered. Figures for people: if they cannot be written, the delivery has worked still.
    pub(super) fn add(state_dir: &Path, stats: &Stats, syncs: &Timings) {
        if let Err(error) = Self::try_add(state_dir, stats, syncs) {
            tracing::debug!(%error, "cannot write the totals");
        }
    }

    fn try_add(state_dir: &Path, stats: &Stats, syncs: &Timings) -> io::Result<()> {
        let lock: File = OpenOptions::new().create(true).append(true).open(state_dir.join(LOCK))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        let mut totals = Self::read_from(state_dir);
        totals.read += stats.read_entries();
        totals.pushed += stats.pushed_entries();
        totals.pushed_bytes += stats.pushed_bytes();
        totals.wire_bytes += stats.wire_bytes();
        stats.outcomes().for_each(|(name, n)| *totals.pushes.entry(name.to_owned()).or_default() += n);
        stats.retried().for_each(|(class, n)| *totals.retried.entry(class.as_str().to_owned()).or_default() += n);
        stats.rejected().for_each(|(reason, n)| *totals.rejected.entry(reason.as_str().to_owned()).or_default() += n);
        totals.answers.merge(&stats.answers());
        totals.syncs.merge(syncs);
        if let Some((time, error)) = stats.last_error() {
            let seconds = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
            totals.last_error = Some((seconds, error));
        }
        let fresh = state_dir.join(format!(".{FILE}.{}", std::process::id()));
        fs::write(&fresh, serde_json::to_vec_pretty(&totals)?)?;
        fs::rename(&fresh, state_dir.join(FILE))
    }

    /// With every counter that there is.
    fn known(mut self) -> Self {
        let none = Stats::default();
        for (name, _) in none.outcomes() {
            self.pushes.entry(name.to_owned()).or_default();
        }
        for (class, _) in none.retried() {
            self.retried.entry(class.as_str().to_owned()).or_default();
        }
        for (reason, _) in none.rejected() {
            self.rejected.entry(reason.as_str().to_owned()).or_default();
        }
        self
    }
}
