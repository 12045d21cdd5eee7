//! Queue → batches → pushes → commit.
//!
//! One task reads the queue and deals its records out to lanes, one for each stream. A lane pushes in order, one push at a
//! time, each to one stream alone: with several streams in one push Loki may answer 204 and still drop lines. A record
//! is committed when each of its entries is stored by Loki or kept aside as rejected; nothing else ends it.
//!
//! What is in memory beside the queue is bounded: pushes under way ([`Settings::in_flight`] of about
//! [`Settings::batch_bytes`]) and what is read ahead ([`Settings::ahead`]). A stream that Loki refuses or keeps waiting
//! holds only the places of its records, and the others are read past it.

mod backoff;
mod bisect;
mod deliver;
mod lane;
mod late;
mod pace;
mod rejected;
mod settings;
mod stats;
mod trouble;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

pub use self::bisect::Refusal;
pub use self::rejected::{Rejected, RejectedEntry, RejectedFiles};
pub use self::settings::Settings;
pub use self::stats::{Delivery, DeliveryState, OUTCOMES, Stats};

use self::deliver::{Batch, Courier, Record, Step};
use self::lane::{Lane, State};
use self::late::Piece;
use self::pace::Pace;
use self::trouble::Trouble;
use crate::event::Timestamp;
use crate::loki::encode::Chunk;
use crate::loki::entry::Stream;
use crate::loki::push::{Client, RetryClass};
use crate::spool::{Queue, RecordId};

/// Records that may wait outside memory, over all streams; each costs 32 bytes. Beyond that the queue is not read
/// further, and a refused stream does hold up the others.
const PARKED_MAX: usize = 256 * 1024;
/// A batch that times out is halved from the second time in a row to this one: to a 32nd.
const SHRINK_MAX: u32 = 6;
/// Above this number of lanes, those without work are forgotten.
const LANES_KEPT: usize = 64;

/// What the shipper is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Run,
    /// End when all is delivered; do not linger.
    Drain,
    /// End now.
    Abort,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Everything is delivered or kept aside as rejected.
    Drained,
    /// The time was over, or it was aborted.
    Left {
        /// Entries still in the queue.
        entries: u64,
    },
}

/// A running shipper. Dropping it ends it at once; what is not committed stays in the queue.
#[derive(Debug)]
pub struct Shipper<Q> {
    queue: Arc<Q>,
    stats: Arc<Stats>,
    intent: watch::Sender<Intent>,
    task: JoinHandle<()>,
    /// The task was joined, which can be done but once.
    ended: bool,
}

impl<Q: Queue> Shipper<Q> {
    /// Starts to ship, on the current tokio runtime.
    pub fn start<R: Rejected>(queue: Arc<Q>, client: Client, rejected: R, settings: Settings) -> Self {
        let stats = Arc::new(Stats::default());
        let (intent, told) = watch::channel(Intent::Run);
        let courier = Courier::new(Arc::clone(&queue), client, Arc::new(rejected), Arc::clone(&stats));
        let dispatcher = Dispatcher {
            courier: Arc::new(courier),
            pace: Pace::new(&settings),
            settings,
            in_pieces: HashMap::new(),
            lanes: HashMap::new(),
            flights: JoinSet::new(),
            packing: JoinSet::new(),
            flying_in_trouble: 0,
            read_to_the_end: false,
            trouble: Trouble::default(),
        };
        let task = tokio::spawn(dispatcher.run(told));
        Self { queue, stats, intent, task, ended: false }
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// How delivery is doing; cheap enough to be asked several times a second.
    pub fn delivery(&self) -> Delivery {
        self.stats.delivery(self.queue.backlog())
    }

    /// Closes the queue and delivers what is in it, for at most `limit`. What waits to be tried again is tried at once,
    /// unless Loki said when to come back. May be dropped and called again.
    pub async fn drain(&mut self, limit: Duration) -> Drain {
        self.queue.close();
        self.intent.send_if_modified(|intent| {
            let first = *intent == Intent::Run;
            if first {
                *intent = Intent::Drain;
            }
            first
        });
        if !self.ended {
            let in_time = tokio::time::timeout(limit, &mut self.task).await;
            let ended = match in_time {
                Ok(ended) => ended,
                Err(_) => {
                    self.abort();
                    (&mut self.task).await
                }
            };
            self.ended = true;
            resume_panic(ended);
        }
        match self.queue.backlog().entries {
            0 => Drain::Drained,
            entries => Drain::Left { entries },
        }
    }

    /// Ends at once: requests are cut off, and what is not committed stays in the queue.
    pub fn abort(&self) {
        self.intent.send_replace(Intent::Abort);
    }
}

impl<Q> Drop for Shipper<Q> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A panic in a task is a bug of ours and must not look like an end.
fn resume_panic<T>(ended: Result<T, tokio::task::JoinError>) -> Option<T> {
    match ended {
        Ok(value) => Some(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

/// What a delivery gives back.
type Landed = (Arc<Stream>, Batch, Step);

/// Owns the lanes; everything happens in its one loop.
#[derive(Debug)]
struct Dispatcher<Q, R> {
    courier: Arc<Courier<Q, R>>,
    /// As given, but for what [`Pace`] has learnt.
    settings: Settings,
    pace: Pace,
    /// Records whose entries go to several streams: how many pieces are not settled.
    in_pieces: HashMap<RecordId, u32>,
    lanes: HashMap<Arc<Stream>, Lane>,
    flights: JoinSet<Landed>,
    /// Pushes that are made ahead.
    packing: JoinSet<(Arc<Stream>, Batch)>,
    flying_in_trouble: usize,
    read_to_the_end: bool,
    trouble: Trouble,
}

impl<Q: Queue, R: Rejected> Dispatcher<Q, R> {
    async fn run(mut self, mut intent: watch::Receiver<Intent>) {
        let queue = Arc::clone(&self.courier.queue);
        let mut told = Intent::Run;
        loop {
            let now = Instant::now();
            let before = std::mem::replace(&mut told, *intent.borrow_and_update());
            // Looked at here and not where it wakes the loop: the closed queue may wake it first.
            if before != told {
                self.hurry(now);
            }
            if told == Intent::Abort {
                // Waits for the cancelled tasks, so that no request is under way when this one has ended.
                return self.flights.shutdown().await;
            }
            if self.is_done() {
                return;
            }
            let retry = self.launch(now, told == Intent::Drain);
            self.pack_ahead();
            let hold = self.holds_reading(now);
            let wake = retry.into_iter().chain(hold.filter(|until| *until > now)).min();
            let far = now + Duration::from_secs(3600);
            tokio::select! {
                record = queue.next(), if !self.read_to_the_end && hold.is_none() => match record {
                    Some((id, chunk)) => self.deal(id, chunk),
                    None => self.read_to_the_end = true,
                },
                Some(landed) = self.flights.join_next() => {
                    if let Some(landed) = resume_panic(landed) {
                        self.land(landed, told == Intent::Drain);
                    }
                }
                Some(packed) = self.packing.join_next() => {
                    if let Some((stream, batch)) = resume_panic(packed)
                        && let Some(lane) = self.lanes.get_mut(&stream)
                    {
                        lane.packed(batch);
                    }
                }
                () = tokio::time::sleep_until(wake.unwrap_or(far)) => {}
                changed = intent.changed() => {
                    if changed.is_err() {
                        return; // The owner is gone, which also aborts this task.
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let at_rest = |lane: &Lane| matches!(lane.state, State::Idle) && lane.is_empty();
        self.read_to_the_end && self.flights.is_empty() && self.lanes.values().all(at_rest)
    }

    /// Gives a record to the lane of its stream.
    fn deal(&mut self, id: RecordId, chunk: Chunk) {
        self.courier.stats.count_read(chunk.count);
        let Chunk { stream, entries, count, first, .. } = chunk;
        self.enqueue(id, Piece { stream, selection: None, entries, count }, first);
    }

    fn enqueue(&mut self, id: RecordId, piece: Piece, first: Timestamp) {
        let now = Instant::now();
        if self.lanes.len() > LANES_KEPT {
            self.lanes.retain(|_, lane| !lane.is_stale(now));
        }
        let loaded: usize = self.lanes.values().map(Lane::loaded_bytes).sum();
        let room = self.settings.ahead.saturating_sub(loaded);
        let Piece { stream, selection, entries, count } = piece;
        let len = u32::try_from(entries.len()).expect("a chunk is far below 4 GiB");
        let record = Record { id, selection, len, count, first };
        let lane = self.lanes.entry(stream).or_insert_with_key(|stream| Lane::new(Arc::clone(stream)));
        lane.push(record, entries, room, now, &self.settings);
    }

    /// Starts every delivery that is due and has a place; when the next one is due.
    fn launch(&mut self, now: Instant, draining: bool) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        // The longest due first, so that no stream starves.
        let mut due: Vec<(Instant, Arc<Stream>)> = Vec::new();
        for lane in self.lanes.values() {
            match lane.wants(now, draining, &self.settings) {
                Some(at) if at <= now => due.push((at, Arc::clone(&lane.stream))),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        due.sort_unstable_by_key(|(at, _)| *at);
        for (_, stream) in due {
            let Some(lane) = self.lanes.get_mut(&stream) else { continue };
            let healthy = self.flights.len() - self.flying_in_trouble;
            let places = self.settings.in_flight;
            // A place is kept for healthy streams even if only one push may be under way.
            let room = match lane.in_trouble {
                true => self.flights.len() < places && self.flying_in_trouble < (places / 2).max(1),
                false => healthy < places.saturating_sub(self.flying_in_trouble).max(1),
            };
            if !room {
                continue;
            }
            if let Some(mut batch) = lane.launch(now, &self.settings) {
                self.flying_in_trouble += usize::from(lane.in_trouble);
                let courier = Arc::clone(&self.courier);
                self.flights.spawn(async move {
                    let step = courier.deliver(&stream, &mut batch).await;
                    (stream, batch, step)
                });
            }
        }
        next
    }

    /// Makes the next pushes of streams whose last one is under way.
    fn pack_ahead(&mut self) {
        for lane in self.lanes.values_mut() {
            let Some(mut batch) = lane.take_ahead(&self.settings) else { continue };
            let (courier, stream) = (Arc::clone(&self.courier), Arc::clone(&lane.stream));
            self.packing.spawn(async move {
                courier.pack_ahead(&stream, &mut batch);
                (stream, batch)
            });
        }
    }

    /// Until when the queue is not to be read, if it is not: looked at again then, or when a delivery ends.
    fn holds_reading(&self, now: Instant) -> Option<Instant> {
        let parked: usize = self.lanes.values().map(Lane::parked).sum();
        if parked >= PARKED_MAX {
            return Some(now);
        }
        self.lanes.values().filter_map(|lane| lane.holds_reading(now, &self.settings)).max()
    }

    /// A delivery ended.
    fn land(&mut self, (stream, mut batch, step): Landed, draining: bool) {
        let now = Instant::now();
        let Some(lane) = self.lanes.get_mut(&stream) else { return };
        self.flying_in_trouble -= usize::from(lane.in_trouble);
        if let Some(bytes) = batch.too_large.take() {
            self.pace.too_large(bytes);
        }
        match step {
            Step::Settled { behind } => {
                self.pace.settled();
                lane.settled(now, &self.settings);
                self.settle(&batch, behind);
            }
            Step::Wait { class, after, error } => {
                batch.failures = batch.failures.saturating_add(1);
                if matches!(class, RetryClass::RateLimited | RetryClass::Timeout) {
                    self.pace.crowded(now);
                }
                if class == RetryClass::Timeout && (2..=SHRINK_MAX).contains(&batch.failures) {
                    batch.work.shrink();
                    self.pace.too_large(self.settings.batch_bytes);
                }
                let wait = backoff::delay(class, batch.failures, after, fastrand::f64());
                self.courier.stats.count_retry(class, &error);
                self.trouble.tell(&stream, &error, wait, now);
                lane.in_trouble = true;
                lane.unload_ahead();
                let asked = after.is_some();
                // Who is waiting for the end is to see it soon after Loki is back.
                let wait = if draining && !asked { wait.min(Duration::from_secs(1)) } else { wait };
                lane.state = State::Waiting { until: now + wait, batch, asked };
            }
        }
        self.settings.batch_bytes = self.pace.batch_bytes();
        self.settings.in_flight = self.pace.in_flight();
        let well = !self.lanes.values().any(|lane| lane.in_trouble);
        if well {
            self.trouble.end(now);
        }
        self.courier.stats.set_trouble(self.trouble.since());
    }

    /// Commits the records of a settled batch, but those of which other pieces are not settled yet.
    fn settle(&mut self, batch: &Batch, behind: Vec<(RecordId, Piece)>) {
        for (id, piece) in behind {
            *self.in_pieces.entry(id).or_insert(1) += 1;
            self.courier.stats.count_late(piece.count);
            // Late streams are not looked at for what is old.
            self.enqueue(id, piece, Timestamp(i64::MAX));
        }
        for Record { id, .. } in &batch.records {
            if let Some(left) = self.in_pieces.get_mut(id) {
                *left -= 1;
                if *left > 0 {
                    continue;
                }
                self.in_pieces.remove(id);
            }
            self.courier.queue.commit(*id);
        }
    }

    /// The end was asked for: what waits is tried now, unless Loki said when.
    fn hurry(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            if let State::Waiting { until, asked: false, .. } = &mut lane.state {
                *until = now;
            }
        }
    }
}
