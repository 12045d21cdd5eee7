//! The file that a run's listeners write and testwire follows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::normalize::RunInfo;

/// Directory below the state directory that holds one directory for each run whose events come by file.
const RUNS: &str = "runs";
/// The events, appended by listeners.
const EVENTS: &str = "events.jsonl";
/// What is known of the run; locked while a testwire process follows the events.
const RUN: &str = "run.json";

/// An event file and the directory that it is alone in.
#[derive(Debug)]
pub(super) struct EventFile {
    directory: PathBuf,
    events: PathBuf,
    /// Held for its lock: it tells others that somebody takes care of this run.
    _lock: File,
}

impl EventFile {
    /// Makes the directory of a run below `state_dir`. The events themselves are made by the first listener.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub(super) fn create(state_dir: &Path, run: &RunInfo) -> io::Result<Self> {
        // Several processes may belong to one run, and names may hold what a path must not.
        let name: String =
            run.run_id.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let directory = state_dir.join(RUNS).join(format!("{name}.{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let directory = fs::canonicalize(directory)?;
        let lock = File::create(directory.join(RUN))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        serde_json::to_writer(&lock, run)?;
        Ok(Self { events: directory.join(EVENTS), directory, _lock: lock })
    }

    /// Where listeners write.
    pub(super) fn path(&self) -> &Path {
        &self.events
    }

    /// Removes it: all that it says is safe elsewhere. What cannot be removed is found by the next process.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), %error, "cannot remove the event file");
        }
    }
}
