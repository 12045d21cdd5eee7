//! The directory of a batch: what it is, what has become of it, and what its files printed.
//!
//! `batch/<run id>/` below the state directory, with a suffix for a shard, holds
//!
//! - `batch.json`: what was asked for; written once, at the start.
//! - `journal.ndjson`: one line a change of the run or of a file, appended when what it says is in the spool.
//! - `run.json`: the state of the run when it was ended, by its own process or by the one that took it over.
//! - `output/<place of the file>.log`: what the last attempt of a file printed, beginning and end.
//!
//! The directory itself is locked (flock, exclusive) as long as the batch lives. When another batch starts, directories
//! beyond the newest [`KEPT`], and those older than [`KEPT_DAYS`] days, are removed, unless they are locked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::jobs::Part;
use crate::normalize::Snapshot;
pub(super) use crate::testruns::State;

/// Folder in the state directory.
const FOLDER: &str = "batch";
/// What was asked for.
const BATCH: &str = "batch.json";
/// The run as it was ended, so that it can be gone on with.
const RUN: &str = "run.json";
/// What became of it.
const JOURNAL: &str = "journal.ndjson";
/// Directories that are kept.
const KEPT: usize = 200;
/// Days that they are kept.
const KEPT_DAYS: u64 = 30;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) run_id: String,
    /// Name of the shard; empty if there is but one.
    pub(super) shard: String,
    pub(super) user: String,
    /// The command that was typed; empty: by the kind of each file.
    pub(super) command: String,
    pub(super) workers: usize,
    /// How often a file that failed is run again.
    #[serde(default)]
    pub(super) retry: u32,
    /// How long a file may take; 0: without end.
    #[serde(default)]
    pub(super) timeout_ms: u64,
    /// Bytes of memory of each process of a file; 0: as many as there are.
    #[serde(default)]
    pub(super) memory: u64,
    #[serde(default)]
    pub(super) fail_fast: bool,
    /// Where the files were looked for.
    #[serde(default)]
    pub(super) directory: String,
    /// In the order in which they were given.
    pub(super) files: Vec<String>,
    /// Those whose path tells their tests apart, as other shards have files of the same name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) told_apart: BTreeSet<String>,
    /// RFC 3339.
    pub(super) created: String,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// RFC 3339, in microseconds.
    pub(super) time: String,
    /// The file; none: the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    pub(super) state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) signal: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) timed_out: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
}

impl Line {
    /// The run has this state now.
    pub(super) fn run(state: State) -> Self {
        Self {
            time: now(),
            file: None,
            state,
            attempt: None,
            worker: None,
            code: None,
            signal: None,
            timed_out: false,
            duration_ms: None,
        }
    }

    /// A file has this state now.
    pub(super) fn file(file: &str, state: State) -> Self {
        Self { file: Some(file.to_owned()), ..Self::run(state) }
    }
}

/// The time, as lines have it.
pub(super) fn now() -> String {
    let now = crate::pipeline::intake::now();
    chrono::DateTime::from_timestamp_nanos(now.0).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// A batch's directory, which nobody else has.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Holds the lock.
    _lock: File,
}

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    /// It cannot be written or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A living process has it.
    #[error("a batch with this run id is running")]
    Taken,
    /// It was used before.
    #[error("there was a batch with this run id already")]
    Used,
    /// There is nothing to go on with.
    #[error("no batch with this run id is known here")]
    Unknown,
    /// It holds something else.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

impl Journal {
    /// The directory of a new batch.
    ///
    /// # Errors
    /// If there was such a batch before, or the directory cannot be made.
    pub(super) fn create(state_dir: &Path, batch: &Batch) -> Result<Self, JournalError> {
        let path = directory(state_dir, &batch.run_id, &batch.shard);
        fs::create_dir_all(path.join("output"))?;
        let lock = lock(&path)?;
        if path.join(BATCH).exists() {
            return Err(JournalError::Used);
        }
        let fresh = path.join(".batch.json");
        fs::write(&fresh, serde_json::to_vec_pretty(batch).map_err(io::Error::other)?)?;
        fs::rename(&fresh, path.join(BATCH))?;
        let mut journal = Self { file: append(&path)?, path, _lock: lock };
        let created = batch.files.iter().map(|file| Line::file(file, State::Created));
        journal.write(std::iter::once(Line::run(State::Created)).chain(created))?;
        Ok(journal)
    }

    /// The directory of a batch whose process is gone, with what was asked for and the last change of each file.
    ///
    /// # Errors
    /// If there is none, or its process lives.
    pub(super) fn resume(
        state_dir: &Path,
        run_id: &str,
        shard: &str,
    ) -> Result<(Self, Batch, BTreeMap<String, Line>), JournalError> {
        let path = directory(state_dir, run_id, shard);
        if !path.join(BATCH).exists() {
            return Err(JournalError::Unknown);
        }
        let lock = lock(&path)?;
        let batch = serde_json::from_slice(&fs::read(path.join(BATCH))?).map_err(|_| JournalError::Damaged(BATCH))?;
        let text = fs::read(path.join(JOURNAL))?;
        let mut last = BTreeMap::new();
        // A line without its end was being written when the process was killed; what it says is not known.
        for line in text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
            if let Ok(line) = serde_json::from_slice::<Line>(line)
                && let Some(file) = line.file.clone()
            {
                last.insert(file, line);
            }
        }
        let mut file = append(&path)?;
        if !text.is_empty() && !text.ends_with(b"\n") {
            file.write_all(b"\n")?;
        }
        Ok((Self { file, path, _lock: lock }, batch, last))
    }

    /// Appends changes, in one piece.
    ///
    /// # Errors
    /// If the disk is full.
    pub(super) fn write(&mut self, lines: impl IntoIterator<Item = Line>) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        self.file.write_all(&text)
    }

    /// The state of the run when it was ended; `None` if it was not, because nothing of it was in the spool.
    pub(super) fn ended(&self) -> Option<Snapshot> {
        serde_json::from_slice(&fs::read(self.path.join(RUN)).ok()?).ok()
    }

    /// Where a file's output is kept.
    pub(super) fn output(&self, index: usize) -> PathBuf {
        self.path.join("output").join(format!("{index}.log"))
    }

    /// A directory that a file has for itself.
    pub(super) fn own_directory(&self, index: usize) -> PathBuf {
        self.path.join("output").join(index.to_string())
    }
}

/// Keeps the state of a run that was ended, if it is a batch with a directory.
///
/// # Errors
/// If it cannot be written.
pub(super) fn keep_end(state_dir: &Path, run: &Snapshot) -> io::Result<()> {
    let is_part = matches!(Part::of_shard(&run.run.shard), Ok(Some(_)));
    let shard = if is_part { run.run.shard.as_str() } else { "" };
    let path = directory(state_dir, &run.run.run_id, shard);
    if !path.join(BATCH).exists() {
        return Ok(());
    }
    let fresh = path.join(".run.json");
    fs::write(&fresh, serde_json::to_vec(run)?)?;
    fs::rename(fresh, path.join(RUN))
}

/// Where a batch is kept. A run id may hold what a path must not.
fn directory(state_dir: &Path, run_id: &str, shard: &str) -> PathBuf {
    let clean = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let mut name: String = run_id.chars().map(clean).collect();
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    if !shard.is_empty() {
        name.push('.');
        name.extend(shard.chars().map(clean));
    }
    state_dir.join(FOLDER).join(name)
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let lock = File::open(path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Taken),
        Err(error) => Err(JournalError::Io(error.into())),
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path.join(JOURNAL))
}

/// Removes directories that are too many or too old.
pub(super) fn clean(state_dir: &Path) {
    let entries = fs::read_dir(state_dir.join(FOLDER)).into_iter().flatten().flatten();
    let written = |path: &Path| fs::metadata(path.join(JOURNAL)).and_then(|about| about.modified());
    let mut all: Vec<(SystemTime, PathBuf)> = entries
        .map(|entry| entry.path())
        .filter_map(|path| Some((written(&path).or_else(|_| fs::metadata(&path)?.modified()).ok()?, path)))
        .collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    let oldest = SystemTime::now().checked_sub(Duration::from_secs(KEPT_DAYS * 24 * 3600));
    for (place, (written, path)) in all.iter().enumerate() {
        let is_old = oldest.is_some_and(|oldest| *written < oldest);
        if (place >= KEPT || is_old)
            && let Ok(_lock) = lock(path)
            && let Err(error) = fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove what is left of an old batch");
        }
    }
}
