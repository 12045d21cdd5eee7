//! Which file is it, whatever its name.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use serde::{Deserialize, Serialize};

/// Bytes of a file's beginning that are remembered. The first line of a log has a time, so this tells generations apart.
pub(super) const HEAD: usize = 1024;

/// Device and inode: unique among the files that are there at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode; used again after the file is gone.
    pub ino: u64,
}

impl FileId {
    /// As stat(2) says.
    pub fn of(metadata: &Metadata) -> Self {
        Self { dev: metadata.dev(), ino: metadata.ino() }
    }
}

/// Checksum of a file's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many bytes it is of; at most 1 KiB.
    pub len: u16,
    /// Their CRC-32.
    pub check: u32,
}

impl Head {
    /// Of a file as it is now.
    ///
    /// # Errors
    /// As pread(2) says.
    pub fn of(file: &File) -> io::Result<Self> {
        Self::of_first(file, HEAD)
    }

    fn of_first(file: &File, len: usize) -> io::Result<Self> {
        let mut bytes = [0; HEAD];
        let len = read_at(file, &mut bytes[..len.min(HEAD)], 0)?;
        Ok(Self::of_bytes(&bytes[..len]))
    }

    /// Of a file that begins with these bytes, of which there are 1 KiB at most.
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        Self { len: bytes.len() as u16, check: crc32fast::hash(bytes) }
    }

    /// True if the file begins as it did. A file that was empty begins like any other.
    ///
    /// # Errors
    /// As pread(2) says.
    pub fn is_of(self, file: &File) -> io::Result<bool> {
        Ok(Self::of_first(file, self.len.into())? == self)
    }

    /// The same of bytes, which may be more.
    pub(super) fn is_first_of(self, bytes: &[u8]) -> bool {
        bytes.get(..self.len.into()).is_some_and(|bytes| Self::of_bytes(bytes) == self)
    }

    /// True if more bytes would make it more certain.
    pub fn is_short(self) -> bool {
        usize::from(self.len) < HEAD
    }
}

/// A file and how it begins: tells a file that has got the inode of a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Device and inode.
    #[serde(flatten)]
    pub id: FileId,
    /// Its beginning.
    #[serde(flatten)]
    pub head: Head,
}

/// Fills the buffer from `at` on, as far as the file goes.
///
/// # Errors
/// As pread(2) says.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
