//! A jest reporter that writes one line a call (`onTestCaseStart` and so on, with jest's own objects) → events.
//!
//! The calls and objects are those of `Reporter` in `@jest/reporters` and of `@jest/test-result`. A case is told once an
//! attempt. A file that cannot be loaded has no case; its error is in `onTestFileResult`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

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
    /// By file: full names of the cases that were told.
    told: HashMap<String, HashSet<String>, foldhash::fast::RandomState>,
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
                self.note(&line, emit);
                event(&line, emit);
            }
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "jest"
    }
}

impl JestReporter {
    /// Some skipped cases are not told when they are passed over, but only in the list at the end of their file.
    fn note(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        match line.event {
            Kind::OnTestCaseStart | Kind::OnTestCaseResult => {
                let told = self.told.entry(line.path.to_string()).or_default();
                told.insert(line.full_name.to_string());
            }
            Kind::OnTestFileResult => {
                let told = self.told.remove(line.path.as_ref()).unwrap_or_default();
                for case in line.test_results.iter().filter(|case| !told.contains(case.full_name.as_ref())) {
                    let id = format!("{}{BETWEEN}{}", line.path, case.full_name);
                    let mut finished = TestFinished::new(test_ref(&id, &line.path), status_of(&case.status));
                    finished.duration = milliseconds(case.duration);
                    let time = line.time.and_then(|millis| Timestamp::from_secs_f64(millis / 1e3));
                    emit(Event { time, fact: Fact::TestFinished(finished) });
                }
            }
            Kind::OnRunStart | Kind::OnTestFileStart | Kind::OnRunComplete => {}
        }
    }
}

fn status_of(word: &str) -> Status {
    match word {
        "passed" | "focused" => Status::Passed,
        "pending" | "todo" | "skipped" | "disabled" => Status::Skipped,
        _ => Status::Failed,
    }
}

fn event(line: &Line<'_>, emit: &mut Emit<'_>) {
    let time = line.time.and_then(|millis| Timestamp::from_secs_f64(millis / 1e3));
    match line.event {
        Kind::OnRunStart => run_started("jest", time, emit),
        Kind::OnTestFileStart => {
            let started = SuiteStarted { suite: Cow::Borrowed(&line.path), worker: Cow::Borrowed("") };
            emit(Event { time, fact: Fact::SuiteStarted(started) });
        }
        Kind::OnTestCaseStart => {
            let (id, suite) = (line.id(), line.suite());
            let test = test_ref(&id, &suite);
            let began = line.started_at.and_then(|millis| Timestamp::from_secs_f64(millis / 1e3));
            let started = TestStarted { test, attempt: None, repeat: false, tags: Vec::new() };
            emit(Event { time: began.or(time), fact: Fact::TestStarted(started) });
        }
        Kind::OnTestCaseResult => case_result(line, time, emit),
        Kind::OnTestFileResult => file_result(line, time, emit),
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

fn case_result(line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let status = status_of(&line.status);
    let (id, suite) = (line.id(), line.suite());
    let mut finished = TestFinished::new(test_ref(&id, &suite), status);
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
        let mut suite = self.path.clone().into_owned();
        for title in &self.ancestor_titles {
            suite.push_str(BETWEEN);
            suite.push_str(title);
        }
        suite
    }

    fn id(&self) -> String {
        format!("{}{BETWEEN}{}", self.suite(), self.title)
    }
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
