//! Follows log files that other processes write, rotate, truncate, replace and delete.
//!
//! # What is promised
//! - A byte is handed on once, however the file that holds it is called by then: a file is known by its device, its inode and
//!   a checksum of its beginning ([`Identity`]), not by its name.
//! - Each file that is followed is kept open until it was read to its end, so that a rename or a deletion loses nothing.
//! - A file that was cut, or cut and written anew beyond the old place, is read from its beginning: before new bytes are
//!   believed, the last 64 bytes before them must still be there.
//! - A generation that was gzipped before it was read to its end is read from there, if that is asked for.
//! - What a `copytruncate` cut off before it was read is read from the copy, if that lies beside the file.
//! - [`Journal`] remembers how far each file was dealt with, and what was about to be handed on.
//!
//! # How changes are noticed
//! The directories are watched with inotify, where there is one. Besides, each file is looked at every second or two, because
//! network file systems, and links into other directories, tell nothing.

mod file;
mod follow;
mod identity;
mod journal;
mod lines;
mod patterns;
mod siblings;
mod watch;

use std::path::PathBuf;

pub use self::file::FileNumber;
pub use self::follow::{Follower, News, Place};
pub use self::identity::{FileId, Head, Identity};
pub use self::journal::{Batch, Journal, JournalError, Known, Part, Saved};
pub use self::lines::{Encoding, Lines, Piece};
pub use self::patterns::{Patterns, is_glob};

/// Where a file is begun that is not known yet when testwire starts. Files that appear later are read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Begin {
    /// At its first byte.
    #[default]
    Start,
    /// Behind its last byte: what is there already is none of our business.
    End,
}

/// What to follow.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Files, directories and glob patterns, absolute.
    pub paths: Vec<PathBuf>,
    /// Where to begin.
    pub begin: Begin,
    /// Where gzipped generations of logs are unpacked to be read, if they are to be read: those that were packed, perhaps while
    /// nobody followed, before they were read to their end. The file is there for a moment only.
    pub unpack: Option<PathBuf>,
    /// Descriptors that may be open for files that were read to their end; others are opened again when needed.
    pub descriptors: usize,
}
