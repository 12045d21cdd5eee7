//! What a testwire process that was killed, or ended before Loki had everything, leaves behind is taken over by the next.
//!
//! Its spool is delivered. If its run has no end yet, the run gets one: from the event file, as far as the listeners
//! wrote it (also after testwire's death), or, where the input was a pipe and is gone, from what was known of the run
//! when its last entries were spooled.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::events_file::{self, Found, SPOOL};
use super::session::{client, ship_settings, spool_settings};
use crate::config::Settings;
use crate::decode::Format;
use crate::exit::Failure;
use crate::loki::push::Client;
use crate::normalize::{Normalizer, RunEnd, Snapshot};
use crate::pipeline::feed::{Feed, Handler};
use crate::pipeline::intake::{Intake, now};
use crate::pipeline::output::{Mark, Output as _, ToQueue};
use crate::ship::{Drain, RejectedFiles, Shipper};
use crate::source::Source;
use crate::source::follow::Follow;
use crate::spool::disk::{self, DiskQueue};
use crate::spool::{Queue as _, SpoolError};

/// Takes over, beside the command's own work.
pub(super) struct Adoption {
    found: mpsc::Receiver<Adopted>,
    thread: JoinHandle<()>,
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
}

impl Adoption {
    /// Begins, on a thread of its own: a long event file must not hold up the command.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub(super) fn start(settings: &Settings) -> Result<Self, Failure> {
        let client = client(settings)?;
        let (sender, found) = mpsc::channel();
        let (runtime, settings) = (Handle::current(), settings.clone());
        let thread = std::thread::spawn(move || {
            let _runtime = runtime.enter();
            for directory in disk::directories(&settings.state_dir.join(SPOOL)) {
                match take_over(&directory, &settings, &client) {
                    Ok(Some(adopted)) => {
                        if sender.send(adopted).is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => tracing::warn!(directory = %directory.display(), %error, "cannot take over a spool"),
                }
            }
        });
        Ok(Self { found, thread })
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
        for mut adopted in queue {
            let drained = adopted.shipper.drain(until.saturating_duration_since(Instant::now())).await;
            adopted.shipper.abort();
            let stats = adopted.shipper.stats();
            delivered.queues += 1;
            delivered.sent += stats.pushed_entries();
            delivered.rejected += stats.rejected_total();
            if drained == Drain::Drained {
                adopted.queue.remove();
            } else {
                delivered.left += adopted.queue.backlog().entries;
            }
        }
        delivered
    }
}

/// Takes over one directory; `None` if its process lives, or its runner still writes events.
fn take_over(directory: &Path, settings: &Settings, client: &Client) -> Result<Option<Adopted>, SpoolError> {
    let found = events_file::find(directory);
    if found.in_use {
        return Ok(None);
    }
    let Some(queue) = DiskQueue::adopt(directory, spool_settings(settings))? else { return Ok(None) };
    let queue = Arc::new(queue);
    end_run(&queue, found);
    let rejected = RejectedFiles::new(settings.state_dir.join("rejected"));
    let shipper = Shipper::start(Arc::clone(&queue), client.clone(), rejected, ship_settings(settings));
    Ok(Some(Adopted { queue, shipper }))
}

/// Writes what is missing of the run, its end included.
fn end_run(queue: &Arc<DiskQueue>, found: Found) {
    let mark = queue.last_mark().and_then(|bytes| serde_json::from_slice::<Mark>(&bytes).ok());
    let mark = match (mark, found.run) {
        (Some(mark), _) => mark,
        (None, Some(run)) => Mark { run: Snapshot { run, ..Snapshot::default() }, events: Some(0) },
        (None, None) => return,
    };
    if mark.run.ended {
        return;
    }
    let format = match mark.run.run.runner.as_str() {
        "robot" => Format::Robot,
        _ => Format::Pytest,
    };
    match (mark.events, found.events) {
        (Some(bytes), Some(path)) => {
            let feed = Feed::new(Source::Follow(Follow::new(path)), Handler::decoder(format)).resuming(bytes, &mark.run);
            let mut normalizer = Normalizer::new(mark.run.run.clone());
            normalizer.resume(mark.run.seq, mark.run.started);
            match Intake::new(vec![feed], normalizer, Box::new(ToQueue::new(Arc::clone(queue))), false) {
                Ok((intake, mut handle)) => {
                    handle.end(RunEnd::Abandoned);
                    intake.run(false);
                }
                Err(error) => tracing::warn!(%error, "cannot read the events of a dead process"),
            }
        }
        _ => {
            let mut output = ToQueue::new(Arc::clone(queue));
            let mut normalizer = Normalizer::restore(mark.run);
            normalizer.finish(&RunEnd::Abandoned, now(), &mut output);
            let mut mark = || Mark { run: normalizer.snapshot(), events: None };
            if let Err(error) = output.flush(&mut mark) {
                tracing::warn!(%error, "cannot end the run of a dead process");
            }
        }
    }
}
