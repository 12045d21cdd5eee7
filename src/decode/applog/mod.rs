//! Lines of application logs → records: what was written at once, with its time and its level.
//!
//! The text of a record is what the application wrote, unchanged. Whatever is remembered from line to line makes nothing
//! but groups and inherited times, so that the same bytes give the same records, wherever reading begins again: behind a
//! record, with [`Assembler::resume`].

mod rules;

use std::borrow::Cow;
use std::ops::Range;

pub use rules::{Container, Multiline, Redaction, Rules, TimePattern, Zone};

use crate::event::{Level, Timestamp};

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
    /// Severity, if it says so.
    pub level: Option<Level>,
    /// Further metadata, by the names of [`crate::names::meta`]: `test`, `worker`, `trace_id`, `stream`.
    pub fields: Vec<(&'static str, Cow<'a, str>)>,
}

/// Puts the lines of one source together. Records come out in the order of their lines.
#[derive(Debug)]
pub struct Assembler {
    #[expect(dead_code, reason = "the skeleton reads no rules yet")]
    rules: Rules,
    last_time: Option<Timestamp>,
}

impl Assembler {
    /// An assembler that has seen nothing.
    pub fn new(rules: &Rules) -> Self {
        Self { rules: rules.clone(), last_time: None }
    }

    /// Goes on behind a record whose time was `last_time`, which records without a time inherit.
    pub fn resume(&mut self, last_time: Option<Timestamp>) {
        self.last_time = last_time;
    }

    /// The time that a record without one would inherit. To be kept in a checkpoint behind the last record.
    pub fn last_time(&self) -> Option<Timestamp> {
        self.last_time
    }

    /// Takes a line without its end (LF or CRLF). `range` is where it is in the file, its end included; `read_at` completes
    /// times without a year or day. Records that are complete go to `out`.
    pub fn line(&mut self, bytes: &[u8], range: Range<u64>, read_at: Timestamp, out: &mut impl FnMut(Record<'_>)) {
        let _ = read_at;
        let text = String::from_utf8_lossy(bytes);
        out(Record { range, text, time: self.last_time, resolution: 0, level: None, fields: Vec::new() });
    }

    /// Gives what is held back. To be called at the end of a file, and when nothing came for a while: a record is complete
    /// only when the next one begins.
    pub fn flush(&mut self, out: &mut impl FnMut(Record<'_>)) {
        let _ = out;
    }

    /// True while [`Assembler::flush`] would give something.
    pub fn is_holding(&self) -> bool {
        false
    }

    /// Secrets that were taken out so far.
    pub fn redacted(&self) -> u64 {
        0
    }
}
