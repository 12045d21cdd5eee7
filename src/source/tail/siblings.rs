//! Generations of a log that lie beside it under other names.

use std::fs::{self, File, Metadata};
use std::path::{Path, PathBuf};

use super::identity::FileId;

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

    pub(super) fn open(&self) -> Option<File> {
        let file = File::open(&self.path).ok()?;
        let same = FileId::of(&file.metadata().ok()?) == self.id();
        same.then_some(file)
    }
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

/// The files in the log's directory, oldest first: `all`, or those whose names are made of the log's.
pub(super) fn siblings(log: &Path, all: bool) -> Vec<Sibling> {
    let (Some(directory), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found: Vec<Sibling> = entries
        .filter(|entry| all || entry.file_name().to_str().is_some_and(|other| is_rotated_name(name, other)))
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
