//! Where entries go that Loki refused for good.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::bisect::Refusal;
use crate::loki::encode::decode;
use crate::loki::entry::Stream;

/// An entry that Loki refused, and its answer.
#[derive(Debug, Clone, Copy)]
pub struct RejectedEntry<'a> {
    /// Its stream, as it was pushed.
    pub stream: &'a Stream,
    /// The entry as it was encoded.
    pub entry: &'a [u8],
    /// Loki's answer.
    pub refusal: &'a Refusal,
}

/// Keeps refused entries aside. They leave the queue once this returned without an error.
pub trait Rejected: Send + Sync + 'static {
    /// Keeps these; when it fails, they are offered again later, so some may be kept twice.
    fn keep(&self, entries: &[RejectedEntry<'_>]) -> io::Result<()>;
}

/// `<folder>/<UTC date>.ndjson`, one JSON object a line: the format of `--output ndjson`, and `reason`, `status` and
/// `answer`. There is no `seq`, as an entry carries only the last three digits of it, in its timestamp.
#[derive(Debug)]
pub struct RejectedFiles {
    folder: PathBuf,
}

impl RejectedFiles {
    /// In this folder, which is made when there is something to keep.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn open(&self) -> io::Result<File> {
        std::fs::create_dir_all(&self.folder)?;
        let name = chrono::Utc::now().format("%Y-%m-%d.ndjson").to_string();
        OpenOptions::new().create(true).append(true).open(self.folder.join(name))
    }
}

impl Rejected for RejectedFiles {
    /// Returns after `fdatasync`: the queue forgets these entries next.
    fn keep(&self, entries: &[RejectedEntry<'_>]) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, &Line(*entry))?;
            lines.push(b'\n');
        }
        // One write at the end of the file, as another process may be writing there too.
        let mut file = self.open()?;
        file.write_all(&lines)?;
        file.sync_data()
    }
}

struct Line<'a>(RejectedEntry<'a>);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let RejectedEntry { stream, entry, refusal } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("labels", &Pairs(stream.labels().iter().map(|(name, value)| (*name, value.as_str()))))?;
        match decode(entry) {
            Some(entry) => {
                map.serialize_entry("timestamp", &entry.time.0.to_string())?;
                map.serialize_entry("line", entry.line)?;
                map.serialize_entry("metadata", &Pairs(entry.metadata.iter().copied()))?;
            }
            // Only a damaged queue brings this; what can be read of it is kept.
            None => map.serialize_entry("line", &String::from_utf8_lossy(entry))?,
        }
        map.serialize_entry("reason", refusal.reason.as_str())?;
        map.serialize_entry("status", &refusal.status)?;
        map.serialize_entry("answer", &refusal.answer)?;
        map.end()
    }
}

/// Names and values as a JSON object.
struct Pairs<I>(I);

impl<'a, I: Iterator<Item = (&'a str, &'a str)> + Clone> Serialize for Pairs<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use crate::loki::encode::Encoder;
    use crate::loki::entry::{Entry, EntrySink as _};
    use crate::loki::reason::Reason;

    #[test]
    fn a_refused_entry_is_kept_whole_with_the_answer() {
        let stream = Stream::new(vec![("kind", "log".into()), ("env", "local".into())]);
        let mut encoder = Encoder::new();
        let metadata = [("run_id", "r1"), ("level", "warn")];
        let time = Timestamp(1_700_000_000_123_456_007);
        encoder.entry(&stream, &Entry { time, seq: 7, line: "a \"quoted\"\nline", metadata: &metadata });
        let chunks = encoder.take();
        let answer = "entry too far behind".to_owned();
        let refusal = Refusal { status: 400, reason: Reason::TooFarBehind, answer };
        let folder = tempfile::tempdir().unwrap();
        let files = RejectedFiles::new(folder.path().join("state/rejected"));
        for _ in 0..2 {
            let entry = RejectedEntry { stream: &stream, entry: &chunks[0].entries, refusal: &refusal };
            files.keep(&[entry]).unwrap();
        }
        let made: Vec<_> = std::fs::read_dir(folder.path().join("state/rejected")).unwrap().collect();
        assert_eq!(made.len(), 1);
        let path = made[0].as_ref().unwrap().path();
        assert_eq!(path.extension().unwrap(), "ndjson");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"labels":{"env":"local","kind":"log"},"timestamp":"1700000000123456007","line":"a \"quoted\"\nline","metadata":{"run_id":"r1","level":"warn"},"reason":"too_far_behind","status":400,"answer":"entry too far behind"}"#
        );
        assert_eq!(text.lines().count(), 2);
    }
}
