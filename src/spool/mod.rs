//! The queue between normalize and ship: accepts encoded entries, keeps them until Loki has them.
//!
//! [`Queue`] is what both sides know. [`memory::MemoryQueue`] keeps its records in memory.

pub mod memory;

use std::time::Duration;

use crate::loki::encode::Chunk;

/// One record of a queue; records are handed out in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub u64);

/// What a queue holds that was not committed yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries.
    pub entries: u64,
    /// Their encoded size in bytes.
    pub bytes: u64,
    /// How long the oldest of them has been in the queue; `None` if there is none.
    pub oldest: Option<Duration>,
}

/// Why a queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It was closed and takes no more.
    #[error("the spool is closed")]
    Closed,
    /// A record that was committed already, or never there, was asked for.
    #[error("the spool has no record {}", .0.0)]
    NoRecord(RecordId),
}

/// Keeps chunks in order from the moment they are accepted until they are committed. Any number of threads may append;
/// one task reads.
pub trait Queue: Send + Sync + 'static {
    /// Accepts chunks, in order; when it returns, they count as acknowledged. Called from a plain thread: it blocks
    /// while the queue is at its cap. On an error, a first part of the chunks may have been accepted.
    fn append(&self, chunks: Vec<Chunk>) -> Result<(), SpoolError>;

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
