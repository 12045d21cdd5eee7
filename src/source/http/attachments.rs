//! Pictures and archives that clients send: files in the state directory, named by what is in them.

use std::fs::File;
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

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
        if !path.exists() {
            std::fs::create_dir_all(&directory)?;
            replace(&path, bytes)?;
        }
        Ok(path)
    }
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
}
