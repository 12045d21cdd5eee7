//! The one thread that writes: groups, cursors, and the end of segments.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::SpoolError;
use super::format::{self, Group};
use super::state::{self, Shared};
use super::{cursor, files};

/// What was delivered in this time before a crash is delivered again.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(200);
/// How soon a write is tried again that found the disk full.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Appends that are written, and synced, at once.
const GROUP_COMMIT: usize = 64;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Write a group and answer.
    Append(Append),
    /// Look what was settled.
    Tidy,
    /// Write the cursor and end.
    End,
}

/// A group that someone waits for.
pub(super) struct Append {
    pub(super) group: Group,
    pub(super) done: SyncSender<Result<(), SpoolError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    active: Option<Active>,
    next: u64,
    /// When the cursor is to be written; `None` if nothing was settled since.
    due: Option<Instant>,
    /// A failure to write was told, and nothing has been written since.
    warned: bool,
    /// A failure to delete was told.
    warned_of_delete: bool,
}

/// The segment that is being written.
struct Active {
    file: File,
    path: PathBuf,
    len: u64,
}

/// Tells who waits if the thread panics.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, commands: Receiver<Command>) -> Self {
        let next = shared.state().next;
        Self { shared, commands, active: None, next, due: None, warned: false, warned_of_delete: false }
    }

    pub(super) fn run(mut self) {
        let _guard = Guard(Arc::clone(&self.shared));
        let mut ended = false;
        while !ended {
            ended = self.turn();
            self.tidy(ended);
        }
    }

    /// Waits for commands and carries them out. True if the thread is to end.
    fn turn(&mut self) -> bool {
        let first = match self.due {
            Some(due) => match self.commands.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => return false,
                command => command.ok(),
            },
            None => self.commands.recv().ok(),
        };
        let mut appends = VecDeque::new();
        let mut ended = false;
        let more = std::iter::from_fn(|| self.commands.try_recv().ok());
        for command in std::iter::once(first.unwrap_or(Command::End)).chain(more) {
            match command {
                Command::Append(append) => appends.push_back(append),
                Command::Tidy => {}
                Command::End => ended = true,
            }
            if ended || appends.len() >= GROUP_COMMIT {
                break;
            }
        }
        while !appends.is_empty() {
            self.write(&mut appends);
        }
        ended
    }

    /// Writes the first of the appends, as many as fit into the segment, and answers them. On a failure it waits, or
    /// gives up if the queue was closed or nobody waits any more.
    fn write(&mut self, appends: &mut VecDeque<Append>) {
        match self.try_write(appends) {
            Ok(()) if self.warned => {
                self.warned = false;
                self.shared.state().unblock();
            }
            Ok(()) => {}
            Err(error) => {
                if !self.warned {
                    let dir = self.shared.dir.display();
                    tracing::warn!("cannot write to the spool {dir}: {error}; trying again until it works");
                    self.warned = true;
                }
                // What was delivered meanwhile makes room.
                self.tidy(false);
                self.shared.state().block();
                let may_wait = |state: &mut state::State| !state.closed && !state.given_up;
                if !may_wait(&mut self.shared.wait(self.shared.state(), RETRY_EVERY, may_wait)) {
                    self.give_up(appends, &error);
                }
            }
        }
    }

    fn give_up(&mut self, appends: &mut VecDeque<Append>, error: &io::Error) {
        let path = self.active.as_ref().map_or(&self.shared.dir, |active| &active.path);
        for Append { group, done } in appends.drain(..) {
            self.shared.state().release(group.header().len());
            let source = io::Error::new(error.kind(), error.to_string());
            // Nobody may be waiting any more.
            done.send(Err(SpoolError::Io { what: "write", path: path.clone(), source })).ok();
        }
        self.shared.filled.notify_one();
    }

    /// All or nothing: on an error, nothing of it counts.
    fn try_write(&mut self, appends: &mut VecDeque<Append>) -> io::Result<()> {
        let limit = self.shared.settings.segment_bytes;
        let first_len = appends.front().map_or(0, |append| append.group.header().len());
        if self.active.as_ref().is_some_and(|active| active.len + first_len > limit) {
            self.active = None;
        }
        let time = state::now();
        let mut start = Vec::new();
        let fresh = self.active.is_none();
        if fresh {
            self.next = self.shared.state().base_after(self.next);
            start = self.start_of_segment(time);
        }
        let (before, first) = (self.active.as_ref().map_or(0, |active| active.len), self.next);
        let (mut count, mut end, mut next) = (0, before + start.len() as u64, first);
        for append in appends.iter_mut() {
            let len = append.group.header().len();
            if count > 0 && end + len > limit {
                break;
            }
            append.group.number(next, time);
            (count, end, next) = (count + 1, end + len, append.group.header().next());
        }
        let parts = appends.iter().take(count).flat_map(|append| append.group.parts());
        let slices: Vec<IoSlice<'_>> = std::iter::once(start.as_slice()).chain(parts).map(IoSlice::new).collect();
        let written = self.write_slices(slices, first);
        if let Err(error) = written {
            self.take_back(before);
            return Err(error);
        }
        if let Some(active) = &mut self.active {
            active.len = end;
        }
        self.next = next;
        self.publish(appends.drain(..count), fresh.then_some((first, start.len() as u64)), before);
        Ok(())
    }

    /// What a new segment begins with: its preamble, and the newest mark, as the segment that has it may be deleted.
    fn start_of_segment(&self, time: u64) -> Vec<u8> {
        let mut start = format::preamble(format::SEGMENT).to_vec();
        let mark = self.shared.state().mark.clone();
        if let Some(mut group) = mark.and_then(|mark| Group::new(Vec::new(), Some(mark))) {
            group.number(self.next, time);
            group.parts().for_each(|part| start.extend_from_slice(part));
        }
        start
    }

    /// Writes at the end of the segment, which is made if there is none. With `fsync`, returns after `fdatasync`.
    fn write_slices(&mut self, mut slices: Vec<IoSlice<'_>>, base: u64) -> io::Result<()> {
        let sync = self.shared.settings.fsync;
        let fresh = self.active.is_none();
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let path = files::segment(&self.shared.dir, base);
                none.insert(Active { file: File::create(&path)?, path, len: 0 })
            }
        };
        let mut slices = slices.as_mut_slice();
        while !slices.is_empty() {
            match active.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut slices, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if sync {
            let begun = Instant::now();
            active.file.sync_data()?;
            if fresh {
                files::sync_parent(&active.path)?;
            }
            self.shared.state().syncs.add(begun.elapsed());
        }
        Ok(())
    }

    /// Removes what a failed write left behind the first `len` bytes. If that is not possible, or a sync failed (after
    /// which nobody knows what is on the disk), the segment is not used again; what it has too much is not believed,
    /// as the next segment begins with the same record.
    fn take_back(&mut self, len: u64) {
        let Some(active) = self.active.take() else { return };
        if len == 0 {
            files::remove_file(&active.path).ok();
            return;
        }
        let taken_back =
            active.file.set_len(len).and_then(|()| io::Seek::seek(&mut &active.file, io::SeekFrom::Start(len)));
        if taken_back.is_ok() && !self.shared.settings.fsync {
            self.active = Some(active);
        }
    }

    /// Lets the reader have what was written, and answers those who wait. `fresh`: the segment is new, with this base and
    /// so many bytes before the first group.
    fn publish(&self, appends: impl Iterator<Item = Append>, fresh: Option<(u64, u64)>, before: u64) {
        let mut waiting = Vec::new();
        let mut state = self.shared.state();
        let mut at = before;
        if let Some((base, len)) = fresh {
            state.add_segment(base);
            at = len;
        }
        for Append { group, done } in appends {
            let len = group.header().len();
            state.release(len);
            state.add_group(group, at, self.shared.settings.tail_bytes);
            at += len;
            waiting.push(done);
        }
        drop(state);
        self.shared.filled.notify_one();
        for done in waiting {
            // Nobody may be waiting any more.
            done.send(Ok(())).ok();
        }
    }

    /// Deletes the segments that are done with, and writes the cursor when it is time.
    fn tidy(&mut self, ended: bool) {
        let (done, dirty) = {
            let state = self.shared.state();
            (state.done(), state.dirty)
        };
        if !done.is_empty() {
            // A segment that cannot be deleted keeps its place, and is tried again.
            let deleted: Vec<u64> = done.into_iter().filter(|base| self.delete(*base)).collect();
            self.shared.state().forget(&deleted);
            self.shared.room.notify_all();
        }
        if dirty && self.due.is_none() {
            self.due = Some(Instant::now() + CHECKPOINT_EVERY);
        }
        if self.due.is_some_and(|due| ended || due <= Instant::now()) {
            self.due = None;
            self.checkpoint();
        }
    }

    fn delete(&mut self, base: u64) -> bool {
        let path = files::segment(&self.shared.dir, base);
        let deleted = files::remove_file(&path);
        if let Err(error) = &deleted
            && !self.warned_of_delete
        {
            tracing::warn!("cannot delete {}, which is delivered: {error}", path.display());
            self.warned_of_delete = true;
        }
        deleted.is_ok()
    }

    fn checkpoint(&mut self) {
        let bytes = {
            let mut state = self.shared.state();
            state.dirty = false;
            cursor::encode(state.segments())
        };
        let path = files::cursor(&self.shared.dir);
        if let Err(error) = files::replace_file(&path, &bytes, self.shared.settings.fsync) {
            tracing::debug!("cannot write {}: {error}", path.display());
            self.shared.state().dirty = true;
        }
    }
}

/// Removes the files of a queue that is empty, but for its lock.
pub(super) fn remove_files(shared: &Shared) -> Result<(), SpoolError> {
    let dir = &shared.dir;
    let segments = files::segments(dir)?;
    // The cursor says that they are settled, so it goes last.
    let paths = segments.into_iter().map(|base| files::segment(dir, base)).chain(files::cursors(dir));
    for path in paths {
        files::remove_file(&path).map_err(files::failed("remove", &path))?;
    }
    Ok(())
}
