//! `testwire batch FILES…`: many test files, some workers, one run.
//!
//! A file is run in a process group of its own, which costs the others nothing when it crashes or hangs. Whatever becomes of
//! testwire, none of them outlives it ([`guard`]). What a file's process says goes through the one intake of the run
//! ([`crate::pipeline::parts`]); when its last entry is in the spool, the journal says that the file is done.

mod child;
mod feeds;
pub mod guard;
mod jobs;
mod journal;
mod output;
mod work;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::adopt::Adoption;
use super::pulse::Watched;
use super::session::{Ends, Opened, run_info};
use super::shipping::{eprint_line, limits};
use super::status_line::{StatusLine, seconds};
use crate::config::{self, Output, Settings};
use crate::exit::{Exit, Failure};
use crate::normalize::{Normalizer, RunEnd, Snapshot};
use jobs::{Job, Part};
use journal::{Batch, Journal, JournalError, Line, State};
use work::{Work, Worked};

/// The value of the label `runner`: files of a batch may have different ones.
const RUNNER: &str = "batch";
/// How long the start waits for a history that is not on this machine.
const HISTORY_PATIENCE: Duration = Duration::from_millis(500);
/// Files that the summary names.
const NAMED: usize = 20;

/// Runs the files and ends with 0 if all passed, else with 1, or with 128 and the signal that stopped it.
///
/// # Errors
/// Before the first file has begun only: no such file, no command for it, no spool.
pub async fn batch(settings: &Settings, options: &config::Batch) -> Result<ExitCode, Failure> {
    let mut settings = settings.clone();
    if let Some(user) = &options.user {
        settings.run.user = Some(user.clone());
    }
    let shard = settings.run.shard.as_ref().map_or("", |shard| shard.as_str()).to_owned();
    let part = Part::of_shard(&shard)?;
    let shard = part.map(|_| shard).unwrap_or_default();
    if options.resume {
        return resume(&settings, options, &shard).await;
    }
    let mut jobs = jobs::jobs(&options.files, options.command.as_deref())?;
    if let Some(part) = part {
        jobs = part.keep(jobs);
    }
    let workers = options.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    journal::clean(&settings.state_dir);
    let batch = Batch {
        run_id: settings.run.run_id.to_string(),
        shard,
        user: settings.run.user.as_ref().map(ToString::to_string).unwrap_or_default(),
        command: options.command.clone().unwrap_or_default(),
        workers,
        retry: options.retry,
        timeout_ms: options.timeout.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        memory: options.memory.unwrap_or_default(),
        fail_fast: options.fail_fast,
        directory: current_directory(),
        files: jobs.iter().map(|job| job.file.clone()).collect(),
        told_apart: jobs.iter().filter(|job| !job.prefix.is_empty()).map(|job| job.file.clone()).collect(),
        created: journal::now(),
    };
    let journal = Journal::create(&settings.state_dir, &batch).map_err(|error| unusable(&error, &batch.run_id))?;
    run(&settings, options, workers, jobs, (journal, Earlier::default())).await
}

fn current_directory() -> String {
    std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned()
}

/// What an earlier process of the batch did.
#[derive(Debug, Default)]
struct Earlier {
    /// The run as it was ended.
    run: Option<Snapshot>,
    /// The last change of each file that had begun.
    files: BTreeMap<String, Line>,
}

/// Goes on with a batch whose process is gone. What has finished stays as it is, and what was running is not run again; the rest
/// is.
async fn resume(settings: &Settings, options: &config::Batch, shard: &str) -> Result<ExitCode, Failure> {
    let run_id = settings.run.run_id.as_str();
    let (mut journal, batch, mut files) =
        Journal::resume(&settings.state_dir, run_id, shard).map_err(|error| unusable(&error, run_id))?;
    if !batch.directory.is_empty() && batch.directory != current_directory() {
        let what = format!("the batch {run_id} was begun in another directory");
        return Err(Failure::new(Exit::Usage, what).hint(format!("cd {}", batch.directory)));
    }
    // The run of the process that is gone gets its end before it goes on.
    if settings.output == Output::Loki {
        Adoption::start(settings, &limits(settings).await, &Watched::default())?.end_runs().await;
    }
    files.retain(|_, line| line.state != State::Created);
    let lost: Vec<Line> = files
        .values_mut()
        .filter(|line| line.state == State::Started)
        .map(|line| {
            *line = Line { time: journal::now(), state: State::Aborted, ..line.clone() };
            line.clone()
        })
        .collect();
    journal.write(lost).map_err(|error| unusable(&error.into(), run_id))?;
    let command = options.command.clone().or(Some(batch.command.clone())).filter(|command| !command.is_empty());
    let mut jobs = jobs::jobs(&batch.files, command.as_deref())?;
    jobs.iter_mut().filter(|job| batch.told_apart.contains(&job.file)).for_each(Job::tell_apart);
    let time = Some(Duration::from_millis(batch.timeout_ms)).filter(|time| !time.is_zero());
    let options = config::Batch {
        retry: options.retry.max(batch.retry),
        timeout: options.timeout.or(time),
        memory: options.memory.or(Some(batch.memory).filter(|memory| *memory > 0)),
        fail_fast: options.fail_fast || batch.fail_fast,
        command,
        ..options.clone()
    };
    let workers = options.workers.unwrap_or(batch.workers);
    let earlier = Earlier { run: journal.ended(), files };
    run(settings, &options, workers, jobs, (journal, earlier)).await
}

/// Keeps how a run of a batch was ended by whoever ended it, so that it can be gone on with.
pub(super) fn keep_end(state_dir: &Path, run: &Snapshot) {
    if run.run.runner == RUNNER
        && let Err(error) = journal::keep_end(state_dir, run)
    {
        tracing::warn!(%error, "the batch cannot be gone on with");
    }
}

fn unusable(error: &JournalError, run_id: &str) -> Failure {
    let what = format!("cannot keep a journal of the batch {run_id}");
    let (exit, hint) = match error {
        JournalError::Io(_) => (Exit::Spool, "choose another directory with --state-dir"),
        JournalError::Taken => (Exit::Usage, "give it another --run-id, or a --shard of its own"),
        JournalError::Used => (Exit::Usage, "go on with it by --resume, or give this one another --run-id"),
        JournalError::Unknown => (Exit::Usage, "name it with --run-id, and the --state-dir that it had"),
        JournalError::Damaged(_) => (Exit::Usage, "start anew with another --run-id"),
    };
    Failure::new(exit, what).cause(error).hint(hint)
}

async fn run(
    settings: &Settings,
    options: &config::Batch,
    workers: usize,
    jobs: Vec<Job>,
    (journal, earlier): (Journal, Earlier),
) -> Result<ExitCode, Failure> {
    let mut info = run_info(settings, RUNNER);
    info.command =
        format!("testwire batch of {} files by {}", jobs.len(), options.command.as_deref().unwrap_or("their kinds"));
    let limits = limits(settings).await;
    let opened = Opened::new(settings, &limits)?;
    let mut normalizer = earlier.run.map_or_else(|| Normalizer::new(info), Normalizer::restore);
    normalizer.set_limits(limits);
    opened.prepare(&mut normalizer);
    await_history(&mut normalizer).await;
    let mut order = jobs::order(&jobs, |file| normalizer.expected(file));
    order.retain(|at| jobs.get(*at).is_some_and(|job| !earlier.files.contains_key(&job.file)));
    normalizer.set_files(order.iter().filter_map(|at| Some(jobs.get(*at)?.file.clone())).collect());
    let session = opened.begin_prepared(settings, Vec::new(), normalizer, Ends::WhenTold)?;
    session.announce("");
    session.hold_nobody_up();
    let mut work = Work::new(settings, options, workers, jobs, order, journal, session)?;
    work.recall(&earlier.files);
    let (worked, mut session) = work.carry_out(StatusLine::new(settings)).await;
    session.end(worked.run_end());
    let outcome = session.finish().await;
    keep_end(&settings.state_dir, &outcome.report.snapshot);
    outcome.summarise();
    summarise(settings, &worked);
    Ok(worked.exit_code())
}

/// Which file takes long is known once the history is there; a Loki near by tells it in some 20 ms.
async fn await_history(normalizer: &mut Normalizer) {
    let until = Instant::now() + HISTORY_PATIENCE;
    while !normalizer.recall() && normalizer.awaits_history() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Says which files did not pass, and where their output is.
fn summarise(settings: &Settings, worked: &Worked) {
    if settings.quiet {
        return;
    }
    let count = |state: State| worked.files.iter().filter(|file| file.state == state).count();
    let parts = [
        (State::Passed, "passed"),
        (State::Failed, "failed"),
        (State::Aborted, "aborted"),
        (State::Created, "never ran"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(state, word)| (count(state), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    eprint_line(&format!("testwire: {} files: {} in {}", worked.files.len(), parts.join(", "), seconds(worked.took)));
    let bad: Vec<_> = worked.files.iter().filter(|file| matches!(file.state, State::Failed | State::Aborted)).collect();
    for file in bad.iter().take(NAMED) {
        eprint_line(&format!("  {}: {}; output in {}", file.name, file.why, file.output.display()));
    }
    if bad.len() > NAMED {
        eprint_line(&format!("  and {} more", bad.len() - NAMED));
    }
}

impl Worked {
    fn run_end(&self) -> RunEnd {
        match &self.stopped {
            Some((why, _)) => RunEnd::Stopped(why.clone()),
            None => RunEnd::Exited(i32::from(!self.has_passed())),
        }
    }

    fn has_passed(&self) -> bool {
        self.files.iter().all(|file| file.state == State::Passed)
    }

    fn exit_code(&self) -> ExitCode {
        match self.stopped {
            Some((_, code)) => ExitCode::from(code),
            None if self.has_passed() => Exit::Ok.into(),
            None => Exit::RunFailed.into(),
        }
    }
}
