//! Pictures and archives that clients send: files in the state directory, named by what is in them.

use std::fs::File;
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use foldhash::quality::FixedState;

/// Where they are kept.
#[derive(Clone, Debug)]
pub struct Attachments {
    directory: PathBuf,
}

impl Attachments {
    /// Files below `directory`, which is made when there is something to keep.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Keeps `bytes` and returns the file's path. What is there already is not written again. Blocks on the disk.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        // Two hashes of 64 bits: not against attackers, who could only overwrite nothing.
        let [a, b] = [1, 2].map(|seed| FixedState::with_seed(seed).hash_one(bytes));
        let directory = self.directory.join(format!("{:02x}", a >> 56));
        let path = directory.join(format!("{a:016x}{b:016x}.{}", extension(bytes)));
        if path.exists() {
            // Its age is that of its last use.
            File::options().write(true).open(&path)?.set_modified(SystemTime::now())?;
        } else {
            std::fs::create_dir_all(&directory)?;
            replace(&path, bytes)?;
        }
        Ok(path)
    }
}

/// What a look through the attachments found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Bytes that are kept.
    pub kept: u64,
    /// Files that were removed.
    pub removed: u64,
}

impl Attachments {
    /// Removes what is older than `age`, and then the oldest until no more than `most` bytes are left. Blocks on the disk.
    ///
    /// # Errors
    /// If the directory cannot be read; there may be none.
    pub fn sweep(&self, most: u64, age: Duration) -> io::Result<Swept> {
        let mut files = Vec::new();
        for folder in listed(&self.directory)? {
            for path in listed(&folder)? {
                let Ok(about) = std::fs::metadata(&path) else { continue };
                if about.is_file() {
                    files.push((about.modified()?, about.len(), path));
                }
            }
        }
        files.sort_unstable();
        let oldest = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut swept = Swept { kept: files.iter().map(|(_, bytes, _)| bytes).sum(), removed: 0 };
        for (modified, bytes, path) in files {
            if modified >= oldest && swept.kept <= most {
                break;
            }
            std::fs::remove_file(&path)?;
            swept.kept -= bytes;
            swept.removed += 1;
        }
        Ok(swept)
    }
}

/// What is in a directory; nothing if there is none.
fn listed(directory: &Path) -> io::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
}

/// A file that is being written; it goes away unless it is kept.
#[derive(Debug)]
pub struct Half {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Attachments {
    /// Begins a file of unknown size.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn begin(&self) -> io::Result<Half> {
        let directory = self.directory.join("archives");
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("new-{}-{:x}", std::process::id(), fastrand::u64(..)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Half { file, path, kept: false })
    }
}

impl Half {
    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// True if it begins as zip files do.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_zip(&self) -> io::Result<bool> {
        let mut begin = [0; 4];
        let read = self.file.read_at(&mut begin, 0)?;
        Ok(read == begin.len() && matches!(&begin, b"PK\x03\x04" | b"PK\x05\x06"))
    }

    /// Gives it its name for good: `name` with everything but letters, digits, `.`, `_` and `-` replaced. A file of this name is
    /// replaced.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub fn keep(mut self, name: &str) -> io::Result<PathBuf> {
        let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let name: String = name.trim_start_matches('.').chars().map(safe).collect();
        let path = self.path.with_file_name(name);
        std::fs::rename(&self.path, &path)?;
        self.kept = true;
        Ok(path)
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if !self.kept {
            // What could not be finished is of no use.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Writes a file so that it is never seen half written.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("new-{}-{:x}", std::process::id(), fastrand::u64(..)));
    std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        // What could not be finished is of no use.
        std::fs::remove_file(&new).ok();
    })
}

/// By the first bytes of common formats.
fn extension(bytes: &[u8]) -> &'static str {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => "png",
        [0xff, 0xd8, 0xff, ..] => "jpg",
        [b'G', b'I', b'F', b'8', ..] => "gif",
        [b'P', b'K', 3, 4, ..] => "zip",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_attachments_are_one_file_and_different_ones_are_two() {
        let scratch = tempfile::tempdir().unwrap();
        let attachments = Attachments::new(scratch.path().join("attachments"));
        let png = attachments.keep(b"\x89PNG\r\n\x1a\n").unwrap();
        assert_eq!(attachments.keep(b"\x89PNG\r\n\x1a\n").unwrap(), png);
        assert_eq!(png.extension().unwrap(), "png");
        assert_eq!(std::fs::read(&png).unwrap(), b"\x89PNG\r\n\x1a\n");
        assert_ne!(attachments.keep(b"other").unwrap(), png);
        assert_eq!(std::fs::read_dir(png.parent().unwrap()).unwrap().count(), 1, "no half file is left");
    }

    #[test]
    fn old_attachments_go_and_then_the_oldest_until_the_rest_fits() {
        let scratch = tempfile::tempdir().unwrap();
        let attachments = Attachments::new(scratch.path().join("attachments"));
        assert_eq!(attachments.sweep(0, Duration::ZERO).unwrap(), Swept::default(), "there are none yet");
        let hour = Duration::from_secs(3600);
        let keep = |byte: u8, hours: u32| {
            let path = attachments.keep(&[byte; 100]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - hours * hour).unwrap();
            path
        };
        let (old, older, oldest) = (keep(1, 1), keep(2, 5), keep(3, 50));
        assert_eq!(attachments.sweep(1000, 24 * hour).unwrap(), Swept { kept: 200, removed: 1 });
        assert!(!oldest.exists() && older.exists());
        // What is used again is young.
        attachments.keep(&[2; 100]).unwrap();
        assert_eq!(attachments.sweep(150, 24 * hour).unwrap(), Swept { kept: 100, removed: 1 });
        assert!(!old.exists() && older.exists());
    }
}
