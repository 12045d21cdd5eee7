//! Which paths are followed: files, directories, glob patterns.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Compressed generations are not followed, whatever a pattern says.
const COMPRESSED: [&str; 6] = ["gz", "bz2", "xz", "zst", "lz4", "zip"];

/// True if a path is a pattern, and no name of a file that is there.
pub fn is_glob(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains(['*', '?', '['])) && !path.exists()
}

/// True for a compressed file.
fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| COMPRESSED.iter().any(|known| extension == *known))
}

/// Paths as they were configured.
#[derive(Clone, Debug)]
pub struct Patterns {
    paths: Vec<PathBuf>,
}

impl Patterns {
    /// Of these absolute paths.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// True if several files may match.
    pub fn may_be_many(&self) -> bool {
        self.paths.len() != 1 || self.paths.iter().any(|path| is_glob(path) || path.is_dir())
    }

    /// The paths that match now: what they lead to may be anything.
    pub(super) fn found(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        for path in &self.paths {
            if is_glob(path) {
                let matches = path.to_str().and_then(|text| glob::glob(text).ok()).into_iter().flatten().flatten();
                found.extend(matches.filter(|path| !is_compressed(path)));
            } else if path.is_dir() {
                let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
                let hidden =
                    |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
                found.extend(entries.filter(|path| !is_compressed(path) && !hidden(path)));
            } else {
                found.insert(path.clone());
            }
        }
        found
    }

    /// Directories in which new files can appear, as far as they are there.
    pub(super) fn directories(&self) -> BTreeSet<PathBuf> {
        let mut found: BTreeSet<PathBuf> = BTreeSet::new();
        for path in &self.paths {
            if path.is_dir() {
                found.insert(path.clone());
            } else if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
                found.insert(parent.to_owned());
            }
        }
        found
    }
}
