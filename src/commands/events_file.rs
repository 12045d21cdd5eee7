//! The directory of one testwire process's run: its spool, and the file that its listeners write and testwire follows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::normalize::RunInfo;

/// Directory below the state directory that holds one directory for each process that has something to deliver.
pub(super) const SPOOL: &str = "spool";
/// The events, appended by listeners.
const EVENTS: &str = "events.jsonl";
/// What is known of the run from outside its events.
const RUN: &str = "run.json";

/// Name of a run's directory. Several processes may belong to one run, and a run id may hold what a path must not.
pub(super) fn directory(state_dir: &Path, run_id: &str) -> PathBuf {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let name: String = run_id.chars().map(clean).take(100).collect();
    state_dir.join(SPOOL).join(format!("{name}.{}", std::process::id()))
}

/// Makes the directory, says in it what run it is of, and gives the path of the event file. The first listener makes
/// the file itself.
///
/// # Errors
/// If it cannot be made or written.
pub(super) fn create(directory: &Path, run: &RunInfo) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    fs::write(directory.join(RUN), serde_json::to_vec(run)?)?;
    Ok(fs::canonicalize(directory)?.join(EVENTS))
}

/// What a directory says of its run and events.
#[derive(Debug)]
pub(super) struct Found {
    /// The run, if it was said.
    pub(super) run: Option<RunInfo>,
    /// The event file, if there is one.
    pub(super) events: Option<PathBuf>,
    /// True if a runner has the event file open still.
    pub(super) in_use: bool,
}

/// Looks into the directory of a dead process.
pub(super) fn find(directory: &Path) -> Found {
    let run = fs::read(directory.join(RUN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let events = Some(directory.join(EVENTS)).filter(|path| path.exists());
    // Each listener holds a shared lock while it may write.
    let in_use = events.as_ref().and_then(|path| File::open(path).ok()).is_some_and(|file| {
        flock(file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
    });
    Found { run, events, in_use }
}
