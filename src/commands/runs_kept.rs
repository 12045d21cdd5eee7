//! The runs of daemons that are gone: who goes on with them, and who ends them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::config::Settings;
use crate::decode::clients::Zone;
use crate::normalize::RunInfo;
use crate::pipeline::hub::{Common, Hub};
use crate::pipeline::intake::now;
use crate::pipeline::journal::{self, Folder, Found, Place};
use crate::pipeline::output::{Mark, ToQueue};
use crate::spool::{self, DiskQueue};

use super::history::Earlier;
use super::shipping::spool_settings;

/// Reads times that name no zone.
pub(super) fn zone(settings: &Settings) -> Box<Zone> {
    let timezone = settings.timezone;
    Box::new(move |wall| timezone.timestamp(wall))
}

/// What the runs of this daemon have in common.
pub(super) fn common(settings: &Settings, mut info: RunInfo) -> Common {
    // The commit and the user of the daemon are not those of the runs.
    info.metadata.retain(|(name, _)| name.starts_with(crate::names::meta::ATTR_PREFIX));
    if info.shard.is_empty() {
        // Clients bring ids of runs that other processes may have parts of.
        info.shard = info.run_id.rsplit('-').next().unwrap_or_default().to_owned();
    }
    Common { info, timeout: settings.listen.run_timeout }
}

/// What a daemon kept in this folder; `None` if nothing, or nothing of use.
pub(super) fn restore(settings: &Settings, folder: &Folder) -> Option<Hub> {
    let read = || -> io::Result<Option<Hub>> {
        let Some(found) = journal::newest(folder.path())? else { return Ok(None) };
        let marked = marked(&settings.state_dir, &found)?;
        Hub::restore(zone(settings), &found, marked).map(Some)
    };
    read().unwrap_or_else(|error| {
        tracing::error!(%error, "the runs of an earlier process cannot be taken over");
        None
    })
}

/// The place in the newest mark of its queue. A queue that is not there has no mark: nothing was written to it.
fn marked(state_dir: &Path, found: &Found) -> io::Result<Option<Place>> {
    let queue = spool::folder(state_dir).join(&found.queue);
    if found.queue.is_empty() || !queue.exists() {
        return Ok(None);
    }
    let mark = spool::last_mark(&queue).map_err(io::Error::other)?;
    Ok(mark.and_then(|mark| serde_json::from_slice::<Mark>(&mark).ok()?.journal))
}

/// Makes the runs of the daemon that had this queue independent of it, as it is about to go. False if a daemon has them
/// and is not done with the queue, so that it must stay.
pub(super) fn release(settings: &Settings, queue: &str) -> bool {
    for path in journal::folders(&settings.state_dir) {
        if journal::newest(&path).ok().flatten().is_none_or(|found| found.queue != queue) {
            continue;
        }
        let Ok(Some(folder)) = Folder::lock(&path) else { return false };
        // It may have gone on to another queue before it was locked.
        if journal::newest(&path).ok().flatten().is_none_or(|found| found.queue != queue) {
            continue;
        }
        let Some(hub) = restore(settings, &folder) else { continue };
        if let Err(error) = folder.begin("", &|out| hub.write_state(out), settings.fsync) {
            tracing::warn!(%error, "the runs of an earlier process cannot be kept");
            return false;
        }
    }
    true
}

/// Ends the runs of daemons that are gone, and that were silent for their timeout. Gives queues with what was written, and how many
/// runs may still be gone on with.
pub(super) fn end_silent(settings: &Settings) -> (Vec<Arc<DiskQueue>>, usize) {
    let (mut queues, mut waiting) = (Vec::new(), 0);
    for (number, path) in journal::folders(&settings.state_dir).into_iter().enumerate() {
        let Ok(Some(folder)) = Folder::lock(&path) else { continue };
        let Some(hub) = restore(settings, &folder).filter(|hub| hub.runs() > 0) else { continue };
        let (heard, timeout) = hub.heard();
        if now().since(heard) < timeout {
            waiting += hub.runs();
            continue;
        }
        let name = format!("{}.{number}.{}", super::events_file::name("silent"), fastrand::u32(..));
        match give_up(settings, folder, hub, &name) {
            Ok(queue) => queues.push(queue),
            Err(error) => tracing::warn!("the runs of an earlier process cannot be ended: {error}"),
        }
    }
    (queues, waiting)
}

fn give_up(settings: &Settings, folder: Folder, hub: Hub, name: &str) -> io::Result<Arc<DiskQueue>> {
    let journal = folder.begin(name, &|out| hub.write_state(out), settings.fsync)?;
    let queue = DiskQueue::create(&spool::folder(&settings.state_dir).join(name), spool_settings(settings));
    let queue = Arc::new(queue.map_err(io::Error::other)?);
    let earlier = Earlier::of_dead(settings);
    let hub = hub.preparing(move |normalizer| earlier.prepare(normalizer));
    let report = hub.keeping(journal).give_up(Box::new(ToQueue::new(Arc::clone(&queue))));
    report.output_error.map_or(Ok(queue), |error| Err(io::Error::other(error)))
}
