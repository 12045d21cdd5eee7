//! The file that a run's listeners write and testwire follows.
//!
//! It lies in a directory of its own, `events/NAME` of the state directory, beside the spool `spool/NAME` of the process
//! that follows it. The spool is made first and removed last, so a directory of events without one was left by a process
//! that was killed in between, or that did not write to Loki.
//!
//! As long as anybody may write to the file, somebody holds a shared lock on it: testwire itself while it lives, the
//! command that it started and whatever that passes the descriptor on to, and each listener. So no other process takes
//! a run over whose testwire was killed before its runner had come so far as to open the file.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use serde::{Deserialize, Serialize};

use crate::decode::Format;
use crate::normalize::RunInfo;

/// Directory below the state directory that holds one directory for each run whose events come by file.
const FOLDER: &str = "events";
/// The events, appended by listeners.
const EVENTS: &str = "events.jsonl";
/// What is known of the run from outside its events.
const RUN: &str = "run.json";

/// Name of the directories of a process and run. Several processes may belong to one run, and a run id may hold what a
/// path must not.
pub(super) fn name(run_id: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let name: String = run_id.chars().map(clean).take(100).collect();
    format!("{name}.{}", std::process::id())
}

/// An event file that this process follows.
#[derive(Debug)]
pub(super) struct EventFile {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Holds the lock of this process.
    lock: File,
}

impl EventFile {
    /// A descriptor for the command that is about to be started: it holds the lock, and, unlike others, is inherited.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub(super) fn lock_to_inherit(&self) -> io::Result<OwnedFd> {
        Ok(rustix::io::dup(&self.lock)?)
    }
}

/// What `run.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Known<R> {
    run: R,
    format: String,
}

/// Makes the directory and the empty event file. With `run` it says what run it is of and in which format, so that
/// another process can ship it; without, nobody else shall.
///
/// # Errors
/// If it cannot be made or written.
pub(super) fn create(state_dir: &Path, name: &str, run: Option<&RunInfo>, format: Format) -> io::Result<EventFile> {
    let directory = state_dir.join(FOLDER).join(name);
    fs::create_dir_all(&directory)?;
    let path = fs::canonicalize(&directory)?.join(EVENTS);
    let lock = File::options().append(true).create(true).open(&path)?;
    flock(&lock, FlockOperation::LockShared)?;
    if let Some(run) = run {
        let known = Known { run, format: format.as_str().to_owned() };
        fs::write(directory.join(RUN), serde_json::to_vec(&known)?)?;
    }
    Ok(EventFile { path, lock })
}

/// Removes the directory: all that it says is safe elsewhere, or nobody shall have it.
pub(super) fn remove(state_dir: &Path, name: &str) {
    let directory = state_dir.join(FOLDER).join(name);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %directory.display(), %error, "cannot remove the event file");
        }
        _ => {}
    }
}

/// Names of all directories.
pub(super) fn all(state_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(state_dir.join(FOLDER)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// What a directory says of its run and events.
#[derive(Debug)]
pub(super) struct Found {
    /// The run, if it was said.
    pub(super) run: Option<RunInfo>,
    /// The format of its events.
    pub(super) format: Option<Format>,
    /// The event file, if there is one.
    pub(super) events: Option<PathBuf>,
    /// True if somebody may write to the event file still.
    pub(super) in_use: bool,
}

/// Looks into a directory.
pub(super) fn find(state_dir: &Path, name: &str) -> Found {
    let directory = state_dir.join(FOLDER).join(name);
    let known: Option<Known<RunInfo>> =
        fs::read(directory.join(RUN)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let format = known.as_ref().and_then(|known| known.format.parse().ok());
    let run = known.map(|known| known.run);
    let events = Some(directory.join(EVENTS)).filter(|path| path.exists());
    let in_use = events.as_ref().and_then(|path| File::open(path).ok()).is_some_and(|file| {
        flock(file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
    });
    Found { run, format, events, in_use }
}
