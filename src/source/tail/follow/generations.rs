//! Earlier generations of a log: which of the files beside it are some, and which of those were not read yet.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use super::super::file::FileNumber;
use super::super::identity::{FileId, Head};
use super::super::journal::Known;
use super::super::siblings::{Sibling, is_rotated_name, packed, siblings};
use super::{Follower, Told};

/// Fewer bytes than this say nothing about whether two files begin alike.
const LEAST_HEAD: u16 = 64;

/// What a file beside a log has of it.
enum Likeness {
    /// Its beginning.
    Copy,
    /// Less than that so far.
    Begun,
}

impl Follower {
    /// True if a pattern has found an earlier generation of a log that is followed: it was read to its end under another
    /// name, or is a copy. A copy that has only been begun is looked at again.
    pub(super) fn is_generation(&mut self, path: &Path, id: FileId) -> bool {
        let Some(own) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let logs = self.paths.iter().filter_map(|(log, file)| {
            // The name first: there may be thousands.
            let log_name = log.file_name()?.to_str()?;
            (is_rotated_name(log_name, own) && log.parent() == path.parent()).then_some(*file)
        });
        let logs: Vec<FileNumber> = logs.collect();
        if logs.is_empty() {
            return false;
        }
        if self.has_ended(id) {
            return true;
        }
        let Ok(copy) = File::open(path) else { return false };
        match logs.into_iter().find_map(|log| self.likeness(log, &copy)) {
            None => false,
            Some(Likeness::Copy) => true,
            Some(Likeness::Begun) => {
                self.begun.insert(path.to_owned());
                true
            }
        }
    }

    /// Whether a file begins as a log does, as far as it goes.
    fn likeness(&mut self, log: FileNumber, copy: &File) -> Option<Likeness> {
        let tracked = self.files.get_mut(&log).filter(|tracked| tracked.head.len >= LEAST_HEAD)?;
        let head = Head::of(copy).ok()?;
        if head.len >= tracked.head.len {
            return tracked.head.is_of(copy).is_ok_and(|alike| alike).then_some(Likeness::Copy);
        }
        // A few bytes may be alike by chance, and would never be read; without any there is nothing to read.
        let says_something = head.len == 0 || head.len >= LEAST_HEAD;
        let alike = says_something && tracked.begins_with(head).unwrap_or(false);
        alike.then_some(Likeness::Begun)
    }

    /// Generations of a log that were written after `since` and were never seen; oldest first.
    pub(super) fn between(&self, path: &Path, since: SystemTime, current: FileId) -> Vec<Sibling> {
        let mut found = self.beside(path, false);
        found.retain(|sibling| {
            let id = sibling.id();
            // The clock of file times is coarse: two generations may have the same.
            let newer = sibling.metadata.modified().is_ok_and(|modified| modified >= since);
            let known = self.by_id.contains_key(&id) || self.has_ended(id);
            newer && id != current && !known && !(sibling.is_packed() && self.has_text_of(sibling))
        });
        found
    }

    /// Generations of a log, oldest first, or all files beside it; packed generations only if they are to be read.
    fn beside(&self, path: &Path, all: bool) -> Vec<Sibling> {
        let mut found = siblings(path, all);
        if self.unpack.is_some() {
            found.extend(packed(path));
            found.sort_by_key(|sibling| sibling.metadata.modified().ok());
        }
        found
    }

    /// True if what is packed there is, or was, followed as it was before.
    fn has_text_of(&self, sibling: &Sibling) -> bool {
        let followed = self.files.values().map(|tracked| tracked.head);
        let heads = followed.chain(self.ended.iter().map(|ended| ended.head));
        let mut heads = heads.filter(|head| head.len >= LEAST_HEAD);
        let first = sibling.first();
        heads.any(|head| head.is_first_of(&first))
    }

    fn has_ended(&self, id: FileId) -> bool {
        self.ended.iter().any(|ended| ended.id == id)
    }

    /// Goes on with a file that an earlier process followed, wherever it is now.
    pub(super) fn resume(&mut self, known: &Known, written: SystemTime) {
        let path = &known.path;
        let is_it = |sibling: &&Sibling| sibling.id() == known.identity.id;
        // Of a packed one, the size is that of its text.
        let fits = |sibling: &&Sibling| sibling.is_packed() || sibling.metadata.len() >= known.done;
        let at_path = fs::metadata(path).ok().map(|metadata| Sibling { path: path.clone(), metadata });
        if let Some(sibling) = at_path.as_ref().filter(is_it).filter(fits)
            && sibling.begins(known.identity.head)
            && let Some(file) = sibling.open()
        {
            if self.insert(known.file, path, (sibling.id(), file), known.done, None).is_some() {
                if let Some(tracked) = self.files.get_mut(&known.file) {
                    tracked.left = None;
                }
                self.paths.insert(path.clone(), known.file);
            }
            return;
        }
        // Renamed, copied and cut, or packed.
        let beside = self.beside(path, true);
        let mut moved = beside.iter().filter(is_it).chain(beside.iter().rev()).filter(fits);
        let found = moved.find_map(|sibling| {
            let head = Some(known.identity.head).filter(|head| head.len > 0 && sibling.begins(*head));
            let file = head.and_then(|_| sibling.text(self.unpack.as_deref()))?;
            let holds = file.metadata().is_ok_and(|metadata| metadata.len() >= known.done);
            holds.then_some((sibling, file))
        });
        let modified = match found {
            Some((sibling, file)) => {
                self.insert(known.file, path, (sibling.id(), file), known.done, None);
                sibling.metadata.modified().ok()
            }
            None => {
                tracing::warn!("{} was followed to byte {} and is gone", path.display(), known.done);
                self.told.push_back((known.file, Told::Gone));
                None
            }
        };
        let modified = modified.unwrap_or(written);
        let newest = self.generations.get(path).is_none_or(|(_, other)| modified > *other);
        if newest {
            self.generations.insert(path.clone(), (known.file, modified));
        }
    }
}
