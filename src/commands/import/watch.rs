//! `testwire import --watch DIR`: reports are shipped as they appear, as one run, until Ctrl-C.
//!
//! What is in the directory at the start is left alone: it is of an earlier run. A report is taken when it has not changed
//! for a moment and is whole; one that stays as it is and is not whole is taken as far as it goes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use super::inputs::{self, Input, Kind};
use super::run::{self, Live, Row};
use super::{Options, conclude, zone};
use crate::commands::session::{output, run_info};
use crate::commands::shipping::{Shipping, eprint_line, limits};
use crate::config::{Output as Destination, Settings};
use crate::decode::{Format, Zone};
use crate::exit::{Exit, Failure};
use crate::pipeline::output::OutputError;

/// How often the directory is looked at.
const EVERY: Duration = Duration::from_millis(300);
/// How long a report that is not whole may stay so before it counts as damaged.
const PATIENCE: Duration = Duration::from_secs(10);

/// Watches until a signal comes.
///
/// # Errors
/// If the directory cannot be read, or the spool or the client cannot be made.
pub(super) async fn watch(settings: &Settings, directory: &Path, options: &Options) -> Result<Exit, Failure> {
    let unreadable = |error| Failure::new(Exit::Input, format!("cannot read {}", directory.display())).cause(&error);
    fs::read_dir(directory).map_err(unreadable)?;
    let failed = |error| Failure::new(Exit::Input, "cannot listen for signals").cause(&error);
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let zone = zone(settings);
    let mut watcher = Watcher::new(directory, options.format, options.explain, zone);
    let limits = limits(settings).await;
    let name = format!("import-{}", crate::commands::events_file::name(settings.run.run_id.as_str()));
    let to_loki = settings.output == Destination::Loki;
    let shipping = to_loki.then(|| Shipping::start(settings, &name, &limits)).transpose()?;
    let mut output = output(settings, shipping.as_ref());
    let info = run_info(settings, "");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let work = tokio::task::spawn_blocking(move || {
        let mut live = Live::new(info, &limits, &mut *output);
        let mut rows = Vec::new();
        let result = watcher.run(&mut live, &mut rows, &stopped).and_then(|()| live.finish());
        (rows, result)
    });
    tokio::select! { _ = interrupts.recv() => {}, _ = terminations.recv() => {} }
    stop.store(true, Ordering::SeqCst);
    let (rows, result) = work.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    conclude(settings, shipping, &rows, &[], result).await
}

/// A file as it was seen last.
#[derive(Debug)]
struct Seen {
    length: u64,
    modified: SystemTime,
    since: Instant,
    /// True if nothing is to be done until it changes.
    done: bool,
}

struct Watcher {
    directory: PathBuf,
    format: Option<Format>,
    explain: bool,
    zone: Zone,
    seen: HashMap<PathBuf, Seen>,
}

impl Watcher {
    fn new(directory: &Path, format: Option<Format>, explain: bool, zone: Zone) -> Self {
        let mut watcher = Self { directory: directory.to_owned(), format, explain, zone, seen: HashMap::new() };
        watcher.look();
        watcher.seen.values_mut().for_each(|seen| seen.done = true);
        watcher
    }

    fn run(&mut self, live: &mut Live<'_>, rows: &mut Vec<Row>, stop: &AtomicBool) -> Result<(), OutputError> {
        loop {
            // What was written before the signal is taken, whole or not.
            let last = stop.load(Ordering::SeqCst);
            for input in self.look() {
                if let Some(row) = self.take(&input, live, last)? {
                    rows.push(row);
                }
            }
            live.tick()?;
            if last {
                return Ok(());
            }
            std::thread::sleep(EVERY);
        }
    }

    /// The reports that have not changed since the last look, and were not taken yet.
    fn look(&mut self) -> Vec<Input> {
        let (inputs, _) = inputs::find(std::slice::from_ref(&self.directory));
        let ready = |input: &Input| {
            let Ok(facts) = fs::metadata(&input.path) else { return false };
            let (length, modified) = (facts.len(), facts.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            match self.seen.get_mut(&input.path) {
                Some(seen) if (seen.length, seen.modified) == (length, modified) => !seen.done,
                _ => {
                    let seen = Seen { length, modified, since: Instant::now(), done: false };
                    self.seen.insert(input.path.clone(), seen);
                    false
                }
            }
        };
        let mut ready = ready;
        inputs.into_iter().filter(|input| ready(input)).collect()
    }

    /// Takes a report if it is one, and whole.
    fn take(&mut self, input: &Input, live: &mut Live<'_>, last: bool) -> Result<Option<Row>, OutputError> {
        let Some(seen) = self.seen.get_mut(&input.path) else { return Ok(None) };
        let patient = !last && seen.since.elapsed() < PATIENCE;
        let found = inputs::look(input, self.format);
        let format = match &found {
            Ok(Kind::Report(format, _)) => *format,
            _ if patient => return Ok(None),
            _ => {
                seen.done = true;
                return Ok(None);
            }
        };
        if patient && !run::is_whole(input, format, &self.zone) {
            return Ok(None);
        }
        seen.done = true;
        if let (true, Ok(Kind::Report(format, why))) = (self.explain, &found) {
            eprint_line(&format!("{}: {format}: {why}", input.name()));
        }
        live.take(input, format, &self.zone).map(Some)
    }
}
