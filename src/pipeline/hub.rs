//! The thread that owns the runs of `listen`: messages of clients → entries of many runs.
//!
//! What waits is taken together, appended to the queue at once, and answered after that: an answer says that the entries
//! are in the queue. With a journal, the runs survive the process: what is taken is written there first.

mod open;
mod saved;

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

pub use self::open::Common;
pub(super) use self::open::Values;
use self::open::{Open, Table, Tally};
use self::saved::{State, Step, Taken};
use super::beside::Beside;
use super::intake::now;
use super::journal::{Found, Journal, Place};
use super::output::{Mark, Output, OutputError, ToNothing};
use crate::decode::clients::{Answer, Clients, Message, Zone};
use crate::event::Timestamp;
use crate::loki::limits::Limits;
use crate::normalize::{Normalizer, RunEnd, Snapshot};
use crate::source::http::door::Job;

/// How long nothing must have come before progress is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Messages that are appended together.
const GROUP: usize = 512;

/// How the hub ended.
#[derive(Debug, Default)]
pub struct HubReport {
    /// Entries written.
    pub entries: u64,
    /// Runs seen, those of earlier processes included.
    pub runs: u64,
    /// Runs that are on still, and wait for the next process.
    pub left: usize,
    /// The first failure to hand entries on.
    pub output_error: Option<OutputError>,
}

/// What a hub is told while it runs.
#[derive(Clone, Debug)]
pub enum Change {
    /// What the runs to come have in common.
    Common(Common),
    /// What Loki takes.
    Limits(Limits),
}

fn write_state(open: &Open, clients: &Clients, out: &mut dyn io::Write) -> io::Result<()> {
    let state = State { version: saved::VERSION, table: &open.table, clients: clients.state() };
    Ok(serde_json::to_writer(out, &state)?)
}

/// The runs that are on, and where their entries go.
pub struct Hub {
    clients: Clients,
    open: Open,
    journal: Option<Journal>,
    /// True if the journal lacks something that was taken.
    behind: bool,
    begun: Instant,
    /// The clock at that moment.
    clock: Duration,
    changes: Option<Receiver<Change>>,
    output_error: Option<OutputError>,
}

impl Hub {
    /// A hub without runs. `zone` reads times that name none.
    pub fn new(zone: Box<Zone>, common: Common) -> Self {
        Self::with(zone, Table::new(common, now()))
    }

    fn with(zone: Box<Zone>, table: Table) -> Self {
        let clock = table.clock;
        let output = Tally { out: Box::new(ToNothing), entries: 0 };
        Self {
            clients: Clients::new(zone),
            open: Open::new(table, output),
            journal: None,
            behind: false,
            begun: Instant::now(),
            clock,
            changes: None,
            output_error: None,
        }
    }

    /// The hub that an earlier process kept in a journal. `marked` is the place in the newest mark of its queue.
    ///
    /// # Errors
    /// If the file cannot be read, or what it says cannot be understood.
    pub fn restore(zone: Box<Zone>, found: &Found, marked: Option<Place>) -> io::Result<Self> {
        let journal = std::fs::read(&found.path)?;
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let saved::Owned { table, clients, .. } = saved::state(&journal).map_err(invalid)?;
        table.runs.values().for_each(|run| run.normalizer.recall_running());
        let mut hub = Self::with(zone, table);
        hub.clients.set_state(clients);
        for step in saved::steps(&journal, found.generation, marked) {
            (hub.open.table.now, hub.open.table.clock) = (step.now, step.clock);
            for message in &step.messages {
                match serde_json::from_str::<Message>(message.get()) {
                    Ok(message) => drop(hub.clients.take(message, &mut hub.open)),
                    Err(error) => tracing::error!(%error, "a message of the journal cannot be read"),
                }
            }
            hub.tend();
            if step.over {
                hub.open.table.runs.clear();
            }
            for (key, entries) in step.entries {
                if let Some(run) = hub.open.table.runs.get_mut(&key) {
                    run.normalizer.set_entries(entries);
                    run.noted = entries;
                }
            }
            hub.open.table.ambient.seq = step.ambient;
        }
        hub.clock = hub.open.table.clock;
        hub.open.output.entries = 0;
        Ok(hub)
    }

    /// The same with runs that are given to `prepare` when they begin, and those that are on now.
    #[must_use]
    pub fn preparing(mut self, prepare: impl Fn(&mut Normalizer) + Send + 'static) -> Self {
        self.open.set_prepare(Box::new(prepare));
        self
    }

    /// The same that tells those who read logs which runs are on.
    #[must_use]
    pub fn with_beside(mut self, beside: Beside) -> Self {
        self.open.set_beside(beside);
        self
    }

    /// The same with this in common for the runs to come.
    #[must_use]
    pub fn commonly(mut self, common: Common) -> Self {
        self.open.table.common = common;
        self
    }

    /// The same that is told what changes.
    #[must_use]
    pub fn changing(mut self, changes: Receiver<Change>) -> Self {
        self.changes = Some(changes);
        self
    }

    /// The same with its state kept in a journal, which was begun with [`Hub::state`].
    #[must_use]
    pub fn keeping(mut self, journal: Journal) -> Self {
        self.journal = Some(journal);
        self
    }

    /// Writes all of its state, in one line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_state(&self, out: &mut dyn io::Write) -> io::Result<()> {
        write_state(&self.open, &self.clients, out)
    }

    /// Runs that are on.
    pub fn runs(&self) -> usize {
        self.open.table.runs.len()
    }

    /// When something was heard last of any run, and after how long silence they are over.
    pub fn heard(&self) -> (Timestamp, Duration) {
        let heard = self.open.table.runs.values().map(|run| run.heard_at).max();
        (heard.unwrap_or_default(), self.open.table.common.timeout)
    }

    /// Runs until nobody can hand in messages any more. Then runs are left to the next process where they are kept, and
    /// ended else.
    pub fn run(mut self, jobs: &Receiver<Job>, output: Box<dyn Output>) -> HubReport {
        self.open.output.out = output;
        let mut answers = Vec::new();
        loop {
            let first = match jobs.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.change();
            self.tell_time();
            let before = self.open.output.entries;
            let mut taken = Taken::default();
            for job in first.into_iter().chain(jobs.try_iter()).take(GROUP) {
                if self.journal.is_some() {
                    taken.add(&job.message);
                }
                let answer = self.clients.take(job.message, &mut self.open);
                answers.push((job.answer, answer));
            }
            let is_told = !taken.0.is_empty();
            let noted = self.tend();
            let wrote = self.open.output.entries > before;
            let kept = if is_told || wrote { self.keep(taken, noted, wrote) } else { true };
            let taken = kept && self.flush();
            for (waiting, answer) in answers.drain(..) {
                let answer = if taken { answer } else { Answer::error(503, "the spool cannot be written") };
                // A client that has gone needs no answer.
                drop(waiting.send(answer));
            }
        }
        self.finish()
    }

    /// Ends the runs that are on, as nobody has heard of them for too long, and writes that to `output`.
    pub fn give_up(mut self, output: Box<dyn Output>) -> HubReport {
        self.open.output.out = output;
        self.open.table.now = now();
        self.end_all(&RunEnd::TimedOut);
        self.leave()
    }

    fn tell_time(&mut self) {
        self.open.table.now = now();
        self.open.table.clock = self.clock + self.begun.elapsed();
    }

    fn change(&mut self) {
        let changes: Vec<Change> = self.changes.iter().flat_map(Receiver::try_iter).collect();
        for change in changes {
            match change {
                Change::Common(common) => {
                    self.open.table.common = common;
                    // The steps before went by what was common then.
                    self.renew();
                }
                Change::Limits(limits) => self.open.set_limits(limits),
            }
        }
    }

    /// Writes progress that is due, and ends the runs whose time has come. Gives the numbers of entries that changed.
    fn tend(&mut self) -> Vec<(String, u64)> {
        self.open.tell_beside();
        let Table { runs, clock, now, common, .. } = &mut self.open.table;
        let (mut over, mut noted) = (Vec::new(), Vec::new());
        for (key, run) in runs {
            let silent = clock.saturating_sub(run.heard) >= common.timeout;
            let closed = run.closing.is_some_and(|closing| *clock >= closing);
            match (run.is_told_after, run.closing) {
                // What is left of it comes with the upload, or never.
                (true, _) if silent => over.push((key.clone(), RunEnd::TimedOut)),
                (true, _) => {}
                (false, Some(_)) if closed => over.push((key.clone(), RunEnd::InputEnded)),
                (false, Some(_)) => {}
                (false, None) if silent => over.push((key.clone(), RunEnd::TimedOut)),
                (false, None) => run.normalizer.tick(*now, &mut self.open.output),
            }
            if run.normalizer.entries() != run.noted {
                run.noted = run.normalizer.entries();
                noted.push((key.clone(), run.noted));
            }
        }
        for (key, end) in over {
            self.clients.last_words(&key, &mut self.open);
            self.open.end(&key, &end);
            self.clients.forget(&key);
        }
        noted
    }

    /// Writes what was taken to the journal. False if that did not work.
    fn keep(&mut self, taken: Taken, entries: Vec<(String, u64)>, wrote: bool) -> bool {
        if self.behind {
            return self.renew();
        }
        let Some(journal) = &mut self.journal else { return true };
        let table = &self.open.table;
        let step = Step {
            now: table.now,
            clock: table.clock,
            wrote,
            entries,
            over: table.runs.is_empty(),
            ambient: table.ambient.seq,
            messages: taken.0,
        };
        let line = serde_json::to_vec(&step).expect("texts, numbers and lists become JSON");
        let kept = journal.append(&line);
        if let Err(error) = &kept {
            tracing::error!(%error, "the journal cannot be written");
            self.behind = true;
        }
        kept.is_ok()
    }

    /// Begins the journal anew. False if that did not work.
    fn renew(&mut self) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        let renewed = journal.renew(&|out| write_state(&self.open, &self.clients, out));
        if let Err(error) = &renewed {
            tracing::error!(%error, "the journal cannot be written");
        }
        self.behind = renewed.is_err();
        !self.behind
    }

    /// False if the entries could not be handed on.
    fn flush(&mut self) -> bool {
        // Who takes over the queue of a dead process without its journal finds no run to end in it.
        let journal = self.journal.as_ref().map(Journal::place);
        let mut mark = || Mark { run: Snapshot { ended: true, ..Snapshot::default() }, journal, ..Mark::default() };
        if let Err(error) = self.open.flush(&mut mark) {
            tracing::error!(%error, "entries cannot be handed on");
            self.output_error.get_or_insert(error);
            return false;
        }
        if self.journal.as_ref().is_some_and(Journal::is_long) {
            // It grows until that works.
            self.renew();
        }
        true
    }

    fn finish(mut self) -> HubReport {
        self.tell_time();
        if self.journal.is_none() {
            self.end_all(&RunEnd::Stopped("testwire was stopped".into()));
        }
        for run in self.open.table.runs.values_mut() {
            // What was counted is to be seen while no daemon is there.
            run.normalizer.settle(self.open.table.now, &mut self.open.output);
        }
        self.leave()
    }

    fn end_all(&mut self, end: &RunEnd) {
        let keys: Vec<String> = self.open.table.runs.keys().cloned().collect();
        for key in keys {
            self.clients.last_words(&key, &mut self.open);
            self.open.end(&key, end);
            self.clients.forget(&key);
        }
    }

    /// Hands on the last entries, and leaves the state to the next process.
    fn leave(mut self) -> HubReport {
        if self.open.output.entries > 0 || self.behind {
            // One step that says all: a new generation, whose entries are not in the queue yet, would be believed.
            let noted = self.tend_nothing();
            self.keep(Taken::default(), noted, true);
        }
        let flushed = self.flush();
        let left = if self.journal.is_some() { self.runs() } else { 0 };
        if let Some(journal) = self.journal.take().filter(|_| flushed)
            && let Err(error) = journal.leave(&|out| self.write_state(out))
        {
            tracing::error!(%error, "the journal cannot be written");
        }
        let Open { table, output, .. } = self.open;
        HubReport { entries: output.entries, runs: table.seen, left, output_error: self.output_error }
    }

    fn tend_nothing(&mut self) -> Vec<(String, u64)> {
        let runs = self.open.table.runs.iter_mut();
        let changed = runs.filter(|(_, run)| run.normalizer.entries() != run.noted);
        changed
            .map(|(key, run)| {
                run.noted = run.normalizer.entries();
                (key.clone(), run.noted)
            })
            .collect()
    }
}
