//! What `cargo test` prints → events, for a stable tool chain, whose test harness writes no JSON.
//!
//! Cargo announces each test program on standard error, and the programs run one after the other; the harness prints
//! `running 3 tests`, a line a test when it has ended, the output of failed tests, and `test result: …`
//! (`library/test/src/formatters/pretty.rs` of the Rust repository). So a test's end is live and its start is not told; why it
//! failed comes when its program is over, and is told as a correction. With `--quiet` there are no names, so no tests.
//!
//! Where both streams come by one terminal, one decoder sees all; else [`streams`] makes one for each.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::excerpt::Excerpt;
use super::{Decoder, Emit};
use crate::event::{
    Event, Fact, LogLine, Planned, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef, TestStarted,
};

/// What the harness adds to the names of some tests.
const SUFFIXES: &[&str] = &[" - should panic", " - compile fail", " - compile"];

/// What the suite of a package's documentation is called behind its name.
const DOC: &str = " (doc)";

/// State of the format.
#[derive(Debug, Default)]
pub(super) struct Cargo {
    /// Programs that cargo has announced and that have printed nothing.
    announced: VecDeque<String>,
    /// The suite of documentation that ran last: from edition 2024 on it has a part that is built in one piece, and a part of
    /// the examples that are not, each with a head of its own.
    last_doc: Option<String>,
    program: Option<Program>,
    planned: u64,
}

/// A test program at work.
#[derive(Debug, Default)]
struct Program {
    suite: String,
    /// A test whose result stands on a later line than its name, because its output came in between.
    pending: Option<String>,
    /// The test whose output is being printed.
    shown: Option<(String, Excerpt)>,
    /// What is shown is of tests that passed (`--show-output`).
    shows_passed: bool,
}

/// A decoder for one of the two streams of a `cargo test`.
struct Stream {
    both: Arc<Mutex<Cargo>>,
    source: Source<'static>,
}

/// Decoders of standard error and standard output. What came first on standard error is to be given first: it says which
/// program the lines of standard output are of.
pub fn streams() -> [Box<dyn Decoder + Send>; 2] {
    let both = Arc::new(Mutex::new(Cargo::default()));
    [Source::Stderr, Source::Stdout]
        .map(|source| -> Box<dyn Decoder + Send> { Box::new(Stream { both: Arc::clone(&both), source }) })
}

impl Decoder for Stream {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        // A poisoned lock means that the other one panicked, which has ended the run's intake.
        if let Ok(mut cargo) = self.both.lock() {
            cargo.take(line, &self.source, emit);
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if self.source == Source::Stdout {
            self.both.lock().into_iter().for_each(|mut cargo| cargo.end_program(emit));
        }
    }

    fn runner(&self) -> &str {
        "cargo"
    }
}

impl Decoder for Cargo {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        self.take(line, &Source::Stdout, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.end_program(emit);
    }

    fn runner(&self) -> &str {
        "cargo"
    }
}

impl Cargo {
    fn take(&mut self, line: &[u8], source: &Source<'static>, emit: &mut Emit<'_>) {
        let raw = String::from_utf8_lossy(line);
        let text = without_colours(&raw);
        let text = text.as_ref();
        if let Some(suite) = announcement(text) {
            self.announced.push_back(suite);
            return log(None, source, &raw, emit);
        }
        if *source == Source::Stderr {
            return log(None, source, &raw, emit);
        }
        if let Some(count) = count_of(text) {
            self.end_program(emit);
            return self.begin_program(count, emit);
        }
        let Some(program) = &mut self.program else { return log(None, source, &raw, emit) };
        if let Some(result) = text.strip_prefix("test result: ") {
            return self.result(result, emit);
        }
        if program.told(text, emit) {
            return;
        }
        let test = program.shown.as_ref().map(|(name, _)| name.clone()).or_else(|| program.pending.clone());
        let test = test.map(|name| program.id(&name));
        log(test.as_deref().map(|id| program.test(id)), source, &raw, emit);
    }

    fn begin_program(&mut self, count: u64, emit: &mut Emit<'_>) {
        let suite = match self.announced.pop_front() {
            Some(suite) => {
                self.last_doc = Some(suite.clone()).filter(|suite| suite.ends_with(DOC));
                suite
            }
            None => self.last_doc.clone().unwrap_or_default(),
        };
        if !suite.is_empty() {
            let started = SuiteStarted { suite: Cow::Borrowed(&suite), worker: Cow::Borrowed("") };
            emit(fact(Fact::SuiteStarted(started)));
        }
        self.planned += count;
        emit(fact(Fact::Planned(Planned { total: Some(self.planned), tests: Vec::new() })));
        self.program = Some(Program { suite, ..Program::default() });
    }

    /// `ok. 4 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.82s`
    fn result(&mut self, result: &str, emit: &mut Emit<'_>) {
        let Some(mut program) = self.program.take() else { return };
        program.end_shown(emit);
        let status = if result.starts_with("ok") { Status::Passed } else { Status::Failed };
        let seconds =
            result.rsplit_once("finished in ").and_then(|(_, time)| time.trim().strip_suffix('s')?.parse().ok());
        program.finished(status, seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()), "", emit);
    }

    /// A program that ends without a result has died.
    fn end_program(&mut self, emit: &mut Emit<'_>) {
        if let Some(mut program) = self.program.take() {
            program.end_shown(emit);
            program.finished(Status::Failed, None, "the test program ended without a result", emit);
        }
    }
}

impl Program {
    fn id(&self, name: &str) -> String {
        if self.suite.is_empty() { name.to_owned() } else { format!("{}::{name}", self.suite) }
    }

    fn test<'a>(&'a self, id: &'a str) -> TestRef<'a> {
        TestRef { id: Cow::Borrowed(id), suite: Cow::Borrowed(&self.suite), worker: Cow::Borrowed("") }
    }

    /// Takes a line of the harness itself. False if it is output.
    fn told(&mut self, text: &str, emit: &mut Emit<'_>) -> bool {
        if let Some(name) = text.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.end_shown(emit);
            self.shown = Some((plain_name(name).to_owned(), Excerpt::default()));
            return true;
        }
        if matches!(text, "failures:" | "successes:") {
            self.end_shown(emit);
            self.shows_passed = text == "successes:";
            return true;
        }
        if let Some((_, output)) = &mut self.shown {
            output.push_line(text);
            return false;
        }
        if let Some(name) = &self.pending
            && let Some((status, message)) = word(text)
        {
            let id = self.id(name);
            self.ended(&id, status, message, emit);
            self.pending = None;
            return true;
        }
        let Some((left, right)) = text.rsplit_once(" ... ") else { return false };
        // With --nocapture, what a test printed may stand before it.
        let Some((before, name)) = left.rsplit_once("test ").filter(|(_, name)| !name.is_empty()) else { return false };
        let id = self.id(plain_name(name));
        match word(right) {
            Some((status, message)) => self.ended(&id, status, message, emit),
            None if before.is_empty() => {
                let test = self.test(&id);
                emit(fact(Fact::TestStarted(TestStarted { test, ..TestStarted::default() })));
                self.pending = Some(plain_name(name).to_owned());
                return false;
            }
            None => return false,
        }
        true
    }

    fn ended(&self, id: &str, status: Status, message: &str, emit: &mut Emit<'_>) {
        let mut finished = TestFinished::new(self.test(id), status);
        finished.message = Cow::Borrowed(message);
        emit(fact(Fact::TestFinished(finished)));
    }

    fn end_shown(&mut self, emit: &mut Emit<'_>) {
        let Some((name, output)) = self.shown.take().filter(|_| !self.shows_passed) else { return };
        let (id, details) = (self.id(&name), output.text());
        let mut corrected = TestFinished::new(self.test(&id), Status::Failed);
        corrected.message = Cow::Owned(message_of(&details));
        corrected.details = Cow::Borrowed(&details);
        emit(fact(Fact::TestCorrected(corrected)));
    }

    fn finished(&self, status: Status, duration: Option<Duration>, message: &str, emit: &mut Emit<'_>) {
        if !self.suite.is_empty() {
            let (suite, message) = (Cow::Borrowed(self.suite.as_str()), Cow::Borrowed(message));
            emit(fact(Fact::SuiteFinished(SuiteFinished {
                suite,
                worker: Cow::Borrowed(""),
                status,
                duration,
                message,
            })));
        }
    }
}

/// `     Running unittests src/lib.rs (target/debug/deps/tidegauge-357bb69f81e2962a)`, `   Doc-tests tidegauge`
fn announcement(text: &str) -> Option<String> {
    let text = text.trim_start();
    if let Some(name) = text.strip_prefix("Doc-tests ") {
        return Some(format!("{name}{DOC}"));
    }
    let (source, program) = text.strip_prefix("Running ")?.strip_suffix(')')?.rsplit_once(" (")?;
    let file = Path::new(program).file_name()?.to_str()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    // A package may have a library and a program of one name.
    let is_program = source.ends_with("src/main.rs") || source.contains("src/bin/");
    Some(if is_program { format!("{name} (bin)") } else { name.to_owned() })
}

/// `running 10 tests`
fn count_of(text: &str) -> Option<u64> {
    let (count, rest) = text.strip_prefix("running ")?.split_once(' ')?;
    matches!(rest, "test" | "tests").then(|| count.parse().ok()).flatten()
}

/// The harness's word for a result, and the reason of an ignored test.
fn word(text: &str) -> Option<(Status, &str)> {
    // `--report-time` adds the time.
    let text = text.split_once(" <").map_or(text, |(word, _)| word);
    match text {
        "ok" => Some((Status::Passed, "")),
        "FAILED" => Some((Status::Failed, "")),
        "ignored" => Some((Status::Skipped, "")),
        _ if text.starts_with("bench:") => Some((Status::Passed, "")),
        _ => text.strip_prefix("ignored, ").map(|reason| (Status::Skipped, reason)),
    }
}

fn plain_name(name: &str) -> &str {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}

/// What is wrong: what the panic says, else the first line.
fn message_of(output: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !(line.starts_with("thread '") && line.contains("panicked at")));
    let panic = lines.next().map(|_| {
        let text = lines.take_while(|line| *line != "stack backtrace:" && !line.starts_with("note: "));
        text.collect::<Vec<_>>().join("\n")
    });
    let first = || output.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    panic.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or_else(first)
}

/// Takes colours out, which are there on a terminal.
pub(super) fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains('\x1b') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| ('@'..='~').contains(&c));
        plain.extend(end.and_then(|end| part.get(end + 1..)));
    }
    Cow::Owned(plain)
}

fn fact(fact: Fact<'_>) -> Event<'_> {
    Event { time: None, fact }
}

fn log(test: Option<TestRef<'_>>, source: &Source<'static>, text: &str, emit: &mut Emit<'_>) {
    emit(fact(Fact::Log(LogLine { test, source: source.clone(), level: None, text: Cow::Borrowed(text) })));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results, corrections with their message, and suites, of lines on standard error (`!`) and standard output.
    fn decoded(text: &str) -> Vec<String> {
        let [mut err, mut out] = streams();
        let mut told = Vec::new();
        let mut emit = |event: Event<'_>| match event.fact {
            Fact::TestFinished(end) => told.push(format!("{} {} {}", end.test.id, end.status.as_str(), end.message)),
            Fact::TestCorrected(end) => told.push(format!("{}: {}", end.test.id, end.message)),
            Fact::SuiteFinished(end) => told.push(format!("{} {}", end.suite, end.status.as_str())),
            Fact::Planned(planned) => told.push(format!("of {:?}", planned.total)),
            Fact::Log(LogLine { test: Some(test), text, .. }) => told.push(format!("{} says {text}", test.id)),
            _ => {}
        };
        for line in text.lines() {
            match line.strip_prefix('!') {
                Some(line) => err.line(line.as_bytes(), &mut emit),
                None => out.line(line.as_bytes(), &mut emit),
            }
        }
        err.finish(&mut emit);
        out.finish(&mut emit);
        told
    }

    #[test]
    fn tests_of_several_programs_are_told_with_why_they_failed() {
        let told = decoded(
            "!     Running unittests src/lib.rs (target/debug/deps/tide-35f)\n\nrunning 3 tests\ntest a::one ... \x1b[32mok\x1b[m\n\
             test a::two - should panic ... FAILED\ntest a::three ... ignored, no gauge\n\nfailures:\n\n---- a::two stdout ----\n\
             thread 'a::two' (7) panicked at src/lib.rs:1:\ntoo high\nnote: run with\n\nfailures:\n    a::two\n\n\
             test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.82s\n\
             !   Doc-tests tide\nrunning 1 test\ntest src/lib.rs - f (line 5) - compile ... ok\ntest result: ok. 1 passed",
        );
        let expected = [
            "of Some(3)",
            "tide::a::one passed ",
            "tide::a::two failed ",
            "tide::a::three skipped no gauge",
            "tide::a::two says thread 'a::two' (7) panicked at src/lib.rs:1:",
            "tide::a::two says too high",
            "tide::a::two says note: run with",
            "tide::a::two says ",
            "tide::a::two: too high",
            "tide failed",
            "of Some(4)",
            "tide (doc)::src/lib.rs - f (line 5) passed ",
            "tide (doc) passed",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn output_of_tests_that_passed_makes_no_failures_of_them() {
        let told = decoded(
            "running 2 tests\ntest a::ok ... ok\ntest b ... FAILED\n\nsuccesses:\n\n---- a::ok stdout ----\nhi\n\n\nsuccesses:\n    a::ok\n\n\
             failures:\n\n---- b stdout ----\nno\n\n\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed",
        );
        assert_eq!(told[..3], ["of Some(2)", "a::ok passed ", "b failed "]);
        assert_eq!(told.iter().filter(|line| line.starts_with("a::ok")).count(), 4, "{told:?}");
        assert!(told.contains(&"a::ok says hi".to_owned()) && !told.contains(&"a::ok: hi".to_owned()), "{told:?}");
        assert!(told.contains(&"b: no".to_owned()), "{told:?}");
    }

    #[test]
    fn both_parts_of_the_documentation_of_edition_2024_are_of_its_suite() {
        let told = decoded(
            "!   Doc-tests tide\nrunning 1 test\ntest src/lib.rs - f (line 5) ... ok\ntest result: ok.\n\
             running 1 test\ntest src/lib.rs - g (line 9) - compile fail ... ok\ntest result: ok.\n\
             !     Running tests/y.rs (target/debug/deps/y-1)\nrunning 1 test\ntest b ... ok\ntest result: ok.\nrunning 0 tests",
        );
        let expected = [
            "of Some(1)",
            "tide (doc)::src/lib.rs - f (line 5) passed ",
            "tide (doc) passed",
            "of Some(2)",
            "tide (doc)::src/lib.rs - g (line 9) passed ",
            "tide (doc) passed",
            "of Some(3)",
            "y::b passed ",
            "y passed",
            "of Some(3)",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn output_between_a_name_and_its_result_belongs_to_the_test() {
        let told = decoded("running 1 test\ntest a ... tick\ntock\nok");
        assert_eq!(told[1..], ["a says test a ... tick", "a says tock", "a passed "]);
    }

    #[test]
    fn a_program_that_dies_has_failed_and_the_next_one_is_named_right() {
        let told = decoded(
            "!     Running tests/x.rs (target/debug/deps/x-1)\nrunning 2 tests\ntest a ... ok\n!error: test failed\n\
             !     Running tests/y.rs (target/debug/deps/y-z-1)\nrunning 1 test\ntest b ... ok\ntest result: ok.",
        );
        let expected = ["of Some(2)", "x::a passed ", "x failed", "of Some(3)", "y-z::b passed ", "y-z passed"];
        assert_eq!(told, expected);
    }
}
