//! One file that is followed.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::identity::{FileId, Head, read_at};

/// Number of a file within a journal; given once.
pub type FileNumber = u32;

/// Bytes before the place of reading that must be the same the next time.
pub(super) const OVERLAP: usize = 64;
/// How often the beginning of a growing file is looked at again.
const HEAD_EVERY: Duration = Duration::from_secs(1);

/// A file, known by its identity.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Where it was found; what its entries say.
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) head: Head,
    /// Open, unless there are too many.
    pub(super) file: Option<File>,
    /// Bytes that were handed on.
    pub(super) read_to: u64,
    /// The last of them.
    last: Vec<u8>,
    /// Last modification when it was read to its end.
    seen: Option<std::time::SystemTime>,
    head_checked: Instant,
    /// It was read to its end when it was last looked at.
    pub(super) at_end: bool,
    /// When it grew last.
    pub(super) grown: Instant,
    /// Since when no path leads to it any more.
    pub(super) left: Option<Instant>,
    /// It waits to be looked at.
    pub(super) is_dirty: bool,
    /// It is read when this one was read to its end: an earlier generation of the same log.
    pub(super) after: Option<FileNumber>,
}

/// What a look at a file gave.
#[derive(Debug)]
pub(super) enum Look {
    /// The next bytes are there in the buffer.
    Bytes(Range<usize>),
    /// Nothing new.
    End,
    /// It was cut, or written anew.
    Rewritten,
    /// It was closed for want of descriptors, and is not at its path any more.
    Lost,
}

impl Tracked {
    pub(super) fn new(path: PathBuf, id: FileId, file: File, read_to: u64) -> io::Result<Self> {
        let now = Instant::now();
        let mut tracked = Self {
            path,
            id,
            head: Head::of(&file)?,
            file: Some(file),
            read_to,
            last: Vec::new(),
            seen: None,
            head_checked: now,
            at_end: false,
            grown: now,
            left: None,
            is_dirty: false,
            after: None,
        };
        tracked.remember()?;
        Ok(tracked)
    }

    /// Reads the bytes before the place of reading, so that they can be compared later.
    fn remember(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let len = self.read_to.min(OVERLAP as u64);
        self.last.resize(len as usize, 0);
        let got = read_at(file, &mut self.last, self.read_to - len)?;
        self.last.truncate(got);
        Ok(())
    }

    /// Goes on at another place.
    pub(super) fn seek(&mut self, to: u64) -> io::Result<()> {
        self.read_to = to;
        (self.seen, self.at_end) = (None, false);
        self.remember()
    }

    /// The open file; opens it if it was closed. `None` if another file, or none, is at its path.
    fn open(&mut self) -> io::Result<Option<&File>> {
        if self.file.is_none() {
            let opened = File::open(&self.path).and_then(|file| Ok((file.metadata()?, file)));
            match opened {
                Ok((metadata, file)) if FileId::of(&metadata) == self.id => self.file = Some(file),
                Ok(_) => return Ok(None),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(self.file.as_ref())
    }

    /// Size and last modification, now.
    pub(super) fn metadata(&mut self) -> io::Result<Option<Metadata>> {
        self.open()?.map(File::metadata).transpose()
    }

    /// True if its size or last modification is not as it was when it was read to its end.
    pub(super) fn has_changed(&self, metadata: &Metadata) -> bool {
        metadata.len() != self.read_to || metadata.modified().ok() != self.seen
    }

    /// Reads what comes next. True besides if the remembered beginning has grown.
    pub(super) fn look(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<(Look, bool)> {
        let Some(metadata) = self.metadata()? else { return Ok((Look::Lost, false)) };
        let size = metadata.len();
        let modified = metadata.modified().ok();
        if size < self.read_to {
            return Ok((Look::Rewritten, false));
        }
        if size == self.read_to && modified == self.seen {
            self.at_end = true;
            return Ok((Look::End, false));
        }
        let Some(file) = &self.file else { return Ok((Look::Lost, false)) };
        let overlap = self.last.len();
        // No more than there is, so that one read is enough.
        let there = usize::try_from(size - self.read_to).unwrap_or(usize::MAX).saturating_add(overlap);
        let len = buffer.len().min(there);
        let got = read_at(file, &mut buffer[..len], self.read_to - overlap as u64)?;
        if buffer.get(..overlap.min(got)) != Some(self.last.as_slice()) {
            return Ok((Look::Rewritten, false));
        }
        if now.duration_since(self.head_checked) >= HEAD_EVERY {
            self.head_checked = now;
            if !self.head.is_of(file)? {
                return Ok((Look::Rewritten, false));
            }
        }
        if got == overlap {
            (self.at_end, self.seen) = (true, modified);
            return Ok((Look::End, false));
        }
        let more_head = self.head.is_short();
        if more_head {
            self.head = Head::of(file)?;
        }
        self.grown = now;
        self.read_to += (got - overlap) as u64;
        // A buffer that is not full ends with the file, as it was a moment ago.
        self.at_end = got < buffer.len();
        self.seen = None;
        self.last.clear();
        self.last.extend_from_slice(&buffer[got.saturating_sub(OVERLAP)..got]);
        Ok((Look::Bytes(overlap..got), more_head))
    }

    /// True if it begins with these bytes.
    pub(super) fn begins_with(&mut self, head: Head) -> io::Result<bool> {
        let was_open = self.file.is_some();
        let alike = self.open()?.map(|file| head.is_of(file)).transpose();
        if !was_open {
            self.file = None;
        }
        Ok(alike?.unwrap_or(false))
    }

    /// True if `other` holds, before the place of reading, what this one held.
    pub(super) fn is_continued_by(&self, other: &File) -> io::Result<bool> {
        let mut bytes = [0; OVERLAP];
        let len = self.last.len();
        let got = read_at(other, &mut bytes[..len], self.read_to - len as u64)?;
        Ok(got == len && bytes[..len] == self.last[..] && self.head.is_of(other)?)
    }
}
