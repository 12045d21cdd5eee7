//! The queue between normalize and ship: accepts encoded entries, keeps them on disk until Loki has them.
//!
//! # Constraints
//! - A queue is a directory of one process. Any process may take it over once its owner is gone ([`DiskQueue::adopt`]), and
//!   may look into it at any time ([`inspect`]).
//! - An append returns when its records are in the page cache, so a SIGKILL of the process loses nothing that was
//!   acknowledged. With `fsync` it returns after `fdatasync`, so a power failure does not either. Without it, a power failure
//!   may lose what the kernel had not written yet.
//! - What is appended at once, the mark included, is there whole after a crash, or not at all.
//! - A record that was committed more than 200 ms before a crash is not handed out again, one that was not committed always
//!   is. Records are committed in any order; one that waits for hours keeps its own segment and no other.
//! - Nothing read from a file is believed without its checksum, lengths least of all. Damage costs the record, or, if it
//!   hits what the group says of its records, the group; it is counted and kept in the folder `corrupt` beside the queues.
//! - The segments have at most [`Settings::max_bytes`] together; only a group that is larger by itself, or a run's end,
//!   exceeds that. At the cap, and while the disk is full, an append waits, until whoever owns the queue gives that up.
//! - Memory does not grow with the backlog, but for a bit a record and 24 bytes for 16 KiB: 3 million waiting records of one
//!   entry each take 4 MiB beside the tail of at most [`Settings::tail_bytes`].
//! - Files say their format version. Older ones are read, newer ones are refused and left as they are.
//!
//! # Files
//! Numbers are little-endian; a varint is that of protobuf; checksums are CRC-32 (IEEE).
//!
//! ```text
//! spool/RUN.PID/lock                  flock(2), held while the owner lives
//! spool/RUN.PID/ID.segment            ID: its first record, 20 digits
//! spool/RUN.PID/cursor                what is settled
//! spool/corrupt/RUN.PID-ID-AT.bin     a damaged piece, and where in which segment it was
//!
//! segment   preamble, groups           a group never spans two
//! preamble  magic 8, version u32, checksum u32 of those 12     the same in every version
//! group     header, mark, a head for each record, the entries of each record
//! header    magic 4, checksum u32 of the rest, first id u64, time u64 (ms), records u32, entries u32,
//!           bytes of all entries u32, bytes of mark and heads u32, bytes of the mark u32 (all bits set: none),
//!           checksum u32 of mark and heads
//! head      count varint, bytes of its entries varint, checksum u32 of them, first and last time i64 (ns),
//!           labels: length varint, then name and value of each with their lengths as varints
//! entries   as in a push to Loki
//! cursor    preamble, then for each segment in which something is settled: first id u64, records u64,
//!           words u64, and so many u64 with a bit a record; checksum u32 of all
//! ```
//!
//! The magic of a group is not UTF-8, so no line of a log can look like one. Ids are given once: a segment is never appended
//! to after a restart, and the next one begins behind every id that the segments or the cursor ever spoke of.
//!
//! # Operation
//! - *Append*: the caller makes the group and reserves its place below the cap; the writer, a thread, takes all groups that
//!   wait, writes those that fit into the segment with one `writev`, syncs once, lets the reader see them and answers. After a
//!   failed write it cuts off what came of it and tries again every second, or gives up when the queue is closed. After a
//!   failed sync nobody knows what is on the disk, so the same groups go into a new segment.
//! - *Read*: the newest records are handed out of memory. A reader that fell behind reads groups one after the other, and
//!   looks for any record from the last remembered place before it. Behind damage the next good header is searched for, whose
//!   first id must fit.
//! - *Commit* sets a bit. The writer deletes segments whose bits are all set, but never the last; so a missing segment is a
//!   settled one. It replaces the cursor when something was committed, at most every 200 ms, and at the end.
//! - *Mark*: the caller's own bytes. A new segment repeats the newest mark in a group without records, as the segment that had
//!   it may go.
//! - *Adopt*: walks the headers. A group that the file's end cuts, or zeros, are an unfinished write and are truncated. A header
//!   with a wrong checksum is damage.
//!
//! # Why no crate
//! Logs with one position for the consumer (`queue-file`, `commitlog`, `yaque`) cannot commit in any order, so one refused
//! stream would keep everything behind it; `yaque` saves its state when it is dropped. `okaywal` asks not to be used in
//! production. Key-value stores (`redb`, `fjall`, `sled`) could do it with a key a record, but write everything at least twice or
//! copy pages, and none lets a damaged record be kept aside while the rest is read. All of them are larger than this.

mod cursor;
mod files;
mod format;
mod queue;
mod reader;
mod scan;
mod segment;
mod state;
mod timings;
mod walk;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use self::queue::{DiskQueue, Inspection, all, dead, folder, inspect, last_mark};
pub use self::timings::Timings;
use crate::loki::encode::Chunk;

/// One record of a queue; records are handed out in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// How a [`DiskQueue`] works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that its segments may have together. Only a group that is larger by itself, or a run's end, exceeds it.
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
    /// It is at its cap, and nobody waits for room any more.
    #[error("the spool is full")]
    Full,
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

    /// The same for the end of a run, which is little and finds room beyond the cap.
    fn append_last(&self, chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Result<(), SpoolError>;

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
