//! Lines of application logs → records: what was written at once, with its time and its level.
//!
//! The text of a record is what the application wrote, unchanged, but for secrets where that was asked for. Nothing that is
//! remembered from line to line changes how a line is read; it makes groups and inherited times only. So the same bytes give
//! the same records wherever reading begins again behind a record, with [`Assembler::resume`], if groups are flushed at the
//! same places.
//!
//! # What is decided
//!
//! - Time: that of the line's beginning; of the fields of a JSON or logfmt line; within the head, in brackets or behind one
//!   word; that of the container runtime. A record without one has the time of the record before it, else none, and the
//!   time of reading counts.
//! - Level: a field of its own, glog's letter and syslog's priority; else the first word in the head that is one; a trace
//!   without one is an error.
//! - Lines without a time belong to the record before them if they are indented, blank, or parts of a trace, and so does a
//!   trace behind a line whose level is unknown, a warning or worse. Every other line is a record.

mod clock;
mod container;
mod fields;
mod group;
mod level;
mod read;
mod redact;
mod rules;
mod stamp;
#[cfg(test)]
mod tests;
mod trace;

use std::borrow::Cow;
use std::ops::Range;

use container::Unwrapped;
use group::{Group, Partial};
use read::{Head, Reader};
use redact::Redactor;
pub use rules::{Container, Multiline, Redaction, Rules, TimePattern, Zone};
use trace::Trace;

use crate::event::{Level, Timestamp};

/// Longest line that the parts of a container's lines may make.
const MAX_JOINED: usize = 16 << 20;

/// What was written at once: a line, or several that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// The bytes of the file that it covers, line ends included. Records of a source follow one another without gaps.
    pub range: Range<u64>,
    /// The text, its lines parted by LF, without the last line end. Bytes that are not UTF-8 become U+FFFD.
    pub text: Cow<'a, str>,
    /// When it was written: its own time, else that of the record before it; `None` if no record had one.
    pub time: Option<Timestamp>,
    /// How finely `time` is written, in nanoseconds: a billion for whole seconds. It was written in
    /// `time .. time + resolution`.
    pub resolution: i64,
    /// True if the time stands in no line: the container runtime gave it.
    pub is_runtimes: bool,
    /// Severity, if it says so.
    pub level: Option<Level>,
    /// Further metadata, by the names of [`crate::names::meta`]: `test`, `worker`, `trace_id`, `stream`.
    pub fields: Vec<(&'static str, Cow<'a, str>)>,
}

/// Puts the lines of one source together. Records come out in the order of their lines.
#[derive(Debug)]
pub struct Assembler {
    rules: Rules,
    reader: Reader,
    redactor: Redactor,
    group: Group,
    partial: Partial,
    /// The newest time, and how finely it was written.
    last: Option<(Timestamp, i64)>,
}

impl Assembler {
    /// An assembler that has seen nothing.
    pub fn new(rules: &Rules) -> Self {
        Self {
            rules: rules.clone(),
            reader: Reader::new(rules),
            redactor: Redactor::new(&rules.redact),
            group: Group::default(),
            partial: Partial::default(),
            last: None,
        }
    }

    /// Goes on behind a record whose time was `last_time`, which records without a time inherit.
    pub fn resume(&mut self, last_time: Option<Timestamp>) {
        self.last = last_time.map(|time| (time, 0));
    }

    /// The time that a record without one would inherit. To be kept in a checkpoint behind the last record.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.last.map(|(time, _)| time)
    }

    /// Takes a line without its end (LF or CRLF). `range` is where it is in the file, its end included; `read_at` completes
    /// times without a year or day. Records that are complete go to `out`.
    pub fn line(&mut self, bytes: &[u8], range: Range<u64>, read_at: Timestamp, out: &mut impl FnMut(Record<'_>)) {
        if self.rules.container == Container::None && self.partial.is_empty() {
            return self.payload(Unwrapped::plain(bytes), range, read_at, out);
        }
        match container::unwrap(bytes, self.rules.container) {
            None => {
                self.release_partial(read_at, out);
                self.payload(Unwrapped::plain(bytes), range, read_at, out);
            }
            Some(part) if part.is_partial || !self.partial.is_empty() => self.join(&part, range, read_at, out),
            Some(whole) => self.payload(whole, range, read_at, out),
        }
    }

    /// Gives what is held back. To be called at the end of a file, and when nothing came for a while: a record is complete
    /// only when the next one begins.
    pub fn flush(&mut self, out: &mut impl FnMut(Record<'_>)) {
        let read_at = self.partial.read_at;
        self.release_partial(read_at, out);
        self.close(out);
    }

    /// True while [`Assembler::flush`] would give something.
    pub fn is_holding(&self) -> bool {
        !self.group.is_empty() || !self.partial.is_empty()
    }

    /// Secrets that were taken out so far.
    pub fn redacted(&self) -> u64 {
        self.redactor.count
    }

    /// Takes a part of a container's line, whose parts stand one below the other.
    fn join(&mut self, part: &Unwrapped<'_>, range: Range<u64>, read_at: Timestamp, out: &mut impl FnMut(Record<'_>)) {
        if !self.partial.is_empty() && self.partial.is_stderr != part.is_stderr {
            // The other stream came between: a record covers one piece of the file, so the line is given as it is.
            self.release_partial(read_at, out);
        }
        self.partial.push(part, range, read_at);
        if !part.is_partial || self.partial.text.len() > MAX_JOINED {
            self.release_partial(read_at, out);
        }
    }

    fn release_partial(&mut self, read_at: Timestamp, out: &mut impl FnMut(Record<'_>)) {
        if self.partial.is_empty() {
            return;
        }
        let Partial { text, range, stamp, is_stderr, .. } = std::mem::take(&mut self.partial);
        let whole = Unwrapped { text: Cow::Owned(text), stamp, is_stderr, is_partial: false };
        self.payload(whole, range, read_at, out);
    }

    /// Takes a line as the application wrote it.
    fn payload(
        &mut self,
        line: Unwrapped<'_>,
        range: Range<u64>,
        read_at: Timestamp,
        out: &mut impl FnMut(Record<'_>),
    ) {
        let text = line.text.as_ref();
        let fits = !self.group.is_empty()
            && self.group.is_stderr == line.is_stderr
            && self.group.text.len() + text.len() < self.rules.max_group;
        let mut begins = None;
        match &self.rules.multiline {
            Multiline::Off => {}
            Multiline::Start(pattern) if fits && !pattern.is_match(text) => return self.group.push(text, range.end),
            Multiline::Start(_) => {}
            Multiline::Auto => {
                begins = self.reader.start(text);
                if fits && begins.is_none() && self.continues(text) {
                    return self.group.push(text, range.end);
                }
            }
        }
        self.close(out);
        let head = self.reader.head(text, begins, line.stamp, read_at);
        let trace = if head.is_own_time { Trace::None } else { trace::begun_by(text) };
        // Within a line a key begins only where somebody asked for secrets to be looked for.
        let trace = if self.rules.redact.builtin && trace::begins_key(text) { Trace::Key } else { trace };
        let (time, resolution) = match head.time {
            Some(time) => (Some(time), head.resolution),
            None => self.last.map_or((None, 0), |(time, resolution)| (Some(time), resolution)),
        };
        self.last = time.map(|time| (time, resolution)).or(self.last);
        let head = Head { time, resolution, ..head };
        if matches!(self.rules.multiline, Multiline::Off) {
            // Nothing is held back, so nothing is copied.
            return give(&self.reader, &mut self.redactor, &head, line.is_stderr, text, range, trace, out);
        }
        self.group.begin(text, range, head, line.is_stderr, trace);
    }

    /// True if a line without a time belongs to the open group, whose state goes on with it.
    fn continues(&mut self, text: &[u8]) -> bool {
        let group = &mut self.group;
        let may_be_trace = matches!(group.head.level, None | Some(Level::Warn | Level::Error | Level::Fatal));
        let joins = group.head.is_own_time && may_be_trace && group.trace == Trace::None;
        match trace::continued(group.trace, group.lines, joins, text) {
            None => false,
            Some(next) => {
                group.had_trace |= !matches!(next, Trace::None | Trace::Key);
                group.trace = next;
                true
            }
        }
    }

    fn close(&mut self, out: &mut impl FnMut(Record<'_>)) {
        if self.group.is_empty() {
            return;
        }
        let group = &mut self.group;
        let range = std::mem::take(&mut group.range);
        let trace = if group.had_trace { Trace::Exception } else { Trace::None };
        group.lines = 0;
        give(&self.reader, &mut self.redactor, &group.head, group.is_stderr, &group.text, range, trace, out);
    }
}

/// Makes the record of a text.
#[expect(clippy::too_many_arguments, reason = "the parts of an assembler, of which some are borrowed by the text")]
fn give(
    reader: &Reader,
    redactor: &mut Redactor,
    head: &Head,
    is_stderr: bool,
    bytes: &[u8],
    range: Range<u64>,
    trace: Trace,
    out: &mut impl FnMut(Record<'_>),
) {
    let mut fields = reader.fields(bytes);
    if is_stderr {
        fields.push((crate::names::meta::STREAM, Cow::Borrowed("stderr")));
    }
    let level = head.level.or((!matches!(trace, Trace::None | Trace::Key)).then_some(Level::Error));
    // Checking is several times as fast as replacing, and nearly all lines are in UTF-8.
    let text = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
    let text = redactor.redact(text);
    let Head { time, resolution, is_runtimes, .. } = *head;
    out(Record { range, text, time, resolution, is_runtimes, level, fields });
}
