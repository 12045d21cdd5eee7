//! One stream on its way out: what waits, and when the next push is due. Pure: time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use prost::bytes::Bytes;
use tokio::time::Instant;

use super::Settings;
use super::deliver::{Batch, Record};
use crate::loki::entry::Stream;

/// A stream that has been quiet is pushed this soon, so that what was written together still goes together.
const QUIET_LINGER: Duration = Duration::from_millis(5);
/// A push that takes longer than this counts as trouble of its stream: others are read past it.
const SLOW: Duration = Duration::from_millis(500);

/// What a lane is doing.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is under way.
    Idle,
    /// A batch is being delivered.
    Flying { since: Instant },
    /// A batch is to be tried again.
    Waiting { until: Instant, batch: Batch, asked: bool },
}

/// A batch whose push is made while the one before it flies, so that neither waits for the other.
#[derive(Debug)]
pub(super) enum Ahead {
    /// There is none.
    None,
    /// It is being made.
    Packing,
    /// It is next.
    Ready(Batch),
}

/// The pushes of one stream: in order, one at a time.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) stream: Arc<Stream>,
    pub(super) state: State,
    /// The batch after the one that flies.
    pub(super) ahead: Ahead,
    /// Records with their entries, up to [`Settings::stream_ahead`].
    loaded: VecDeque<(Record, Bytes)>,
    loaded_bytes: usize,
    /// Records after those, whose entries are read again when it is their turn.
    parked: VecDeque<Record>,
    /// When the pending records are to be pushed.
    due: Option<Instant>,
    last_push: Option<Instant>,
    /// Before this, the stream would go faster than [`Settings::stream_rate`].
    free: Option<Instant>,
    /// True from a failure to the next success.
    pub(super) in_trouble: bool,
}

impl Lane {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        Self {
            stream,
            state: State::Idle,
            ahead: Ahead::None,
            loaded: VecDeque::new(),
            loaded_bytes: 0,
            parked: VecDeque::new(),
            due: None,
            last_push: None,
            free: None,
            in_trouble: false,
        }
    }

    /// Takes a record; keeps its entries if there is room for them, here and in all (`room`).
    pub(super) fn push(&mut self, record: Record, entries: Bytes, room: usize, now: Instant, settings: &Settings) {
        let fits = self.loaded_bytes + entries.len() <= settings.stream_ahead.max(entries.len());
        if self.parked.is_empty() && fits && entries.len() <= room {
            self.loaded_bytes += entries.len();
            self.loaded.push_back((record, entries));
        } else {
            self.parked.push_back(record);
        }
        if self.due.is_none() {
            let quiet = now + QUIET_LINGER.min(settings.linger);
            self.due = Some(self.last_push.map_or(quiet, |last| quiet.max(last + settings.linger)));
        }
    }

    /// When this lane wants to push; `None` while it flies or has nothing.
    pub(super) fn wants(&self, now: Instant, draining: bool, settings: &Settings) -> Option<Instant> {
        let wanted = match (&self.state, &self.ahead) {
            (State::Flying { .. }, _) => None,
            (State::Waiting { until, .. }, _) => Some(*until),
            // Its end wakes who asks.
            (State::Idle, Ahead::Packing) => None,
            (State::Idle, Ahead::Ready(_)) => Some(now),
            (State::Idle, _) if draining || self.loaded_bytes >= settings.batch_bytes || !self.parked.is_empty() => {
                self.due.map(|due| due.min(now))
            }
            (State::Idle, _) => self.due,
        };
        wanted.map(|at| self.free.map_or(at, |free| at.max(free)))
    }

    /// The batch to deliver now: the one that waited, or the next records. The lane then flies.
    pub(super) fn launch(&mut self, now: Instant, settings: &Settings) -> Option<Batch> {
        let state = std::mem::replace(&mut self.state, State::Flying { since: now });
        let batch = match state {
            State::Waiting { batch, .. } => Some(batch),
            State::Idle => match std::mem::replace(&mut self.ahead, Ahead::None) {
                Ahead::Ready(batch) => Some(batch),
                Ahead::None => self.next_batch(settings),
                Ahead::Packing => {
                    self.ahead = Ahead::Packing;
                    None
                }
            },
            State::Flying { since } => {
                self.state = State::Flying { since };
                return None;
            }
        };
        let Some(mut batch) = batch else {
            self.state = State::Idle;
            return None;
        };
        self.last_push = Some(now);
        batch.max_bytes = settings.batch_bytes;
        self.free = settings.stream_rate.map(|rate| now + Duration::from_secs_f64(batch.bytes() as f64 / rate as f64));
        Some(batch)
    }

    /// The batch was settled.
    pub(super) fn settled(&mut self, now: Instant, settings: &Settings) {
        self.state = State::Idle;
        self.in_trouble = false;
        self.due = (!self.is_empty()).then(|| self.last_push.map_or(now, |last| last + settings.linger));
    }

    /// The next batch, if it is full and in memory, so that its push can be made while another flies.
    pub(super) fn take_ahead(&mut self, settings: &Settings) -> Option<Batch> {
        let wanted = matches!((&self.state, &self.ahead), (State::Flying { .. }, Ahead::None)) && !self.in_trouble;
        if !wanted || self.loaded_bytes < settings.batch_bytes {
            return None;
        }
        let due = self.due;
        let batch = self.next_batch(settings)?;
        self.due = due;
        self.ahead = Ahead::Packing;
        Some(batch)
    }

    /// The push of a batch was made. Where another one is in trouble, it may wait for long.
    pub(super) fn packed(&mut self, mut batch: Batch) {
        if self.in_trouble {
            batch.unload();
        }
        self.ahead = Ahead::Ready(batch);
    }

    /// What was made ahead will wait for long.
    pub(super) fn unload_ahead(&mut self) {
        if let Ahead::Ready(batch) = &mut self.ahead {
            batch.unload();
        }
    }

    fn next_batch(&mut self, settings: &Settings) -> Option<Batch> {
        let (mut records, mut entries, mut bytes) = (Vec::new(), Vec::new(), 0);
        let fits = |bytes: usize, record: &Record| bytes == 0 || bytes + record.len as usize <= settings.batch_bytes;
        while self.loaded.front().is_some_and(|(record, _)| fits(bytes, record)) {
            let Some((record, chunk)) = self.loaded.pop_front() else { break };
            bytes += record.len as usize;
            records.push(record);
            entries.push(chunk);
        }
        self.loaded_bytes -= bytes;
        while self.loaded.is_empty() && self.parked.front().is_some_and(|record| fits(bytes, record)) {
            let Some(record) = self.parked.pop_front() else { break };
            bytes += record.len as usize;
            records.push(record);
        }
        self.due = None;
        (!records.is_empty()).then(|| Batch::new(records, entries))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.loaded.is_empty() && self.parked.is_empty() && matches!(self.ahead, Ahead::None)
    }

    /// True if there is nothing in it and it has not been used for a while.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        const STALE: Duration = Duration::from_secs(60);
        matches!(self.state, State::Idle)
            && self.is_empty()
            && !self.in_trouble
            && self.last_push.is_none_or(|last| now.duration_since(last) > STALE)
    }

    /// Bytes of entries that wait here in memory.
    pub(super) fn loaded_bytes(&self) -> usize {
        self.loaded_bytes
    }

    /// Number of records that are to be read again.
    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Until when the queue should not be read further, as this healthy stream has enough and will soon want more. A
    /// stream that is in trouble, or catching up after it, never holds up the others.
    pub(super) fn holds_reading(&self, now: Instant, settings: &Settings) -> Option<Instant> {
        let paced = self.free.is_some_and(|free| free > now);
        if paced || self.in_trouble || !self.parked.is_empty() || self.loaded_bytes < settings.stream_ahead {
            return None;
        }
        match self.state {
            State::Flying { since } => Some(since + SLOW).filter(|until| *until > now),
            State::Idle => Some(now + SLOW),
            State::Waiting { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::spool::RecordId;

    const SETTINGS: Settings = Settings {
        linger: Duration::from_millis(50),
        batch_bytes: 1000,
        in_flight: 8,
        stream_ahead: 2000,
        ahead: 8000,
        stream_rate: None,
    };

    struct Test {
        lane: Lane,
        start: Instant,
        number: u64,
    }

    impl Test {
        fn new() -> Self {
            let lane = Lane::new(Stream::new(vec![("kind", "log".into())]));
            Self { lane, start: Instant::now(), number: 0 }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn push(&mut self, len: usize, ms: u64) {
            let record =
                Record { id: RecordId(self.number), selection: None, len: len as u32, count: 1, first: Timestamp(0) };
            self.number += 1;
            let now = self.at(ms);
            self.lane.push(record, vec![0; len].into(), usize::MAX, now, &SETTINGS);
        }

        /// When it wants to push, in ms.
        fn wants(&self, ms: u64) -> Option<u64> {
            let wants = self.lane.wants(self.at(ms), false, &SETTINGS)?;
            Some(wants.duration_since(self.start).as_millis() as u64)
        }

        /// Ids and how many of them came with their entries.
        fn launch(&mut self, ms: u64) -> (Vec<u64>, usize) {
            let now = self.at(ms);
            let batch = self.lane.launch(now, &SETTINGS).unwrap();
            (batch.records.iter().map(|record| record.id.0).collect(), batch.loaded.len())
        }
    }

    #[test]
    fn a_quiet_stream_is_pushed_soon_and_a_busy_one_once_a_linger() {
        let mut test = Test::new();
        assert_eq!(test.wants(100), None);
        test.push(10, 100);
        test.push(10, 104);
        assert_eq!(test.wants(104), Some(105));
        assert_eq!(test.launch(105).0, [0, 1]);
        test.push(10, 110);
        assert_eq!(test.wants(110), None, "one push at a time");
        test.lane.settled(test.at(112), &SETTINGS);
        assert_eq!(test.wants(112), Some(155));
        test.launch(155);
        test.lane.settled(test.at(160), &SETTINGS);
        assert_eq!(test.wants(160), None);
        test.push(10, 500);
        assert_eq!(test.wants(500), Some(505));
        let drain = test.lane.wants(test.at(501), true, &SETTINGS);
        assert_eq!(drain, Some(test.at(501)), "no linger at the end");
    }

    #[test]
    fn a_full_batch_is_pushed_at_once_and_none_is_larger() {
        let mut test = Test::new();
        test.push(600, 0);
        test.push(600, 0);
        assert_eq!(test.wants(1), Some(1));
        assert_eq!(test.launch(1).0, [0]);
        test.lane.settled(test.at(2), &SETTINGS);
        test.push(5000, 3);
        assert_eq!(test.launch(60).0, [1]);
        test.lane.settled(test.at(61), &SETTINGS);
        assert_eq!(test.launch(120).0, [2], "a record above the limit goes alone");
    }

    #[test]
    fn the_next_full_batch_is_made_while_one_flies() {
        let mut test = Test::new();
        for _ in 0..5 {
            test.push(400, 0);
        }
        assert!(test.lane.take_ahead(&SETTINGS).is_none(), "nothing flies");
        assert_eq!(test.launch(1).0, [0, 1]);
        let ahead = test.lane.take_ahead(&SETTINGS).unwrap();
        assert_eq!(ahead.loaded.len(), 2);
        assert!(test.lane.take_ahead(&SETTINGS).is_none(), "one at a time");
        test.lane.settled(test.at(2), &SETTINGS);
        assert_eq!((test.wants(2), test.lane.is_empty()), (None, false), "it is being made");
        test.lane.packed(ahead);
        assert_eq!(test.wants(3), Some(3));
        assert_eq!(test.launch(3), (vec![2, 3], 2));
        test.lane.settled(test.at(4), &SETTINGS);
        assert_eq!(test.launch(60).0, [4]);
        assert!(test.lane.is_empty());
    }

    #[test]
    fn what_was_made_ahead_is_let_go_of_in_trouble() {
        let mut test = Test::new();
        for _ in 0..5 {
            test.push(400, 0);
        }
        test.launch(1);
        let ahead = test.lane.take_ahead(&SETTINGS).unwrap();
        test.lane.in_trouble = true;
        test.lane.packed(ahead);
        let batch = Batch::new(Vec::new(), Vec::new());
        test.lane.state = State::Waiting { until: test.at(50), batch, asked: false };
        assert_eq!(test.wants(2), Some(50));
        assert_eq!(test.launch(50), (vec![], 0), "what waited goes first");
        test.lane.settled(test.at(51), &SETTINGS);
        assert_eq!(test.launch(52), (vec![2, 3], 0), "it is read again");
    }

    #[test]
    fn a_stream_stays_below_its_rate_and_does_not_hold_the_reading_for_it() {
        let settings = Settings { stream_rate: Some(10_000), ..SETTINGS };
        let mut test = Test::new();
        for _ in 0..5 {
            test.push(400, 0);
        }
        assert!(test.lane.launch(test.at(0), &settings).is_some(), "800 bytes");
        test.lane.settled(test.at(1), &settings);
        test.push(400, 1);
        test.push(400, 1);
        let wants = test.lane.wants(test.at(2), true, &settings).unwrap();
        assert_eq!(wants, test.at(80), "also when draining");
        assert!(test.lane.holds_reading(test.at(2), &settings).is_none());
    }

    #[test]
    fn records_beyond_the_limit_are_parked_and_stay_in_order() {
        let mut test = Test::new();
        for _ in 0..12 {
            test.push(400, 0);
        }
        assert_eq!((test.lane.loaded_bytes(), test.lane.parked()), (2000, 7));
        let mut all = Vec::new();
        while !test.lane.is_empty() {
            let (ids, loaded) = test.launch(1);
            assert!(loaded <= ids.len());
            all.extend(ids);
            test.lane.settled(test.at(1), &SETTINGS);
            // Room again, but what came earlier is still parked.
            if all.len() == 4 {
                test.push(10, 2);
                assert_eq!(test.lane.parked(), 8);
            }
        }
        assert_eq!(all, (0..13).collect::<Vec<_>>());
        assert_eq!(test.lane.loaded_bytes(), 0);
    }

    #[test]
    fn only_a_healthy_stream_with_enough_to_do_holds_the_reading() {
        let mut test = Test::new();
        let holds = |test: &Test, ms| test.lane.holds_reading(test.at(ms), &SETTINGS).is_some();
        for _ in 0..5 {
            test.push(400, 0);
        }
        assert!(holds(&test, 0));
        test.launch(1);
        assert!(!holds(&test, 1), "it has room again");
        test.push(400, 2);
        test.push(400, 2);
        assert!(holds(&test, 3));
        assert!(!holds(&test, 600), "its push is slow");
        let batch = Batch::new(Vec::new(), Vec::new());
        test.lane.in_trouble = true;
        test.lane.state = State::Waiting { until: test.at(700), batch, asked: false };
        assert!(!holds(&test, 601), "it is in trouble");
        assert_eq!(test.wants(601), Some(700));
    }
}
