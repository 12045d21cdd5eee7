//! The intake: one thread that waits for the sources, decodes, normalizes and hands entries on.
//!
//! One loop and no locks, so the order of a run's entries is the order in which its bytes came.

use std::io::{self, PipeReader, PipeWriter, Write};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::feed::Feed;
use super::output::{Mark, Output, OutputError, ToNothing};
use super::parts::{Ending, PartOver, PartStart};
use crate::decode::Format;
use crate::event::{RunStatus, Timestamp};
use crate::normalize::{Counters, Normalizer, Progress, RunEnd, Snapshot};
use crate::source::Got;
use crate::source::lines::READ;

/// How often a followed file is looked at: a fifth of the shipping side's linger, so that it hardly shows.
const FOLLOW_EVERY: Duration = Duration::from_millis(10);
/// How often the loop turns without input, for progress entries.
const IDLE_EVERY: Duration = Duration::from_millis(200);
/// How long a pipe may be quiet, once the run has ended, before it is taken for held open by a left-over process.
const QUIET: Duration = Duration::from_millis(500);
/// After so long a left-over process that goes on writing is not listened to any more.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often the state for the terminal is refreshed.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// What others see of a running intake.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Counters, times, oldest test.
    pub progress: Progress,
    /// Entries written.
    pub entries: u64,
}

/// How an intake ended.
#[derive(Debug, Default)]
pub struct Report {
    /// Verdict; `None` if there was no run in the input.
    pub status: Option<RunStatus>,
    /// Final counts.
    pub counters: Counters,
    /// From the run's start to its end.
    pub elapsed: Duration,
    /// Entries written.
    pub entries: u64,
    /// Entries that the output took.
    pub handed_on: u64,
    /// The first failure to read an input.
    pub input_error: Option<io::Error>,
    /// True if the output took no more, and the event file has what was to come.
    pub is_left_to_others: bool,
    /// The first failure to hand entries on.
    pub output_error: Option<OutputError>,
    /// True if an input was of no known format, so that its lines were kept as log lines.
    pub unknown_format: bool,
    /// What is wrong with a report that could not be read to its end.
    pub damaged: Option<String>,
    /// What is to be mended about the known failures.
    pub complaints: Vec<String>,
    /// The format that an input was said to have, and of which it had no event.
    pub eventless: Option<Format>,
    /// The run as it ended.
    pub snapshot: Snapshot,
}

/// What an intake is told.
enum Order {
    Begin(Box<PartStart>),
    Over(Box<PartOver>),
    End(RunEnd),
}

/// Tells a running intake to end.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Order>,
    wake: PipeWriter,
    live: Arc<Mutex<Live>>,
}

impl Handle {
    /// The run is over: what has come is read to its end, then the run is closed. Later calls change nothing.
    pub fn end(&mut self, end: RunEnd) {
        self.tell(Order::End(end));
    }

    /// A file of a batch begins.
    pub fn begin_part(&mut self, start: PartStart) {
        self.tell(Order::Begin(Box::new(start)));
    }

    /// The process of a file of a batch is gone: what it said is read to its end.
    pub fn end_part(&mut self, over: PartOver) {
        self.tell(Order::Over(Box::new(over)));
    }

    fn tell(&mut self, order: Order) {
        // A failure means that the intake has ended by itself.
        if self.commands.send(order).is_ok() {
            self.wake.write_all(&[0]).ok();
        }
    }

    /// The state as of at most 100 ms ago.
    pub fn live(&self) -> Live {
        self.live.lock().map(|l| l.clone()).unwrap_or_default()
    }
}

/// The loop's state.
pub struct Intake {
    feeds: Vec<Feed>,
    normalizer: Normalizer,
    output: Box<dyn Output>,
    commands: mpsc::Receiver<Order>,
    wake: PipeReader,
    live: Arc<Mutex<Live>>,
    published: Instant,
    /// Entries that the output was asked to hand on.
    flushed: u64,
    end: Option<(RunEnd, Instant)>,
    ending: Ending,
    ends_with_input: bool,
    last_input: Instant,
    report: Report,
}

impl Intake {
    /// An intake over `feeds`. With `ends_with_input` the run is over when all of them have ended; else when
    /// [`Handle::end`] says so.
    ///
    /// # Errors
    /// If the process has no file descriptor left.
    pub fn new(
        feeds: Vec<Feed>,
        normalizer: Normalizer,
        output: Box<dyn Output>,
        ends_with_input: bool,
    ) -> io::Result<(Self, Handle)> {
        let (wake, waker) = io::pipe()?;
        let (sender, commands) = mpsc::channel();
        let live = Arc::new(Mutex::new(Live::default()));
        let handle = Handle { commands: sender, wake: waker, live: Arc::clone(&live) };
        let now = Instant::now();
        let intake = Self {
            feeds,
            normalizer,
            output,
            commands,
            wake,
            live,
            published: now,
            flushed: 0,
            end: None,
            ending: Ending::default(),
            ends_with_input,
            last_input: now,
            report: Report::default(),
        };
        Ok((intake, handle))
    }

    /// Runs to the end of the run. `start` writes the run's first entry at once, even if no event ever comes.
    pub fn run(mut self, start: bool) -> Report {
        if start {
            self.normalizer.open_run(now(), &mut *self.output);
        }
        self.flush();
        loop {
            let quiet = !self.turn();
            self.settle();
            if let Ok(order) = self.commands.try_recv() {
                self.obey(order);
                // What was written before the end is still to be read: one more turn at least.
                self.last_input = Instant::now();
                continue;
            }
            if self.is_over(quiet) {
                break;
            }
        }
        self.finish()
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::End(end) => drop(self.end.get_or_insert((end, Instant::now()))),
            Order::Over(over) => self.ending.add(*over),
            Order::Begin(start) => {
                let PartStart { part, attempt, feeds } = *start;
                self.normalizer.enter(None);
                self.normalizer.part_started(&part, attempt, now(), &mut *self.output);
                self.feeds.extend(feeds.into_iter().map(|feed| feed.of_part(&part)));
                self.flush();
            }
        }
    }

    /// Ends files that have nothing more to say.
    fn settle(&mut self) {
        if self.ending.is_empty() {
            return;
        }
        let Self { ending, feeds, normalizer, output, .. } = self;
        let told = ending.settle(feeds, QUIET, normalizer, &mut **output, now());
        if !told.is_empty() {
            self.flush();
        }
        // Whoever waited may have given up.
        for told in told {
            told.send(()).ok();
        }
    }

    /// Waits for input, takes what is there, hands it on. False if nothing came.
    fn turn(&mut self) -> bool {
        let ready = self.wait();
        let now = now();
        let mut came = false;
        let Self { feeds, normalizer, output, .. } = self;
        for (feed, ready) in feeds.iter_mut().zip(ready) {
            (feed.is_fresh, feed.has_more) = (false, false);
            if !ready || feed.ended {
                continue;
            }
            match feed.take(normalizer, &mut **output, now) {
                Ok(Got::Bytes(count)) => {
                    came = true;
                    feed.is_fresh = true;
                    feed.has_more = count >= READ;
                }
                Ok(Got::Nothing) => {}
                Ok(Got::End) => feed.end(normalizer, &mut **output, now),
                Err(error) => {
                    feed.end(normalizer, &mut **output, now);
                    self.report.input_error.get_or_insert(error);
                }
            }
        }
        if came {
            self.last_input = Instant::now();
        }
        if !feeds.iter().any(|feed| feed.has_more) {
            normalizer.running().lock().heard(now);
        }
        normalizer.tick(now, &mut **output);
        self.flush();
        self.publish(now);
        came
    }

    /// Which feeds may have something.
    fn wait(&mut self) -> Vec<bool> {
        let follows = self.feeds.iter().any(|f| !f.ended && f.source.pollable().is_none());
        let timeout = if follows { FOLLOW_EVERY } else { IDLE_EVERY };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        let pollable = self.feeds.iter().filter(|f| !f.ended).filter_map(|f| f.source.pollable());
        fds.extend(pollable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        // A wait that fails looks like one in which nothing came.
        let failed = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))).is_err();
        let woken = !fds[0].revents().is_empty();
        let mut revents = fds.iter().skip(1).map(|fd| !failed && !fd.revents().is_empty());
        let ready = self
            .feeds
            .iter()
            .map(|f| !f.ended && (f.source.pollable().is_none() || revents.next().unwrap_or(false)))
            .collect();
        if woken && !failed {
            io::Read::read(&mut &self.wake, &mut [0; 16]).ok();
        }
        ready
    }

    fn is_over(&self, quiet: bool) -> bool {
        let fds_ended = self.feeds.iter().all(|f| f.ended || f.source.pollable().is_none());
        match self.end {
            None => self.ends_with_input && self.feeds.iter().all(|f| f.ended),
            Some(_) if !self.ending.is_empty() => false,
            // What was written before the end has been read by then, as nothing is left at this moment.
            Some((_, told)) if told.elapsed() >= LAST_WORDS && !self.feeds.iter().any(|f| f.has_more) => true,
            Some(_) => quiet && (fds_ended || self.last_input.elapsed() >= QUIET),
        }
    }

    fn flush(&mut self) {
        self.hand_on(|output, mark| output.flush(mark));
    }

    fn hand_on(&mut self, flush: impl FnOnce(&mut dyn Output, &mut dyn FnMut() -> Mark) -> Result<(), OutputError>) {
        let Self { feeds, normalizer, output, .. } = self;
        let mut mark =
            || Mark { run: normalizer.snapshot(), events: feeds.iter().find_map(Feed::offset), ..Mark::default() };
        let flushed = flush(&mut **output, &mut mark);
        let entries = normalizer.entries();
        let fresh = entries - std::mem::replace(&mut self.flushed, entries);
        match flushed {
            Ok(()) if self.report.is_left_to_others => {}
            Ok(()) => self.report.handed_on += fresh,
            Err(error) => {
                self.report.output_error.get_or_insert(error);
                if self.ends_with_input {
                    // Nobody takes the entries: to read on would only lose them.
                    self.feeds.iter_mut().for_each(|f| f.ended = true);
                } else if self.feeds.iter().any(|f| f.offset().is_some()) {
                    // The event file has them still: whoever takes it up goes on where this one stopped.
                    self.report.is_left_to_others = true;
                    self.output = Box::new(ToNothing);
                }
            }
        }
    }

    fn publish(&mut self, now: Timestamp) {
        if self.published.elapsed() >= PUBLISH_EVERY {
            self.published = Instant::now();
            if let Ok(mut live) = self.live.lock() {
                *live = Live { progress: self.normalizer.progress(now), entries: self.normalizer.entries() };
            }
        }
    }

    fn finish(mut self) -> Report {
        let now = now();
        let Self { feeds, normalizer, output, .. } = &mut self;
        feeds.iter_mut().filter(|f| !f.ended).for_each(|f| f.end(normalizer, &mut **output, now));
        normalizer.enter(None);
        let end = self.end.take().map_or(RunEnd::InputEnded, |(end, _)| end);
        self.report.status = self.normalizer.finish(&end, now, &mut *self.output);
        self.hand_on(|output, mark| output.flush_last(mark));
        let progress = self.normalizer.progress(now);
        self.report.counters = progress.counters;
        self.report.elapsed = progress.elapsed;
        self.report.entries = self.normalizer.entries();
        self.report.complaints = self.normalizer.complaints().to_vec();
        self.report.snapshot = self.normalizer.snapshot();
        self.report.unknown_format = self.feeds.iter().any(|f| f.unknown_format);
        self.report.damaged = self.feeds.iter_mut().find_map(|f| f.damaged.take());
        self.report.eventless = self.feeds.iter().find_map(|f| f.eventless);
        if let Ok(mut live) = self.live.lock() {
            *live = Live { progress, entries: self.normalizer.entries() };
        }
        self.report
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
