//! Events → entries: the state of a run, its counters, its words.
//!
//! Pure: no I/O and no clock. Time is an argument: the wall clock for live input, the events' own for old files.

mod changes;
mod configuration;
mod counters;
mod end;
mod fit;
mod hung;
mod known;
mod open;
mod pace;
mod pairs;
mod part;
mod parts;
mod progress;
mod render;
mod running;
mod signature;
mod snapshot;
mod tests;
mod text;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use counters::Counters;
pub use end::RunEnd;
pub use fit::fit;
pub use known::{Known, KnownFailure};
pub use part::{Part, PartEnd};
pub use progress::Progress;
pub use running::{Found, Hints, Running, SharedRunning, Window};
pub use signature::signature;
pub use snapshot::{OpenTest, Snapshot};
pub use text::{MAX_LINE, longest_line, pieces};

use changes::Changes;
use configuration::configuration;
use hung::Watch;
use pace::Pace;
use parts::Parts;

use crate::event::{Event, Fact, RunStatus, Status, TestRef, Timestamp};
use crate::history::memory::Memory;
use crate::history::past::test_key;
use crate::loki::entry::{EntrySink, Stream};
use crate::loki::limits::Limits;
use crate::names::{kind, meta, status};
use pairs::Pairs;
use tests::Tests;
use write::{StreamKey, key};

/// Progress is written on change, but not more often than this.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Progress is written at least this often while a run is on.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// A run whose first event is older than this is not running now: it is told after the fact.
const REPLAY_AFTER: Duration = Duration::from_secs(10 * 60);

/// What is known of a run from outside its events.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RunInfo {
    /// Identity of the run.
    pub run_id: String,
    /// Label `service_name`.
    pub project: String,
    /// Label `env`.
    pub env: String,
    /// Label `runner`.
    pub runner: String,
    /// Machine; on run and progress entries.
    pub host: String,
    /// Names this process among several of one run; empty if there is but one.
    pub shard: String,
    /// Command line as typed, for the start entry's line; empty if the events come from elsewhere.
    pub command: String,
    /// More for the run's own entries: `user`, `branch`, `commit`, `build_url`, `attr_…`; empty values are left out.
    pub metadata: Vec<(String, String)>,
}

/// Turns the events of one run into entries, in order. Its serialized form is all of its state but the limits, which are to be
/// set again.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct Normalizer {
    info: RunInfo,
    #[serde(skip)]
    limits: Limits,
    seq: u64,
    started: Option<Timestamp>,
    tests: Tests,
    #[serde(skip)]
    running: SharedRunning,
    #[serde(skip)]
    streams: HashMap<StreamKey, Arc<Stream>, foldhash::fast::RandomState>,
    open_suites: HashMap<String, Timestamp>,
    failing: Vec<String>,
    failed_suites: Vec<String>,
    verdict: Verdict,
    changed: bool,
    ended: bool,
    last_progress: Timestamp,
    /// Latest time of an event, for a run that is told after the fact; `None` for one that is running.
    replayed: Option<Timestamp>,
    #[serde(skip)]
    line: String,
    #[serde(default)]
    changes: Changes,
    #[serde(skip)]
    pace: Pace,
    #[serde(skip)]
    watch: Watch,
    #[serde(skip)]
    complaints: Vec<String>,
    #[serde(default)]
    parts: Parts,
}

/// What the runner processes said of themselves.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct Verdict {
    started: u64,
    finished: u64,
    worst: Option<RunStatus>,
    suite_failed: bool,
    message: String,
}

impl Normalizer {
    /// A run of which nothing has been seen.
    pub fn new(info: RunInfo) -> Self {
        Self {
            info,
            limits: Limits::default(),
            seq: 0,
            started: None,
            tests: Tests::default(),
            running: SharedRunning::default(),
            streams: HashMap::default(),
            open_suites: HashMap::new(),
            failing: Vec::new(),
            failed_suites: Vec::new(),
            verdict: Verdict::default(),
            changed: false,
            ended: false,
            last_progress: Timestamp::default(),
            replayed: None,
            line: String::new(),
            changes: Changes::default(),
            pace: Pace::default(),
            watch: Watch::default(),
            complaints: Vec::new(),
            parts: Parts::default(),
        }
    }

    /// Sees results beside those that `memory` knows, and has it keep those of this run. To be called before the start.
    pub fn remember(&mut self, memory: Box<dyn Memory>) {
        self.changes.remember(memory);
        if self.started.is_some() {
            // One that an earlier process began: it may end without another event.
            self.changes.open(&self.info);
        }
    }

    /// Failures that somebody knows of.
    pub fn set_known(&mut self, known: Known) {
        self.changes.known = known;
    }

    /// What is to be mended about the known failures, once the run has ended.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// Number of entries written so far.
    pub fn entries(&self) -> u64 {
        self.seq
    }

    /// Goes on behind the entry with this number.
    pub fn set_entries(&mut self, entries: u64) {
        self.seq = entries;
    }

    /// The run as known from outside its events.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// True once something was written.
    pub fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Changes the runner while nothing has been written yet (a pipe's format is known after its first bytes only).
    pub fn set_runner(&mut self, runner: &str) {
        if self.started.is_none() {
            self.info.runner = runner.to_owned();
        }
    }

    /// The tests that are running, for those who read logs beside the run.
    pub fn running(&self) -> SharedRunning {
        self.running.clone()
    }

    /// What Loki takes, if that is known; else its defaults hold.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    fn longest_line(&self) -> usize {
        text::longest_line(self.limits.line)
    }

    /// Writes the run's start, unless that has been done.
    pub fn start(&mut self, time: Timestamp, out: &mut dyn EntrySink) {
        // A run that another process began is started, and has no history yet.
        self.changes.open(&self.info);
        if self.started.is_some() {
            return;
        }
        self.started = Some(time);
        let mut line = format!("START run {}", self.info.run_id);
        if !self.info.command.is_empty() {
            line.push_str(": ");
            line.push_str(&self.info.command);
        }
        self.write_run(status::STARTED, &line, time, out);
        self.plan_files();
        self.write_progress(time, out);
    }

    /// An entry of the run itself, with what is known of it.
    fn write_run(&mut self, status: &'static str, line: &str, time: Timestamp, out: &mut dyn EntrySink) {
        let info = self.info.clone();
        let mut pairs = Pairs::new("info");
        pairs.push(meta::HOST, &info.host);
        for (name, value) in &info.metadata {
            pairs.push(name, value);
        }
        self.write(key(kind::RUN, status), time, line, pairs, out);
    }

    /// Takes one event; `now` is the time of entries whose event has none, and paces the progress entries.
    pub fn event(&mut self, event: &Event<'_>, now: Timestamp, out: &mut dyn EntrySink) {
        match self.within() {
            Some(part) => self.part_event(&part, event, now, out),
            None => self.take(event, now, out),
        }
    }

    fn take(&mut self, event: &Event<'_>, now: Timestamp, out: &mut dyn EntrySink) {
        let now = self.clock(event.time, now);
        let time = event.time.unwrap_or(now);
        self.start(time.min(now), out);
        if let Fact::Log(log) = &event.fact {
            return self.log(log, event.time.is_some(), time, out);
        }
        self.take_history();
        match &event.fact {
            Fact::Log(_) => {}
            Fact::RunStarted(run) => {
                self.verdict.started += 1;
                self.run_started(run, time, out);
            }
            Fact::Planned(planned) => {
                if let Some(total) = planned.total {
                    self.tests.plan_total(total);
                }
                let known = self.tests.known();
                for id in &planned.tests {
                    let key = test_key(id);
                    self.tests.plan(key, id, self.changes.expected(key));
                }
                self.tests.announced(known, self.verdict.started);
            }
            Fact::RunFinished(run) => self.run_finished(run),
            Fact::SuiteStarted(suite) => self.suite_started(suite, time, out),
            Fact::SuiteFinished(suite) => self.suite_finished(suite, time, out),
            Fact::TestStarted(test) => self.test_started(test, time, out),
            Fact::TestPaused(test) => self.test_paused(test, time),
            Fact::TestResumed(test) => self.test_resumed(test, time),
            Fact::TestFinished(test) => self.test_finished(test, time, out),
            Fact::TestCorrected(test) => self.test_corrected(test, time, out),
            Fact::StepFinished(step) => return self.step_finished(step, time, out),
            Fact::Note(note) => return self.note(note, time, out),
        }
        self.changed = true;
        self.tick(now, out);
    }

    /// What time it is in the run: the given time, or its latest event's if it is told after the fact. Else a recorded
    /// run would begin last year and end, with all its counters, today.
    fn clock(&mut self, event: Option<Timestamp>, now: Timestamp) -> Timestamp {
        match (event, self.replayed) {
            (Some(time), Some(latest)) => self.replayed = Some(time.max(latest)),
            (Some(time), None) if self.started.is_none() && now.since(time) > REPLAY_AFTER => {
                self.replayed = Some(time)
            }
            _ => {}
        }
        self.replayed.unwrap_or(now)
    }

    /// The run is told after the fact and began then, whatever the clock says and whether its events have times.
    pub fn replay(&mut self, begun: Timestamp) {
        self.replayed = Some(begun);
    }

    /// Writes progress when it is due. To be called at least once a second while a run is on.
    pub fn tick(&mut self, now: Timestamp, out: &mut dyn EntrySink) {
        let now = self.replayed.unwrap_or(now);
        self.take_history();
        self.look_for_hung(now, out);
        self.look_ahead(now);
        let since = now.since(self.last_progress);
        if self.started.is_some() && ((self.changed && since >= PROGRESS_EVERY) || since >= HEARTBEAT_EVERY) {
            self.write_progress(now, out);
            self.changes.keep(false);
        }
    }

    /// Takes a history that has arrived since the run began.
    fn take_history(&mut self) {
        if self.changes.poll(&mut self.tests.counters) {
            self.tests.expect(|key| self.changes.expected(key));
            self.changed = true;
        }
    }
}

fn borrowed(test: &TestRef<'_>) -> TestRef<'static> {
    TestRef {
        id: Cow::Owned(test.id.clone().into_owned()),
        suite: Cow::Owned(test.suite.clone().into_owned()),
        worker: Cow::Owned(test.worker.clone().into_owned()),
    }
}

fn level_of(status: Status) -> &'static str {
    match status {
        Status::Failed | Status::Errored => "error",
        Status::Skipped | Status::Xfailed | Status::Retried | Status::Unfinished => "warn",
        Status::Passed | Status::Xpassed => "info",
    }
}
