//! Which files are there: new ones, renamed ones, and those that are gone.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::super::file::{FileNumber, Tracked};
use super::super::identity::{FileId, Identity};
use super::super::siblings::{Sibling, siblings};
use super::super::{Begin, watch};
use super::{Follower, Told, mark};

/// How often every file is looked at where changes are told.
const SCAN_EVERY: Duration = Duration::from_secs(2);
/// The same where they are not.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// Names that changed are looked at not sooner than this after the last time.
const SCAN_PAUSE: Duration = Duration::from_millis(20);
/// A scan takes at most this part of the time.
const SCAN_SHARE: u32 = 10;
/// How long a file that was renamed may still be written to by a process that has it open.
const RENAMED_GRACE: Duration = Duration::from_secs(60);
/// The same for one that was deleted.
const DELETED_GRACE: Duration = Duration::from_secs(10);
/// Identities of files that are done with; more are not needed to tell old generations from new ones.
const ENDED_KEPT: usize = 1024;

impl Follower {
    pub(super) fn watch_directories(&mut self) {
        let directories = self.patterns.directories();
        if let Some(watch) = &mut self.watch {
            watch.add(&directories);
        }
    }

    /// Looks at every path and every file.
    pub(super) fn scan(&mut self, now: Instant) {
        self.watch_directories();
        let found = self.patterns.found();
        let mut here = Vec::with_capacity(found.len());
        for path in &found {
            // A link that leads nowhere, or a file that went away just now, is no file.
            let Ok(metadata) = fs::metadata(path) else { continue };
            if metadata.is_file() {
                here.push((path, metadata));
            }
        }
        // First who moved, so that a file under a new name is not taken for a new one.
        for (path, metadata) in &here {
            self.look_at_path(path, metadata, now);
        }
        // What was found is sorted.
        let is_here = |path: &Path| here.binary_search_by(|(other, _)| other.as_path().cmp(path)).is_ok();
        let gone: Vec<_> = self.paths.keys().filter(|path| !is_here(path)).cloned().collect();
        for path in gone {
            self.leave(&path, now);
        }
        self.begun.clear();
        for (path, metadata) in &here {
            if !self.paths.contains_key(*path) {
                self.appear(path, metadata);
            }
        }
        self.tend_left(now);
        let retry: Vec<FileNumber> = self.retry.iter().filter(|(_, at)| **at <= now).map(|(file, _)| *file).collect();
        for file in retry {
            self.retry.remove(&file);
            mark(&mut self.files, &mut self.dirty, file);
        }
        let took = now.elapsed();
        let watched = self.watch.as_ref().is_some_and(|watch| !watch.is_partial);
        self.earliest_scan = now + took + (took * SCAN_SHARE).max(SCAN_PAUSE);
        self.next_scan = (now + if watched { SCAN_EVERY } else { POLL_EVERY }).max(self.earliest_scan);
    }

    /// Sees whether a path still leads to the same file, and whether that was written.
    fn look_at_path(&mut self, path: &Path, metadata: &Metadata, now: Instant) {
        let id = FileId::of(metadata);
        let Some(file) = self.paths.get(path).copied() else { return };
        let Some(tracked) = self.files.get_mut(&file) else { return };
        if tracked.id == id {
            if tracked.has_changed(metadata) && !self.retry.contains_key(&file) {
                mark(&mut self.files, &mut self.dirty, file);
            }
        } else {
            self.leave(path, now);
        }
    }

    /// No path leads to what was here.
    fn leave(&mut self, path: &Path, now: Instant) {
        let Some(file) = self.paths.remove(path) else { return };
        if self.paths.values().any(|other| *other == file) {
            // A second name leads to it.
            return;
        }
        let Some(tracked) = self.files.get_mut(&file) else { return };
        let modified = tracked.metadata().ok().flatten().and_then(|metadata| metadata.modified().ok());
        if tracked.left.is_none() {
            tracked.left = Some(now);
        }
        self.generations.insert(path.to_owned(), (file, modified.unwrap_or_else(SystemTime::now)));
        mark(&mut self.files, &mut self.dirty, file);
    }

    /// There is a file at a path at which there was none, or another.
    fn appear(&mut self, path: &Path, metadata: &Metadata) {
        let id = FileId::of(metadata);
        if let Some(file) = self.by_id.get(&id).copied() {
            self.paths.insert(path.to_owned(), file);
            if let Some(tracked) = self.files.get_mut(&file)
                && tracked.left.take().is_some()
                && tracked.path != path
            {
                path.clone_into(&mut tracked.path);
                self.told.push_back((file, Told::Changed));
            }
            mark(&mut self.files, &mut self.dirty, file);
            return;
        }
        if self.is_generation(path, id) {
            return;
        }
        let earlier = self.generations.get(path).copied();
        let mut after = earlier.map(|(file, _)| file);
        if let Some((_, modified)) = earlier {
            // A log that was rotated twice since: the generation in between was never at this path when it was looked at.
            for sibling in self.between(path, modified, id) {
                after = self.attach(path, &sibling, 0, after).or(after);
            }
        }
        let begin = if self.begin == Begin::End && earlier.is_none() { metadata.len() } else { 0 };
        let here = Sibling { path: path.to_owned(), metadata: metadata.clone() };
        if let Some(file) = self.attach(path, &here, begin, after) {
            if let Some(tracked) = self.files.get_mut(&file) {
                tracked.left = None;
            }
            self.paths.insert(path.to_owned(), file);
            if let Some(real) = watch::real(path) {
                let directory = real.parent().map(Path::to_owned).into_iter().collect();
                if let Some(watch) = &mut self.watch {
                    watch.add(&directory);
                }
                self.aliases.insert(real, path.to_owned());
            }
        }
    }

    /// Follows a file, as one that no path leads to.
    fn attach(&mut self, path: &Path, sibling: &Sibling, at: u64, after: Option<FileNumber>) -> Option<FileNumber> {
        let file = sibling.text(self.unpack.as_deref())?;
        let number = self.next_number;
        self.insert(number, path, (sibling.id(), file), at, after)?;
        self.next_number += 1;
        self.told.push_back((number, Told::Found));
        Some(number)
    }

    pub(super) fn insert(
        &mut self,
        number: FileNumber,
        path: &Path,
        (id, file): (FileId, File),
        at: u64,
        after: Option<FileNumber>,
    ) -> Option<()> {
        let made = Tracked::new(path.to_owned(), id, file, at);
        let mut tracked = match made {
            Ok(tracked) => tracked,
            Err(error) => {
                tracing::warn!("cannot read {}: {error}", path.display());
                return None;
            }
        };
        tracked.after = after;
        tracked.left = Some(Instant::now());
        self.open += 1;
        self.by_id.insert(tracked.id, number);
        self.files.insert(number, tracked);
        mark(&mut self.files, &mut self.dirty, number);
        Some(())
    }

    /// Lets go of files that nobody writes any more.
    fn tend_left(&mut self, now: Instant) {
        let left: Vec<FileNumber> = self.left().collect();
        for file in left {
            let Some(tracked) = self.files.get_mut(&file) else { continue };
            let Ok(Some(metadata)) = tracked.metadata() else { continue };
            if tracked.has_changed(&metadata) {
                mark(&mut self.files, &mut self.dirty, file);
                continue;
            }
            let grace = if metadata.nlink() == 0 { DELETED_GRACE } else { RENAMED_GRACE };
            let quiet = tracked.left.is_some_and(|since| now.duration_since(since.max(tracked.grown)) >= grace);
            if tracked.at_end && quiet {
                self.forget(file);
            }
        }
    }

    /// A file is done with.
    fn forget(&mut self, file: FileNumber) {
        let Some(tracked) = self.files.remove(&file) else { return };
        self.open = self.open.saturating_sub(usize::from(tracked.file.is_some()));
        if self.by_id.get(&tracked.id) == Some(&file) {
            self.by_id.remove(&tracked.id);
        }
        self.end(Identity { id: tracked.id, head: tracked.head });
        self.retry.remove(&file);
        self.told.push_back((file, Told::Gone));
    }

    pub(super) fn end(&mut self, identity: Identity) {
        self.ended.push_back(identity);
        if self.ended.len() > ENDED_KEPT {
            self.ended.pop_front();
        }
    }

    /// A file was cut, or written anew. What was in it and was not read yet may be in a copy beside it; that goes on as the
    /// old file then, and what is in the file now is a new one.
    pub(super) fn rewritten(&mut self, file: FileNumber) {
        let Some(tracked) = self.files.get_mut(&file) else { return };
        let (path, id, read_to) = (tracked.path.clone(), tracked.id, tracked.read_to);
        let current = self.paths.get(&path) == Some(&file);
        let own = tracked.file.take();
        self.open = self.open.saturating_sub(usize::from(own.is_some()));
        let copy = siblings(&path, false).into_iter().rev().find_map(|sibling| {
            let known = self.by_id.contains_key(&sibling.id());
            let copy = sibling.open().filter(|_| !known && sibling.metadata.len() >= read_to)?;
            tracked.is_continued_by(&copy).ok()?.then_some((sibling, copy))
        });
        match copy {
            Some((sibling, copy)) if sibling.metadata.len() > read_to => {
                tracked.file = Some(copy);
                tracked.id = sibling.id();
                (tracked.left, tracked.at_end) = (Some(Instant::now()), false);
                self.open += 1;
                self.by_id.insert(sibling.id(), file);
                self.by_id.remove(&id);
                self.told.push_back((file, Told::Changed));
                mark(&mut self.files, &mut self.dirty, file);
            }
            copy => {
                if let Some((sibling, _)) = copy {
                    let head = tracked.head;
                    self.end(Identity { id: sibling.id(), head });
                }
                self.forget(file);
                self.ended.retain(|ended| ended.id != id);
            }
        }
        let (Some(own), number) = (own, self.next_number) else { return };
        if self.insert(number, &path, (id, own), 0, Some(file)).is_some() {
            self.next_number += 1;
            self.told.push_back((number, Told::Found));
            if current {
                if let Some(tracked) = self.files.get_mut(&number) {
                    tracked.left = None;
                }
                self.paths.insert(path, number);
            }
        }
    }

    /// A file that was closed is not at its path any more: it may be beside it under another name.
    pub(super) fn find_again(&mut self, file: FileNumber) {
        let Some(tracked) = self.files.get_mut(&file) else { return };
        let path = tracked.path.clone();
        let found = siblings(&path, true).into_iter().find(|sibling| sibling.id() == tracked.id);
        match found.and_then(|sibling| sibling.open()) {
            Some(open) => {
                tracked.file = Some(open);
                self.open += 1;
                mark(&mut self.files, &mut self.dirty, file);
            }
            None => {
                if self.paths.get(&path) == Some(&file) {
                    self.paths.remove(&path);
                }
                self.generations.insert(path, (file, SystemTime::now()));
                self.forget(file);
            }
        }
    }
}
