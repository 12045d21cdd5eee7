//! The file of a history: a head, records sorted by test, their number and a check sum.
//!
//! ```text
//!  "testwire history 2\n"  whole: u8
//!  record: test u64 · signature u64 · first u32 · expected u16 · n u8 · n × slot u64          23 to 183 bytes
//!          128 is added to n if the test has parts; `expected` is the code of a duration, 0: none
//!  records: u32 · CRC-32 of all before: u32                                                   (all little-endian)
//! ```
//!
//! A file of another version is as none: what it says is in Loki.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::past::{KEPT, Past, Record};
use super::slot::Slot;

/// What the files of all versions begin with.
const FAMILY: &[u8] = b"testwire history ";
const MAGIC: &[u8] = b"testwire history 2\n";
const HEAD: usize = MAGIC.len() + 1;
const TAIL: usize = 8;
/// Bytes of a record before its slots, the last of which is their number.
const RECORD: usize = 23;
/// Bytes of the longest record.
const LONGEST: usize = RECORD + 8 * KEPT;
/// In the byte of their number: the test has parts.
const PARTS: u8 = 0x80;
/// Files are read and written in pieces of about this size.
const PIECE: usize = 128 << 10;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It is not what was written.
    #[error("it is damaged")]
    Damaged,
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads a file from its beginning; what is damaged shows at its end.
struct Reader {
    input: io::Take<File>,
    /// What was read and not taken is behind `at`.
    piece: Vec<u8>,
    at: usize,
    sum: crc32fast::Hasher,
    expected: (u32, u32),
    records: u32,
    /// So many there can be at most.
    most: usize,
    is_whole: bool,
    last: Option<u64>,
}

impl Reader {
    /// `None` if there is no such file.
    fn open(path: &Path) -> Result<Option<Self>, FileError> {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let length = file.metadata()?.len();
        let body = length.checked_sub((HEAD + TAIL) as u64).ok_or(FileError::Damaged)?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head)?;
        if !head.starts_with(MAGIC) {
            let is_other = matches!(head.strip_prefix(FAMILY), Some([b'0'..=b'9', b'\n', ..]));
            return if is_other { Ok(None) } else { Err(FileError::Damaged) };
        }
        let mut tail = [0; TAIL];
        file.seek(SeekFrom::Start(HEAD as u64 + body))?;
        file.read_exact(&mut tail)?;
        file.seek(SeekFrom::Start(HEAD as u64))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&head);
        let [a, b, c, d, e, f, g, h] = tail;
        Ok(Some(Self {
            input: file.take(body),
            piece: Vec::with_capacity(PIECE + LONGEST),
            at: 0,
            sum,
            expected: (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
            records: 0,
            most: usize::try_from(body).unwrap_or(usize::MAX) / RECORD,
            is_whole: head[HEAD - 1] == 1,
            last: None,
        }))
    }

    /// Number of its records, as far as can be believed before they were read.
    fn count(&self) -> usize {
        (self.expected.0 as usize).min(self.most)
    }

    /// Has a whole record at hand, if there is one.
    fn fill(&mut self) -> io::Result<()> {
        if self.piece.len() - self.at < LONGEST && self.input.limit() > 0 {
            self.piece.drain(..self.at);
            self.at = 0;
            let kept = self.piece.len();
            self.input.by_ref().take(PIECE as u64).read_to_end(&mut self.piece)?;
            self.sum.update(&self.piece[kept..]);
        }
        Ok(())
    }

    fn record(&mut self) -> Result<Option<Record>, FileError> {
        self.fill()?;
        let bytes = &self.piece[self.at..];
        if bytes.is_empty() {
            self.sum.update(&self.records.to_le_bytes());
            let is_sound = (self.records, self.sum.clone().finalize()) == self.expected;
            return if is_sound { Ok(None) } else { Err(FileError::Damaged) };
        }
        let (head, slots) = bytes.split_at_checked(RECORD).ok_or(FileError::Damaged)?;
        let count = usize::from(head[RECORD - 1] & !PARTS);
        let slots = slots.get(..8 * count).filter(|_| count <= KEPT).ok_or(FileError::Damaged)?;
        let (words, _) = slots.as_chunks::<8>();
        let long = |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("a record has eight bytes there"));
        let first = u32::from_le_bytes(*head[16..].first_chunk().expect("a record has four bytes there"));
        let expected = u16::from_le_bytes(*head[20..].first_chunk().expect("a record has two bytes there"));
        let slots = words.iter().map(|word| Slot(u64::from_le_bytes(*word)));
        let has_parts = head[RECORD - 1] & PARTS != 0;
        let record = Record::stored((long(0), long(8), first), expected, has_parts, slots);
        if self.last.is_some_and(|last| last >= record.test) {
            return Err(FileError::Damaged);
        }
        self.at += RECORD + 8 * count;
        self.last = Some(record.test);
        self.records += 1;
        Ok(Some(record))
    }
}

/// Writes a file beside the one that it will replace.
struct Writer {
    output: File,
    piece: Vec<u8>,
    sum: crc32fast::Hasher,
    newest: Vec<u32>,
}

impl Writer {
    fn create(path: &Path, is_whole: bool) -> io::Result<Self> {
        let mut piece = Vec::with_capacity(PIECE + LONGEST);
        piece.extend_from_slice(MAGIC);
        piece.push(u8::from(is_whole));
        Ok(Self { output: File::create(path)?, piece, sum: crc32fast::Hasher::new(), newest: Vec::new() })
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.newest.push(record.last());
        let count = record.slots().len() as u8 | if record.has_parts { PARTS } else { 0 };
        self.piece.extend_from_slice(&record.test.to_le_bytes());
        self.piece.extend_from_slice(&record.signature.to_le_bytes());
        self.piece.extend_from_slice(&record.first.to_le_bytes());
        self.piece.extend_from_slice(&record.expected_code().to_le_bytes());
        self.piece.push(count);
        record.slots().iter().for_each(|slot| self.piece.extend_from_slice(&slot.0.to_le_bytes()));
        if self.piece.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sum.update(&self.piece);
        self.output.write_all(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn end(mut self) -> io::Result<Vec<u32>> {
        let records = u32::try_from(self.newest.len()).map_err(io::Error::other)?;
        self.piece.extend_from_slice(&records.to_le_bytes());
        self.flush()?;
        self.output.write_all(&self.sum.finalize().to_le_bytes())?;
        Ok(self.newest)
    }
}

/// Reads a whole file; `None` if there is none.
///
/// # Errors
/// If it is damaged or cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Past>, FileError> {
    let Some(mut reader) = Reader::open(path)? else { return Ok(None) };
    let mut records = Vec::with_capacity(reader.count());
    while let Some(record) = reader.record()? {
        records.push(record);
    }
    Ok(Some(Past::new(records, reader.is_whole)))
}

/// Adds records, sorted by test, to a file, which is replaced as a whole: a process that dies here leaves the old one. Of
/// more than `most` tests those that were not seen for longest are left out. The caller holds the lock.
///
/// A power cut may leave a file that is cut off, which its check sum shows; a history is not worth waiting for the disk.
///
/// # Errors
/// If the file is damaged, which leaves it as it is, or cannot be replaced.
pub(super) fn merge(
    path: &Path,
    fresh: impl Iterator<Item = Record>,
    is_whole: bool,
    most: usize,
) -> Result<(), FileError> {
    let draft = Draft(path.with_extension("new"));
    let mut old = Reader::open(path)?;
    let is_whole = is_whole || old.as_ref().is_some_and(|old| old.is_whole);
    let mut writer = Writer::create(&draft.0, is_whole)?;
    let mut fresh = fresh.peekable();
    while let Some(reader) = &mut old {
        let Some(mut record) = reader.record()? else { break };
        while let Some(new) = fresh.next_if(|new| new.test < record.test) {
            write_with_equals(&mut writer, new, &mut fresh)?;
        }
        while let Some(new) = fresh.next_if(|new| new.test == record.test) {
            record.merge(&new);
        }
        writer.record(&record)?;
    }
    while let Some(new) = fresh.next() {
        write_with_equals(&mut writer, new, &mut fresh)?;
    }
    let mut newest = writer.end()?;
    if newest.len() > most {
        // A little more than needed, so that not every run pays for a second pass.
        let gone = (newest.len() - most + most / 20).min(newest.len() - 1);
        let oldest = *newest.select_nth_unstable(gone).1;
        let newer = newest.iter().filter(|last| **last > oldest).count();
        thin(&draft.0, oldest, newest.len() - gone - newer)?;
    }
    fs::rename(&draft.0, path)?;
    Ok(())
}

/// Two tests may stand for the same key in one run, though hardly ever.
fn write_with_equals(
    writer: &mut Writer,
    mut record: Record,
    rest: &mut Peekable<impl Iterator<Item = Record>>,
) -> io::Result<()> {
    while let Some(more) = rest.next_if(|more| more.test == record.test) {
        record.merge(&more);
    }
    writer.record(&record)
}

/// Leaves out what was last seen before `oldest`, and of what was last seen then all but `as_old`.
fn thin(path: &Path, oldest: u32, mut as_old: usize) -> Result<(), FileError> {
    let Some(mut reader) = Reader::open(path)? else { return Ok(()) };
    let draft = Draft(path.with_extension("thin"));
    let mut writer = Writer::create(&draft.0, reader.is_whole)?;
    while let Some(record) = reader.record()? {
        let is_as_old = record.last() == oldest && as_old > 0;
        as_old -= usize::from(is_as_old);
        if record.last() > oldest || is_as_old {
            writer.record(&record)?;
        }
    }
    writer.end()?;
    fs::rename(&draft.0, path)?;
    Ok(())
}

/// A file in the making, removed if it does not take its place.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already, if all went well.
        fs::remove_file(&self.0).ok();
    }
}
