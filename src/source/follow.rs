//! Follows the append-only event file of a listener.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads a file that another process appends to. The file may not exist yet: a listener makes it with its first event.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    file: Option<File>,
}

impl Follow {
    /// Follows `path` from its beginning.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was appended; 0 if nothing.
    ///
    /// # Errors
    /// As open(2) and read(2) say; that the file does not exist yet is no error.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
                Err(e) => return Err(e),
            }
        }
        match self.file.as_mut().map(|f| f.read(buffer)) {
            Some(Err(e)) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Some(read) => read,
            None => Ok(0),
        }
    }
}
