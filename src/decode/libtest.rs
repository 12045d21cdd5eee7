//! JSON of Rust's test harness (`cargo test -- -Z unstable-options --format json`) and of nextest
//! (`--message-format libtest-json` and `libtest-json-plus`) → events.
//!
//! The fields are those of `library/test/src/formatters/json.rs` of the Rust repository and of
//! `nextest-runner/src/reporter/structured/libtest.rs` of nextest. There are no times. What shaped this decoder:
//! nextest closes a suite with ignored tests too early and opens it again, so totals of suites are not summed; a name's
//! end may carry the number of its attempt (`name#3`); libtest's names lack the binary and so repeat.

mod line;
mod message;

use std::borrow::Cow;
use std::collections::HashMap;

use self::line::{Kind, Line, What};
use super::object::find_event;
use super::occurrences::Occurrences;
use super::output::{earlier_attempts, output, run_finished, run_started, seconds, test_ref};
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, Level, LogLine, Planned, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestStarted,
};

/// Longest event that is put together from several lines, and of how many lines.
const LONGEST_BROKEN: usize = 4 << 20;
const MOST_PIECES: u32 = 16;

/// State of the format.
#[derive(Default)]
pub(super) struct Libtest {
    began: bool,
    /// libtest puts spaces between the fields, nextest does not.
    is_cargo: bool,
    names: Occurrences,
    /// Name without the attempt → id of a test under way.
    open: HashMap<String, Open, foldhash::fast::RandomState>,
    /// Number of tests of a suite, by its name or number.
    planned: HashMap<String, u64>,
    suites: u64,
    suites_open: u64,
    /// A suite without a name has begun: its first test names it.
    unnamed: Option<u64>,
    /// Ignored tests that a suite counted and that never ended, which nextest does under `--stress-count`.
    ignored: u64,
    ignored_seen: u64,
    /// An event that was cut by a line end inside a string.
    broken: String,
    pieces: u32,
}

struct Open {
    id: String,
    stress: bool,
}

impl Decoder for Libtest {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(line);
        if !self.broken.is_empty() {
            return self.continued(&text, emit);
        }
        self.one_line(line, &text, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.give_up(emit);
        if self.began && self.suites_open == 0 {
            self.close_ignored(emit);
            run_finished(None, "", None, emit);
        }
    }

    fn runner(&self) -> &str {
        if self.is_cargo { "cargo" } else { "nextest" }
    }
}

impl Libtest {
    fn one_line(&mut self, line: &[u8], text: &str, emit: &mut Emit<'_>) {
        match find_event(text, "\"type\"", line::parse) {
            Some((before, event)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.is_cargo |= !self.began && text.get(before.len()..).is_some_and(|object| object.starts_with("{ "));
                self.event(&event, emit);
            }
            None if line::is_cut(text) => text.clone_into(&mut self.broken),
            None => stdout_line(line, emit),
        }
    }

    /// nextest's `--no-capture` writes line ends into strings as they are, so an event takes several lines.
    fn continued(&mut self, text: &str, emit: &mut Emit<'_>) {
        let whole = format!("{}\\n{text}", self.broken);
        if line::parse(text).is_none() && whole.len() < LONGEST_BROKEN && self.pieces < MOST_PIECES {
            self.pieces += 1;
            match line::parse(&whole) {
                Some(event) => {
                    self.broken.clear();
                    self.pieces = 0;
                    self.event(&event, emit);
                }
                None => self.broken = whole,
            }
            return;
        }
        self.give_up(emit);
        self.one_line(text.as_bytes(), text, emit);
    }

    /// The rest of a cut event does not come: what it says of the result holds all the same.
    fn give_up(&mut self, emit: &mut Emit<'_>) {
        if self.broken.is_empty() {
            return;
        }
        self.pieces = 0;
        let broken = std::mem::take(&mut self.broken);
        let closed = format!("{broken}\"}}");
        match line::parse(&closed) {
            Some(event) => self.event(&event, emit),
            None => broken.split("\\n").for_each(|line| stdout_text(line, emit)),
        }
    }

    fn event(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started(if self.is_cargo { "cargo test" } else { "cargo nextest" }, None, emit);
        }
        match (line.kind, line.event) {
            (Kind::Suite, What::Started) => self.suite_started(line, emit),
            (Kind::Suite, What::Ok | What::Failed) => self.suite_finished(line, emit),
            (Kind::Test, What::Started) => self.test_started(line, emit),
            (Kind::Test, What::Ok) => self.test_finished(line, Status::Passed, emit),
            (Kind::Test, What::Failed) => self.test_finished(line, Status::Failed, emit),
            (Kind::Test, What::Ignored) => self.test_finished(line, Status::Skipped, emit),
            (Kind::Test, What::Timeout) => {
                let text = format!("{} has been running for a long time", line.name);
                let log = LogLine { test: None, source: Source::Runner, level: Some(Level::Warn), text: text.into() };
                emit(Event { time: None, fact: Fact::Log(log) });
            }
            (Kind::Bench, _) => self.bench(line, emit),
            _ => {}
        }
    }

    fn suite_started(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        self.suites += 1;
        self.suites_open += 1;
        match line.suite() {
            Some(suite) => {
                self.plan(suite.clone(), line.test_count, emit);
                let started = SuiteStarted { suite: suite.into(), worker: Cow::Borrowed("") };
                emit(Event { time: None, fact: Fact::SuiteStarted(started) });
            }
            None => {
                if let Some(count) = self.unnamed.replace(line.test_count) {
                    self.plan(format!("suite {}", self.suites - 1), count, emit);
                }
                if line.test_count == 0 {
                    self.unnamed = None;
                }
            }
        }
    }

    /// A suite's number of tests counts once, however often nextest opens the suite.
    fn plan(&mut self, suite: String, count: u64, emit: &mut Emit<'_>) {
        self.planned.insert(suite, count);
        let planned = Planned { total: Some(self.planned.values().sum()), tests: Vec::new() };
        emit(Event { time: None, fact: Fact::Planned(planned) });
    }

    fn suite_finished(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        self.suites_open = self.suites_open.saturating_sub(1);
        self.ignored += line.ignored;
        let Some(suite) = line.suite() else { return };
        let finished = SuiteFinished {
            suite: suite.into(),
            worker: Cow::Borrowed(""),
            status: if line.event == What::Ok { Status::Passed } else { Status::Failed },
            duration: seconds(line.exec_time),
            message: Cow::Borrowed(""),
        };
        emit(Event { time: None, fact: Fact::SuiteFinished(finished) });
    }

    fn test_started(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let (name, stress) = line::without_stress(&line.name);
        if let Some(count) = self.unnamed.take() {
            let suite =
                name.split_once('$').map_or_else(|| format!("suite {}", self.suites), |(suite, _)| suite.into());
            self.plan(suite, count, emit);
        }
        // Names of nextest are whole; those of libtest repeat from binary to binary.
        let id = if name.contains('$') { name.clone() } else { self.names.next(&name).into_owned().into() };
        let test = test_ref(&id, line::suite_of(&id));
        emit(Event {
            time: None,
            fact: Fact::TestStarted(TestStarted { test, attempt: None, repeat: stress, tags: Vec::new() }),
        });
        self.open.insert(line.name.clone().into_owned(), Open { id: id.into_owned(), stress });
    }

    fn test_finished(&mut self, line: &Line<'_>, status: Status, emit: &mut Emit<'_>) {
        let (name, attempt) = match self.open.contains_key(line.name.as_ref()) {
            // A test whose own name ends in `#2`.
            true => (line.name.as_ref(), None),
            false => line::without_attempt(&line.name),
        };
        let id = match self.open.remove(name) {
            Some(open) => open.id,
            None => {
                let (name, _) = line::without_stress(name);
                if name.contains('$') { name.into_owned() } else { self.names.next(&name).into_owned() }
            }
        };
        self.ignored_seen += u64::from(status == Status::Skipped);
        let test = test_ref(&id, line::suite_of(&id));
        earlier_attempts(&test, attempt.unwrap_or(1), None, emit);
        output(Some(&test), &Source::Stdout, &line.stdout, None, emit);
        let mut finished = TestFinished::new(test, status);
        finished.attempt = attempt;
        finished.duration = seconds(line.exec_time);
        let (message, details) = message::of(line, status);
        finished.message = message;
        finished.details = details;
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }

    fn bench(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let id = match self.open.remove(line.name.as_ref()) {
            Some(open) => open.id,
            None => self.names.next(&line.name).into_owned(),
        };
        let test = test_ref(&id, line::suite_of(&id));
        let text = format!("{} ns/iter (+/- {})", line.median.unwrap_or(0.0), line.deviation.unwrap_or(0.0));
        output(Some(&test), &Source::Stdout, &text, None, emit);
        emit(Event { time: None, fact: Fact::TestFinished(TestFinished::new(test, Status::Passed)) });
    }

    /// Under `--stress-count` nextest starts ignored tests, counts them in the suite, and never ends them.
    fn close_ignored(&mut self, emit: &mut Emit<'_>) {
        let left = usize::try_from(self.ignored.saturating_sub(self.ignored_seen)).unwrap_or(usize::MAX);
        let mut open: Vec<_> = self.open.drain().filter(|(_, open)| open.stress).map(|(_, open)| open.id).collect();
        open.sort();
        open.dedup();
        for id in open.into_iter().take(left) {
            let test = test_ref(&id, line::suite_of(&id));
            emit(Event { time: None, fact: Fact::TestFinished(TestFinished::new(test, Status::Skipped)) });
        }
    }
}

/// Tells whether a JSON object is an event of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    line::parse(text).map(|_| ())
}
