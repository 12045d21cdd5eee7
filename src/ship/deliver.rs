//! Delivers one batch: pushes what is left of it until it is settled or must wait.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use prost::bytes::Bytes;
use tokio::time::Instant;

use super::bisect::{Refusal, Work};
use super::late::{self, Piece, Selection};
use super::rejected::{Rejected, RejectedEntry};
use super::stats::Stats;
use super::trouble::RefusedLog;
use crate::event::Timestamp;
use crate::loki::encode::{Packer, entries_of, time_of};
use crate::loki::entry::Stream;
use crate::loki::push::{Client, Outcome, RetryClass};
use crate::loki::reason::Reason;
use crate::spool::{Queue, RecordId, SpoolError};

/// So many refused entries are kept aside at once, to bound the answers that are held.
const REFUSED_MAX: usize = 256;
/// More of an answer than this is not kept with a refused entry.
const ANSWER_MAX: usize = 1024;

/// What the shipper remembers of a record without its entries.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: RecordId,
    /// Which of its entries are meant, as the others go to other streams.
    pub(super) selection: Selection,
    /// Their size in bytes.
    pub(super) len: u32,
    /// Their number.
    pub(super) count: u32,
    /// The time of the earliest.
    pub(super) first: Timestamp,
}

/// Records of one stream that are pushed together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    /// The entries of the first records; those of the others are read again.
    pub(super) loaded: Vec<Bytes>,
    /// The push of all its entries, if that was made ahead.
    packed: Option<Bytes>,
    pub(super) work: Work,
    /// Failures in a row.
    pub(super) failures: u32,
    /// No push of it is larger, unless a single entry is; half of what was too large.
    pub(super) max_bytes: usize,
    /// The smallest push of it that was too large, in bytes.
    pub(super) too_large: Option<usize>,
    /// Loki may have stored some of it.
    seen: bool,
    /// Entries, by number, that are to be offered as late ones: old before they were offered, or too far behind for Loki.
    behind: Vec<usize>,
}

impl Batch {
    pub(super) fn new(records: Vec<Record>, loaded: Vec<Bytes>) -> Self {
        let entries = records.iter().map(|record| record.count as usize).sum();
        let work = Work::new(entries);
        Self {
            records,
            loaded,
            packed: None,
            work,
            failures: 0,
            max_bytes: usize::MAX,
            too_large: None,
            seen: false,
            behind: Vec::new(),
        }
    }
}

impl Batch {
    /// Lets go of what is in memory: it is read again when it is its turn.
    pub(super) fn unload(&mut self) {
        self.loaded.clear();
        self.packed = None;
    }

    /// Number of its entries, those that are settled included.
    fn entries(&self) -> usize {
        self.records.iter().map(|record| record.count as usize).sum()
    }

    /// Size of its entries, those that are settled included.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.len as usize).sum()
    }
}

/// How a delivery ended.
#[derive(Debug)]
pub(super) enum Step {
    /// Every entry is pushed or kept aside, but those of `behind`, which go to other streams.
    Settled { behind: Vec<(RecordId, Piece)> },
    /// To be tried again later.
    Wait { class: RetryClass, after: Option<Duration>, error: String },
}

/// What deliveries share.
#[derive(Debug)]
pub(super) struct Courier<Q, R> {
    pub(super) queue: Arc<Q>,
    pub(super) client: Client,
    pub(super) rejected: Arc<R>,
    pub(super) stats: Arc<Stats>,
    /// Buffers that no delivery is using.
    packers: Mutex<Vec<Packer>>,
    refused_log: Mutex<RefusedLog>,
}

impl<Q: Queue, R: Rejected> Courier<Q, R> {
    pub(super) fn new(queue: Arc<Q>, client: Client, rejected: Arc<R>, stats: Arc<Stats>) -> Self {
        Self { queue, client, rejected, stats, packers: Mutex::default(), refused_log: Mutex::default() }
    }

    /// Pushes what is left of the batch. A batch that must wait gives up its entries, which are read again then; so what
    /// waits costs no memory.
    pub(super) async fn deliver(&self, stream: &Stream, batch: &mut Batch) -> Step {
        let entries = match self.load(batch).await {
            Ok(entries) => entries,
            Err(error) => return local(&format!("the spool cannot be read: {error}")),
        };
        Self::set_late_aside(stream, &entries, batch);
        while let Some(range) = batch.work.next() {
            if range.len() > 1 && entries.bytes(&range) > batch.max_bytes {
                batch.work.shrink();
                continue;
            }
            if let Some(wait) = self.advance(stream, &entries, batch, range).await {
                return wait;
            }
            batch.failures = 0;
            if batch.work.refused_len() >= REFUSED_MAX
                && let Some(wait) = self.keep_refused(stream, &entries, batch)
            {
                return wait;
            }
        }
        if let Some(wait) = self.keep_refused(stream, &entries, batch) {
            return wait;
        }
        Step::Settled { behind: Self::behind(stream, &entries, batch) }
    }

    /// What was set aside, in streams of its own hours.
    fn behind(stream: &Stream, loaded: &Loaded, batch: &mut Batch) -> Vec<(RecordId, Piece)> {
        batch.behind.sort_unstable();
        let places: Vec<_> = batch.behind.iter().map(|entry| loaded.record_and_number(*entry)).collect();
        let runs = places.chunk_by(|(a, _), (b, _)| a == b);
        let pieces = runs.filter_map(|run| {
            let (record, _) = *run.first()?;
            // A stream that is not late has whole records only, so the numbers are those in the record.
            let numbers = run.iter().map(|(_, number)| *number);
            let id = batch.records.get(record)?.id;
            Some(late::pieces(stream, &loaded.chunks[record], numbers).into_iter().map(move |piece| (id, piece)))
        });
        pieces.flatten().collect()
    }

    /// Sets aside what is old by now. Not called again once Loki may have seen the batch: the same entry in two streams
    /// would be there twice.
    fn set_late_aside(stream: &Stream, loaded: &Loaded, batch: &mut Batch) {
        let cutoff = late::cutoff(wall_clock());
        if batch.seen || late::is_late(stream) || batch.records.iter().all(|record| record.first >= cutoff) {
            return;
        }
        let is_old = |entry: &usize| loaded.time(*entry).is_some_and(|time| time < cutoff);
        // Those that an earlier attempt set aside are among them.
        batch.behind = (0..loaded.counts.iter().sum()).filter(is_old).collect();
        batch.work.leave_out(&batch.behind);
    }

    async fn load(&self, batch: &mut Batch) -> Result<Loaded, SpoolError> {
        let mut chunks = std::mem::take(&mut batch.loaded);
        for record in &batch.records[chunks.len()..] {
            chunks.push(match self.queue.read(record.id).await {
                Ok(chunk) => late::select(chunk.entries, &record.selection),
                // The queue has kept it aside; the places of its entries stay, and are empty.
                Err(SpoolError::Corrupt(_)) => Bytes::new(),
                Err(error) => return Err(error),
            });
        }
        let counts = batch.records.iter().map(|record| record.count as usize).collect();
        Ok(Loaded { chunks, counts, index: OnceLock::new() })
    }

    /// One push; what it must wait for, if it must.
    async fn advance(&self, stream: &Stream, loaded: &Loaded, batch: &mut Batch, range: Range<usize>) -> Option<Step> {
        let parts = loaded.slices(&range);
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if bytes == 0 {
            // Only entries that are lost.
            batch.work.accepted();
            return None;
        }
        // What was made ahead is of all entries, so it serves the first push of a whole batch.
        let ahead = batch.packed.take().filter(|_| range.len() == batch.entries());
        let body = ahead.unwrap_or_else(|| self.pack(stream, &parts));
        drop(parts);
        let wire = body.len();
        let flight = Flight::start(&self.stats);
        let begun = Instant::now();
        let outcome = self.client.push(body).await;
        drop(flight);
        self.stats.count_outcome(&outcome, begun.elapsed());
        batch.seen |= !matches!(outcome, Outcome::Retry { sent: false, .. });
        let work = &mut batch.work;
        match outcome {
            Outcome::Accepted => {
                self.stats.count_accepted(range.len(), bytes, wire);
                work.accepted();
            }
            Outcome::Split { status, answer } => {
                if range.len() > 1 {
                    batch.max_bytes = bytes / 2;
                    batch.too_large = Some(batch.too_large.map_or(bytes, |least| least.min(bytes)));
                }
                work.too_large(Refusal { status, reason: Reason::RequestTooLarge, answer: bounded(answer) });
            }
            Outcome::Refused { status, reason, answer } => {
                let refusal = Refusal { status, reason, answer: bounded(answer) };
                work.refused(refusal, &|entry| loaded.time(entry));
            }
            Outcome::Retry { class, after, error, .. } => return Some(Step::Wait { class, after, error }),
        }
        None
    }

    /// Makes the push of a batch whose entries are all in memory; of any other, nothing.
    pub(super) fn pack_ahead(&self, stream: &Stream, batch: &mut Batch) {
        if batch.loaded.len() == batch.records.len() {
            let parts: Vec<&[u8]> = batch.loaded.iter().map(AsRef::as_ref).collect();
            batch.packed = Some(self.pack(stream, &parts));
        }
    }

    fn pack(&self, stream: &Stream, parts: &[&[u8]]) -> Bytes {
        let packers = || self.packers.lock().expect("no holder of the lock panics");
        let mut packer = packers().pop().unwrap_or_default();
        let body = packer.body(stream, parts);
        packers().push(packer);
        body
    }

    /// Hands over what was refused so far; what to wait for, if that failed.
    fn keep_refused(&self, stream: &Stream, loaded: &Loaded, batch: &mut Batch) -> Option<Step> {
        let mut refused = batch.work.take_refused();
        if !late::is_late(stream) {
            let behind = refused.extract_if(.., |(_, refusal)| refusal.reason == Reason::TooFarBehind);
            batch.behind.extend(behind.map(|(entry, _)| entry));
        }
        if refused.is_empty() {
            return None;
        }
        let entries: Vec<_> = refused
            .iter()
            .map(|(entry, refusal)| RejectedEntry { stream, entry: loaded.entry(*entry), refusal })
            .collect();
        if let Err(error) = self.rejected.keep(&entries) {
            drop(entries);
            batch.work.put_back_refused(refused);
            return Some(local(&format!("refused entries cannot be kept aside: {error}")));
        }
        for (_, refusal) in &refused {
            self.stats.count_rejected(refusal.reason, &refusal.answer);
        }
        if let Some((_, refusal)) = refused.first() {
            let mut log = self.refused_log.lock().expect("no holder of the lock panics");
            log.tell(stream, refused.len(), refusal, Instant::now());
        }
        None
    }
}

/// What time it is, for the age of entries.
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn local(error: &str) -> Step {
    Step::Wait { class: RetryClass::Local, after: None, error: error.to_owned() }
}

fn bounded(mut answer: String) -> String {
    let end = (0..=ANSWER_MAX.min(answer.len())).rev().find(|end| answer.is_char_boundary(*end));
    answer.truncate(end.unwrap_or(0));
    answer
}

/// Counts a request as in flight, also when its task is cancelled.
struct Flight<'a>(&'a Stats);

impl<'a> Flight<'a> {
    fn start(stats: &'a Stats) -> Self {
        stats.count_start();
        Self(stats)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.count_end();
    }
}

/// The entries of a batch in memory.
struct Loaded {
    chunks: Vec<Bytes>,
    /// Number of entries of each chunk.
    counts: Vec<usize>,
    /// Chunk and place of each entry; only made when a batch must be taken apart.
    index: OnceLock<Vec<(usize, Range<usize>)>>,
}

impl Loaded {
    fn index(&self) -> &[(usize, Range<usize>)] {
        self.index.get_or_init(|| {
            let chunks = self.chunks.iter().zip(&self.counts).enumerate();
            let places = chunks.flat_map(|(number, (chunk, count))| {
                let lost = if chunk.is_empty() { *count } else { 0 };
                let places = entries_of(chunk).chain(std::iter::repeat_n(0..0, lost));
                places.map(move |place| (number, place))
            });
            places.collect()
        })
    }

    fn entry(&self, entry: usize) -> &[u8] {
        self.index().get(entry).map_or(&[], |(chunk, place)| &self.chunks[*chunk][place.clone()])
    }

    /// Number of its record in the batch, and its own number among the record's selected entries.
    fn record_and_number(&self, entry: usize) -> (usize, u32) {
        let index = self.index();
        let record = index.get(entry).map_or(usize::MAX, |(record, _)| *record);
        let first = index.partition_point(|(other, _)| *other < record);
        (record, u32::try_from(entry - first).expect("a record has fewer entries"))
    }

    /// Size of these entries.
    fn bytes(&self, range: &Range<usize>) -> usize {
        self.slices(range).iter().map(|slice| slice.len()).sum()
    }

    fn time(&self, entry: usize) -> Option<Timestamp> {
        time_of(self.entry(entry))
    }

    /// The bytes of these entries, one slice a chunk.
    fn slices(&self, range: &Range<usize>) -> Vec<&[u8]> {
        if *range == (0..self.counts.iter().sum()) {
            return self.chunks.iter().map(AsRef::as_ref).collect();
        }
        let places = self.index().get(range.clone()).unwrap_or_default();
        let of_one_chunk = places.chunk_by(|(a, _), (b, _)| a == b);
        of_one_chunk
            .filter_map(|run| {
                let ((chunk, first), (_, last)) = (run.first()?, run.last()?);
                self.chunks[*chunk].get(first.start..last.end)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki::encode::{Encoder, decode};
    use crate::loki::entry::{Entry, EntrySink as _};

    #[test]
    fn any_range_of_a_batch_is_found_in_its_chunks() {
        let stream = Stream::new(vec![("kind", "log".into())]);
        let mut chunks = Vec::new();
        for part in 0..3 {
            let mut encoder = Encoder::new();
            for i in 0..4 {
                let time = Timestamp(part * 4 + i);
                encoder.entry(&stream, &Entry { time, seq: 1, line: "x", metadata: &[] });
            }
            chunks.extend(encoder.take().into_iter().map(|chunk| chunk.entries));
        }
        let loaded = Loaded { chunks, counts: vec![4; 3], index: OnceLock::new() };
        for start in 0..12 {
            for end in start + 1..=12 {
                let slices = loaded.slices(&(start..end));
                let times: Vec<i64> = slices
                    .iter()
                    .flat_map(|slice| entries_of(slice).map(|place| decode(&slice[place]).unwrap().time.0))
                    .collect();
                assert_eq!(times, (start as i64..end as i64).collect::<Vec<_>>());
            }
        }
        assert_eq!(loaded.time(11), Some(Timestamp(11)));
        assert_eq!(loaded.time(12), None);
    }

    #[test]
    fn a_lost_chunk_does_not_move_the_entries_behind_it() {
        let stream = Stream::new(vec![("kind", "log".into())]);
        let mut encoder = Encoder::new();
        encoder.entry(&stream, &Entry { time: Timestamp(7), seq: 1, line: "x", metadata: &[] });
        let chunks = vec![Bytes::new(), encoder.take().remove(0).entries];
        let loaded = Loaded { chunks, counts: vec![3, 1], index: OnceLock::new() };
        assert_eq!(loaded.time(2), None);
        assert_eq!(loaded.time(3), Some(Timestamp(7)));
        let bytes = |range| loaded.slices(&range).iter().map(|slice| slice.len()).sum::<usize>();
        assert_eq!(bytes(0..3), 0);
        assert_eq!(bytes(2..4), loaded.chunks[1].len());
        assert_eq!(bytes(0..4), loaded.chunks[1].len());
    }
}
