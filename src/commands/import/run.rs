//! The reports of one run → entries, the same ones however often they are read.
//!
//! What an imported entry says depends on the reports alone: their times, not the clock's; no host, user or commit of the
//! machine that imports; an id made of the contents; and always the label `late`, which otherwise would depend on when an
//! entry was first sent. So a second import makes the same entries again, and Loki shows them once.

use std::collections::HashMap;
use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

use indicatif::ProgressBar;

use super::inputs::Input;
use crate::decode::{Decoder, Document, Format, Zone};
use crate::event::{Event, Fact, RunFinished, RunStatus, Timestamp};
use crate::loki::entry::{Entry, EntrySink, Stream};
use crate::loki::limits::Limits;
use crate::names::label;
use crate::normalize::{Counters, Normalizer, RunEnd, RunInfo, Snapshot};
use crate::pipeline::intake::now;
use crate::pipeline::output::{Mark, Output, OutputError};

/// A longer line is taken in pieces.
const MAX_LINE: u64 = 16 << 20;
/// Entries are handed on after so many bytes of input.
const FLUSH_EVERY: usize = 1 << 20;
const HOUR: i64 = 3_600 * 1_000_000_000;

/// A report and what its first reading has shown.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) input: Input,
    pub(super) format: Format,
    /// Value of the label `runner`.
    pub(super) runner: String,
    /// Checksum and length of its contents.
    pub(super) contents: (u32, u64),
    /// Time of its first event that has one.
    pub(super) first: Option<Timestamp>,
}

/// What became of a report.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) file: String,
    pub(super) format: Format,
    pub(super) run: String,
    /// What it added to its run.
    pub(super) counters: Counters,
    pub(super) entries: u64,
    /// Why it could not be read to its end.
    pub(super) error: Option<String>,
}

enum Reader {
    Document(Box<dyn Document + Send>),
    Lines(Box<dyn Decoder + Send>),
}

impl Reader {
    fn new(format: Format, zone: &Zone) -> Self {
        match format.document(zone) {
            Some(document) => Self::Document(document),
            None => Self::Lines(format.decoder_in(zone)),
        }
    }

    /// The next piece of the input, a line or a block; false at the end.
    fn next(&self, input: &mut dyn BufRead, piece: &mut Vec<u8>) -> io::Result<bool> {
        piece.clear();
        match self {
            Self::Document(_) => {
                piece.extend_from_slice(input.fill_buf()?);
                input.consume(piece.len());
            }
            Self::Lines(_) => {
                input.take(MAX_LINE).read_until(b'\n', piece)?;
            }
        }
        Ok(!piece.is_empty())
    }

    fn take(&mut self, piece: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
        match self {
            Self::Document(document) => document.bytes(piece, emit),
            Self::Lines(decoder) => {
                let line = piece.strip_suffix(b"\n").unwrap_or(piece);
                decoder.line(line.strip_suffix(b"\r").unwrap_or(line), emit);
            }
        }
    }

    fn finish(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        match self {
            Self::Document(document) => document.finish(emit),
            Self::Lines(decoder) => decoder.finish(emit),
        }
    }

    fn runner(&self) -> &str {
        match self {
            Self::Document(document) => document.runner(),
            Self::Lines(decoder) => decoder.runner(),
        }
    }

    /// `line: why`.
    fn broken(&self) -> Option<String> {
        match self {
            Self::Document(document) => document.broken().map(|broken| format!("{}: {}", broken.line, broken.why)),
            Self::Lines(_) => None,
        }
    }
}

/// Reads a report for what identifies it. That it cannot be read to its end is found again when it is read in earnest.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn survey(input: Input, format: Format, zone: &Zone, bar: &ProgressBar) -> io::Result<Report> {
    let (mut hasher, mut length, mut first) = (crc32fast::Hasher::new(), 0, None);
    let mut reader = Reader::new(format, zone);
    let mut note = |event: Event<'_>| first = first.or(event.time);
    input.open(bar, |bytes| {
        let (mut piece, mut known) = (Vec::new(), false);
        while reader.next(bytes, &mut piece).unwrap_or(false) {
            hasher.update(&piece);
            length += piece.len() as u64;
            if !known {
                let mut found = false;
                reader.take(&piece, &mut |event| {
                    found |= event.time.is_some();
                    note(event);
                });
                known = found;
            }
        }
        if !known {
            reader.finish(&mut note);
        }
        Ok(())
    })?;
    let runner = reader.runner().to_owned();
    Ok(Report { input, format, runner, contents: (hasher.finalize(), length), first })
}

/// The beginning of a run, as its reports know it: the time of the first event, else when a file was written.
fn beginning(reports: &[Report]) -> Timestamp {
    let first = reports.iter().filter_map(|report| report.first).min();
    first.or_else(|| reports.iter().map(|report| report.input.modified).min()).unwrap_or_default()
}

/// A word for the contents of reports: equal for equal ones.
pub(super) fn fingerprint(reports: &[Report]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    let mut total = 0_u64;
    for report in reports {
        let (checksum, length) = report.contents;
        hasher.update(&checksum.to_le_bytes());
        hasher.update(&length.to_le_bytes());
        total = total.wrapping_mul(31).wrapping_add(length);
    }
    format!("{:08x}{:04x}", hasher.finalize(), total & 0xffff)
}

/// The id of a run whose reports do not tell one, in the form of all run ids: when it began, and a word.
pub(super) fn run_id(reports: &[Report]) -> String {
    let begun = chrono::DateTime::from_timestamp_nanos(beginning(reports).0);
    format!("{}-{}", begun.format("%Y%m%dT%H%M%SZ"), fingerprint(reports))
}

/// Writes the entries of a run. `error` of a row says what is wrong with a report; the others go on.
///
/// # Errors
/// If the entries cannot be handed on.
pub(super) fn write(
    mut info: RunInfo,
    reports: &[Report],
    zone: &Zone,
    limits: &Limits,
    output: &mut dyn Output,
    bar: &ProgressBar,
) -> Result<Vec<Row>, OutputError> {
    let begun = beginning(reports);
    if let Some(report) = reports.first() {
        info.runner.clone_from(&report.runner);
    }
    let out = Late { output, streams: HashMap::new(), always: true };
    let mut run = Run { normalizer: Normalizer::new(info), out, now: begun };
    run.normalizer.set_limits(limits.clone());
    run.normalizer.replay(begun);
    let mut rows = Vec::new();
    for report in reports {
        rows.push(run.take(&report.input, report.format, zone, bar)?);
    }
    run.normalizer.finish(&RunEnd::InputEnded, begun, &mut run.out);
    run.flush()?;
    Ok(rows)
}

/// A run that is written.
struct Run<'o> {
    normalizer: Normalizer,
    out: Late<'o>,
    now: Timestamp,
}

impl Run<'_> {
    fn take(&mut self, input: &Input, format: Format, zone: &Zone, bar: &ProgressBar) -> Result<Row, OutputError> {
        let before = (self.normalizer.progress(self.now).counters, self.normalizer.entries());
        let mut reader = Reader::new(format, zone);
        let mut failed = None;
        let read = input.open(bar, |bytes| {
            let (mut piece, mut waiting) = (Vec::new(), 0);
            while reader.next(bytes, &mut piece)? {
                reader.take(&piece, &mut |event| self.normalizer.event(&event, self.now, &mut self.out));
                waiting += piece.len();
                if waiting >= FLUSH_EVERY {
                    waiting = 0;
                    if let Err(error) = self.flush() {
                        failed = Some(error);
                        break;
                    }
                }
            }
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        reader.finish(&mut |event| self.normalizer.event(&event, self.now, &mut self.out));
        let error = read.err().map(|error| error.to_string()).or_else(|| reader.broken());
        if error.is_some() {
            // What is missing may have failed.
            let aborted = RunFinished { status: Some(RunStatus::Aborted), message: "a report is damaged".into() };
            let aborted = Event { time: None, fact: Fact::RunFinished(aborted) };
            self.normalizer.event(&aborted, self.now, &mut self.out);
        }
        self.flush()?;
        let (counters, entries) = before;
        Ok(Row {
            file: input.name(),
            format,
            run: self.normalizer.info().run_id.clone(),
            counters: added(&counters, &self.normalizer.progress(self.now).counters),
            entries: self.normalizer.entries() - entries,
            error,
        })
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        // A process that takes over the queue of a dead one finds no run to end in it.
        self.out.output.flush(&mut || Mark { run: Snapshot { ended: true, ..Snapshot::default() }, ..Mark::default() })
    }
}

/// A run to which reports are added while it is on.
pub(super) struct Live<'o>(Run<'o>);

impl<'o> Live<'o> {
    /// A run without reports.
    pub(super) fn new(info: RunInfo, limits: &Limits, output: &'o mut dyn Output) -> Self {
        let mut normalizer = Normalizer::new(info);
        normalizer.set_limits(limits.clone());
        Self(Run { normalizer, out: Late { output, streams: HashMap::new(), always: false }, now: now() })
    }

    /// Adds a report.
    ///
    /// # Errors
    /// If the entries cannot be handed on.
    pub(super) fn take(&mut self, input: &Input, format: Format, zone: &Zone) -> Result<Row, OutputError> {
        self.0.now = now();
        self.0.normalizer.set_runner(Reader::new(format, zone).runner());
        self.0.take(input, format, zone, &ProgressBar::hidden())
    }

    /// Writes progress that is due.
    ///
    /// # Errors
    /// As [`Live::take`].
    pub(super) fn tick(&mut self) -> Result<(), OutputError> {
        self.0.normalizer.tick(now(), &mut self.0.out);
        self.0.flush()
    }

    /// Ends the run.
    ///
    /// # Errors
    /// As [`Live::take`].
    pub(super) fn finish(&mut self) -> Result<(), OutputError> {
        self.0.normalizer.finish(&RunEnd::InputEnded, now(), &mut self.0.out);
        self.0.flush()
    }
}

/// Whether a report can be read to its end.
pub(super) fn is_whole(input: &Input, format: Format, zone: &Zone) -> bool {
    let mut reader = Reader::new(format, zone);
    let read = input.open(&ProgressBar::hidden(), |bytes| {
        let mut piece = Vec::new();
        while reader.next(bytes, &mut piece)? {
            reader.take(&piece, &mut |_| {});
        }
        Ok(())
    });
    reader.finish(&mut |_| {});
    read.is_ok() && reader.broken().is_none()
}

/// What was counted in between.
fn added(before: &Counters, after: &Counters) -> Counters {
    let less = u64::saturating_sub;
    Counters {
        planned: less(after.planned, before.planned),
        passed: less(after.passed, before.passed),
        failed: less(after.failed, before.failed),
        errored: less(after.errored, before.errored),
        skipped: less(after.skipped, before.skipped),
        xfailed: less(after.xfailed, before.xfailed),
        xpassed: less(after.xpassed, before.xpassed),
        flaky: less(after.flaky, before.flaky),
        retried: less(after.retried, before.retried),
        unfinished: less(after.unfinished, before.unfinished),
        running: after.running,
        // Reports are not seen beside earlier runs.
        ..Counters::default()
    }
}

/// Gives every entry the label `late`, if asked to.
struct Late<'o> {
    output: &'o mut dyn Output,
    always: bool,
    /// By the stream's address, which is in use as long as the stream is kept here.
    streams: HashMap<(usize, i64), (Arc<Stream>, Arc<Stream>)>,
}

impl EntrySink for Late<'_> {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        if !self.always {
            return self.output.entry(stream, entry);
        }
        let hour = entry.time.0.div_euclid(HOUR);
        let key = (Arc::as_ptr(stream) as usize, hour);
        let (_, late) = self.streams.entry(key).or_insert_with(|| {
            let mut labels = stream.labels().to_vec();
            let text = chrono::DateTime::from_timestamp_nanos(hour * HOUR).format("%Y-%m-%dT%H").to_string();
            labels.push((label::LATE, text));
            (Arc::clone(stream), Stream::new(labels))
        });
        self.output.entry(late, entry);
    }
}
