//! The queue as its users see it.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::{self, Lock, failed};
use super::format::Group;
use super::reader::Reader;
use super::scan::{self, Scan};
use super::state::{self, Next, Shared, State};
use super::timings::Timings;
use super::writer::{self, Append, Command, Writer};
use super::{Backlog, Queue, RecordId, Settings, SpoolError};
use crate::loki::encode::Chunk;

/// Commands that wait for the writer; each append is one, and its caller waits for it.
const COMMANDS: usize = 64;

/// A durable queue in a directory of its own. While it lives, no other process can have it. Dropping it closes it and
/// waits until the cursor is written; what is not committed stays for [`DiskQueue::adopt`].
#[derive(Debug)]
pub struct DiskQueue {
    shared: Arc<Shared>,
    /// Reads in order.
    reader: Mutex<Reader>,
    /// Reads what is asked for again.
    again: Mutex<Reader>,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: Lock,
}

/// What the files of a queue say, its owner living or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// Whether a process has it.
    pub is_owned: bool,
    /// What is not delivered. Of a living owner's queue, what was delivered in the last 200 ms may still count.
    pub backlog: Backlog,
    /// Damaged pieces that were found so far and are kept in `corrupt`.
    pub corrupt: u64,
}

impl DiskQueue {
    /// Makes a queue in a directory that is not there yet. Its parents are made too.
    ///
    /// # Errors
    /// If the directory exists and is not empty, or cannot be made.
    pub fn create(dir: &Path, settings: Settings) -> Result<Self, SpoolError> {
        let lock = Lock::create(dir)?;
        if settings.fsync {
            dir.ancestors().take(3).try_for_each(files::sync_parent).map_err(failed("sync", dir))?;
        }
        Self::start(dir, settings, lock, Scan { next: 1, ..Scan::default() }, None)
    }

    /// Takes over the queue of a process that is gone: cuts off what that had not finished to write, and keeps damaged
    /// pieces aside. `None` if its owner lives, or there is no queue any more.
    ///
    /// # Errors
    /// If its files cannot be read, or are of a newer testwire.
    pub fn adopt(dir: &Path, settings: Settings) -> Result<Option<Self>, SpoolError> {
        let Some(lock) = Lock::adopt(dir)? else { return Ok(None) };
        let mut scan = scan::scan(dir)?;
        let mark = scan.mark(dir)?;
        repair(dir, &mut scan)?;
        Self::start(dir, settings, lock, scan, mark).map(Some)
    }

    fn start(
        dir: &Path,
        settings: Settings,
        lock: Lock,
        scan: Scan,
        mark: Option<Vec<u8>>,
    ) -> Result<Self, SpoolError> {
        let (sender, commands) = sync_channel(COMMANDS);
        let shared = Arc::new(Shared::new(dir.to_owned(), settings, scan, mark, sender));
        let writer = Writer::new(Arc::clone(&shared), commands);
        let thread = std::thread::Builder::new().name("spool".into()).spawn(move || writer.run());
        let thread = thread.map_err(failed("start the writer of", dir))?;
        Ok(Self {
            shared,
            reader: Mutex::default(),
            again: Mutex::default(),
            writer: Mutex::new(Some(thread)),
            _lock: lock,
        })
    }

    /// The newest mark that was appended, also by an owner before this one, and also if all its entries are delivered.
    pub fn last_mark(&self) -> Option<Vec<u8>> {
        self.shared.state().mark.clone()
    }

    /// Damaged pieces that were found since it was opened.
    pub fn corrupt(&self) -> u64 {
        self.shared.state().corrupt
    }

    /// How long syncs have taken since it was opened; with `fsync`, one for all appends that waited together.
    pub fn syncs(&self) -> Timings {
        self.shared.state().syncs
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Closes the queue and deletes its directory, if all is committed.
    ///
    /// # Errors
    /// [`SpoolError::NotEmpty`] if something is left, which then stays as it is; else if the files cannot be deleted.
    pub fn remove(&self) -> Result<(), SpoolError> {
        self.end()?;
        if !self.shared.state().is_settled() {
            return Err(SpoolError::NotEmpty);
        }
        writer::remove_files(&self.shared)?;
        Lock::remove(&self.shared.dir)
    }

    /// Closes it, and waits for the writer to write the cursor and end.
    fn end(&self) -> Result<(), SpoolError> {
        self.shared.close();
        let thread = self.writer.lock().expect("no holder of the lock panics").take();
        let Some(thread) = thread else { return Ok(()) };
        // If nobody takes it, the writer is gone already, as the next line tells.
        self.shared.commands.send(Command::End).ok();
        thread.join().map_err(|_| SpoolError::Writer)
    }

    /// How long nothing can be written, at the cap or on a full disk; `None` if nobody waits.
    pub fn blocked_for(&self) -> Option<Duration> {
        self.shared.state().blocked_for()
    }

    /// From now on an append that would wait fails at once, those that wait now included.
    pub fn give_up(&self) {
        self.shared.give_up();
    }

    /// Waits until there is room for a group up to `max`, and takes it.
    fn reserve(&self, len: u64, max: u64) -> Result<(), SpoolError> {
        let mut state = self.shared.state();
        if !state.has_room(len, max) {
            state.waiting += 1;
            state.block();
            let may_wait = |state: &mut State| !state.closed && !state.given_up && !state.has_room(len, max);
            state = self.shared.wait(state, Duration::MAX, may_wait);
            state.waiting -= 1;
            state.unblock();
        }
        match &*state {
            State { failed: true, .. } => Err(SpoolError::Writer),
            State { closed: true, .. } => Err(SpoolError::Closed),
            state if !state.has_room(len, max) => Err(SpoolError::Full),
            _ => {
                state.reserve(len);
                Ok(())
            }
        }
    }

    fn append_below(&self, max: u64, chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Result<(), SpoolError> {
        let group = Group::new(chunks, mark).ok_or(SpoolError::TooLarge)?;
        self.reserve(group.header().len(), max)?;
        let (done, answer) = sync_channel(1);
        let sent = self.shared.commands.send(Command::Append(Append { group, done }));
        sent.map_err(|_| SpoolError::Writer)?;
        answer.recv().map_err(|_| SpoolError::Writer)?
    }
}

impl Drop for DiskQueue {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!("{}: {error}", self.shared.dir.display());
        }
    }
}

impl Queue for DiskQueue {
    fn append(&self, chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Result<(), SpoolError> {
        self.append_below(self.shared.settings.max_bytes, chunks, mark)
    }

    fn append_last(&self, chunks: Vec<Chunk>, mark: Option<Vec<u8>>) -> Result<(), SpoolError> {
        self.append_below(u64::MAX, chunks, mark)
    }

    async fn next(&self) -> Option<(RecordId, Chunk)> {
        loop {
            // A notification between the look and the wait is kept by `Notify`, so none is missed.
            let next = self.reader.lock().expect("no holder of the lock panics").next(&self.shared);
            match next {
                Next::Here(id, chunk) => return Some((id, chunk)),
                Next::Closed => return None,
                Next::Empty | Next::Filed(_) => self.shared.filled.notified().await,
            }
        }
    }

    async fn read(&self, id: RecordId) -> Result<Chunk, SpoolError> {
        self.again.lock().expect("no holder of the lock panics").read(&self.shared, id.0)
    }

    fn commit(&self, id: RecordId) {
        self.shared.settle(|state| state.commit(id.0));
    }

    fn close(&self) {
        self.shared.close();
    }

    fn backlog(&self) -> Backlog {
        self.shared.state().backlog()
    }
}

/// Looks into a queue without changing it, also into one of a living process.
///
/// # Errors
/// If its files cannot be read, or are of a newer testwire.
pub fn inspect(dir: &Path) -> Result<Inspection, SpoolError> {
    let is_owned = Lock::is_held(dir);
    let scan = scan::scan(dir)?;
    let (entries, bytes) = scan.left();
    let corrupt = files::kept_aside(dir).map_err(failed("read", dir))?;
    Ok(Inspection { is_owned, backlog: Backlog { entries, bytes, oldest: scan.oldest.map(state::age) }, corrupt })
}

/// The newest mark in a queue, whose owner may be gone. What a living owner writes may be missed.
///
/// # Errors
/// If its files cannot be read, or are of a newer testwire.
pub fn last_mark(dir: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
    scan::scan(dir)?.mark(dir)
}

/// The folder of the queues in a state directory.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("spool")
}

/// The directories of all queues in a state directory, sorted by name.
///
/// # Errors
/// If the folder cannot be read.
pub fn all(state_dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let folder = folder(state_dir);
    files::queues(&folder).map_err(failed("read", &folder))
}

/// Those whose owner is gone, for [`DiskQueue::adopt`]. Another process may be quicker.
///
/// # Errors
/// If the folder cannot be read.
pub fn dead(state_dir: &Path) -> Result<impl Iterator<Item = PathBuf>, SpoolError> {
    files::sweep(&folder(state_dir));
    Ok(all(state_dir)?.into_iter().filter(|dir| !Lock::is_held(dir)))
}

/// Cuts off what was not written to its end, and keeps aside what is damaged.
fn repair(dir: &Path, scan: &mut Scan) -> Result<(), SpoolError> {
    for damage in &scan.damage {
        tracing::error!(
            "{} bytes of the spool {} are damaged and kept beside it",
            damage.end - damage.at,
            dir.display()
        );
        damage.keep(dir)?;
    }
    for (base, at) in &scan.torn {
        let path = files::segment(dir, *base);
        let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
        file.set_len(*at).map_err(failed("truncate", &path))?;
    }
    let marked = std::mem::take(&mut scan.marked);
    for segment in std::mem::take(&mut scan.segments) {
        if segment.next > segment.base || marked.contains(&segment.base) {
            scan.segments.push(segment);
        } else {
            let path = files::segment(dir, segment.base);
            files::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn a_panic_of_the_writer_is_an_error_for_all_who_wait() {
        let folder = tempfile::tempdir().unwrap();
        let queue = DiskQueue::create(&folder.path().join("q"), Settings::default()).unwrap();
        let group = || Group::new(Vec::new(), Some(b"mark".to_vec())).unwrap();
        // It was not reserved, which cannot be.
        let (done, answer) = sync_channel(1);
        queue.shared.commands.send(Command::Append(Append { group: group(), done })).unwrap();
        assert!(answer.recv().is_err());
        while !queue.shared.state().failed {
            std::thread::yield_now();
        }
        assert!(matches!(queue.append(Vec::new(), None), Err(SpoolError::Writer)));
        let next = pin!(queue.next()).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(next, Poll::Ready(None)));
        assert!(matches!(queue.remove(), Err(SpoolError::Writer)));
    }
}
