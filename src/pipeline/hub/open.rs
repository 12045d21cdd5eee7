//! The runs that are on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::ambient::AmbientWriter;
use super::super::beside::Beside;
use super::super::output::{Mark, Output, OutputError};
use crate::decode::clients::{Ambient, RunFacts, Runs};
use crate::event::{Event, Timestamp};
use crate::loki::entry::{Entry, EntrySink, Stream};
use crate::loki::limits::Limits;
use crate::names::meta;
use crate::normalize::{Normalizer, RunEnd, RunInfo, SharedRunning};

/// How long a run that looks finished waits for another of its processes.
const GRACE: Duration = Duration::from_secs(3);
/// Distinct values that clients may bring for a label; any more become `other`.
const LABEL_VALUES: usize = 50;
/// Ids of runs that are remembered to number their uses.
const MAX_USES: usize = 100_000;
/// How long after a run's end the last lines of logs that were written in it are read.
const LOGS_LAG: Duration = Duration::from_secs(3);
/// Runs that may be on at a time; each costs some kilobytes and the memory of its tests.
const MAX_RUNS: usize = 2_000;

/// What all runs have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Common {
    /// Project, environment, host and metadata of runs that bring none; the id is a prefix for those without one, the
    /// shard names this process.
    pub info: RunInfo,
    /// After how long without news a run is over.
    pub timeout: Duration,
}

/// What must survive the process.
#[derive(Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) common: Common,
    pub(super) runs: BTreeMap<String, Run>,
    /// How often a run id was used, so that the entries of each use are numbered by themselves.
    uses: HashMap<String, u32>,
    projects: Values,
    envs: Values,
    runners: Values,
    pub(super) ambient: AmbientWriter,
    /// The wall clock.
    pub(super) now: Timestamp,
    /// A clock that never goes back, nor on while no daemon is there to hear anything.
    pub(super) clock: Duration,
    /// Runs seen.
    pub(super) seen: u64,
}

/// A run that is on.
#[derive(Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) normalizer: Normalizer,
    pub(super) heard: Duration,
    /// The same by the wall clock.
    pub(super) heard_at: Timestamp,
    pub(super) closing: Option<Duration>,
    pub(super) is_told_after: bool,
    /// Its entries when they were last looked at.
    pub(super) noted: u64,
}

/// Bounds the values of a label.
#[derive(Default, Serialize, Deserialize)]
pub(in super::super) struct Values(HashSet<String>);

impl Values {
    pub(in super::super) fn bounded(&mut self, value: String) -> String {
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

/// Counts what is written.
pub(super) struct Tally {
    pub(super) out: Box<dyn Output>,
    pub(super) entries: u64,
}

impl EntrySink for Tally {
    fn entry(&mut self, stream: &std::sync::Arc<Stream>, entry: &Entry<'_>) {
        self.entries += 1;
        self.out.entry(stream, entry);
    }
}

pub(super) struct Open {
    pub(super) table: Table,
    pub(super) limits: Limits,
    pub(super) output: Tally,
    /// Gives a run what is known of earlier ones.
    prepare: Box<dyn Fn(&mut Normalizer) + Send>,
    /// For those who read logs beside the runs.
    beside: Beside,
    /// Runs that have ended, and until when their last lines may be read.
    leaving: Vec<(Instant, String, SharedRunning)>,
}

impl Table {
    pub(super) fn new(common: Common, now: Timestamp) -> Self {
        Self {
            common,
            runs: BTreeMap::new(),
            uses: HashMap::new(),
            projects: Values::default(),
            envs: Values::default(),
            runners: Values::default(),
            ambient: AmbientWriter::default(),
            now,
            clock: Duration::ZERO,
            seen: 0,
        }
    }
}

impl Open {
    pub(super) fn new(table: Table, output: Tally) -> Self {
        Self {
            table,
            limits: Limits::default(),
            output,
            prepare: Box::new(|_| {}),
            beside: Beside::default(),
            leaving: Vec::new(),
        }
    }

    /// Gives the runs, those that are on too, to `prepare`.
    pub(super) fn set_prepare(&mut self, prepare: Box<dyn Fn(&mut Normalizer) + Send>) {
        self.table.runs.values_mut().for_each(|run| prepare(&mut run.normalizer));
        self.prepare = prepare;
    }

    /// Tells `beside` which runs are on.
    pub(super) fn set_beside(&mut self, beside: Beside) {
        for run in self.table.runs.values().filter(|run| !run.is_told_after) {
            beside.join(&run.normalizer.info().run_id, run.normalizer.running());
        }
        self.beside = beside;
    }

    /// Whoever reads logs beside the runs learns that no news of tests is missing, and which runs are over.
    pub(super) fn tell_beside(&mut self) {
        let now = self.table.now;
        for run in self.table.runs.values() {
            run.normalizer.running().lock().heard(now);
        }
        let at = Instant::now();
        let Self { leaving, beside, .. } = self;
        leaving.retain(|(until, id, running)| {
            running.lock().heard(now);
            let stays = at < *until;
            if !stays {
                beside.leave(id);
            }
            stays
        });
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        for run in self.table.runs.values_mut() {
            run.normalizer.set_limits(limits.clone());
        }
        self.table.ambient.limits = limits.clone();
        self.limits = limits;
    }

    pub(super) fn end(&mut self, key: &str, end: &RunEnd) {
        let Some(mut run) = self.table.runs.remove(key) else { return };
        // Waiting for more is no part of the run.
        let time = if run.closing.is_some() || run.is_told_after { run.heard_at } else { self.table.now };
        run.normalizer.finish(end, time, &mut self.output);
        let run = &run.normalizer;
        self.leaving.push((Instant::now() + LOGS_LAG, run.info().run_id.clone(), run.running()));
    }

    pub(super) fn flush(&mut self, mark: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        self.output.out.flush(mark)
    }

    fn info(&mut self, facts: RunFacts) -> RunInfo {
        let table = &mut self.table;
        let common = &table.common.info;
        let or = |own: String, common: &String| if own.is_empty() { common.clone() } else { own };
        let run_id = if facts.run_id.is_empty() {
            let word = common.shard.as_str();
            let begun = chrono::DateTime::from_timestamp_nanos(facts.begun.unwrap_or(table.now).0);
            format!("{}-{word}-{}", begun.format("%Y%m%dT%H%M%SZ"), table.seen)
        } else {
            facts.run_id.clone()
        };
        if table.uses.len() >= MAX_USES {
            table.uses.clear();
        }
        // An id from outside may be used by other processes, and again by later runs of this one.
        let uses = table.uses.entry(run_id.clone()).or_default();
        *uses += 1;
        let shard = match (facts.run_id.is_empty() || facts.is_told_after, *uses) {
            (true, _) => String::new(),
            (false, 1) => common.shard.clone(),
            (false, n) => format!("{}-{n}", common.shard),
        };
        let mut metadata = common.metadata.clone();
        metadata.extend(facts.known.iter().map(|(name, value)| (name.clone().into_owned(), value.clone())));
        metadata
            .extend(facts.attributes.into_iter().map(|(name, value)| (format!("{}{name}", meta::ATTR_PREFIX), value)));
        RunInfo {
            run_id,
            project: or(table.projects.bounded(facts.project), &common.project),
            env: or(table.envs.bounded(facts.env), &common.env),
            runner: table.runners.bounded(facts.runner),
            host: or(facts.host, &common.host),
            shard,
            command: String::new(),
            metadata,
        }
    }

    /// Ends the run that was silent for longest, so that there is room for another.
    fn make_room(&mut self) {
        let oldest = self.table.runs.iter().min_by_key(|(_, run)| run.heard).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            let runs = self.table.runs.len();
            tracing::warn!(runs, "too many runs at a time; the one silent for longest is ended");
            self.end(&key, &RunEnd::Stopped("too many runs were on".into()));
        }
    }
}

impl Runs for Open {
    fn open(&mut self, key: &str, facts: RunFacts) {
        if self.table.runs.contains_key(key) {
            return;
        }
        if self.table.runs.len() >= MAX_RUNS {
            self.make_room();
        }
        self.table.seen += 1;
        let is_told_after = facts.is_told_after;
        let mut normalizer = Normalizer::new(self.info(facts));
        normalizer.set_limits(self.limits.clone());
        (self.prepare)(&mut normalizer);
        if !is_told_after {
            self.beside.join(&normalizer.info().run_id, normalizer.running());
        }
        let (heard, heard_at) = (self.table.clock, self.table.now);
        let run = Run { normalizer, is_told_after, heard, heard_at, closing: None, noted: 0 };
        self.table.runs.insert(key.to_owned(), run);
    }

    fn event(&mut self, key: &str, event: &Event<'_>) {
        let now = self.table.now;
        let Some(run) = self.table.runs.get_mut(key) else { return };
        run.heard = self.table.clock;
        run.heard_at = if run.is_told_after { event.time.unwrap_or(now) } else { now };
        run.closing = None;
        run.normalizer.event(event, run.heard_at, &mut self.output);
    }

    fn close(&mut self, key: &str) {
        self.end(key, &RunEnd::InputEnded);
    }

    fn close_soon(&mut self, key: &str) {
        if let Some(run) = self.table.runs.get_mut(key) {
            run.closing = Some(self.table.clock + GRACE);
        }
    }

    fn discard(&mut self, key: &str) {
        self.table.runs.remove(key);
    }

    fn ambient(&mut self, what: &Ambient) {
        let table = &mut self.table;
        let common = &table.common.info;
        let or = |own: String, common: &String| if own.is_empty() { common.clone() } else { own };
        let project = or(table.projects.bounded(what.project.clone()), &common.project);
        let env = or(table.envs.bounded(what.env.clone()), &common.env);
        table.ambient.write(what, project, env, table.now, &mut self.output);
    }

    fn now(&self) -> Timestamp {
        self.table.now
    }
}
