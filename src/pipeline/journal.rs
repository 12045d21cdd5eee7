//! What `listen` knows, on disk, exactly in step with the spool.
//!
//! A generation is a file: its first line is the whole state, each further line a step, that is messages that were taken
//! together. A step is written before its entries are spooled, and the mark of those entries says how far the journal
//! counted. So after a crash the state is: the first line, the steps up to the newest mark, and what steps follow that wrote
//! no entries. What was being taken when the process died is in neither, and was not answered.
//!
//! When the steps outgrow the state, a new generation begins with the state as it is. It is there whole or not at all, and
//! stands for all before it. Its name says to which queue the marks belong; a state that needs no mark names none.
//!
//! ```text
//! listen/ADDRESS/lock                        flock(2), held while its daemon lives
//! listen/ADDRESS/GENERATION.QUEUE.journal    GENERATION: 20 digits
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

const FOLDER: &str = "listen";
const SUFFIX: &str = ".journal";
/// Steps may have this many bytes, and as many as the state in front of them twice over: while a state is written nobody
/// is answered, and a restart takes that many steps in some tenths of a second.
const STEPS: u64 = 16 << 20;
/// States are written in pieces of this size: that of many runs is too large to be in memory twice.
const PIECE: usize = 256 << 10;

/// Writes a state, in one line.
pub type WriteState<'a> = &'a dyn Fn(&mut dyn Write) -> io::Result<()>;

/// How far a journal counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which file.
    pub generation: u64,
    /// Bytes from its beginning.
    pub bytes: u64,
}

/// The folder of a daemon's journal, which no other process can have at the same time.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// The newest generation in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub generation: u64,
    /// The queue whose marks count; empty if none does.
    pub queue: String,
    /// The file.
    pub path: PathBuf,
}

/// A generation that is being written.
#[derive(Debug)]
pub struct Journal {
    folder: Folder,
    queue: String,
    fsync: bool,
    file: File,
    generation: u64,
    /// Length of the state.
    base: u64,
    bytes: u64,
}

/// All folders in a state directory, sorted.
pub fn folders(state_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state_dir.join(FOLDER)).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort_unstable();
    folders
}

/// The newest generation in a folder, which may belong to a living process.
///
/// # Errors
/// If the folder cannot be read.
pub fn newest(folder: &Path) -> io::Result<Option<Found>> {
    let mut newest: Option<Found> = None;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
        let Some((number, queue)) = name.and_then(|name| name.split_once('.')) else { continue };
        let Ok(generation) = number.parse() else { continue };
        if newest.as_ref().is_none_or(|found| found.generation < generation) {
            newest = Some(Found { generation, queue: queue.to_owned(), path: path.clone() });
        }
    }
    Ok(newest)
}

impl Folder {
    /// The first folder of this name, or with a number behind it, that no process has. It is made if need be.
    ///
    /// # Errors
    /// If it cannot be made or locked.
    pub fn take(state_dir: &Path, name: &str) -> io::Result<Self> {
        let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        let mut number = 1;
        loop {
            let name = if number == 1 { clean.clone() } else { format!("{clean}-{number}") };
            let path = state_dir.join(FOLDER).join(name);
            fs::create_dir_all(&path)?;
            if let Some(folder) = Self::lock(&path)? {
                return Ok(folder);
            }
            number += 1;
        }
    }

    /// A folder that is there; `None` if its process lives.
    ///
    /// # Errors
    /// If it cannot be locked.
    pub fn lock(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a generation with this state, and removes those before it.
    ///
    /// # Errors
    /// If it cannot be written; then those before it count.
    pub fn begin(self, queue: &str, state: WriteState<'_>, fsync: bool) -> io::Result<Journal> {
        let generation = newest(&self.path)?.map_or(1, |found| found.generation + 1);
        let (file, base) = self.write(generation, queue, state, fsync)?;
        Ok(Journal { folder: self, queue: queue.to_owned(), fsync, file, generation, base, bytes: base })
    }

    /// A file with this state that is there whole or not at all; it is open for more.
    fn write(&self, generation: u64, queue: &str, state: WriteState<'_>, fsync: bool) -> io::Result<(File, u64)> {
        let new = self.path.join("new");
        let mut pieces = BufWriter::with_capacity(PIECE, File::create(&new)?);
        state(&mut pieces)?;
        pieces.write_all(b"\n")?;
        let mut file = pieces.into_inner().map_err(io::IntoInnerError::into_error)?;
        let length = file.stream_position()?;
        if fsync {
            file.sync_all()?;
        }
        let path = self.path.join(format!("{generation:020}.{queue}{SUFFIX}"));
        fs::rename(&new, &path)?;
        if fsync {
            File::open(&self.path)?.sync_all()?;
        }
        for entry in fs::read_dir(&self.path)?.flatten() {
            let other = entry.path();
            if other != path && other.to_string_lossy().ends_with(SUFFIX) {
                // One that stays is older, so it does not count.
                fs::remove_file(other).ok();
            }
        }
        Ok((file, length))
    }
}

impl Journal {
    /// Appends a step, which is one line. What could not be written whole is taken back.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn append(&mut self, step: &[u8]) -> io::Result<()> {
        let mut line = Vec::with_capacity(step.len() + 1);
        line.extend_from_slice(step);
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| if self.fsync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.file.set_len(self.bytes)?;
            self.file.seek(io::SeekFrom::Start(self.bytes))?;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Where it ends.
    pub fn place(&self) -> Place {
        Place { generation: self.generation, bytes: self.bytes }
    }

    /// True if it is time for a new generation.
    pub fn is_long(&self) -> bool {
        self.bytes - self.base > STEPS.max(2 * self.base)
    }

    /// Begins the next generation.
    ///
    /// # Errors
    /// Those of the disk; then this one goes on.
    pub fn renew(&mut self, state: WriteState<'_>) -> io::Result<()> {
        let (file, base) = self.folder.write(self.generation + 1, &self.queue, state, self.fsync)?;
        (self.file, self.base, self.bytes) = (file, base, base);
        self.generation += 1;
        Ok(())
    }

    /// Leaves the state for the next process, without a queue whose marks count.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn leave(mut self, state: WriteState<'_>) -> io::Result<()> {
        self.queue.clear();
        self.renew(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_process_and_a_second_one_gets_another() {
        let state = tempfile::tempdir().unwrap();
        let first = Folder::take(state.path(), "127.0.0.1:80").unwrap();
        let second = Folder::take(state.path(), "127.0.0.1:80").unwrap();
        assert_ne!(first.path(), second.path());
        assert!(Folder::lock(first.path()).unwrap().is_none());
        let path = first.path().to_owned();
        drop(first);
        assert_eq!(Folder::take(state.path(), "127.0.0.1:80").unwrap().path(), path);
        assert_eq!(folders(state.path()).len(), 2);
    }

    #[test]
    fn the_newest_generation_is_the_only_one_and_says_its_queue() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::take(state.path(), "a").unwrap();
        let path = folder.path().to_owned();
        assert_eq!(newest(&path).unwrap(), None);
        let mut journal = folder.begin("run.17", &|out| out.write_all(b"state"), false).unwrap();
        journal.append(b"step").unwrap();
        assert_eq!(journal.place(), Place { generation: 1, bytes: 11 });
        let found = newest(&path).unwrap().unwrap();
        assert_eq!((found.generation, found.queue.as_str()), (1, "run.17"));
        assert_eq!(fs::read(found.path).unwrap(), b"state\nstep\n");
        journal.renew(&|out| out.write_all(b"new")).unwrap();
        assert_eq!(journal.place(), Place { generation: 2, bytes: 4 });
        journal.append(b"step").unwrap();
        journal.leave(&|out| out.write_all(b"last")).unwrap();
        let found = newest(&path).unwrap().unwrap();
        assert_eq!((found.generation, found.queue.as_str()), (3, ""));
        assert_eq!(fs::read(found.path).unwrap(), b"last\n");
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2, "the lock and one generation");
    }
}
