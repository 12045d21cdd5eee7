//! Generations of a log that lie beside it under other names, gzipped ones among them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::identity::{FileId, HEAD, Head};

/// How the name of a packed file ends.
const PACKED: &str = ".gz";

/// A file beside a log.
#[derive(Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
}

impl Sibling {
    pub(super) fn id(&self) -> FileId {
        FileId::of(&self.metadata)
    }

    /// The file as it is.
    pub(super) fn open(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        let same = FileId::of(&file.metadata().ok()?) == self.id();
        same.then_some(file)
    }

    /// True for one that must be unpacked to be read.
    pub(super) fn is_packed(&self) -> bool {
        self.path.as_os_str().as_encoded_bytes().ends_with(PACKED.as_bytes())
    }

    /// How its text begins, with 1 KiB at most; nothing if it cannot be read.
    pub(super) fn first(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = self.open().map(|file| match self.is_packed() {
            true => MultiGzDecoder::new(file).take(HEAD as u64).read_to_end(&mut bytes),
            false => file.take(HEAD as u64).read_to_end(&mut bytes),
        });
        match read {
            Some(Ok(_)) => bytes,
            _ => Vec::new(),
        }
    }

    /// True if its text begins so.
    pub(super) fn begins(&self, head: Head) -> bool {
        head.is_first_of(&self.first())
    }

    /// Its text, as a file: a packed one is unpacked into `room`, a file that has no name when this returns. One that is
    /// still being packed cannot be unpacked to its end, and is `None`; what it is made of is there until it is whole.
    pub(super) fn text(&self, room: Option<&Path>) -> Option<File> {
        let file = self.open()?;
        if !self.is_packed() {
            return Some(file);
        }
        match unpack(file, room?) {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::warn!("cannot unpack {}: {error}", self.path.display());
                None
            }
        }
    }
}

fn unpack(packed: File, room: &Path) -> io::Result<File> {
    if let Some(folder) = room.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut text = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(room)?;
    // Without a name it goes when it is closed, however this process ends.
    fs::remove_file(room)?;
    io::copy(&mut MultiGzDecoder::new(io::BufReader::new(packed)), &mut text)?;
    Ok(text)
}

/// True if rotation makes this name of a log's: `app.log` → `app.log.1`, `app.log-20261120`, `app-2026-11-20.log`.
pub(super) fn is_rotated_name(log: &str, name: &str) -> bool {
    let counts = |rest: &str| {
        let rest = ["old", "bak", "prev"].iter().fold(rest, |rest, word| rest.strip_suffix(word).unwrap_or(rest));
        rest.chars().all(|c| c.is_ascii_digit() || ".-_T:Z+".contains(c))
    };
    if name == log {
        return false;
    }
    if let Some(rest) = name.strip_prefix(log) {
        return counts(rest);
    }
    let Some((stem, extension)) = log.rsplit_once('.') else { return false };
    let middle = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(extension)?.strip_suffix('.'));
    middle.is_some_and(counts)
}

/// The files in the log's directory, oldest first: `all`, or those whose names are made of the log's. Without packed ones.
pub(super) fn siblings(log: &Path, all: bool) -> Vec<Sibling> {
    beside(log, |name, other| !other.ends_with(PACKED) && (all || is_rotated_name(name, other)))
}

/// The packed files whose names are made of the log's, oldest first. Packing keeps the time of a file.
pub(super) fn packed(log: &Path) -> Vec<Sibling> {
    beside(log, |name, other| other.strip_suffix(PACKED).is_some_and(|other| is_rotated_name(name, other)))
}

fn beside(log: &Path, is_meant: impl Fn(&str, &str) -> bool) -> Vec<Sibling> {
    let (Some(directory), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<Sibling> = entries
        .filter(|entry| is_meant(name, &entry.file_name().to_string_lossy()))
        .filter_map(|entry| Some(Sibling { path: entry.path(), metadata: entry.metadata().ok()? }))
        .filter(|sibling| sibling.metadata.is_file())
        .collect();
    found.sort_by_key(|sibling| sibling.metadata.modified().ok());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_makes_are_told_from_others() {
        for name in
            ["app.log.1", "app.log-20261120", "app.log.2026-11-20T09", "app.log.old", "app-2026-11-20.log", "app.1.log"]
        {
            assert!(is_rotated_name("app.log", name), "{name}");
        }
        for name in ["app.log", "app.logs", "app-error.log", "other.log.1", "app.log.gz", "app.log.1.gz", "app"] {
            assert!(!is_rotated_name("app.log", name), "{name}");
        }
    }
}
