//! Numbered records for the tests of the spool.

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use testwire::event::Timestamp;
use testwire::loki::encode::{Chunk, Encoder, decode, entries_of};
use testwire::loki::entry::{Entry, EntrySink as _, Stream};
use testwire::spool::{DiskQueue, Queue as _, RecordId, Settings};

/// Segments of a few records, and hardly any memory, so that every path is taken soon.
pub(crate) const TINY: Settings = Settings { max_bytes: 1 << 30, fsync: false, segment_bytes: 1200, tail_bytes: 600 };

/// A record of two entries, which say the number and fill some bytes.
pub(crate) fn record(number: u64, fill: usize) -> Chunk {
    let stream = Stream::new(vec![("kind", "log".into()), ("source", format!("s{}", number % 3))]);
    let mut encoder = Encoder::new();
    let line = format!("{number} {}", "x".repeat(fill));
    for half in 0..2 {
        let time = Timestamp((number * 2 + half) as i64);
        encoder.entry(&stream, &Entry { time, seq: 1, line: &line, metadata: &[("run_id", "r1")] });
    }
    encoder.take().remove(0)
}

/// The number of a record; panics if a byte of it is not as it was.
pub(crate) fn number(chunk: &Chunk) -> u64 {
    let entries: Vec<_> =
        entries_of(&chunk.entries).map(|place| decode(&chunk.entries[place]).expect("an entry")).collect();
    let (number, fill) = entries[0].line.split_once(' ').expect("a number and a filling");
    let number = number.parse().expect("a number");
    let written = record(number, fill.len());
    assert_eq!(chunk.entries, written.entries, "record {number}");
    assert_eq!(chunk.stream, written.stream, "record {number}");
    assert_eq!((chunk.count, chunk.first, chunk.last), (written.count, written.first, written.last));
    number
}

/// The next record, if there is one now.
pub(crate) fn try_next(queue: &DiskQueue) -> Option<(RecordId, Chunk)> {
    now(queue.next()).flatten()
}

/// What a future gives without waiting.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// All that is handed out now: ids and numbers.
pub(crate) fn take_all(queue: &DiskQueue) -> Vec<(RecordId, u64)> {
    std::iter::from_fn(|| try_next(queue)).map(|(id, chunk)| (id, number(&chunk))).collect()
}

/// Takes over a queue whose owner is gone.
pub(crate) fn adopt(dir: &Path, settings: Settings) -> DiskQueue {
    DiskQueue::adopt(dir, settings).expect("a readable queue").expect("no living owner")
}

/// Copies a queue as a crash would leave it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a queue") {
        let entry = entry.expect("a file");
        // A segment may be deleted, and a new cursor be renamed, while we look.
        std::fs::copy(entry.path(), to.join(entry.file_name())).ok();
    }
}
