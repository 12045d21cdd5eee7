//! Text of `<system-out>` and `<system-err>` → log lines, while it is read.

use crate::decode::Emit;
use crate::event::{Event, Fact, LogLine, Source, TestRef, Timestamp};

/// A line that is longer is handed on in pieces.
const MAX_HELD: usize = 1 << 20;

/// Cuts text into lines. Empty ones at the beginning and the end are the writer's, not the program's.
#[derive(Debug, Default)]
pub(super) struct Lines {
    held: String,
    /// Empty lines that are said once another comes.
    blank: usize,
    begun: bool,
}

impl Lines {
    /// Takes a part of the text; `line` gets whole lines.
    pub(super) fn push(&mut self, text: &str, mut line: impl FnMut(&str)) {
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('\n') {
            if self.held.is_empty() {
                Self::one(&mut self.blank, &mut self.begun, before, &mut line);
            } else {
                self.held.push_str(before);
                let held = std::mem::take(&mut self.held);
                Self::one(&mut self.blank, &mut self.begun, &held, &mut line);
            }
            rest = after;
        }
        self.held.push_str(rest);
        if self.held.len() > MAX_HELD {
            self.finish(line);
        }
    }

    /// The text ended.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str)) {
        let held = std::mem::take(&mut self.held);
        if !held.trim().is_empty() {
            Self::one(&mut self.blank, &mut self.begun, &held, &mut line);
        }
        self.blank = 0;
    }

    fn one(blank: &mut usize, begun: &mut bool, text: &str, line: &mut impl FnMut(&str)) {
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim().is_empty() {
            *blank += usize::from(*begun);
            return;
        }
        *begun = true;
        (0..std::mem::take(blank)).for_each(|_| line(""));
        line(text);
    }
}

/// Says a line of output.
pub(super) fn log(
    test: Option<TestRef<'_>>,
    source: &Source<'static>,
    time: Option<Timestamp>,
    text: &str,
    emit: &mut Emit<'_>,
) {
    let line = LogLine { test, source: source.clone(), level: None, text: text.into() };
    emit(Event { time, fact: Fact::Log(line) });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_text_is_cut() {
        let text = "\n\none\r\n\ntwo\nthree\n\n\n";
        for size in 1..text.len() {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            for part in text.as_bytes().chunks(size) {
                lines.push(std::str::from_utf8(part).unwrap(), |line| found.push(line.to_owned()));
            }
            lines.finish(|line| found.push(line.to_owned()));
            assert_eq!(found, ["one", "", "two", "three"], "{size}");
        }
    }
}
