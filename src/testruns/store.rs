//! The queue on disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::record::Record;

/// Directory below the state directory.
const FOLDER: &str = "testruns";

/// The files of the queue, which no other process has at the same time.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
    fsync: bool,
    _lock: File,
}

impl Store {
    /// Takes the queue of a state directory.
    ///
    /// # Errors
    /// If it cannot be made, or another process has it.
    pub(super) fn take(state_dir: &Path, fsync: bool) -> io::Result<Self> {
        let directory = state_dir.join(FOLDER);
        for folder in ["runs", "files"] {
            fs::create_dir_all(directory.join(folder))?;
        }
        let Some(lock) = locked(&directory.join("queue.lock"))? else {
            return Err(io::Error::other("another testwire has the queue of test runs in this state directory"));
        };
        Ok(Self { directory: directory.canonicalize()?, fsync, _lock: lock })
    }

    /// All records, and the last id that was given. What was sent along for no record is removed.
    ///
    /// # Errors
    /// If they cannot be read. One that is damaged is told and left alone.
    pub(super) fn load(&self) -> io::Result<(BTreeMap<u64, Record>, u64)> {
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(self.directory.join("runs"))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match serde_json::from_slice::<Record>(&fs::read(&path)?) {
                Ok(record) => drop(records.insert(record.id, record)),
                Err(error) => tracing::error!(path = %path.display(), %error, "a record of a test run cannot be read"),
            }
        }
        let last = fs::read_to_string(self.directory.join("last")).ok().and_then(|text| text.trim().parse().ok());
        let last = last.unwrap_or(0).max(records.keys().next_back().copied().unwrap_or(0));
        for entry in fs::read_dir(self.directory.join("files"))?.flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if id.is_some_and(|id| !records.contains_key(&id)) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok((records, last))
    }

    /// An id is given, and never again.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn give(&self, id: u64) -> io::Result<()> {
        self.replace(&self.directory.join("last"), id.to_string().as_bytes())
    }

    /// Writes a record so that it is there whole or as it was.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write(&self, record: &Record) -> io::Result<()> {
        self.replace(&self.of(record.id, "json"), &serde_json::to_vec(record)?)
    }

    /// Forgets a run and what was sent along.
    pub(super) fn remove(&self, id: u64) {
        let gone = |removed: io::Result<()>| match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(id, %error, "what is left of a test run cannot be removed");
            }
            _ => {}
        };
        // The record last: without it, nobody would look for the others.
        gone(fs::remove_dir_all(self.files(id)));
        for extension in ["log", "lock", "json"] {
            gone(fs::remove_file(self.of(id, extension)));
        }
    }

    /// A file of a run: `json`, `lock` or `log`.
    pub(super) fn of(&self, id: u64, extension: &str) -> PathBuf {
        self.directory.join("runs").join(format!("{id}.{extension}"))
    }

    /// Where files lie that were sent along.
    pub(super) fn files(&self, id: u64) -> PathBuf {
        self.directory.join("files").join(id.to_string())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        if self.fsync {
            file.sync_all()?;
        }
        fs::rename(&new, path)?;
        if let Some(directory) = path.parent().filter(|_| self.fsync) {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// A file that is locked now; `None` if another process holds the lock.
///
/// # Errors
/// If it cannot be made or locked.
pub(super) fn locked(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
