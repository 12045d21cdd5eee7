//! The thread that owns the runs of `listen`: messages of clients → entries of many runs.
//!
//! What waits is taken together, appended to the queue at once, and answered after that: an answer says that the entries
//! are in the queue.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::ambient::AmbientWriter;
use super::intake::now;
use super::output::{Mark, Output, OutputError};
use crate::decode::clients::{Ambient, Answer, Clients, RunFacts, Runs};
use crate::event::{Event, Timestamp};
use crate::loki::limits::Limits;
use crate::names::meta;
use crate::normalize::{Normalizer, RunEnd, RunInfo, Snapshot};
use crate::source::http::door::Job;

/// How long nothing must have come before progress is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Messages that are appended together.
const GROUP: usize = 512;
/// How long a run that looks finished waits for another of its processes.
const GRACE: Duration = Duration::from_secs(3);
/// Distinct values that clients may bring for a label; any more become `other`.
const LABEL_VALUES: usize = 50;
/// Ids of runs that are remembered to number their uses.
const MAX_USES: usize = 100_000;
/// Runs that may be on at a time; each costs some kilobytes and the memory of its tests.
const MAX_RUNS: usize = 2_000;

/// How the hub ended.
#[derive(Debug, Default)]
pub struct HubReport {
    /// Entries written.
    pub entries: u64,
    /// Runs seen.
    pub runs: u64,
    /// The first failure to hand entries on.
    pub output_error: Option<OutputError>,
}

/// The runs that are on, and where their entries go.
pub struct Hub {
    jobs: Receiver<Job>,
    clients: Clients,
    open: Open,
}

struct Open {
    /// What all runs have in common; the id is a prefix for those without one.
    common: RunInfo,
    timeout: Duration,
    output: Box<dyn Output>,
    runs: HashMap<String, Run>,
    /// How often a run id was used by this process, so that the entries of each use are numbered by themselves.
    uses: HashMap<String, u32>,
    projects: Values,
    envs: Values,
    runners: Values,
    ambient: AmbientWriter,
    now: Timestamp,
    report: HubReport,
    prepare: Box<dyn Fn(&mut Normalizer) + Send>,
}

struct Run {
    normalizer: Normalizer,
    heard: Instant,
    /// The same by the wall clock.
    heard_at: Timestamp,
    closing: Option<Instant>,
    is_told_after: bool,
}

/// Bounds the values of a label.
#[derive(Default)]
pub(super) struct Values(HashSet<String>);

impl Values {
    pub(super) fn bounded(&mut self, value: String) -> String {
        if value.is_empty() || self.0.contains(&value) {
            return value;
        }
        if self.0.len() >= LABEL_VALUES {
            return "other".into();
        }
        self.0.insert(value.clone());
        value
    }
}

impl Hub {
    /// A hub without runs. `common` is what all runs have in common, its `shard` the name of this process.
    pub fn new(
        jobs: Receiver<Job>,
        clients: Clients,
        common: RunInfo,
        timeout: Duration,
        output: Box<dyn Output>,
    ) -> Self {
        let open = Open {
            common,
            timeout,
            output,
            runs: HashMap::new(),
            uses: HashMap::new(),
            projects: Values::default(),
            envs: Values::default(),
            runners: Values::default(),
            ambient: AmbientWriter::default(),
            now: now(),
            report: HubReport::default(),
            prepare: Box::new(|_| {}),
        };
        Self { jobs, clients, open }
    }

    /// The same with entries that keep to these limits.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        self.open.ambient.limits = limits;
        self
    }

    /// The same with runs that are given something at their beginning, such as their history.
    #[must_use]
    pub fn preparing(mut self, prepare: impl Fn(&mut Normalizer) + Send + 'static) -> Self {
        self.open.prepare = Box::new(prepare);
        self
    }

    /// Runs until nobody can hand in messages any more; then ends the runs that are on.
    pub fn run(mut self) -> HubReport {
        let mut answers = Vec::new();
        loop {
            let first = match self.jobs.recv_timeout(TICK) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            self.open.now = now();
            for job in first.into_iter().chain(self.jobs.try_iter()).take(GROUP) {
                let answer = self.clients.take(job.message, &mut self.open);
                answers.push((job.answer, answer));
            }
            self.tend();
            let taken = self.open.flush();
            for (waiting, answer) in answers.drain(..) {
                let answer = if taken { answer } else { Answer::error(503, "the spool cannot be written") };
                // A client that has gone needs no answer.
                drop(waiting.send(answer));
            }
        }
        self.finish()
    }

    /// Writes progress that is due, and ends the runs whose time has come.
    fn tend(&mut self) {
        let (at, timeout) = (Instant::now(), self.open.timeout);
        let mut over = Vec::new();
        for (key, run) in &mut self.open.runs {
            if run.is_told_after {
                // What is left of it comes with the upload, or never.
                if at.duration_since(run.heard) >= timeout {
                    over.push((key.clone(), RunEnd::TimedOut));
                }
            } else if let Some(closing) = run.closing {
                if at >= closing {
                    over.push((key.clone(), RunEnd::InputEnded));
                }
            } else if at.duration_since(run.heard) >= timeout {
                over.push((key.clone(), RunEnd::TimedOut));
            } else {
                run.normalizer.tick(self.open.now, &mut *self.open.output);
            }
        }
        for (key, end) in over {
            self.open.end(&key, &end);
            self.clients.forget(&key);
        }
    }

    fn finish(mut self) -> HubReport {
        self.open.now = now();
        let keys: Vec<String> = self.open.runs.keys().cloned().collect();
        for key in keys {
            self.open.end(&key, &RunEnd::Stopped("testwire was stopped".into()));
        }
        self.open.flush();
        self.open.report
    }
}

impl Open {
    fn end(&mut self, key: &str, end: &RunEnd) {
        let Some(mut run) = self.runs.remove(key) else { return };
        // Waiting for more is no part of the run.
        let time = if run.closing.is_some() || run.is_told_after { run.heard_at } else { self.now };
        run.normalizer.finish(end, time, &mut *self.output);
        self.report.entries += run.normalizer.entries();
    }

    /// False if the entries could not be handed on.
    fn flush(&mut self) -> bool {
        // A process that takes over the queue of a dead one finds no run to end in it.
        let mut mark = || Mark { run: Snapshot { ended: true, ..Snapshot::default() }, events: None };
        match self.output.flush(&mut mark) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "entries cannot be handed on");
                self.report.output_error.get_or_insert(error);
                false
            }
        }
    }

    fn info(&mut self, facts: RunFacts) -> RunInfo {
        let or = |own: String, common: &String| if own.is_empty() { common.clone() } else { own };
        let run_id = if facts.run_id.is_empty() {
            let word = self.common.shard.as_str();
            let begun = chrono::DateTime::from_timestamp_nanos(facts.begun.unwrap_or(self.now).0);
            format!("{}-{word}-{}", begun.format("%Y%m%dT%H%M%SZ"), self.report.runs)
        } else {
            facts.run_id.clone()
        };
        if self.uses.len() >= MAX_USES {
            self.uses.clear();
        }
        // An id from outside may be used by other processes, and again by later runs of this one.
        let uses = self.uses.entry(run_id.clone()).or_default();
        *uses += 1;
        let shard = match (facts.run_id.is_empty() || facts.is_told_after, *uses) {
            (true, _) => String::new(),
            (false, 1) => self.common.shard.clone(),
            (false, n) => format!("{}-{n}", self.common.shard),
        };
        let mut metadata = self.common.metadata.clone();
        metadata.extend(facts.known.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        metadata
            .extend(facts.attributes.into_iter().map(|(name, value)| (format!("{}{name}", meta::ATTR_PREFIX), value)));
        RunInfo {
            run_id,
            project: or(self.projects.bounded(facts.project), &self.common.project),
            env: or(self.envs.bounded(facts.env), &self.common.env),
            runner: self.runners.bounded(facts.runner),
            host: or(facts.host, &self.common.host),
            shard,
            command: String::new(),
            metadata,
        }
    }

    /// Ends the run that was silent for longest, so that there is room for another.
    fn make_room(&mut self) {
        let oldest = self.runs.iter().min_by_key(|(_, run)| run.heard).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            tracing::warn!(runs = self.runs.len(), "too many runs at a time; the one silent for longest is ended");
            self.end(&key, &RunEnd::Stopped("too many runs were on".into()));
        }
    }
}

impl Runs for Open {
    fn open(&mut self, key: &str, facts: RunFacts) {
        if self.runs.contains_key(key) {
            return;
        }
        if self.runs.len() >= MAX_RUNS {
            self.make_room();
        }
        self.report.runs += 1;
        let is_told_after = facts.is_told_after;
        let mut normalizer = Normalizer::new(self.info(facts));
        normalizer.set_limits(self.ambient.limits.clone());
        (self.prepare)(&mut normalizer);
        let run = Run { normalizer, is_told_after, heard: Instant::now(), heard_at: self.now, closing: None };
        self.runs.insert(key.to_owned(), run);
    }

    fn event(&mut self, key: &str, event: &Event<'_>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.heard = Instant::now();
        run.heard_at = if run.is_told_after { event.time.unwrap_or(self.now) } else { self.now };
        run.closing = None;
        run.normalizer.event(event, run.heard_at, &mut *self.output);
    }

    fn close(&mut self, key: &str) {
        self.end(key, &RunEnd::InputEnded);
    }

    fn close_soon(&mut self, key: &str) {
        if let Some(run) = self.runs.get_mut(key) {
            run.closing = Some(Instant::now() + GRACE);
        }
    }

    fn ambient(&mut self, what: &Ambient) {
        let or = |own: String, common: &String| if own.is_empty() { common.clone() } else { own };
        let project = or(self.projects.bounded(what.project.clone()), &self.common.project);
        let env = or(self.envs.bounded(what.env.clone()), &self.common.env);
        self.ambient.write(what, project, env, self.now, &mut *self.output);
        self.report.entries += 1;
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}
