//! What the threads of a queue share. No lock is held while a file is read or written.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::format::Group;
use super::scan::Scan;
use super::segment::{Point, Segment};
use super::timings::Timings;
use super::writer::Command;
use super::{Backlog, RecordId, Settings};
use crate::loki::encode::Chunk;

/// What a record in memory costs beside its entries.
const TAIL_OVERHEAD: usize = size_of::<Tailed>() + 64;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) settings: Settings,
    state: Mutex<State>,
    /// Signalled when there is room again, or the queue is closed.
    pub(super) room: Condvar,
    /// Signalled when there is something to hand out, or the queue is closed.
    pub(super) filled: Notify,
    /// To the writer.
    pub(super) commands: SyncSender<Command>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// In order. The last one is never deleted, as it keeps the mark and the number of the next record.
    segments: VecDeque<Segment>,
    /// Bytes of the segments.
    used: u64,
    /// Bytes of groups that were let in and are not written yet.
    reserved: u64,
    /// Appends that wait for room.
    pub(super) waiting: usize,
    /// Since when nothing can be written, while somebody wants to.
    blocked_since: Option<Instant>,
    /// Nobody waits for room any more.
    pub(super) given_up: bool,
    /// The newest records, up to `next`.
    tail: VecDeque<Tailed>,
    tail_bytes: usize,
    /// Id after the last record.
    pub(super) next: u64,
    /// No record before this one is handed out any more.
    cursor: u64,
    /// Sizes of the records that were handed out and are not settled: entries and bytes.
    out: HashMap<u64, (u32, u32), foldhash::fast::RandomState>,
    entries: u64,
    bytes: u64,
    /// Damaged pieces that were found.
    pub(super) corrupt: u64,
    /// The newest mark.
    pub(super) mark: Option<Vec<u8>>,
    pub(super) closed: bool,
    /// The writer has ended by a panic.
    pub(super) failed: bool,
    /// Something was settled since the cursor was written.
    pub(super) dirty: bool,
    pub(super) syncs: Timings,
}

#[derive(Debug)]
struct Tailed {
    chunk: Chunk,
    time: u64,
}

/// Where the next record is.
pub(super) enum Next {
    /// Here; it counts as handed out.
    Here(RecordId, Chunk),
    /// In a file.
    Filed(u64),
    /// Nowhere yet.
    Empty,
    /// Nowhere, and there will be none.
    Closed,
}

/// Where to begin to look for a record in the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The segment.
    pub(super) base: u64,
    /// A group that is not behind the record.
    pub(super) first: u64,
    /// Its place.
    pub(super) at: u64,
    /// Up to where the file counts.
    pub(super) end: u64,
    /// Id after the segment's last record.
    pub(super) next: u64,
}

impl Shared {
    pub(super) fn new(
        dir: PathBuf,
        settings: Settings,
        scan: Scan,
        mark: Option<Vec<u8>>,
        commands: SyncSender<Command>,
    ) -> Self {
        let (entries, bytes) = scan.left();
        let state = State {
            used: scan.segments.iter().map(|segment| segment.len).sum(),
            segments: scan.segments.into(),
            next: scan.next,
            entries,
            bytes,
            mark,
            corrupt: scan.damage.len() as u64,
            ..State::default()
        };
        Self { dir, settings, state: Mutex::new(state), room: Condvar::new(), filled: Notify::new(), commands }
    }

    /// Changes what is settled, and lets the writer and those who wait for room know of it.
    pub(super) fn settle(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state();
        let was_dirty = state.dirty;
        let segment_ended = change(&mut state);
        let wake = segment_ended || state.dirty && !was_dirty;
        let room = state.waiting > 0 && state.is_settled();
        drop(state);
        if wake {
            // If there is no place for it, the writer is busy and looks when it is done.
            self.commands.try_send(Command::Tidy).ok();
        }
        if room {
            self.room.notify_all();
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of the writer, of which `failed` tells.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there is no room, or for so long.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
        mut condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.room.wait_timeout_while(state, limit, |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The writer has panicked.
    pub(super) fn fail(&self) {
        self.state().failed = true;
        self.close();
    }

    pub(super) fn give_up(&self) {
        self.state().given_up = true;
        self.room.notify_all();
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.room.notify_all();
        self.filled.notify_one();
    }
}

impl State {
    /// Whether a group of this length may come in. One that is larger than the cap may when nothing is left.
    pub(super) fn has_room(&self, len: u64, max: u64) -> bool {
        self.used + self.reserved + len <= max || self.is_settled()
    }

    pub(super) fn reserve(&mut self, len: u64) {
        self.reserved += len;
    }

    /// Somebody cannot go on.
    pub(super) fn block(&mut self) {
        self.blocked_since.get_or_insert_with(Instant::now);
    }

    /// Somebody can.
    pub(super) fn unblock(&mut self) {
        self.blocked_since = (self.waiting > 0).then(Instant::now);
    }

    pub(super) fn blocked_for(&self) -> Option<Duration> {
        self.blocked_since.map(|since| since.elapsed())
    }

    pub(super) fn release(&mut self, len: u64) {
        self.reserved = self.reserved.checked_sub(len).expect("what is released was reserved");
    }

    /// A segment is being written.
    pub(super) fn add_segment(&mut self, base: u64) {
        if base != self.next {
            // The places in the tail follow from the ids, so there is to be no gap.
            self.tail.clear();
            (self.tail_bytes, self.next) = (0, base);
        }
        self.segments.push_back(Segment::new(base));
    }

    /// A group was written at `at` of the last segment.
    pub(super) fn add_group(&mut self, group: Group, at: u64, tail_bytes: usize) {
        let header = *group.header();
        let size = (u64::from(header.entries), u64::from(header.bytes));
        let last = self.segments.back_mut().expect("a segment is added before its first group");
        let before = last.len;
        last.add(&header, at, size);
        self.used += last.len - before;
        self.next = header.next();
        self.entries += size.0;
        self.bytes += size.1;
        if group.mark.is_some() {
            self.mark = group.mark;
        }
        for chunk in group.chunks {
            self.tail_bytes += chunk.entries.len() + TAIL_OVERHEAD;
            self.tail.push_back(Tailed { chunk, time: header.time });
        }
        while self.tail_bytes > tail_bytes {
            self.pop_tail();
        }
    }

    fn pop_tail(&mut self) {
        let Some(old) = self.tail.pop_front() else { return };
        self.tail_bytes -= old.chunk.entries.len() + TAIL_OVERHEAD;
    }

    fn tailed(&self, id: u64) -> Option<&Tailed> {
        let first = self.next - self.tail.len() as u64;
        self.tail.get(usize::try_from(id.checked_sub(first)?).ok()?)
    }

    fn segment(&mut self, id: u64) -> Option<&mut Segment> {
        let behind = self.segments.partition_point(|segment| segment.base <= id);
        self.segments.get_mut(behind.checked_sub(1)?)
    }

    fn first_open(&self, from: u64) -> Option<u64> {
        let start = self.segments.partition_point(|segment| segment.next <= from);
        self.segments.range(start..).find_map(|segment| segment.first_open(from))
    }

    /// The next record to hand out.
    pub(super) fn next(&mut self) -> Next {
        match self.first_open(self.cursor) {
            Some(id) => match self.tailed(id) {
                Some(Tailed { chunk, .. }) => {
                    let chunk = chunk.clone();
                    self.hand_out(id, &chunk);
                    Next::Here(RecordId(id), chunk)
                }
                None => Next::Filed(id),
            },
            None if self.failed || self.closed && self.reserved == 0 => Next::Closed,
            None => Next::Empty,
        }
    }

    pub(super) fn hand_out(&mut self, id: u64, chunk: &Chunk) {
        let bytes = u32::try_from(chunk.entries.len()).expect("a group is far below 4 GiB");
        self.out.insert(id, (chunk.count, bytes));
        self.cursor = id + 1;
    }

    /// Records before this one are not handed out by this process.
    pub(super) fn pass(&mut self, id: u64) {
        self.cursor = self.cursor.max(id);
    }

    pub(super) fn is_out(&self, id: u64) -> bool {
        self.out.contains_key(&id)
    }

    /// The record, if it is in memory.
    pub(super) fn remembered(&self, id: u64) -> Option<Chunk> {
        self.tailed(id).map(|tailed| tailed.chunk.clone())
    }

    /// Where to look for a record.
    pub(super) fn place(&mut self, id: u64) -> Option<Place> {
        let segment = self.segment(id).filter(|segment| id < segment.next)?;
        let Point { first, at, .. } = segment.point(id)?;
        Some(Place { base: segment.base, first, at, end: segment.len, next: segment.next })
    }

    /// A record that was handed out is done with. True if a segment can go.
    pub(super) fn commit(&mut self, id: u64) -> bool {
        let Some((entries, bytes)) = self.out.remove(&id) else { return false };
        self.settle(id, entries.into(), bytes.into())
    }

    /// Records are lost to damage and kept aside; all of them together had so many entries and bytes.
    pub(super) fn settle_lost(&mut self, ids: std::ops::Range<u64>, mut size: (u64, u64)) -> bool {
        let mut ended = false;
        for id in ids {
            self.out.remove(&id);
            ended |= self.settle(id, size.0, size.1);
            size = (0, 0);
        }
        ended
    }

    fn settle(&mut self, id: u64, entries: u64, bytes: u64) -> bool {
        let last = self.segments.back().map_or(0, |segment| segment.base);
        let Some(segment) = self.segment(id) else { return false };
        let Some((entries, bytes)) = segment.settle(id, entries, bytes) else { return false };
        let ended = segment.left == 0 && segment.base != last;
        self.entries -= entries;
        self.bytes -= bytes;
        self.dirty = true;
        while let Some(first) = (!self.tail.is_empty()).then(|| self.next - self.tail.len() as u64)
            && self.segment(first).is_none_or(|segment| segment.is_settled(first))
        {
            self.pop_tail();
        }
        ended
    }

    /// True if nothing is left.
    pub(super) fn is_settled(&self) -> bool {
        self.reserved == 0 && self.segments.iter().all(|segment| segment.left == 0)
    }

    /// Segments that can be deleted.
    pub(super) fn done(&self) -> Vec<u64> {
        let all_but_last = self.segments.len().saturating_sub(1);
        self.segments
            .iter()
            .take(all_but_last)
            .filter(|segment| segment.left == 0)
            .map(|segment| segment.base)
            .collect()
    }

    /// Segments were deleted.
    pub(super) fn forget(&mut self, bases: &[u64]) {
        self.segments.retain(|segment| !bases.contains(&segment.base));
        self.used = self.segments.iter().map(|segment| segment.len).sum();
    }

    /// Where a new segment can begin: no two have the same name.
    pub(super) fn base_after(&self, next: u64) -> u64 {
        next + u64::from(self.segments.back().is_some_and(|last| last.base == next))
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    pub(super) fn backlog(&mut self) -> Backlog {
        let first = self.first_open(0);
        let time = first.and_then(|id| {
            let tailed = self.tailed(id).map(|tailed| tailed.time);
            tailed.or_else(|| self.segment(id)?.point(id).map(|point| point.time))
        });
        Backlog { entries: self.entries, bytes: self.bytes, oldest: time.map(age) }
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago a time is; none if the clock was set back.
pub(super) fn age(time: u64) -> Duration {
    Duration::from_millis(now().saturating_sub(time))
}
