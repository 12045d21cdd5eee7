//! The file of a history: a head, records sorted by test, their number and a check sum.
//!
//! ```text
//!  "testwire history 1\n"  whole: u8
//!  record: test u64 · signature u64 · first u32 · n u8 · n × slot u64      21 to 181 bytes
//!  records: u32 · CRC-32 of all before: u32                               (all little-endian)
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::past::{KEPT, Past, Record};
use super::slot::Slot;

const MAGIC: &[u8] = b"testwire history 1\n";
const HEAD: u64 = MAGIC.len() as u64 + 1;
const TAIL: u64 = 8;
/// Bytes of a record before its slots, the last of which is their number.
const RECORD: usize = 21;

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
    input: io::Take<BufReader<File>>,
    sum: crc32fast::Hasher,
    expected: (u32, u32),
    records: u32,
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
        let body = length.checked_sub(HEAD + TAIL).ok_or(FileError::Damaged)?;
        let mut tail = [0; TAIL as usize];
        file.seek(SeekFrom::Start(HEAD + body))?;
        file.read_exact(&mut tail)?;
        file.rewind()?;
        let mut input = BufReader::with_capacity(64 << 10, file);
        let mut head = [0; HEAD as usize];
        input.read_exact(&mut head)?;
        if !head.starts_with(MAGIC) {
            return Err(FileError::Damaged);
        }
        let mut sum = crc32fast::Hasher::new();
        sum.update(&head);
        let [a, b, c, d, e, f, g, h] = tail;
        Ok(Some(Self {
            input: input.take(body),
            sum,
            expected: (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])),
            records: 0,
            is_whole: head[HEAD as usize - 1] == 1,
            last: None,
        }))
    }

    fn record(&mut self) -> Result<Option<Record>, FileError> {
        if self.input.limit() == 0 {
            self.sum.update(&self.records.to_le_bytes());
            let is_sound = (self.records, self.sum.clone().finalize()) == self.expected;
            return if is_sound { Ok(None) } else { Err(FileError::Damaged) };
        }
        let mut bytes = [0; RECORD + 8 * KEPT];
        let cut = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Damaged,
            _ => FileError::Io(error),
        };
        self.input.read_exact(&mut bytes[..RECORD]).map_err(cut)?;
        let length = RECORD + 8 * usize::from(bytes[RECORD - 1]);
        let body = bytes.get_mut(RECORD..length).ok_or(FileError::Damaged)?;
        self.input.read_exact(body).map_err(cut)?;
        self.sum.update(&bytes[..length]);
        let (words, _) = bytes[RECORD..length].as_chunks::<8>();
        let long = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("a record has eight bytes there"));
        let first = u32::from_le_bytes(*bytes[16..].first_chunk().expect("a record has four bytes there"));
        let slots = words.iter().map(|word| Slot(u64::from_le_bytes(*word)));
        let record = Record::stored(long(0), long(8), first, slots);
        if self.last.is_some_and(|last| last >= record.test) {
            return Err(FileError::Damaged);
        }
        self.last = Some(record.test);
        self.records += 1;
        Ok(Some(record))
    }
}

/// Writes a file beside the one that it will replace.
struct Writer {
    output: BufWriter<File>,
    sum: crc32fast::Hasher,
    newest: Vec<u32>,
}

impl Writer {
    fn create(path: &Path, is_whole: bool) -> io::Result<Self> {
        let mut writer = Self {
            output: BufWriter::with_capacity(64 << 10, File::create(path)?),
            sum: crc32fast::Hasher::new(),
            newest: Vec::new(),
        };
        writer.bytes(MAGIC)?;
        writer.bytes(&[u8::from(is_whole)])?;
        Ok(writer)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.output.write_all(bytes)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.newest.push(record.last());
        // One piece: check sums of small ones are slow.
        let mut bytes = [0; RECORD + 8 * KEPT];
        bytes[..8].copy_from_slice(&record.test.to_le_bytes());
        bytes[8..16].copy_from_slice(&record.signature.to_le_bytes());
        bytes[16..20].copy_from_slice(&record.first.to_le_bytes());
        bytes[RECORD - 1] = record.slots().len() as u8;
        let (places, _) = bytes[RECORD..].as_chunks_mut::<8>();
        places.iter_mut().zip(record.slots()).for_each(|(place, slot)| *place = slot.0.to_le_bytes());
        self.bytes(&bytes[..RECORD + 8 * record.slots().len()])
    }

    fn end(mut self) -> io::Result<Vec<u32>> {
        let records = u32::try_from(self.newest.len()).map_err(io::Error::other)?.to_le_bytes();
        self.bytes(&records)?;
        let sum = self.sum.clone().finalize();
        self.output.write_all(&sum.to_le_bytes())?;
        self.output.flush()?;
        Ok(self.newest)
    }
}

/// Reads a whole file; `None` if there is none.
///
/// # Errors
/// If it is damaged or cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Past>, FileError> {
    let Some(mut reader) = Reader::open(path)? else { return Ok(None) };
    let mut records = Vec::new();
    while let Some(record) = reader.record()? {
        records.push(record);
    }
    records.shrink_to_fit();
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
