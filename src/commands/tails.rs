//! Followed logs of any command: what is configured → threads that follow.

use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::config::{Begin, Encoding, Multiline, Output as Destination, Settings, TailSource};
use crate::decode::applog::{self, Redaction, Rules, TimePattern};
use crate::exit::{Exit, Failure};
use crate::loki::limits::Limits;
use crate::pipeline::beside::Beside;
use crate::pipeline::output::{Mark, Output};
use crate::pipeline::tail::{Setup, Tail, TailReport};
use crate::source::tail::{self as follow, Journal, JournalError, Patterns, Saved, Spec};
use crate::spool;

/// Descriptors that are kept for the spool, pushes and the rest of the process.
const KEPT_DESCRIPTORS: u64 = 128;
/// More open files than this are of no use.
const MAX_DESCRIPTORS: u64 = 16_384;

/// Whether places in files are kept over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Places {
    /// In the state directory.
    Kept,
    /// Files are followed while this process lives.
    Forgotten,
}

/// Sources that were opened: what earlier processes left was read, nothing is handed on yet.
pub(super) struct Prepared(Vec<(Setup, Option<(Journal, Saved)>)>);

/// Sources that are followed.
pub(super) struct Tails {
    stop: Option<PipeWriter>,
    threads: Vec<(JoinHandle<()>, oneshot::Receiver<TailReport>)>,
    sum: TailReport,
}

/// Reads the journals. To be called before a spool of this process begins to ship: that also takes over the spools of dead
/// processes, whose marks say what was handed on.
///
/// # Errors
/// If a journal is in use or cannot be read.
pub(super) fn prepare(
    settings: &Settings,
    tails: &[TailSource],
    limits: &Limits,
    metadata: &[(String, String)],
    beside: &Beside,
    places: Places,
) -> Result<Prepared, Failure> {
    let descriptors = descriptors() / tails.len().max(1);
    let keeps = places == Places::Kept && settings.output == Destination::Loki;
    let prepared = tails.iter().map(|tail| {
        let setup = Setup { beside: beside.clone(), ..setup(settings, tail, limits, metadata, descriptors) };
        let journal = keeps.then(|| open(settings, &setup)).transpose()?;
        Ok((setup, journal))
    });
    prepared.collect::<Result<_, Failure>>().map(Prepared)
}

fn setup(
    settings: &Settings,
    tail: &TailSource,
    limits: &Limits,
    metadata: &[(String, String)],
    descriptors: usize,
) -> Setup {
    let paths = tail.paths.clone();
    let names_files = Patterns::new(paths.clone()).may_be_many();
    let begin = match tail.begin {
        Begin::Start => follow::Begin::Start,
        Begin::End => follow::Begin::End,
    };
    let metadata = metadata.iter().chain(&tail.metadata).cloned().collect();
    let key = key(tail);
    let unpack = tail.compressed.then(|| folder(settings).join(format!("{key}.{}.unpacked", std::process::id())));
    Setup {
        key,
        name: tail.name.as_str().to_owned(),
        project: settings.run.project.as_str().to_owned(),
        env: settings.run.env.as_str().to_owned(),
        spec: Spec { paths, begin, unpack, descriptors },
        encoding: match tail.encoding {
            Encoding::Auto => follow::Encoding::Auto,
            Encoding::Utf8 => follow::Encoding::Utf8,
            Encoding::Utf16Le => follow::Encoding::Utf16Le,
            Encoding::Utf16Be => follow::Encoding::Utf16Be,
            Encoding::Latin1 => follow::Encoding::Latin1,
        },
        rules: rules(settings, tail),
        metadata,
        names_files,
        limits: limits.clone(),
        beside: Beside::default(),
    }
}

fn rules(settings: &Settings, tail: &TailSource) -> Rules {
    let zone = tail.timezone.unwrap_or(settings.timezone);
    Rules {
        zone: applog::Zone::new(move |wall| zone.timestamp(wall)),
        time: tail.time.clone().map(|(find, format)| TimePattern { find, format }),
        level: tail.level.clone(),
        multiline: match &tail.multiline {
            Multiline::Auto => applog::Multiline::Auto,
            Multiline::Off => applog::Multiline::Off,
            Multiline::Start(start) => applog::Multiline::Start(start.clone()),
        },
        redact: Redaction { builtin: tail.redact, patterns: tail.secrets.clone() },
        trace: tail.trace.clone(),
        test: tail.test.clone(),
        worker: tail.worker.clone(),
        ..Rules::default()
    }
}

/// Names a source's journal: readable, and different for the same name at another place.
fn key(tail: &TailSource) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let name: String = tail.name.as_str().chars().take(40).map(safe).collect();
    let first = tail.paths.first().map_or(&b""[..], |path| path.as_os_str().as_encoded_bytes());
    format!("{name}-{:08x}", crc32fast::hash(first))
}

/// Where journals are.
fn folder(settings: &Settings) -> PathBuf {
    settings.state_dir.join("tail")
}

/// Opens a source's journal, and settles what is in doubt where the spool's mark tells.
fn open(settings: &Settings, setup: &Setup) -> Result<(Journal, Saved), Failure> {
    let path = folder(settings).join(format!("{}.journal", setup.key));
    let (journal, mut saved) = Journal::open(&path, settings.fsync).map_err(|error| {
        let what = format!("cannot follow {}", setup.name);
        let hint = match error {
            JournalError::InUse => "end the other one, or use another --state-dir",
            JournalError::Io { .. } => "choose another directory with --state-dir",
        };
        Failure::new(Exit::Spool, what).cause(&error).hint(hint)
    })?;
    let pending = saved.pending.as_ref().map(|batch| batch.number);
    if pending.is_some_and(|number| is_in_spool(&settings.state_dir, &saved.spool, &setup.key, number)) {
        saved.settle();
    }
    Ok((journal, saved))
}

/// True if the spool of a dead process certainly got the batch. Without that it is made again, to the byte.
fn is_in_spool(state_dir: &Path, spool: &str, key: &str, number: u64) -> bool {
    let directory = spool::folder(state_dir).join(spool);
    let mark = spool::last_mark(&directory).ok().flatten();
    let mark = mark.and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    mark.and_then(|mark| mark.tails.get(key).copied()).is_some_and(|last| last >= number)
}

/// How many files may be open, after the limit was raised as far as it goes.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused where a sandbox says so; then the old limit holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).is_ok();
    let most = if raised { limit.maximum } else { limit.current }.unwrap_or(MAX_DESCRIPTORS);
    usize::try_from(most.saturating_sub(KEPT_DESCRIPTORS).clamp(16, MAX_DESCRIPTORS)).unwrap_or(16)
}

impl Prepared {
    /// The same with entries that keep to these limits.
    pub(super) fn within(mut self, limits: &Limits) -> Self {
        self.0.iter_mut().for_each(|(setup, _)| setup.limits = limits.clone());
        self
    }

    /// Begins to follow, each source on a thread of its own: it blocks at the spool's cap.
    ///
    /// # Errors
    /// If the system has no threads or descriptors left.
    pub(super) fn start(self, spool: &str, output: impl Fn() -> Box<dyn Output>) -> Result<Tails, Failure> {
        let failed = |e: io::Error| Failure::new(Exit::Spool, "cannot follow logs").cause(&e);
        let (reader, stop) = io::pipe().map_err(failed)?;
        let mut threads = Vec::new();
        for (setup, journal) in self.0 {
            let reader = reader.try_clone().map_err(failed)?;
            let (sender, report) = oneshot::channel();
            let (output, spool) = (output(), spool.to_owned());
            // Here, and not when the thread has come so far: a command that starts now may write at once.
            let follower = Tail::find(&setup, journal.as_ref().map(|(_, saved)| saved));
            let thread = std::thread::Builder::new().name("tail".into());
            let thread = thread.spawn(move || {
                let report = match Tail::begin(setup, follower, journal, output, &spool) {
                    Ok(tail) => tail.run(&reader),
                    Err(error) => TailReport { error: Some(error), ..TailReport::default() },
                };
                drop(sender.send(report));
            });
            threads.push((thread.map_err(failed)?, report));
        }
        Ok(Tails { stop: Some(stop), threads, sum: TailReport::default() })
    }
}

impl Tails {
    /// Tells all sources to read what is there, and to end.
    pub(super) fn stop(&mut self) {
        self.stop.take();
    }

    /// True if a source has ended by itself, which is an error.
    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().any(|(thread, _)| thread.is_finished())
    }

    /// Waits for all to end, after [`Tails::stop`]. May be dropped and called again.
    pub(super) async fn ended(&mut self) -> TailReport {
        while let Some((_, report)) = self.threads.last_mut() {
            // No report comes after a panic, which was printed.
            let report = report.await.unwrap_or_default();
            self.threads.pop();
            self.sum.entries += report.entries;
            self.sum.files += report.files;
            self.sum.redacted += report.redacted;
            self.sum.error = self.sum.error.take().or(report.error);
        }
        std::mem::take(&mut self.sum)
    }
}
