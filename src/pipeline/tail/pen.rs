//! Records of logs → entries.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::super::beside::{Belongs, Beside};
use super::Setup;
use crate::decode::applog::Record;
use crate::event::{Level, Timestamp};
use crate::loki::entry::{Entry, Stream};
use crate::loki::limits::Limits;
use crate::names::meta;
use crate::normalize::{Hints, Window, fit, longest_line, pieces};
use crate::source::tail::{Batch, FileNumber, Part};

/// Loki refuses what is older than a week or more than 10 minutes ahead; such times in lines are mostly read wrongly.
const PAST_NANOS: i64 = 6 * 24 * 3_600 * 1_000_000_000;
const AHEAD_NANOS: i64 = 5 * 60 * 1_000_000_000;
/// Entries that the last three digits of a time can tell apart.
const RESIDUES: u64 = 1000;

/// Writes entries, and notes of which bytes they are made.
pub(super) struct Pen {
    stream: Arc<Stream>,
    limits: Limits,
    longest: usize,
    metadata: Vec<(String, String)>,
    names_files: bool,
    beside: Beside,
    files: HashMap<FileNumber, Sheet>,
    clock: Clock,
    batch: Batch,
    /// Number of the last batch.
    last_batch: u64,
    /// When its bytes were read.
    last_at: i64,
    /// Bytes of text in the batch.
    pub(super) bytes: usize,
    /// Entries in it.
    entries: u64,
    /// Entries before it.
    pub(super) handed_on: u64,
}

/// What is remembered of a file.
struct Sheet {
    name: String,
    last: Option<i64>,
}

/// Gives each entry a number and a time of its own.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    seq: u64,
    /// Microsecond of the last entry, and how many in a row had that.
    micros: i64,
    same: u64,
}

impl Clock {
    /// The last three digits are the number's. So that more entries of the same microsecond than these can tell apart are
    /// all different, each further thousand is a microsecond later.
    fn stamp(&mut self, time: Timestamp) -> Timestamp {
        let micros = time.0.div_euclid(1000);
        self.seq += 1;
        self.same = if micros == self.micros { self.same + 1 } else { 0 };
        self.micros = micros;
        let later = (self.same / RESIDUES) as i64;
        Timestamp((micros + later) * 1000 + (self.seq % RESIDUES) as i64)
    }
}

impl Pen {
    pub(super) fn new(stream: Arc<Stream>, setup: &Setup, place: &Batch) -> Self {
        Self {
            stream,
            limits: setup.limits.clone(),
            longest: longest_line(setup.limits.line),
            metadata: setup.metadata.clone(),
            names_files: setup.names_files,
            beside: setup.beside.clone(),
            files: HashMap::new(),
            clock: Clock { seq: place.seq, micros: place.clock.0, same: place.clock.1 },
            batch: Batch::default(),
            last_batch: place.number,
            last_at: place.at,
            bytes: 0,
            entries: 0,
            handed_on: 0,
        }
    }

    pub(super) fn open(&mut self, file: FileNumber, path: &Path, last: Option<i64>) {
        let name = if self.names_files { path.display().to_string() } else { String::new() };
        self.files.insert(file, Sheet { name, last });
    }

    pub(super) fn close(&mut self, file: FileNumber) {
        self.files.remove(&file);
    }

    /// When the bytes of the batch were read; it begins now if it has none.
    pub(super) fn begin(&mut self, now: impl Fn() -> Timestamp) -> Timestamp {
        if self.batch.number == 0 {
            let Clock { seq, micros, same } = self.clock;
            self.batch =
                Batch { number: self.last_batch + 1, at: now().0, seq, clock: (micros, same), parts: Vec::new() };
        }
        Timestamp(self.batch.at)
    }

    /// Begins a batch as it was.
    pub(super) fn replay(&mut self, batch: &Batch) {
        self.clock = Clock { seq: batch.seq, micros: batch.clock.0, same: batch.clock.1 };
        self.batch = Batch { parts: Vec::new(), ..batch.clone() };
    }

    /// Number of the last entry.
    pub(super) fn seq(&self) -> u64 {
        self.clock.seq
    }

    pub(super) fn go_to(&mut self, seq: u64) {
        self.clock.seq = seq;
    }

    /// The batch, if it has entries. Another one begins.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let batch = std::mem::take(&mut self.batch);
        if batch.parts.is_empty() {
            return None;
        }
        (self.last_batch, self.last_at) = (batch.number, batch.at);
        self.bytes = 0;
        Some(batch)
    }

    /// What was taken is safe.
    pub(super) fn handed_on(&mut self) {
        self.handed_on += std::mem::take(&mut self.entries);
    }

    /// Where the next batch begins.
    pub(super) fn place(&self) -> Batch {
        let Clock { seq, micros, same } = self.clock;
        Batch { number: self.last_batch, at: self.last_at, seq, clock: (micros, same), parts: Vec::new() }
    }

    /// To write records of a file. A batch has begun.
    pub(super) fn on<'a>(
        &'a mut self,
        file: FileNumber,
        out: &'a mut dyn crate::pipeline::output::Output,
    ) -> Paper<'a> {
        let Self { stream, limits, longest, metadata, beside, files, clock, batch, bytes, entries, .. } = self;
        let sheet = files.entry(file).or_insert(Sheet { name: String::new(), last: None });
        Paper {
            file,
            is_plain: metadata.is_empty() && sheet.name.is_empty(),
            ink: Ink { stream, longest: *longest, clock, out },
            limits,
            common: metadata,
            beside: Some(&*beside).filter(|beside| !beside.is_empty()),
            sheet,
            batch,
            bytes,
            entries,
        }
    }
}

/// A [`Pen`] that writes records of one file.
pub(super) struct Paper<'a> {
    file: FileNumber,
    ink: Ink<'a>,
    limits: &'a Limits,
    common: &'a [(String, String)],
    /// Its entries have nothing in common but the level.
    is_plain: bool,
    /// `None` if no run is on.
    beside: Option<&'a Beside>,
    sheet: &'a mut Sheet,
    batch: &'a mut Batch,
    bytes: &'a mut usize,
    entries: &'a mut u64,
}

/// What makes entries of texts.
struct Ink<'a> {
    stream: &'a Arc<Stream>,
    longest: usize,
    clock: &'a mut Clock,
    out: &'a mut dyn crate::pipeline::output::Output,
}

impl Ink<'_> {
    /// Writes a text, in parts if it is long.
    fn write(&mut self, text: &str, time: Timestamp, metadata: &[(&str, &str)]) {
        if text.len() <= self.longest {
            let time = self.clock.stamp(time);
            self.out.entry(self.stream, &Entry { time, seq: self.clock.seq, line: text, metadata });
            return;
        }
        let parts = pieces(text, self.longest);
        for (number, line) in parts.iter().enumerate() {
            let part = format!("{}/{}", number + 1, parts.len());
            let mut metadata = metadata.to_vec();
            metadata.push((meta::PART, &part));
            let time = self.clock.stamp(time);
            self.out.entry(self.stream, &Entry { time, seq: self.clock.seq, line, metadata: &metadata });
        }
    }
}

impl Paper<'_> {
    /// Writes a record.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        let read = self.batch.at;
        let own = record.time.map_or(read, |time| time.0);
        let usable = (read - PAST_NANOS..read + AHEAD_NANOS).contains(&own);
        let time = Timestamp(if usable { own } else { read });
        // A time that is not taken is to be seen; mostly it is, as the line begins with it.
        let event_time = if usable || !record.is_runtimes { String::new() } else { rfc3339(own) };
        let belongs = match self.beside {
            None => Belongs::default(),
            Some(beside) => {
                let window = Window::new(record.time, record.resolution, Timestamp(read));
                beside.find(window, hints(record))
            }
        };
        let level = (meta::LEVEL, record.level.unwrap_or(Level::Info).as_str());
        let before = self.ink.clock.seq;
        if belongs == Belongs::default() && record.fields.is_empty() && event_time.is_empty() && self.is_plain {
            // Most lines of most logs; the limits are far above this.
            self.ink.write(&record.text, time, &[level]);
        } else {
            let mut metadata: Vec<(&str, &str)> = Vec::with_capacity(8);
            metadata.push(level);
            metadata.extend(self.common.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            for (name, value) in belongs.pairs() {
                metadata.push((name, value));
            }
            // The test that was found has its whole name.
            let found = |name: &str| name == meta::TEST && !belongs.test.is_empty();
            let fields = record.fields.iter().filter(|(name, _)| !found(name));
            metadata.extend(fields.map(|(name, value)| (*name, value.as_ref())));
            metadata.push((meta::FILE, &self.sheet.name));
            metadata.push((meta::EVENT_TIME, &event_time));
            metadata.retain(|(_, value)| !value.is_empty());
            fit(&mut metadata, self.limits);
            self.ink.write(&record.text, time, &metadata);
        }
        *self.bytes += record.text.len();
        *self.entries += self.ink.clock.seq - before;
        self.note(record, self.ink.clock.seq - before);
    }

    /// Notes which bytes it was made of.
    fn note(&mut self, record: &Record<'_>, entries: u64) {
        let before = self.sheet.last;
        let last = record.time.map(|time| time.0);
        self.sheet.last = last;
        match self.batch.parts.last_mut() {
            Some(part) if part.file == self.file && part.to == record.range.start => {
                part.to = record.range.end;
                part.entries += entries;
                part.last = last;
            }
            _ => {
                let (from, to) = (record.range.start, record.range.end);
                self.batch.parts.push(Part { file: self.file, from, to, entries, before, last });
            }
        }
    }
}

/// What the record names itself.
fn hints<'a>(record: &'a Record<'_>) -> Hints<'a> {
    let mut hints = Hints::default();
    for (name, value) in &record.fields {
        match *name {
            meta::TEST => hints.test = value,
            meta::WORKER => hints.worker = value,
            meta::TRACE_ID => hints.trace = value,
            _ => {}
        }
    }
    hints
}

fn rfc3339(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}
