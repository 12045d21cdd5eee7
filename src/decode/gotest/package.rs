//! One package's session: from its first event to its result.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::Emit;
use super::super::excerpt::Excerpt;
use super::{LONGEST_JOINED, message};
use crate::event::{Event, Fact, LogLine, Source, Status, Timestamp};

/// Names whose end is remembered to tell `-count=2` from a retry, per package; beyond, repeats look like retries.
const NAMES_KEPT: usize = 500_000;

/// State of a package.
#[derive(Default)]
pub(super) struct Package {
    /// Hashes of the names that ended.
    ended: HashSet<u64, foldhash::fast::RandomState>,
    hasher: foldhash::fast::RandomState,
    output: Excerpt,
    piece: String,
    failed: u64,
    blamed: String,
}

impl Package {
    /// True if a test of this name has ended in this session.
    pub(super) fn has_ended(&self, name: &str) -> bool {
        self.ended.contains(&self.hash(name))
    }

    /// Notes the end of a test.
    pub(super) fn count(&mut self, name: &str, status: Status) {
        if self.ended.len() < NAMES_KEPT {
            self.ended.insert(self.hash(name));
        }
        if status.is_failing() {
            self.failed += 1;
        }
    }

    fn hash(&self, name: &str) -> u64 {
        std::hash::BuildHasher::hash_one(&self.hasher, name)
    }

    /// Notes what a test that did not end said last.
    pub(super) fn blame(&mut self, message: &str) {
        if self.blamed.is_empty() || message.starts_with("panic: ") && !self.blamed.starts_with("panic: ") {
            message.clone_into(&mut self.blamed);
        }
    }

    /// Output of the package itself: from `TestMain`, from programs that tests started, and Go's own summary.
    pub(super) fn output(&mut self, text: &str, line_end: bool, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        if self.piece.is_empty() && line_end {
            return self.whole_line(text, time, emit);
        }
        self.piece.push_str(text);
        if line_end || self.piece.len() > LONGEST_JOINED {
            self.flush_piece(time, emit);
        }
    }

    /// Passes on what was held back.
    pub(super) fn flush_piece(&mut self, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            self.whole_line(&piece, time, emit);
        }
    }

    fn whole_line(&mut self, text: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let summary = message::is_summary(text);
        if !summary || text.ends_with(']') {
            self.output.push_line(text);
        }
        let source = if summary { Source::Runner } else { Source::Stdout };
        let line = LogLine { test: None, source, level: None, text: Cow::Borrowed(text) };
        emit(Event { time, fact: Fact::Log(line) });
    }

    /// Why the package failed, beyond its failed tests.
    pub(super) fn reason(&self) -> String {
        if !self.blamed.is_empty() {
            return self.blamed.clone();
        }
        if self.failed > 0 { String::new() } else { message::of_package(&self.output.text()) }
    }
}
