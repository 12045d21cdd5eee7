//! What a file prints, kept beside the journal: its beginning and its end.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are kept of the beginning.
const HEAD: u64 = 1 << 20;
/// At least so many bytes are kept of the end, and at most twice as many.
const TAIL: u64 = 1 << 20;

/// The log of one attempt. Clones write to the same file; standard output and standard error each have one.
#[derive(Clone)]
pub(super) struct OutputLog(Arc<Mutex<Kept>>);

struct Kept {
    file: File,
    len: u64,
    /// Bytes that were cut out between the beginning and the end, and where the end begins.
    cut: u64,
    end_at: u64,
}

impl OutputLog {
    /// A new log in place of that of an earlier attempt.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        // Whoever reads the old one has it still.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Kept { file, len: 0, cut: 0, end_at: 0 }))))
    }
}

impl Write for OutputLog {
    /// Takes all, always: a full disk shall not end the feed, and every line is an entry in Loki as well.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = kept.add(bytes) {
            tracing::debug!(%error, "cannot keep a file's output");
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        let end_at = if self.end_at > 0 { self.end_at } else { HEAD };
        if self.len > end_at + 2 * TAIL {
            self.cut_to_tail(end_at)?;
        }
        Ok(())
    }

    /// Takes out what is between the beginning and the last [`TAIL`] bytes, and says how much that was.
    fn cut_to_tail(&mut self, end_at: u64) -> io::Result<()> {
        let mut tail = Vec::new();
        self.file.seek(SeekFrom::Start(self.len - TAIL))?;
        self.file.read_to_end(&mut tail)?;
        self.cut += self.len - TAIL - end_at;
        let note = format!("\n[testwire: {} bytes are left out here; every line is in Loki]\n", self.cut);
        self.file.set_len(HEAD)?;
        self.file.seek(SeekFrom::Start(HEAD))?;
        self.file.write_all(note.as_bytes())?;
        self.end_at = HEAD + note.len() as u64;
        self.file.write_all(&tail)?;
        self.len = self.end_at + tail.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept_and_what_is_left_out_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.log");
        let mut log = OutputLog::create(&path).unwrap();
        let mut all = Vec::new();
        for number in 0..900_000 {
            let line = format!("line {number}\n");
            all.extend_from_slice(line.as_bytes());
            log.write_all(line.as_bytes()).unwrap();
        }
        let kept = fs::read(&path).unwrap();
        assert!(kept.len() as u64 <= HEAD + 2 * TAIL + 100, "{}", kept.len());
        assert_eq!(kept[..HEAD as usize], all[..HEAD as usize]);
        assert!(kept.ends_with(&all[all.len() - TAIL as usize..]));
        let text = String::from_utf8(kept).unwrap();
        let note = text.lines().find(|line| line.starts_with("[testwire: ")).unwrap();
        let cut: usize = note.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(text.len() - (note.len() + 2) + cut, all.len());
        OutputLog::create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "a new attempt has a new log");
    }
}
