//! How far files are dealt with, over restarts.
//!
//! Before a batch of entries is handed on, the journal says which bytes it is made of, when they were read, and the number of
//! its first entry. So what was in doubt when the process died is made again, and becomes the same entries; Loki, which
//! drops entries that it has, shows each once. Where the mark of the dead process's spool says that the batch is in it
//! ([`Batch::number`]), it is not made again.
//!
//! One line a record: a checksum, a space, and JSON. A line that is cut or damaged ends the journal. It is written anew
//! when it has grown large.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::file::FileNumber;
use super::identity::Identity;

/// A journal below this is not written anew.
const SMALL: u64 = 1 << 20;

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process follows the same files and keeps its places here.
    #[error("another testwire follows the same files with the same state directory")]
    InUse,
    /// It cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Bytes of a file that became entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The file.
    pub file: FileNumber,
    /// First byte.
    pub from: u64,
    /// Behind the last byte.
    pub to: u64,
    /// How many entries they became.
    pub entries: u64,
    /// Time of the record before, which records without a time inherit, in nanoseconds.
    pub before: Option<i64>,
    /// The same of the last one.
    pub last: Option<i64>,
}

/// Entries that are handed on at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Counts batches.
    pub number: u64,
    /// When its bytes were read: nanoseconds since the epoch.
    pub at: i64,
    /// Number of the entry before its first.
    pub seq: u64,
    /// Microsecond of the entry before its first, and how many entries in a row had that.
    pub clock: (i64, u64),
    /// What it is made of, in order.
    pub parts: Vec<Part>,
}

/// A file as it was known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its number.
    pub file: FileNumber,
    /// Where it was; not changed by a rotation.
    pub path: PathBuf,
    /// Which it was.
    #[serde(flatten)]
    pub identity: Identity,
    /// Bytes of it that are dealt with.
    pub done: u64,
    /// Time of the last record, in nanoseconds.
    pub last: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// A new file, or what is known of one has changed.
    #[serde(rename = "file")]
    File(Known),
    /// A file is done with.
    #[serde(rename = "gone")]
    Gone(FileNumber),
    /// A batch is about to be handed on.
    #[serde(rename = "batch")]
    Batch(Batch),
    /// The last batch was handed on. Also what a new journal begins with: the state after all batches, and the spool.
    #[serde(rename = "done")]
    Done { number: u64, at: i64, seq: u64, clock: (i64, u64), spool: String },
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub struct Saved {
    /// Files.
    pub files: BTreeMap<FileNumber, Known>,
    /// A batch that may have been handed on, or not. `files` are as before it.
    pub pending: Option<Batch>,
    /// The place after the last batch that was certainly handed on; its parts are empty.
    pub place: Batch,
    /// Name of the spool that batches went to.
    pub spool: String,
}

impl Saved {
    /// What was in doubt was handed on.
    pub fn settle(&mut self) {
        let Some(batch) = self.pending.take() else { return };
        apply(&mut self.files, &batch);
        self.place.seq = batch.seq + batch.parts.iter().map(|part| part.entries).sum::<u64>();
        self.place.clock = (0, 0);
    }
}

/// The journal of a source. While it lives, no other process can have it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    _lock: File,
    fsync: bool,
    files: BTreeMap<FileNumber, Known>,
    place: Batch,
    spool: String,
    len: u64,
    /// Length when it was last written anew.
    fresh: u64,
    line: Vec<u8>,
}

impl Journal {
    /// Opens the journal at `path`, which is made if it is not there, and reads what an earlier process left.
    ///
    /// # Errors
    /// If another process has it, or it cannot be read or written.
    pub fn open(path: &Path, fsync: bool) -> Result<(Self, Saved), JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let options = || OpenOptions::new().create(true).append(true).to_owned();
        let lock = options().open(path.with_extension("lock")).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| JournalError::InUse)?;
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(failed(e)),
        };
        let saved = read(&text);
        let file = options().open(path).map_err(failed)?;
        let journal = Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            fsync,
            files: saved.files.clone(),
            place: saved.place.clone(),
            spool: String::new(),
            len: text.len() as u64,
            fresh: 0,
            line: Vec::new(),
        };
        Ok((journal, saved))
    }

    /// Begins anew with what is known, for a process whose spool has this name, and which makes `pending` again.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(&mut self, spool: &str, place: Batch, pending: Option<&Batch>) -> Result<(), JournalError> {
        spool.clone_into(&mut self.spool);
        self.place = Batch { parts: Vec::new(), ..place };
        self.rewrite(pending)
    }

    /// A file is new, or more is known of it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn file(&mut self, known: Known) -> Result<(), JournalError> {
        let line = Line::File(known.clone());
        self.files.insert(known.file, known);
        self.put(&line)
    }

    /// What is known of a file.
    pub fn known(&self, file: FileNumber) -> Option<&Known> {
        self.files.get(&file)
    }

    /// A file is done with.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn gone(&mut self, file: FileNumber) -> Result<(), JournalError> {
        self.files.remove(&file);
        self.put(&Line::Gone(file))
    }

    /// Says what is about to be handed on. Returns when it is in the page cache, with `fsync` when it is on the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), JournalError> {
        self.put(&Line::Batch(batch.clone()))?;
        if self.fsync {
            self.file.sync_data().map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// The batch was handed on; `after` is the place behind it.
    ///
    /// # Errors
    /// If the journal had grown too long and cannot be written anew.
    pub fn handed_on(&mut self, batch: &Batch, after: Batch) -> Result<(), JournalError> {
        apply(&mut self.files, batch);
        self.place = after;
        if self.len > SMALL.max(8 * self.fresh) { self.rewrite(None) } else { Ok(()) }
    }

    /// Says that nothing is in doubt, at an orderly end.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end(mut self) -> Result<(), JournalError> {
        self.rewrite(None)
    }

    fn failed(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.clone(), source }
    }

    fn put(&mut self, line: &Line) -> Result<(), JournalError> {
        let mut bytes = std::mem::take(&mut self.line);
        bytes.clear();
        encode(line, &mut bytes);
        let written = self.file.write_all(&bytes);
        self.len += bytes.len() as u64;
        self.line = bytes;
        written.map_err(|e| self.failed(e))
    }

    fn rewrite(&mut self, pending: Option<&Batch>) -> Result<(), JournalError> {
        let mut bytes = Vec::new();
        let Batch { number, at, seq, clock, .. } = self.place;
        encode(&Line::Done { number, at, seq, clock, spool: self.spool.clone() }, &mut bytes);
        self.files.values().for_each(|known| encode(&Line::File(known.clone()), &mut bytes));
        if let Some(batch) = pending {
            encode(&Line::Batch(batch.clone()), &mut bytes);
        }
        self.file = self.replace(&bytes).map_err(|e| self.failed(e))?;
        (self.len, self.fresh) = (bytes.len() as u64, bytes.len() as u64);
        Ok(())
    }

    /// Returns when the new text is there whole, also after a power cut if `fsync`.
    fn replace(&self, bytes: &[u8]) -> io::Result<File> {
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
        file.write_all(bytes)?;
        if self.fsync {
            file.sync_data()?;
        }
        fs::rename(&fresh, &self.path)?;
        if let Some(directory) = self.path.parent().filter(|_| self.fsync) {
            File::open(directory)?.sync_all()?;
        }
        Ok(file)
    }
}

fn encode(line: &Line, out: &mut Vec<u8>) {
    // Paths that are not UTF-8 cannot become JSON; such a file is read again after a restart.
    let Ok(json) = serde_json::to_vec(line) else { return };
    out.extend_from_slice(format!("{:08x} ", crc32fast::hash(&json)).as_bytes());
    out.extend_from_slice(&json);
    out.push(b'\n');
}

fn apply(files: &mut BTreeMap<FileNumber, Known>, batch: &Batch) {
    for part in &batch.parts {
        if let Some(known) = files.get_mut(&part.file) {
            (known.done, known.last) = (part.to, part.last);
        }
    }
}

fn read(text: &[u8]) -> Saved {
    let mut saved = Saved::default();
    for line in text.split_inclusive(|b| *b == b'\n') {
        let Some(line) = decode(line) else { break };
        // Whatever comes behind a batch was written after it was handed on.
        saved.settle();
        match line {
            Line::File(known) => drop(saved.files.insert(known.file, known)),
            Line::Gone(file) => drop(saved.files.remove(&file)),
            Line::Batch(batch) => {
                saved.place = Batch { parts: Vec::new(), ..batch.clone() };
                saved.pending = Some(batch);
            }
            Line::Done { number, at, seq, clock, spool } => {
                saved.place = Batch { number, at, seq, clock, parts: Vec::new() };
                saved.spool = spool;
            }
        }
    }
    saved
}

fn decode(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    let (check, rest) = line.split_at_checked(8)?;
    let json = rest.strip_prefix(b" ")?;
    let check = u32::from_str_radix(std::str::from_utf8(check).ok()?, 16).ok()?;
    (crc32fast::hash(json) == check).then(|| serde_json::from_slice(json).ok())?
}

#[cfg(test)]
mod tests {
    use super::super::identity::{FileId, Head};
    use super::*;

    fn known(file: FileNumber, done: u64) -> Known {
        let identity = Identity { id: FileId { dev: 1, ino: u64::from(file) }, head: Head { len: 3, check: 7 } };
        Known { file, path: "/var/log/app.log".into(), identity, done, last: None }
    }

    fn batch(number: u64, from: u64, to: u64) -> Batch {
        let part = Part { file: 1, from, to, entries: 2, before: None, last: Some(9) };
        Batch { number, at: 5, seq: number * 2, clock: (1, 2), parts: vec![part] }
    }

    #[test]
    fn a_batch_is_in_doubt_until_something_is_written_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.journal");
        let (mut journal, saved) = Journal::open(&path, false).unwrap();
        assert!(saved.files.is_empty());
        journal.begin("run.1", Batch::default(), None).unwrap();
        journal.file(known(1, 0)).unwrap();
        journal.batch(&batch(1, 0, 10)).unwrap();
        journal.batch(&batch(2, 10, 30)).unwrap();
        assert!(matches!(Journal::open(&path, false), Err(JournalError::InUse)));
        drop(journal);
        let (mut journal, mut saved) = Journal::open(&path, false).unwrap();
        assert_eq!((saved.files[&1].done, saved.pending.clone()), (10, Some(batch(2, 10, 30))));
        assert_eq!(saved.spool, "run.1");
        // It stays in doubt if the next process dies before it made it again.
        journal.begin("run.2", saved.place.clone(), saved.pending.as_ref()).unwrap();
        drop(journal);
        let (_, again) = Journal::open(&path, false).unwrap();
        assert_eq!(again.pending, Some(batch(2, 10, 30)));
        saved.settle();
        assert_eq!((saved.files[&1].done, saved.place.seq), (30, 6));
    }

    #[test]
    fn a_journal_that_ends_in_a_torn_line_is_read_up_to_it_and_one_that_grew_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.journal");
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        journal.begin("run.1", Batch::default(), None).unwrap();
        journal.file(known(1, 0)).unwrap();
        for number in 1..20_000 {
            let batch = batch(number, number, number + 1);
            journal.batch(&batch).unwrap();
            journal.handed_on(&batch, Batch { parts: Vec::new(), ..batch.clone() }).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() <= SMALL + 1000);
        drop(journal);
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() - 3]).unwrap();
        let (_, saved) = Journal::open(&path, false).unwrap();
        assert_eq!((saved.files[&1].done, saved.pending.unwrap().number), (19_998, 19_998));
    }
}
