//! A queue that lives as long as the process.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Notify;

use super::{Backlog, Queue, RecordId, SpoolError};
use crate::loki::encode::Chunk;

/// Bytes of encoded entries that [`MemoryQueue::default`] holds: some 80,000 usual entries, and a process with it
/// stays below 50 MB.
pub const DEFAULT_CAP: usize = 16 * 1024 * 1024;

/// What a record costs beside its entries, so that many small ones count too.
const RECORD_OVERHEAD: usize = size_of::<Record>() + 64;

/// Records in memory, bounded by bytes. A record stays until it is committed, so the bound covers what is in flight.
#[derive(Debug)]
pub struct MemoryQueue {
    cap: usize,
    state: Mutex<State>,
    /// Signalled when there is room again, or the queue is closed.
    room: Condvar,
    /// Signalled when there is something to hand out, or the queue is closed.
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// From the oldest that is not committed; `None` for those committed out of order.
    records: VecDeque<Option<Record>>,
    /// Id of the first of `records`.
    base: u64,
    /// Id of the next to be handed out.
    cursor: u64,
    cost: usize,
    bytes: u64,
    entries: u64,
    closed: bool,
}

#[derive(Debug)]
struct Record {
    chunk: Chunk,
    since: Instant,
}

impl Record {
    fn cost(chunk: &Chunk) -> usize {
        chunk.entries.len() + RECORD_OVERHEAD
    }
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new(DEFAULT_CAP)
    }
}

impl MemoryQueue {
    /// A queue of at most `cap` bytes; a single chunk above that is taken when the queue is empty.
    pub fn new(cap: usize) -> Self {
        Self { cap, state: Mutex::default(), room: Condvar::new(), filled: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the lock panics")
    }

    /// The next record, or whether there will be one.
    fn try_next(&self) -> Next {
        let mut state = self.state();
        let index = state.cursor - state.base;
        match state.records.get(index as usize) {
            Some(record) => {
                let chunk = record.as_ref().expect("what was not handed out is not committed").chunk.clone();
                let id = RecordId(state.cursor);
                state.cursor += 1;
                Next::Record(id, chunk)
            }
            None if state.closed => Next::Closed,
            None => Next::Empty,
        }
    }
}

enum Next {
    Record(RecordId, Chunk),
    Empty,
    Closed,
}

impl Queue for MemoryQueue {
    fn append(&self, chunks: Vec<Chunk>) -> Result<(), SpoolError> {
        for chunk in chunks {
            let cost = Record::cost(&chunk);
            let mut state = self
                .room
                .wait_while(self.state(), |state| !state.closed && state.cost > 0 && state.cost + cost > self.cap)
                .expect("no holder of the lock panics");
            if state.closed {
                return Err(SpoolError::Closed);
            }
            state.cost += cost;
            state.bytes += chunk.entries.len() as u64;
            state.entries += u64::from(chunk.count);
            state.records.push_back(Some(Record { chunk, since: Instant::now() }));
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    async fn next(&self) -> Option<(RecordId, Chunk)> {
        loop {
            // A notification between the look and the wait is kept by `Notify`, so none is missed.
            match self.try_next() {
                Next::Record(id, chunk) => return Some((id, chunk)),
                Next::Closed => return None,
                Next::Empty => self.filled.notified().await,
            }
        }
    }

    async fn read(&self, id: RecordId) -> Result<Chunk, SpoolError> {
        let state = self.state();
        let index = id.0.checked_sub(state.base).ok_or(SpoolError::NoRecord(id))?;
        let record = state.records.get(index as usize).and_then(Option::as_ref);
        record.map(|record| record.chunk.clone()).ok_or(SpoolError::NoRecord(id))
    }

    fn commit(&self, id: RecordId) {
        let mut state = self.state();
        let Some(index) = id.0.checked_sub(state.base) else { return };
        let Some(record) = state.records.get_mut(index as usize).and_then(Option::take) else { return };
        state.cost -= Record::cost(&record.chunk);
        state.bytes -= record.chunk.entries.len() as u64;
        state.entries -= u64::from(record.chunk.count);
        while let Some(None) = state.records.front() {
            state.records.pop_front();
            state.base += 1;
        }
        drop(state);
        self.room.notify_all();
    }

    fn close(&self) {
        self.state().closed = true;
        self.room.notify_all();
        self.filled.notify_one();
    }

    fn backlog(&self) -> Backlog {
        let state = self.state();
        let oldest = state.records.front().and_then(Option::as_ref).map(|record| record.since.elapsed());
        Backlog { entries: state.entries, bytes: state.bytes, oldest }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::event::Timestamp;
    use crate::loki::entry::Stream;

    fn chunk(size: usize, mark: u8) -> Chunk {
        let stream = Stream::new(vec![("kind", "log".into())]);
        let time = Timestamp(i64::from(mark));
        Chunk { stream, entries: vec![mark; size].into(), count: 1, first: time, last: time }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), future).await.unwrap() })
    }

    #[test]
    fn records_come_out_in_order_and_stay_readable_until_committed() {
        let queue = MemoryQueue::default();
        queue.append((0..5).map(|i| chunk(10, i)).collect()).unwrap();
        queue.close();
        block_on(async {
            let mut ids = Vec::new();
            while let Some((id, chunk)) = queue.next().await {
                assert_eq!(chunk.entries[0] as usize, ids.len());
                ids.push(id);
            }
            assert_eq!(ids.len(), 5);
            // Out of order: 3 before 0, and 0 twice.
            for i in [3, 0, 0, 1] {
                queue.commit(ids[i]);
            }
            assert_eq!(queue.backlog().entries, 2);
            assert_eq!(queue.backlog().bytes, 20);
            assert_eq!(queue.read(ids[2]).await.unwrap().entries[0], 2);
            assert!(matches!(queue.read(ids[3]).await, Err(SpoolError::NoRecord(_))));
            assert!(matches!(queue.read(ids[0]).await, Err(SpoolError::NoRecord(_))));
            queue.commit(ids[2]);
            queue.commit(ids[4]);
        });
        assert_eq!(queue.backlog(), Backlog::default());
        assert!(matches!(queue.append(vec![chunk(1, 1)]), Err(SpoolError::Closed)));
    }

    #[test]
    fn append_blocks_at_the_cap_until_something_is_committed() {
        let queue = Arc::new(MemoryQueue::new(1000));
        queue.append(vec![chunk(600, 1)]).unwrap();
        let (done, second) = std::sync::mpsc::channel();
        let writer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || done.send(writer.append(vec![chunk(600, 2)])).unwrap());
        assert!(second.recv_timeout(Duration::from_millis(100)).is_err(), "accepted above the cap");
        block_on(async {
            let (id, _) = queue.next().await.unwrap();
            queue.commit(id);
            assert!(second.recv_timeout(Duration::from_secs(10)).unwrap().is_ok());
            assert_eq!(queue.next().await.unwrap().1.entries[0], 2);
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_chunk_above_the_cap_is_taken_by_an_empty_queue() {
        let queue = MemoryQueue::new(10);
        queue.append(vec![chunk(600, 1)]).unwrap();
        assert_eq!(queue.backlog().bytes, 600);
    }

    #[test]
    fn closing_wakes_a_blocked_writer_and_a_waiting_reader() {
        let queue = Arc::new(MemoryQueue::new(10));
        queue.append(vec![chunk(600, 1)]).unwrap();
        let writer = Arc::clone(&queue);
        let thread = std::thread::spawn(move || writer.append(vec![chunk(600, 2)]));
        std::thread::sleep(Duration::from_millis(50));
        queue.close();
        assert!(matches!(thread.join().unwrap(), Err(SpoolError::Closed)));
        let empty = Arc::new(MemoryQueue::default());
        let closer = Arc::clone(&empty);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            closer.close();
        });
        assert!(block_on(empty.next()).is_none());
        thread.join().unwrap();
    }
}
