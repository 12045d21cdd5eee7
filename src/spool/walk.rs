//! Reads a segment piece by piece, and finds its way past what is damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::format::{GROUP, HEADER_LEN, Header};

/// So much is read at once: a few hundred groups of an idle stream.
const BLOCK: usize = 32 * 1024;

/// A segment that is being read. `end`, in its methods, is up to where its bytes are known to count; behind that may be
/// what a failed write left.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: File,
    block: Vec<u8>,
    /// Where the block was read.
    at: u64,
}

/// What is found at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A group with a good header. What follows that was not looked at.
    Group(Header),
    /// Bytes up to here are no group, and were not left by an unfinished write.
    Damage { end: u64 },
    /// A write was not finished, and nothing comes behind it.
    Torn,
    /// The end.
    End,
}

impl SegmentFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, block: Vec::new(), at: 0 })
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The bytes from `at`, at most `len`; less at the end.
    pub(super) fn bytes(&mut self, at: u64, len: usize, end: u64) -> io::Result<&[u8]> {
        let len = len.min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        let known = self.at..self.at + self.block.len() as u64;
        if !known.contains(&at) || known.end < at + len as u64 {
            self.fill(at, len.max(BLOCK), end)?;
        }
        let from = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        let known = self.block.get(from..).unwrap_or_default();
        Ok(known.get(..len).unwrap_or(known))
    }

    /// As [`SegmentFile::bytes`], owned. What is large does not go through the block.
    pub(super) fn take(&mut self, at: u64, len: usize, end: u64) -> io::Result<Vec<u8>> {
        if len <= BLOCK {
            return self.bytes(at, len, end).map(<[u8]>::to_vec);
        }
        let mut bytes = vec![0; len.min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX))];
        let read = read_at(&self.file, &mut bytes, at)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Mark and heads of the group at `at`.
    pub(super) fn heads(&mut self, header: &Header, at: u64, end: u64) -> io::Result<Vec<u8>> {
        self.take(at + HEADER_LEN as u64, header.heads as usize, end)
    }

    fn fill(&mut self, at: u64, len: usize, end: u64) -> io::Result<()> {
        let len = len.min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        self.at = at;
        self.block.resize(len, 0);
        let read = read_at(&self.file, &mut self.block, at);
        self.block.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| ())
    }

    /// What is at `at`, where a group should begin whose first record is `id`. Behind damage it may be a later one, but
    /// no more are missing than have room in the damaged bytes (`damaged` so far).
    pub(super) fn piece(&mut self, at: u64, end: u64, id: u64, damaged: u64) -> io::Result<Piece> {
        let bytes = self.bytes(at, HEADER_LEN, end)?;
        if bytes.is_empty() {
            return Ok(Piece::End);
        }
        if bytes.len() < HEADER_LEN {
            return Ok(Piece::Torn);
        }
        if let Some(header) = Header::decode(bytes).filter(|header| header.may_follow(id, damaged)) {
            // The header's checksum is right, so its length can be trusted: the rest of the group was never written.
            return Ok(if at + header.len() > end { Piece::Torn } else { Piece::Group(header) });
        }
        if self.is_zero(at, end)? {
            return Ok(Piece::Torn);
        }
        self.next_group(at, end, id, damaged).map(|end| Piece::Damage { end })
    }

    /// Where the next good group begins behind `from`; `end` if there is none.
    fn next_group(&mut self, from: u64, end: u64, id: u64, damaged: u64) -> io::Result<u64> {
        let mut at = from + 1;
        loop {
            let bytes = self.bytes(at, BLOCK, end)?;
            if bytes.len() < HEADER_LEN {
                return Ok(end);
            }
            let is_group = |place: u64, bytes| {
                let damaged = damaged + place - from;
                Header::decode(bytes).is_some_and(|h| h.may_follow(id, damaged) && place + h.len() <= end)
            };
            let mut places = memchr::memmem::find_iter(bytes, &GROUP);
            if let Some(found) = places.find(|found| is_group(at + *found as u64, &bytes[*found..])) {
                return Ok(at + found as u64);
            }
            // A header may begin in what is left.
            at += (bytes.len() - HEADER_LEN + 1) as u64;
        }
    }

    pub(super) fn is_zero(&mut self, mut at: u64, end: u64) -> io::Result<bool> {
        while at < end {
            let bytes = self.bytes(at, BLOCK, end)?;
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
