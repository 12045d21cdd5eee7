//! Where entries go: into the queue to Loki, to standard output, or nowhere.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::loki::encode::{Chunk, Encoder};
use crate::loki::entry::{Entry, EntrySink, Stream};
use crate::normalize::Snapshot;
use crate::spool::{Queue, SpoolError};

/// Takes entries, and makes what was taken durable or visible on [`Output::flush`].
pub trait Output: EntrySink + Send {
    /// Hands on what was taken since the last call. `mark` says how far the inputs are dealt with by it; it is made only
    /// where it is kept, together with the entries.
    ///
    /// # Errors
    /// If it cannot be handed on; what was taken is kept where it can be.
    fn flush(&mut self, mark: &mut dyn FnMut() -> Mark) -> Result<(), OutputError>;

    /// The same for the end of a run, for which there is always room.
    ///
    /// # Errors
    /// Those of [`Output::flush`].
    fn flush_last(&mut self, mark: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        self.flush(mark)
    }
}

/// How far the inputs of a run are dealt with by the entries that were handed on so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// The run.
    pub run: Snapshot,
    /// Bytes of the event file; `None` if the run has none, so that what was not taken cannot be had again.
    pub events: Option<u64>,
    /// Of a daemon: how far its journal counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<super::journal::Place>,
    /// Of each followed source, by the name of its journal, the number of the last batch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tails: BTreeMap<String, u64>,
}

/// Why entries could not be handed on.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Standard output is closed or full.
    #[error("cannot write to standard output: {0}")]
    Stdout(#[from] io::Error),
    /// The spool takes no more.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// What the newest mark of a queue says, for those who write to it together: each mark says all that is true by then, as
/// only the newest is kept. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Latest(Arc<Mutex<Places>>);

/// The parts of a mark that outlive it.
#[derive(Clone, Debug, Default)]
struct Places {
    journal: Option<super::journal::Place>,
    tails: BTreeMap<String, u64>,
}

impl Latest {
    /// Gives the mark with what others have said before to `append`, and remembers it if that succeeds. Marks come into
    /// the queue in the order in which they were made: nobody else appends meanwhile.
    fn with<E>(&self, mut mark: Mark, append: impl FnOnce(Mark) -> Result<(), E>) -> Result<(), E> {
        // What a panicking thread leaves is whole: it is changed at once.
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mark.journal = mark.journal.or(places.journal);
        let own = std::mem::replace(&mut mark.tails, places.tails.clone());
        mark.tails.extend(own);
        let next = Places { journal: mark.journal, tails: mark.tails.clone() };
        append(mark)?;
        *places = next;
        Ok(())
    }
}

/// `--output loki`: encodes entries and appends them to the queue.
#[derive(Debug)]
pub struct ToQueue<Q> {
    encoder: Encoder,
    queue: Arc<Q>,
    is_marking: bool,
    latest: Latest,
}

impl<Q> ToQueue<Q> {
    /// Feeds `queue`.
    pub fn new(queue: Arc<Q>) -> Self {
        Self { encoder: Encoder::default(), queue, is_marking: true, latest: Latest::default() }
    }

    /// The same with marks that say what the others of `latest` have said, too.
    #[must_use]
    pub fn sharing(self, latest: &Latest) -> Self {
        Self { latest: latest.clone(), ..self }
    }

    /// Feeds a `queue` whose marks others write.
    pub fn without_marks(queue: Arc<Q>) -> Self {
        Self { is_marking: false, ..Self::new(queue) }
    }
}

impl<Q> EntrySink for ToQueue<Q> {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        self.encoder.entry(stream, entry);
    }
}

impl<Q: Queue> ToQueue<Q> {
    fn hand_on(
        &mut self,
        mark: &mut dyn FnMut() -> Mark,
        append: impl FnOnce(&Q, Vec<Chunk>, Option<Vec<u8>>) -> Result<(), SpoolError>,
    ) -> Result<(), OutputError> {
        let chunks = self.encoder.take();
        if chunks.is_empty() {
            return Ok(());
        }
        if !self.is_marking {
            return Ok(append(&self.queue, chunks, None)?);
        }
        // Text and numbers cannot fail to become JSON.
        let append = |mark: Mark| append(&self.queue, chunks, serde_json::to_vec(&mark).ok());
        Ok(self.latest.with(mark(), append)?)
    }
}

impl<Q: Queue> Output for ToQueue<Q> {
    fn flush(&mut self, mark: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        self.hand_on(mark, Q::append)
    }

    fn flush_last(&mut self, mark: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        self.hand_on(mark, Q::append_last)
    }
}

/// `--output ndjson`: one JSON object a line. What was taken is written in one piece, so that several of these may share
/// an output that is locked for each piece, as standard output is.
pub struct ToNdjson<W> {
    out: W,
    taken: Vec<u8>,
}

impl<W: Write> ToNdjson<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, taken: Vec::new() }
    }
}

impl<W: Write> EntrySink for ToNdjson<W> {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        write_entry(&mut self.taken, stream, entry).expect("memory takes all, and texts are all that is written");
    }
}

impl<W: Write + Send> Output for ToNdjson<W> {
    fn flush(&mut self, _: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        let written = self.out.write_all(&self.taken);
        self.taken.clear();
        Ok(written.and_then(|()| self.out.flush())?)
    }
}

/// `--output none`: everything but the delivery.
#[derive(Debug, Default)]
pub struct ToNothing;

impl EntrySink for ToNothing {
    fn entry(&mut self, _: &Arc<Stream>, _: &Entry<'_>) {}
}

impl Output for ToNothing {
    fn flush(&mut self, _: &mut dyn FnMut() -> Mark) -> Result<(), OutputError> {
        Ok(())
    }
}

/// Writes `{"labels":{…},"timestamp":"<ns>","seq":n,"line":"…","metadata":{…}}` and a line end. The time stamp is a
/// string, as in Loki's own JSON, because not every reader has 64-bit numbers.
///
/// # Errors
/// Those of `out`.
pub fn write_entry(out: &mut impl Write, stream: &Stream, entry: &Entry<'_>) -> io::Result<()> {
    struct Pairs<I>(I);
    impl<'a, I: Iterator<Item = (&'a str, &'a str)> + Clone> serde::Serialize for Pairs<I> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.clone())
        }
    }
    let mut json = serde_json::Serializer::new(&mut *out);
    let mut map = json.serialize_map(Some(5))?;
    map.serialize_entry("labels", &Pairs(stream.labels().iter().map(|(k, v)| (*k, v.as_str()))))?;
    map.serialize_entry("timestamp", &entry.time.0.to_string())?;
    map.serialize_entry("seq", &entry.seq)?;
    map.serialize_entry("line", entry.line)?;
    map.serialize_entry("metadata", &Pairs(entry.metadata.iter().copied()))?;
    map.end()?;
    out.write_all(b"\n")
}
