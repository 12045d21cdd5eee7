//! The queue between normalize and ship: accepts encoded entries, keeps them until Loki has them.

mod cursor;
mod files;
mod format;
mod queue;
mod reader;
mod scan;
mod segment;
mod state;
mod walk;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use self::queue::{DiskQueue, Inspection, all, dead, folder, inspect};
pub use self::state::Syncs;
use crate::loki::encode::Chunk;

/// One record of a queue; records are handed out in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// How a [`DiskQueue`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that its segments may have together. Only a group that is larger by itself exceeds it.
    pub max_bytes: u64,
    /// Whether an append, and what else matters after a power failure, is synced to the disk.
    pub fsync: bool,
    /// A new segment is begun before one would have more bytes; at most a quarter of `max_bytes` makes sense.
    pub segment_bytes: u64,
    /// Records that were appended last stay in memory up to so many bytes, so that a reader who keeps up reads no file.
    pub tail_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self { max_bytes: 1024 * MIB, fsync: false, segment_bytes: 16 * MIB, tail_bytes: 8 << 20 }
    }
}

impl Settings {
    /// With segments of the usual size, or of a quarter of a small `max_bytes`.
    pub fn new(max_bytes: u64, fsync: bool) -> Self {
        let default = Self::default();
        Self { max_bytes, fsync, segment_bytes: default.segment_bytes.min(max_bytes / 4), ..default }
    }
}

/// What a queue holds that was not committed yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries.
    pub entries: u64,
    /// Their encoded size in bytes.
    pub bytes: u64,
    /// How long the oldest of them has been in the queue, to 10 s; `None` if there is none.
    pub oldest: Option<Duration>,
}

/// Why a queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It was closed and takes no more.
    #[error("the spool is closed")]
    Closed,
    /// A record that was committed already, or never handed out, was asked for.
    #[error("the spool has no record {}", .0.0)]
    NoRecord(RecordId),
    /// A record was damaged after it was handed out. It is kept aside and settled; whoever asked must do without.
    #[error("record {} of the spool is damaged", .0.0)]
    Corrupt(RecordId),
    /// More was appended at once than a group can hold (256 MiB).
    #[error("too much for one write to the spool")]
    TooLarge,
    /// It was to be removed, and not all is committed.
    #[error("the spool still holds entries")]
    NotEmpty,
    /// Another process has it.
    #[error("the spool {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// A file is of a newer version of testwire.
    #[error(
        "{} has format version {found}, and this testwire reads versions up to {}: use the testwire that wrote it, or a \
         newer one",
        path.display(),
        format::VERSION
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The thread that writes has ended by a bug.
    #[error("the spool's writer has ended unexpectedly")]
    Writer,
    /// A file or directory could not be used.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Keeps chunks in order from the moment they are accepted until they are committed. Any number of threads may append;
/// one task reads.
pub trait Queue: Send + Sync + 'static {
    /// Accepts chunks, in order; when it returns, they count as acknowledged. `mark` is for the caller to know how far it
    /// came: of chunks and mark, a crash leaves all or nothing. Called from a plain thread: it blocks while the queue is at
    /// its cap or the disk is full. On an error, nothing was accepted.
    fn append(&self, chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Result<(), SpoolError>;

    /// The next record that was not handed out yet; waits for one. `None` once the queue is closed and all was handed
    /// out. May be dropped while it waits, without loss.
    fn next(&self) -> impl Future<Output = Option<(RecordId, Chunk)>> + Send;

    /// Reads a record again that was handed out and not committed. So the reader may let go of what it cannot push now
    /// and look past it, and its memory stays bounded however long a stream is refused.
    fn read(&self, id: RecordId) -> impl Future<Output = Result<Chunk, SpoolError>> + Send;

    /// The record was delivered, or kept aside as rejected; it is not handed out again. In any order.
    fn commit(&self, id: RecordId);

    /// Takes no more; what is inside stays.
    fn close(&self);

    /// What it holds.
    fn backlog(&self) -> Backlog;
}
