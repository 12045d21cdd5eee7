//! A jest reporter that writes one line a call (`onTestCaseStart` and so on, with jest's own objects) → events.
//!
//! The calls and objects are those of `Reporter` in `@jest/reporters` and of `@jest/test-result`. A case is told once an
//! attempt. A file that cannot be loaded has no case; its error is in `onTestFileResult`.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::fields::text;
use super::jest::short_name;
use super::object::find_event;
use super::output::{milliseconds, output, run_finished, run_started, test_ref};
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, RunStatus, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestStarted, Timestamp,
};

/// Between file, describe blocks and title.
const BETWEEN: &str = " > ";

/// State of the format.
#[derive(Default)]
pub(super) struct JestReporter {
    /// By file, and in it by name.
    files: HashMap<String, HashMap<String, Name, foldhash::fast::RandomState>, foldhash::fast::RandomState>,
}

/// The tests of one name in a file: `test.each` makes several if its title names no parameter.
#[derive(Default)]
struct Name {
    tests: Vec<Test>,
    /// When a case began of which only its result will say whether it is another test, or a test that failed, run again.
    held: Option<Option<Timestamp>>,
}

struct Test {
    id: String,
    full_name: String,
    is_running: bool,
    /// Jest's word for its last result.
    status: String,
    invocations: u32,
}

impl Test {
    fn failed(&self) -> bool {
        self.status == "failed"
    }
}

impl Name {
    /// One more test of the name, by its place.
    fn add(&mut self, base: String, full_name: &str) -> usize {
        let id = if self.tests.is_empty() { base } else { format!("{base} ({})", self.tests.len() + 1) };
        let (full_name, status) = (full_name.to_owned(), String::new());
        self.tests.push(Test { id, full_name, is_running: false, status, invocations: 0 });
        self.tests.len() - 1
    }

    /// The failed test that a case with this number of invocations is another attempt of. Jest may retry a test after others
    /// of the same name.
    fn retried(&self, invocations: Option<u32>) -> Option<usize> {
        let last_failed = || self.tests.iter().rposition(Test::failed);
        match invocations {
            Some(1) => None,
            Some(number) => {
                let is_before = |test: &Test| test.failed() && test.invocations + 1 == number;
                self.tests.iter().position(is_before).or_else(last_failed)
            }
            None => self.tests.last().is_some_and(Test::failed).then(last_failed)?,
        }
    }
}

impl Decoder for JestReporter {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        match find_event(&text, "\"event\"", parse) {
            Some((before, mut line)) => {
                // As in jest's own reports, so that a test is the same one on every machine.
                line.path = short_name(&line.path).into();
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.event(&line, emit);
            }
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        // What is held back was on when the stream ended.
        let names = self.files.values_mut().flat_map(HashMap::values_mut);
        let held = names.filter_map(|name| Some((name.held.take()?, name.tests.last()?.id.clone())));
        let mut held: Vec<_> = held.collect();
        held.sort_unstable_by(|(_, a), (_, b)| a.cmp(b));
        for (time, id) in held {
            let started = TestStarted { test: test_ref(&id, ""), ..TestStarted::default() };
            emit(Event { time, fact: Fact::TestStarted(started) });
        }
    }

    fn runner(&self) -> &str {
        "jest"
    }
}

impl JestReporter {
    fn event(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let time = line.time.and_then(|millis| Timestamp::from_secs_f64(millis / 1e3));
        match line.event {
            Kind::OnRunStart => run_started("jest", time, emit),
            Kind::OnTestFileStart => {
                let started = SuiteStarted { suite: Cow::Borrowed(&line.path), worker: Cow::Borrowed("") };
                emit(Event { time, fact: Fact::SuiteStarted(started) });
            }
            Kind::OnTestCaseStart => self.case_start(line, time, emit),
            Kind::OnTestCaseResult => self.case_result(line, time, emit),
            Kind::OnTestFileResult => {
                self.untold(line, time, emit);
                file_result(line, time, emit);
            }
            Kind::OnRunComplete => {
                let status = match (line.was_interrupted, line.success) {
                    (true, _) => RunStatus::Aborted,
                    (false, Some(true)) => RunStatus::Passed,
                    (false, _) => RunStatus::Failed,
                };
                run_finished(Some(status), "", time, emit);
            }
        }
    }

    fn name(&mut self, line: &Line<'_>) -> &mut Name {
        self.files.entry(line.path.to_string()).or_default().entry(line.id()).or_default()
    }

    fn case_start(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let began = line.started_at.and_then(|millis| Timestamp::from_secs_f64(millis / 1e3)).or(time);
        let name = self.name(line);
        if name.tests.iter().any(Test::failed) {
            name.held = Some(began);
            return;
        }
        let at = match name.tests.iter().position(|test| test.is_running) {
            Some(at) => at,
            None => name.add(line.id(), &line.full_name),
        };
        let test = &mut name.tests[at];
        test.is_running = true;
        start(&test.id, line, began, emit);
    }

    fn case_result(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let name = self.name(line);
        let held = name.held.take();
        let running = name.tests.iter().position(|test| test.is_running);
        let known = running.or_else(|| name.retried(line.invocations));
        let at = known.unwrap_or_else(|| name.add(line.id(), &line.full_name));
        let test = &mut name.tests[at];
        if let Some(began) = held {
            start(&test.id, line, began, emit);
        }
        test.is_running = false;
        line.status.as_ref().clone_into(&mut test.status);
        test.invocations = line.invocations.unwrap_or(test.invocations + 1);
        case_result(&test.id, line, time, emit);
    }

    /// Some skipped cases are not told when they are passed over, but only in the list at the end of their file.
    fn untold(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let mut names = self.files.remove(line.path.as_ref()).unwrap_or_default();
        let told = names.values().flat_map(|name| &name.tests).filter(|test| !test.status.is_empty());
        let mut told: Vec<(String, String)> = told.map(|test| (test.full_name.clone(), test.status.clone())).collect();
        told.sort_unstable();
        for case in &line.test_results {
            let is_this = |(name, status): &(String, String)| *name == case.full_name && *status == case.status;
            if let Some(at) = told.iter().position(is_this) {
                told.swap_remove(at);
                continue;
            }
            let title = if case.title.is_empty() { &case.full_name } else { &case.title };
            let suite = suite_of(&line.path, &case.ancestor_titles);
            let base = format!("{suite}{BETWEEN}{title}");
            let name = names.entry(base.clone()).or_default();
            let running = name.tests.iter_mut().position(|test| std::mem::take(&mut test.is_running));
            let at = running.unwrap_or_else(|| name.add(base, &case.full_name));
            let mut finished = TestFinished::new(test_ref(&name.tests[at].id, &suite), status_of(&case.status));
            finished.duration = milliseconds(case.duration);
            emit(Event { time, fact: Fact::TestFinished(finished) });
        }
    }
}

fn start(id: &str, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let suite = line.suite();
    let started = TestStarted { test: test_ref(id, &suite), ..TestStarted::default() };
    emit(Event { time, fact: Fact::TestStarted(started) });
}

fn status_of(word: &str) -> Status {
    match word {
        "passed" | "focused" => Status::Passed,
        "pending" | "todo" | "skipped" | "disabled" => Status::Skipped,
        _ => Status::Failed,
    }
}

fn case_result(id: &str, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let status = status_of(&line.status);
    let suite = line.suite();
    let mut finished = TestFinished::new(test_ref(id, &suite), status);
    finished.duration = milliseconds(line.duration);
    let details = line.failure_messages.join("\n\n");
    // Jest puts the message and the stack into one text.
    let message = details.split("\n    at ").next().unwrap_or_default().trim_end();
    finished.message = Cow::Borrowed(if status == Status::Skipped { line.status.as_ref() } else { message });
    finished.details = Cow::Borrowed(details.get(message.len()..).unwrap_or_default().trim_start_matches('\n'));
    emit(Event { time, fact: Fact::TestFinished(finished) });
}

fn file_result(line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    for entry in line.console.iter().flatten() {
        let source = match entry.kind.as_ref() {
            "error" | "warn" | "assert" => Source::Stderr,
            _ => Source::Stdout,
        };
        output(None, &source, &entry.message, time, emit);
    }
    let message = line.test_exec_error.as_ref().map(|error| {
        if error.stack.contains(error.message.as_ref()) { error.stack.clone() } else { error.message.clone() }
    });
    let failed = message.is_some() || line.num_failing_tests > 0;
    let finished = SuiteFinished {
        suite: Cow::Borrowed(&line.path),
        worker: Cow::Borrowed(""),
        status: if failed { Status::Failed } else { Status::Passed },
        duration: None,
        message: message.unwrap_or_default(),
    };
    emit(Event { time, fact: Fact::SuiteFinished(finished) });
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "these are jest's names")]
enum Kind {
    OnRunStart,
    OnTestFileStart,
    OnTestCaseStart,
    OnTestCaseResult,
    OnTestFileResult,
    OnRunComplete,
}

/// The fields of all calls; empty where a call has none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    event: Kind,
    /// Milliseconds since the epoch.
    time: Option<f64>,
    #[serde(borrow, default, deserialize_with = "text")]
    path: Cow<'a, str>,
    #[serde(borrow, default)]
    ancestor_titles: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    title: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    full_name: Cow<'a, str>,
    /// All cases of a file.
    #[serde(borrow, default)]
    test_results: Vec<Case<'a>>,
    /// Milliseconds since the epoch.
    started_at: Option<f64>,
    #[serde(borrow, default, deserialize_with = "text")]
    status: Cow<'a, str>,
    /// Which attempt it was.
    invocations: Option<u32>,
    /// Milliseconds.
    duration: Option<f64>,
    #[serde(borrow, default)]
    failure_messages: Vec<Cow<'a, str>>,
    #[serde(default)]
    num_failing_tests: u64,
    #[serde(borrow)]
    test_exec_error: Option<ExecError<'a>>,
    #[serde(borrow, default)]
    console: Option<Vec<Console<'a>>>,
    success: Option<bool>,
    #[serde(default)]
    was_interrupted: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case<'a> {
    #[serde(borrow, default)]
    ancestor_titles: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "text")]
    title: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    full_name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    status: Cow<'a, str>,
    /// Milliseconds.
    duration: Option<f64>,
}

#[derive(Deserialize)]
struct ExecError<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    message: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    stack: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Console<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    message: Cow<'a, str>,
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Cow<'a, str>,
}

impl Line<'_> {
    fn suite(&self) -> String {
        suite_of(&self.path, &self.ancestor_titles)
    }

    fn id(&self) -> String {
        format!("{}{BETWEEN}{}", self.suite(), self.title)
    }
}

fn suite_of(path: &str, titles: &[Cow<'_, str>]) -> String {
    let mut suite = path.to_owned();
    for title in titles {
        suite.push_str(BETWEEN);
        suite.push_str(title);
    }
    suite
}

fn parse(text: &str) -> Option<Line<'_>> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let complete = match line.event {
        Kind::OnRunStart | Kind::OnRunComplete => true,
        Kind::OnTestFileStart | Kind::OnTestFileResult => !line.path.is_empty(),
        Kind::OnTestCaseStart => !line.path.is_empty() && !line.title.is_empty(),
        Kind::OnTestCaseResult => !line.path.is_empty() && !line.status.is_empty(),
    };
    complete.then_some(line)
}

/// Tells whether a JSON object is an event of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    parse(text).map(|_| ())
}
