//! Histories in the state directory, one file each, shared by the processes of a machine.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::file::{self, FileError};
use super::later::Later;
use super::memory::{Memory, Observed, Opening};
use super::past::{Past, Record};
use super::rebuild::Rebuilder;

/// Folder in the state directory.
const FOLDER: &str = "history";
/// Tests that a file keeps; those not seen for longest go first. A full one has 36 MB.
const MAX_TESTS: usize = 200_000;
/// Files that are kept; those not written for longest go first.
const MAX_FILES: usize = 64;
/// How often the results of a run that is on are kept, so that not all are lost with a process that is killed.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// How long another process may hold the lock: merging takes some 30 ms. A stopped one must not stop others.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Gives runs their history.
#[derive(Clone)]
pub struct Historian(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    /// Where a history comes from that is not on this machine.
    rebuilder: Option<Rebuilder>,
    /// Histories in use, so that the runs of a daemon share them.
    open: Mutex<HashMap<PathBuf, InUse>>,
    /// True if other processes have no parts of the runs of this one.
    has_all: bool,
    /// Where results are kept, while the last entries are shipped or other runs go on. It is waited for before a history is
    /// read again, and at the end of the process.
    later: Later,
}

/// The files.
struct Store {
    folder: PathBuf,
    has_complained: AtomicBool,
    /// Held while a file is changed: threads of this process wait for each other as long as it takes.
    turn: Mutex<()>,
}

/// When a file was written, and its size.
type Stamp = (Option<SystemTime>, u64);
/// Of which file it is, and whether Loki was asked about it.
type InUse = (Stamp, Weak<Past>, bool);

/// The history of one run.
struct OnDisk {
    shared: Arc<Shared>,
    path: PathBuf,
    arriving: Option<mpsc::Receiver<Arc<Past>>>,
    kept: Instant,
}

impl Historian {
    /// Histories below `state_dir`; nothing is read or made yet.
    ///
    /// `has_all`: no other process has parts of the runs, whatever their shards are called. So it is with a daemon, whose
    /// many runs share what is in memory.
    pub fn new(state_dir: &Path, rebuilder: Option<Rebuilder>, has_all: bool) -> Self {
        let store =
            Store { folder: state_dir.join(FOLDER), has_complained: AtomicBool::new(false), turn: Mutex::default() };
        Self(Arc::new(Shared {
            store: Arc::new(store),
            has_all,
            rebuilder,
            open: Mutex::default(),
            later: Later::default(),
        }))
    }

    /// Waits until all results are kept that were given. Its last clone does so by itself when it is dropped.
    pub fn finish(&self) {
        self.0.later.finish();
    }

    /// For one run.
    pub fn memory(&self) -> Box<dyn Memory> {
        let path = self.0.store.folder.join("unknown");
        let shared = Arc::clone(&self.0);
        Box::new(OnDisk { shared, path, arriving: None, kept: Instant::now() })
    }
}

impl Memory for OnDisk {
    fn open(&mut self, run: &Opening) -> Option<Arc<Past>> {
        self.path = self.shared.store.folder.join(format!("{}.history", run.key.digest()));
        self.shared.later.wait_for(&self.path);
        let (known, was_asked) = self.shared.read(&self.path);
        let is_shard = run.is_shard && !self.shared.has_all;
        if let Some(rebuilder) = self.shared.rebuilder.as_ref().filter(|_| is_shard || !was_asked) {
            let (sender, receiver) = mpsc::channel();
            self.arriving = Some(receiver);
            let (store, path, local) = (Arc::clone(&self.shared.store), self.path.clone(), known.clone());
            rebuilder.start(run.clone(), move |rebuilt, is_kept| {
                if is_kept {
                    let mut sorted: Vec<&Record> = rebuilt.records().iter().collect();
                    sorted.sort_unstable_by_key(|record| record.test);
                    store.save(&path, || sorted.iter().map(|record| (*record).clone()), rebuilt.is_whole);
                }
                let all = match local {
                    None => rebuilt,
                    Some(local) => {
                        let mut all = Past::clone(&local);
                        all.merge(&rebuilt);
                        all.settle();
                        all.is_whole = rebuilt.is_whole;
                        all
                    }
                };
                // The run may be over.
                drop(sender.send(Arc::new(all)));
            });
            // What other machines know is still to come: nothing is new for sure.
            if is_shard {
                return known.map(|known| Arc::new(known.in_part()));
            }
        }
        known
    }

    fn arrived(&mut self) -> Option<Arc<Past>> {
        let answer = self.arriving.as_ref()?.try_recv();
        if !matches!(answer, Err(mpsc::TryRecvError::Empty)) {
            self.arriving = None;
        }
        answer.ok()
    }

    fn awaits(&self) -> bool {
        self.arriving.is_some()
    }

    fn keep(&mut self, results: &mut dyn Iterator<Item = Observed>, is_end: bool) {
        if !is_end && (self.kept.elapsed() < KEEP_EVERY || self.shared.later.is_writing(&self.path)) {
            return;
        }
        self.kept = Instant::now();
        let mut results: Vec<Observed> = results.collect();
        let (store, path) = (Arc::clone(&self.shared.store), self.path.clone());
        self.shared.later.write(&self.path, move || {
            results.sort_unstable_by_key(|result| (result.test, result.slot));
            store.save(&path, || results.iter().map(record), false);
            if is_end {
                store.prune();
            }
        });
    }
}

/// A test of which only this is known.
fn record(result: &Observed) -> Record {
    let mut record = Record::new(result.test);
    record.insert(result.slot, result.signature);
    record.has_parts = result.has_parts;
    record
}

impl Shared {
    /// A history, and whether Loki need not be asked about it.
    fn read(&self, path: &Path) -> (Option<Arc<Past>>, bool) {
        let stamp = fs::metadata(path).map(|data| (data.modified().ok(), data.len())).unwrap_or_default();
        let mut open = match self.open.lock() {
            Ok(open) => open,
            Err(_) => return (None, false),
        };
        open.retain(|_, (_, past, _)| past.strong_count() > 0);
        if let Some((of, past, was_asked)) = open.get(path)
            && *of == stamp
            && let Some(past) = past.upgrade()
        {
            return (Some(past), *was_asked);
        }
        match file::read(path) {
            Ok(None) => (None, false),
            Ok(Some(mut past)) => {
                let was_asked = std::mem::replace(&mut past.is_whole, true);
                let past = Arc::new(past);
                open.insert(path.to_owned(), (stamp, Arc::downgrade(&past), was_asked));
                (Some(past), was_asked)
            }
            Err(error) => {
                self.store.complain(path, "what is known of earlier runs cannot be read, and is gathered anew", &error);
                (None, false)
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.later.finish();
    }
}

impl Store {
    /// Adds records, sorted by test, to a file. A damaged one is replaced.
    fn save<I: Iterator<Item = Record>>(&self, path: &Path, records: impl Fn() -> I, is_whole: bool) {
        let saved = self.locked(|| match file::merge(path, records(), is_whole, MAX_TESTS) {
            Err(FileError::Damaged) => {
                fs::remove_file(path)?;
                file::merge(path, records(), is_whole, MAX_TESTS)
            }
            merged => merged,
        });
        if let Err(error) = saved {
            self.complain(path, "the results of this run cannot be kept for later ones", &error);
        }
    }

    fn locked(&self, work: impl FnOnce() -> Result<(), FileError>) -> Result<(), FileError> {
        let _turn = self.turn.lock();
        fs::create_dir_all(&self.folder)?;
        let lock = OpenOptions::new().create(true).append(true).open(self.folder.join("lock"))?;
        let until = Instant::now() + LOCK_PATIENCE;
        while let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if Instant::now() >= until {
                return Err(io::Error::from(error).into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        work()
    }

    /// Once for each process: the run goes on, and what is wrong stays wrong.
    fn complain(&self, path: &Path, what: &str, error: &FileError) {
        if !self.has_complained.swap(true, Ordering::Relaxed) {
            tracing::warn!("{what}: {}: {error}", path.display());
        }
    }

    /// Removes the files that were not written for longest, if there are too many.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let is_history = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "history");
        let files = entries.flatten().map(|entry| entry.path()).filter(is_history);
        let written = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
        let mut files: Vec<_> = files.map(|path| (written(&path), path)).collect();
        files.sort_unstable();
        for (_, path) in files.iter().take(files.len().saturating_sub(MAX_FILES)) {
            // Another process may have removed it.
            fs::remove_file(path).ok();
        }
    }
}
