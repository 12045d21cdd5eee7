//! What a testwire process that was killed, or ended before Loki had everything, leaves behind is taken over by the next.
//!
//! Its spool is delivered. If its run has no end yet, the run gets one: from the event file, as far as the listeners
//! wrote it (also after testwire's death), or, where the input was a pipe and is gone, from what was known of the run
//! when its last entries were spooled.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::events_file::{self, Found};
use super::history::Earlier;
use super::pulse::Watched;
use super::runs_kept;
use super::shipping::{client, ship_settings, spool_settings, zone};
use super::totals::Totals;
use crate::config::Settings;
use crate::exit::Failure;
use crate::loki::limits::Limits;
use crate::loki::push::Client;
use crate::normalize::{Normalizer, RunEnd, Snapshot};
use crate::pipeline::feed::{Feed, Handler};
use crate::pipeline::intake::{Intake, now};
use crate::pipeline::output::{Mark, Output as _, OutputError, ToQueue};
use crate::ship::{Drain, RejectedFiles, Shipper};
use crate::source::Source;
use crate::source::follow::Follow;
use crate::spool::{self, DiskQueue, Queue as _, SpoolError};

/// How long a command that needs the runs ended waits for their delivery as well.
const DELIVERED_WITHIN: Duration = Duration::from_secs(2);

/// Takes over, beside the command's own work.
pub(super) struct Adoption {
    state_dir: PathBuf,
    found: mpsc::Receiver<Adopted>,
    /// Gives how many runs of daemons wait for their next start.
    thread: JoinHandle<usize>,
}

/// A queue that was taken over, on its way to Loki.
struct Adopted {
    queue: Arc<DiskQueue>,
    shipper: Shipper<DiskQueue>,
}

/// What became of what was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Directories of dead processes.
    pub(super) queues: u64,
    /// Entries that Loki took.
    pub(super) sent: u64,
    /// Entries that still wait.
    pub(super) left: u64,
    /// Entries that Loki refused.
    pub(super) rejected: u64,
    /// Runs of daemons that are gone, which their next start goes on with.
    pub(super) waiting: usize,
}

impl Adoption {
    /// Begins, on a thread of its own: a long event file must not hold up the command. What is taken over is `watched`.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub(super) fn start(settings: &Settings, limits: &Limits, watched: &Watched) -> Result<Self, Failure> {
        let client = client(settings)?;
        let earlier = Earlier::of_dead(settings);
        let (sender, found) = mpsc::channel();
        let state_dir = settings.state_dir.clone();
        let (runtime, settings, limits) = (Handle::current(), settings.clone(), limits.clone());
        let watched = watched.clone();
        let thread = std::thread::spawn(move || {
            let _runtime = runtime.enter();
            for name in names(&settings) {
                match take_over(&name, &settings, &limits, &client, &earlier) {
                    Ok(Some(adopted)) => {
                        watched.add(&adopted.queue, adopted.shipper.stats());
                        if sender.send(adopted).is_err() {
                            return 0;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!("cannot take over what an earlier process left: {error}"),
                }
            }
            let (ended, waiting) = runs_kept::end_silent(&settings);
            for queue in ended {
                let rejected = RejectedFiles::new(settings.state_dir.join("rejected"));
                let shipper =
                    Shipper::start(Arc::clone(&queue), client.clone(), rejected, ship_settings(&settings, &limits));
                watched.add(&queue, shipper.stats());
                if sender.send(Adopted { queue, shipper }).is_err() {
                    break;
                }
            }
            waiting
        });
        Ok(Self { state_dir, found, thread })
    }

    /// Waits until the runs of dead processes are ended, and a while for what that wrote to be delivered; the rest is taken over
    /// again by the next.
    pub(super) async fn end_runs(self) {
        while !self.thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.finish(DELIVERED_WITHIN).await;
    }

    /// Waits up to `limit` for all to be delivered. What is left is found again by the next process.
    pub(super) async fn finish(self, limit: Duration) -> Delivered {
        let until = Instant::now() + limit;
        let mut delivered = Delivered::default();
        let (found, thread) = (self.found, self.thread);
        let mut queue = Vec::new();
        while !thread.is_finished() && Instant::now() < until {
            queue.extend(found.try_iter());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        queue.extend(found.try_iter());
        if thread.is_finished() {
            delivered.waiting = thread.join().unwrap_or_default();
        }
        for mut adopted in queue {
            let drained = adopted.shipper.drain(until.saturating_duration_since(Instant::now())).await;
            adopted.shipper.abort();
            let stats = adopted.shipper.stats();
            Totals::add(&self.state_dir, stats, &adopted.queue.syncs());
            delivered.queues += 1;
            delivered.sent += stats.pushed_entries();
            delivered.rejected += stats.rejected_total();
            if drained != Drain::Drained {
                delivered.left += adopted.queue.backlog().entries;
            } else if let Err(error) = adopted.queue.remove() {
                tracing::warn!("{error}");
            }
        }
        delivered
    }
}

impl fmt::Display for Delivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.queues == 1 { "process" } else { "processes" };
        let Self { queues, sent, rejected, left, .. } = self;
        write!(f, "{sent} entries of {queues} earlier {noun} delivered, {rejected} refused, {left} wait still")
    }
}

/// Names of what processes left: their spools, and event files that got no spool.
fn names(settings: &Settings) -> BTreeSet<String> {
    let dead = match spool::dead(&settings.state_dir) {
        Ok(dead) => dead.collect(),
        Err(error) => {
            tracing::warn!("{error}");
            Vec::new()
        }
    };
    let mut names: BTreeSet<String> =
        dead.iter().filter_map(|path| path.file_name()?.to_str()).map(str::to_owned).collect();
    let folder = spool::folder(&settings.state_dir);
    names.extend(events_file::all(&settings.state_dir).into_iter().filter(|name| !folder.join(name).exists()));
    names
}

/// Takes over one; `None` if its process lives, or its runner still writes events.
///
/// What the directory of events says counts once the queue is ours: before, its process may have made it, started the
/// runner and died, or yet another process may have taken both over, while this one looked.
fn take_over(
    name: &str,
    settings: &Settings,
    limits: &Limits,
    client: &Client,
    earlier: &Earlier,
) -> Result<Option<Adopted>, SpoolError> {
    let find = || events_file::find(&settings.state_dir, name);
    let found = find();
    if found.in_use {
        return Ok(None);
    }
    if !runs_kept::release(settings, name) {
        return Ok(None);
    }
    let directory = spool::folder(&settings.state_dir).join(name);
    let queue = if directory.exists() {
        DiskQueue::adopt(&directory, spool_settings(settings))?
    } else if found.run.is_some() {
        Some(DiskQueue::create(&directory, spool_settings(settings))?)
    } else {
        events_file::remove(&settings.state_dir, name);
        None
    };
    let Some(queue) = queue else { return Ok(None) };
    let found = find();
    if found.in_use {
        return Ok(None);
    }
    let queue = Arc::new(queue);
    if end_run(settings, &queue, found, limits, earlier) {
        events_file::remove(&settings.state_dir, name);
    }
    let rejected = RejectedFiles::new(settings.state_dir.join("rejected"));
    let shipper = Shipper::start(Arc::clone(&queue), client.clone(), rejected, ship_settings(settings, limits));
    Ok(Some(Adopted { queue, shipper }))
}

/// Writes what is missing of the run, its end included. True if all that its event file says is in the spool now.
fn end_run(settings: &Settings, queue: &Arc<DiskQueue>, found: Found, limits: &Limits, earlier: &Earlier) -> bool {
    let mark = queue.last_mark().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    let mark = match (mark, found.run) {
        (Some(mark), _) => mark,
        (None, Some(run)) => Mark { run: Snapshot { run, ..Snapshot::default() }, events: Some(0), ..Mark::default() },
        // Killed before its first entry.
        (None, None) => return true,
    };
    if mark.run.ended {
        return true;
    }
    let ended = match (mark.events, found.events, found.format) {
        (Some(bytes), Some(path), Some(format)) => {
            let source = Source::Follow(Follow::new(path));
            let feed = Feed::new(source, Handler::event_file(format, &zone(settings))).resuming(bytes, &mark.run);
            let mut normalizer = Normalizer::new(mark.run.run.clone());
            normalizer.set_limits(limits.clone());
            earlier.prepare(&mut normalizer);
            normalizer.resume(mark.run.seq, mark.run.started);
            let output = Box::new(ToQueue::new(Arc::clone(queue)));
            Intake::new(vec![feed], normalizer, output, false).map_err(OutputError::Stdout).and_then(
                |(intake, mut handle)| {
                    handle.end(RunEnd::Abandoned);
                    let report = intake.run(false);
                    report.output_error.map_or(Ok(()), Err)
                },
            )
        }
        // A pipe's bytes are gone with the process that read them.
        _ => {
            let mut output = ToQueue::new(Arc::clone(queue));
            let mut normalizer = Normalizer::restore(mark.run);
            normalizer.set_limits(limits.clone());
            normalizer.finish(&RunEnd::Abandoned, now(), &mut output);
            let flushed = output.flush(&mut || Mark { run: normalizer.snapshot(), events: None, ..Mark::default() });
            super::batch::keep_end(&settings.state_dir, &normalizer.snapshot());
            flushed
        }
    };
    if let Err(error) = &ended {
        tracing::warn!("cannot end the run of an earlier process: {error}");
    }
    ended.is_ok()
}
