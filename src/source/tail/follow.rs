//! The files of a source, and what happens to them.

mod generations;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::file::{FileNumber, Look, Tracked};
use super::identity::{FileId, Identity};
use super::journal::Known;
use super::patterns::Patterns;
use super::watch::{self, Watch};
use super::{Begin, Spec};

/// A file that cannot be read is not looked at for so long.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What happened to a file.
#[derive(Debug)]
pub enum News<'b> {
    /// It is followed from now on.
    Found,
    /// These bytes come next.
    Bytes(&'b [u8]),
    /// More is known of its beginning, or it is under another name.
    Changed,
    /// It is done with: what was held back of it will not go on.
    Gone,
}

/// Where a file is read.
#[derive(Clone, Debug)]
pub struct Place {
    /// As of now.
    pub path: PathBuf,
    /// Which file it is.
    pub identity: Identity,
    /// Bytes that were handed on.
    pub read_to: u64,
}

/// Follows the files of a source.
#[derive(Debug)]
pub struct Follower {
    patterns: Patterns,
    begin: Begin,
    unpack: Option<PathBuf>,
    descriptors: usize,
    files: HashMap<FileNumber, Tracked>,
    by_id: HashMap<FileId, FileNumber>,
    /// What lies at each path now.
    paths: HashMap<PathBuf, FileNumber>,
    /// Names in other directories that links lead to.
    aliases: HashMap<PathBuf, PathBuf>,
    /// The last generation that was at each path, and when that was written.
    generations: HashMap<PathBuf, (FileNumber, SystemTime)>,
    ended: VecDeque<Identity>,
    /// Files that may become copies of logs: what there is of them says too little.
    begun: HashSet<PathBuf>,
    dirty: VecDeque<FileNumber>,
    told: VecDeque<(FileNumber, Told)>,
    next_number: FileNumber,
    watch: Option<Watch>,
    next_scan: Instant,
    earliest_scan: Instant,
    retry: HashMap<FileNumber, Instant>,
    open: usize,
    trouble: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Told {
    Found,
    Changed,
    Gone,
}

impl Follower {
    /// Follows what `spec` says, from where `saved` came to. `written` is when a batch was last handed on before.
    pub fn new(spec: Spec, saved: &BTreeMap<FileNumber, Known>, written: SystemTime) -> Self {
        let now = Instant::now();
        let mut follower = Self {
            patterns: Patterns::new(spec.paths),
            begin: spec.begin,
            unpack: spec.unpack,
            descriptors: spec.descriptors.max(1),
            files: HashMap::new(),
            by_id: HashMap::new(),
            paths: HashMap::new(),
            aliases: HashMap::new(),
            generations: HashMap::new(),
            ended: VecDeque::new(),
            begun: HashSet::new(),
            dirty: VecDeque::new(),
            told: VecDeque::new(),
            next_number: saved.keys().last().map_or(1, |last| last + 1),
            watch: Watch::new(),
            next_scan: now,
            earliest_scan: now,
            retry: HashMap::new(),
            open: 0,
            trouble: BTreeSet::new(),
        };
        if !saved.is_empty() {
            // What is there and not known appeared since.
            follower.begin = Begin::Start;
        }
        follower.watch_directories();
        for known in saved.values() {
            follower.resume(known, written);
        }
        follower.scan(now);
        follower.begin = Begin::Start;
        follower
    }

    /// Where a file is.
    pub fn place(&self, file: FileNumber) -> Option<Place> {
        let tracked = self.files.get(&file)?;
        let identity = Identity { id: tracked.id, head: tracked.head };
        Some(Place { path: tracked.path.clone(), identity, read_to: tracked.read_to })
    }

    /// Number of files that are followed.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads bytes of a file again, as far as they are there.
    ///
    /// # Errors
    /// As open(2) and pread(2) say.
    pub fn again(&mut self, file: FileNumber, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
        let Some(tracked) = self.files.get_mut(&file) else { return Ok(Vec::new()) };
        // Opens it if it was closed.
        if tracked.metadata()?.is_none() {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
        let Some(file) = &tracked.file else { return Ok(Vec::new()) };
        let got = super::identity::read_at(file, &mut bytes, range.start)?;
        bytes.truncate(got);
        Ok(bytes)
    }

    /// Goes on with a file at another place than where it was found.
    ///
    /// # Errors
    /// As pread(2) says.
    pub fn seek(&mut self, file: FileNumber, to: u64) -> io::Result<()> {
        let Some(tracked) = self.files.get_mut(&file) else { return Ok(()) };
        tracked.seek(to)
    }

    /// Waits until something happened, `stop` is readable or closed, or the time has come. True if it is to stop.
    pub fn wait(&mut self, stop: BorrowedFd<'_>, until: Instant) -> bool {
        let until =
            if self.dirty.is_empty() && self.told.is_empty() { until.min(self.next_scan) } else { Instant::now() };
        watch::wait(self.watch.as_ref(), stop, until)
    }

    /// Takes notice of what happened since the last call.
    pub fn notice(&mut self, now: Instant) {
        let told = self.watch.as_mut().map(Watch::told).unwrap_or_default();
        let (mut strange, mut more) = (false, false);
        for path in &told.written {
            let path = self.aliases.get(path).unwrap_or(path);
            match self.paths.get(path) {
                Some(file) => mark(&mut self.files, &mut self.dirty, *file),
                None => (strange, more) = (true, more || self.begun.contains(path)),
            }
        }
        if strange {
            // It may be one that was renamed.
            let left: Vec<FileNumber> = self.left().collect();
            left.into_iter().for_each(|file| mark(&mut self.files, &mut self.dirty, file));
        }
        if told.moved || told.overflow || more {
            self.next_scan = self.next_scan.min(self.earliest_scan);
        }
        if now >= self.next_scan {
            self.scan(now);
        }
    }

    /// Looks at everything once more, for the last time.
    pub fn look_at_all(&mut self, now: Instant) {
        self.retry.clear();
        self.scan(now);
        let all: Vec<FileNumber> = self.files.keys().copied().collect();
        all.into_iter().for_each(|file| mark(&mut self.files, &mut self.dirty, file));
    }

    /// The next news, as far as `notice` has seen reasons to look; `None` if there are none.
    pub fn next<'b>(&mut self, buffer: &'b mut [u8], now: Instant) -> Option<(FileNumber, News<'b>)> {
        loop {
            if let Some((file, told)) = self.told.pop_front() {
                return Some((
                    file,
                    match told {
                        Told::Found => News::Found,
                        Told::Changed => News::Changed,
                        Told::Gone => News::Gone,
                    },
                ));
            }
            let file = self.dirty.pop_front()?;
            if self.must_wait(file) {
                // Its turn comes when the earlier generation was read to its end, which stands in the line too.
                self.dirty.push_back(file);
                continue;
            }
            let Some(tracked) = self.files.get_mut(&file) else { continue };
            tracked.is_dirty = false;
            let was_open = tracked.file.is_some();
            let looked = tracked.look(buffer, now);
            self.open = (self.open + usize::from(tracked.file.is_some())).saturating_sub(usize::from(was_open));
            match looked {
                Ok((Look::Bytes(range), changed)) => {
                    if changed {
                        self.told.push_back((file, Told::Changed));
                    }
                    if !tracked.at_end {
                        mark(&mut self.files, &mut self.dirty, file);
                    }
                    self.spare(file);
                    return Some((file, News::Bytes(&buffer[range])));
                }
                Ok((Look::End, _)) => self.spare(file),
                Ok((Look::Rewritten, _)) => self.rewritten(file),
                Ok((Look::Lost, _)) => self.find_again(file),
                Err(error) => {
                    self.complain(file, &error);
                    self.retry.insert(file, now + RETRY_AFTER);
                }
            }
        }
    }
}

impl Follower {
    /// Files to which no path leads any more.
    fn left(&self) -> impl Iterator<Item = FileNumber> {
        self.files.iter().filter(|(_, tracked)| tracked.left.is_some()).map(|(file, _)| *file)
    }

    fn must_wait(&self, file: FileNumber) -> bool {
        let after = self.files.get(&file).and_then(|tracked| tracked.after);
        after.and_then(|earlier| self.files.get(&earlier)).is_some_and(|earlier| !earlier.at_end && earlier.is_dirty)
    }

    /// Closes a file if too many are open. Not one that could not be opened again.
    fn spare(&mut self, file: FileNumber) {
        let Some(tracked) = self.files.get_mut(&file) else { return };
        if self.open > self.descriptors && tracked.at_end && tracked.left.is_none() && tracked.file.take().is_some() {
            self.open = self.open.saturating_sub(1);
        }
    }

    /// Says once for each path what is wrong with it.
    fn complain(&mut self, file: FileNumber, error: &io::Error) {
        let Some(tracked) = self.files.get(&file) else { return };
        if self.trouble.insert(tracked.path.clone()) {
            tracing::warn!("cannot read {}: {error}; trying again", tracked.path.display());
        }
    }
}

fn mark(files: &mut HashMap<FileNumber, Tracked>, dirty: &mut VecDeque<FileNumber>, file: FileNumber) {
    if let Some(tracked) = files.get_mut(&file).filter(|tracked| !tracked.is_dirty) {
        tracked.is_dirty = true;
        dirty.push_back(file);
    }
}
