//! What a GoogleTest program prints → events (`PrettyUnitTestResultPrinter` in googletest's `gtest.cc`), live: each line is
//! flushed.
//!
//! A test's end names it again and may stand behind output that has no line end. What follows `file:12: Failure` up to the end is why
//! it failed. A program that dies leaves its test open.

use std::time::Duration;

use super::cargo::without_colours;
use super::excerpt::Excerpt;
use super::output::{output, run_finished, run_started, test_ref};
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, Planned, RunStatus, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef, TestStarted,
};

/// State of the format.
#[derive(Debug, Default)]
pub(super) struct Gtest {
    began: bool,
    planned: u64,
    /// An iteration after the first of `--gtest_repeat`.
    repeats: bool,
    /// A program has begun and not ended.
    runs: bool,
    /// Suite and id of the test under way.
    test: Option<(String, String)>,
    /// What was said since the first failure, skip or exception of it.
    said: Excerpt,
}

/// A line of GoogleTest's own.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Iteration(u64),
    Running(u64),
    Ran,
    SuiteStart(&'a str),
    SuiteEnd(&'a str, Duration),
    Run(&'a str),
    /// What stands before it, the test and its time.
    End(&'a str, Status, &'a str, Option<Duration>),
    /// A test that is not run, as its name says.
    Disabled(&'a str),
    /// A suite whose set-up or teardown failed, in the list at the end.
    FailedSuite(&'a str),
}

/// `[       OK ] ` and the like; the marks of the list at the end are the same, but name no time.
const ENDS: [(&str, Status); 3] =
    [("[       OK ] ", Status::Passed), ("[  FAILED  ] ", Status::Failed), ("[  SKIPPED ] ", Status::Skipped)];

fn parse(text: &str) -> Option<Line<'_>> {
    if let Some(rest) = text.strip_prefix("[==========] ") {
        return match rest.strip_prefix("Running ") {
            Some(rest) => Some(Line::Running(rest.split(' ').next()?.parse().ok()?)),
            None => rest.contains(" ran.").then_some(Line::Ran),
        };
    }
    if let Some(rest) = text.strip_prefix("[----------] ") {
        let (count, rest) = rest.split_once(' ')?;
        count.parse::<u64>().ok()?;
        let name = rest.strip_prefix("tests from ").or_else(|| rest.strip_prefix("test from "))?;
        return Some(match name.strip_suffix(" ms total)").and_then(|name| name.rsplit_once(" (")) {
            Some((name, millis)) => Line::SuiteEnd(plain(name), Duration::from_millis(millis.parse().ok()?)),
            None => Line::SuiteStart(plain(name)),
        });
    }
    if let Some(name) = text.strip_prefix("[ RUN      ] ") {
        return Some(Line::Run(name));
    }
    if let Some(name) = text.strip_prefix("[ DISABLED ] ") {
        return Some(Line::Disabled(name));
    }
    if let Some(rest) = text.strip_prefix("Repeating all tests (iteration ") {
        return Some(Line::Iteration(rest.split(')').next()?.parse().ok()?));
    }
    if let Some(name) = text.strip_prefix("[  FAILED  ] ").and_then(|name| name.split_once(": SetUpTestSuite or")) {
        return Some(Line::FailedSuite(plain(name.0)));
    }
    ENDS.iter().find_map(|(mark, status)| {
        let (before, rest) = text.rsplit_once(mark)?;
        let (name, millis) = match rest.strip_suffix(" ms)").and_then(|rest| rest.rsplit_once(" (")) {
            Some((name, millis)) => (name, millis.parse().ok()),
            // With --gtest_print_time=0.
            None => (rest, None),
        };
        Some(Line::End(before, *status, plain(name), millis.map(Duration::from_millis)))
    })
}

/// A name without its parameter: `Sizes/Grain.Fits/2, where GetParam() = 30`.
fn plain(name: &str) -> &str {
    name.split_once(", where ").map_or(name, |(name, _)| name)
}

/// Tells whether a line begins the output of a GoogleTest program.
pub(super) fn announces(text: &str) -> bool {
    text.starts_with('[') && matches!(parse(text), Some(Line::Running(_)))
}

impl Decoder for Gtest {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let raw = String::from_utf8_lossy(bytes);
        let text = without_colours(&raw);
        match parse(&text) {
            Some(line) => self.take(line, &raw, emit),
            None => self.output(&raw, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if self.runs {
            run_finished(Some(RunStatus::Aborted), "the program ended before its tests", None, emit);
        } else if self.began {
            run_finished(None, "", None, emit);
        }
    }

    fn runner(&self) -> &str {
        "gtest"
    }
}

impl Gtest {
    fn take(&mut self, line: Line<'_>, raw: &str, emit: &mut Emit<'_>) {
        match line {
            Line::Iteration(number) => self.repeats = number > 1,
            Line::Running(count) => self.running(count, emit),
            Line::Ran => {
                self.test = None;
                self.runs = false;
            }
            Line::SuiteStart(suite) => {
                let started = SuiteStarted { suite: suite.into(), worker: "".into() };
                emit(Event { time: None, fact: Fact::SuiteStarted(started) });
            }
            Line::SuiteEnd(suite, duration) => suite_finished(suite, Status::Passed, Some(duration), "", emit),
            Line::FailedSuite(suite) => {
                suite_finished(suite, Status::Failed, None, "SetUpTestSuite or TearDownTestSuite failed", emit);
            }
            // Within a test it is what the test prints: a program that dies is followed by another's first line.
            Line::Run(name) if self.test.is_none() => {
                let suite = name.split_once('.').map_or("", |(suite, _)| suite);
                let test = test_ref(name, suite);
                let started = TestStarted { test, attempt: None, repeat: self.repeats, tags: Vec::new() };
                emit(Event { time: None, fact: Fact::TestStarted(started) });
                self.test = Some((suite.to_owned(), name.to_owned()));
                self.said.clear();
            }
            Line::Disabled(name) if self.test.is_none() => {
                self.plan(1, emit);
                let suite = name.split_once('.').map_or("", |(suite, _)| suite);
                let mut finished = TestFinished::new(test_ref(name, suite), Status::Skipped);
                finished.message = "disabled".into();
                emit(Event { time: None, fact: Fact::TestFinished(finished) });
            }
            // Else it is of the list at the end, or of a program that this one runs.
            Line::End(before, status, name, duration) if self.test.as_ref().is_some_and(|(_, id)| id == name) => {
                if !before.is_empty() {
                    self.output(before, emit);
                }
                self.test_end(status, duration, emit);
            }
            Line::End(..) | Line::Disabled(_) | Line::Run(_) => self.output(raw, emit),
        }
    }

    fn running(&mut self, count: u64, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started("GoogleTest", None, emit);
        }
        self.test = None;
        self.runs = true;
        self.plan(count, emit);
    }

    /// The number of tests that a program announces is without disabled ones.
    fn plan(&mut self, more: u64, emit: &mut Emit<'_>) {
        if !self.repeats {
            self.planned += more;
            let planned = Planned { total: Some(self.planned), tests: Vec::new() };
            emit(Event { time: None, fact: Fact::Planned(planned) });
        }
    }

    fn test_end(&mut self, status: Status, duration: Option<Duration>, emit: &mut Emit<'_>) {
        let Some((suite, id)) = self.test.take() else { return };
        let details = self.said.text();
        let message = message_of(&details);
        let mut finished = TestFinished::new(test_ref(&id, &suite), status);
        finished.duration = duration;
        if status != Status::Passed {
            finished.message = message.into();
            finished.details = details.into();
        }
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }

    /// A line of the program, or of an assertion.
    fn output(&mut self, text: &str, emit: &mut Emit<'_>) {
        let Some((suite, id)) = &self.test else { return stdout_line(text.as_bytes(), emit) };
        if !self.said.is_empty() || is_location(text) {
            self.said.push_line(text);
        }
        let test: TestRef<'_> = test_ref(id, suite);
        output(Some(&test), &Source::Stdout, if text.is_empty() { "\n" } else { text }, None, emit);
    }
}

fn suite_finished(suite: &str, status: Status, duration: Option<Duration>, message: &str, emit: &mut Emit<'_>) {
    let finished =
        SuiteFinished { suite: suite.into(), worker: "".into(), status, duration, message: message.to_owned().into() };
    emit(Event { time: None, fact: Fact::SuiteFinished(finished) });
}

/// `mill_test.cc:12: Failure`, `unknown file: Failure`, `mill_test.cc(12): error` of Visual Studio.
fn is_location(text: &str) -> bool {
    [": Failure", ": Skipped", ": error"].iter().any(|end| text.ends_with(end))
}

/// What the first assertion says.
fn message_of(details: &str) -> String {
    let mut lines = details.lines().skip(1).skip_while(|line| *line == "Failed").take_while(|line| !is_location(line));
    let Some(first) = lines.next() else { return String::new() };
    // The values stand below, by two spaces.
    let values: Vec<&str> = if first.ends_with("of these values:") {
        lines.filter_map(|line| line.strip_prefix("  ").filter(|value| !value.starts_with(' '))).take(2).collect()
    } else {
        Vec::new()
    };
    if values.is_empty() { first.to_owned() } else { format!("{first} {}", values.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_its_own_are_told_from_output() {
        assert_eq!(parse("[==========] Running 18 tests from 9 test suites."), Some(Line::Running(18)));
        assert_eq!(parse("[----------] 1 test from Mill"), Some(Line::SuiteStart("Mill")));
        let end = Line::SuiteEnd("T/0", Duration::from_millis(7));
        assert_eq!(parse("[----------] 2 tests from T/0, where TypeParam = int (7 ms total)"), Some(end));
        let end = Line::End("no end", Status::Failed, "S/G.Fits/2", Some(Duration::from_millis(12)));
        assert_eq!(parse("no end[  FAILED  ] S/G.Fits/2, where GetParam() = 30 (12 ms)"), Some(end));
        assert_eq!(parse("[  FAILED  ] Suite: SetUpTestSuite or TearDownTestSuite"), Some(Line::FailedSuite("Suite")));
        for text in ["[----------] Global test environment set-up.", "[  PASSED  ] 10 tests.", "[==========] x", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_message_is_what_the_first_assertion_says() {
        for (details, message) in [
            ("a.cc:1: Failure\nFailed\nno wind\n", "no wind"),
            ("a.cc:1: Failure\nValue of: x\n  Actual: false\n", "Value of: x"),
            (
                "a.cc:1: Failure\nExpected equality of these values:\n  1\n    Which is: 1\n  2\nb.cc:2: Failure\nx\n",
                "Expected equality of these values: 1 and 2",
            ),
            (
                "unknown file: Failure\nC++ exception with description \"x\" thrown.\n",
                "C++ exception with description \"x\" thrown.",
            ),
            ("", ""),
        ] {
            assert_eq!(message_of(details), message);
        }
    }
}
