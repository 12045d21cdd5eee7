//! Lines on their way to a record.

use std::ops::Range;

use super::container::Unwrapped;
use super::read::Head;
use super::stamp::Stamp;
use super::trace::Trace;
use crate::event::Timestamp;

/// The record in the making: its buffer is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) text: Vec<u8>,
    pub(super) range: Range<u64>,
    pub(super) head: Head,
    pub(super) is_stderr: bool,
    pub(super) trace: Trace,
    /// True once a trace was seen.
    pub(super) had_trace: bool,
    pub(super) lines: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.lines == 0
    }

    pub(super) fn begin(&mut self, text: &[u8], range: Range<u64>, head: Head, is_stderr: bool, trace: Trace) {
        self.text.clear();
        self.text.extend_from_slice(text);
        let had_trace = !matches!(trace, Trace::None | Trace::Key);
        (self.range, self.head, self.is_stderr) = (range, head, is_stderr);
        (self.trace, self.had_trace, self.lines) = (trace, had_trace, 1);
    }

    pub(super) fn push(&mut self, text: &[u8], end: u64) {
        self.text.push(b'\n');
        self.text.extend_from_slice(text);
        self.range.end = end;
        self.lines += 1;
    }
}

/// A container's line of which parts are still to come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) text: Vec<u8>,
    pub(super) range: Range<u64>,
    pub(super) stamp: Option<Stamp>,
    pub(super) is_stderr: bool,
    pub(super) read_at: Timestamp,
}

impl Partial {
    pub(super) fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    pub(super) fn push(&mut self, part: &Unwrapped<'_>, range: Range<u64>, read_at: Timestamp) {
        if self.is_empty() {
            (self.stamp, self.is_stderr, self.range) = (part.stamp, part.is_stderr, range.clone());
        }
        self.range.end = range.end;
        self.read_at = read_at;
        self.text.extend_from_slice(&part.text);
    }
}
