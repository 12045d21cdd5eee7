//! The JSON of `jest --json` and of vitest's `json` reporter, which has the same shape → events.
//!
//! A test's identity is its file and its titles. Files are absolute there, so the name begins with the first folder that
//! is usual for tests or sources: the rest differs between machines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::Emit;
use super::split::{Parts, list, read};
use super::wall::{after, epoch_millis};
use crate::event::{
    Event, Fact, RunFinished, RunStarted, RunStatus, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef,
    Timestamp,
};

/// Folders with which the name of a file begins.
const FOLDERS: [&str; 12] =
    ["__tests__", "test", "tests", "spec", "specs", "e2e", "packages", "apps", "libs", "src", "lib", "app"];

/// State of the format; `VITEST` tells which of the two.
#[derive(Default)]
pub(super) struct Jest<const VITEST: bool> {
    begun: Option<Timestamp>,
    success: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    start_time: Option<f64>,
    end_time: Option<f64>,
    #[serde(borrow, default, deserialize_with = "list")]
    assertion_results: Vec<Assertion<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Assertion<'a> {
    #[serde(borrow, default, deserialize_with = "list")]
    ancestor_titles: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    title: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    duration: Option<f64>,
    start_at: Option<f64>,
    #[serde(default, deserialize_with = "list")]
    failure_messages: Vec<String>,
    invocations: Option<u32>,
    #[serde(default, deserialize_with = "list")]
    retry_reasons: Vec<String>,
}

impl<const VITEST: bool> Parts for Jest<VITEST> {
    const RUNNER: &'static str = if VITEST { "vitest" } else { "jest" };
    const FIRST_KEYS: &'static [&'static str] = &["numFailedTestSuites", "numTotalTestSuites", "numPassedTests"];

    fn begin(&mut self, _: &mut Emit<'_>) {
        *self = Self::default();
    }

    fn opens(&self, path: &[String]) -> bool {
        matches!(path, [key] if key == "testResults")
    }

    fn part(&mut self, path: &[String], json: &str, emit: &mut Emit<'_>) -> Result<(), serde_json::Error> {
        match path {
            [key] if key == "startTime" => {
                self.begun = epoch_millis(read(json)?);
                self.started(emit);
            }
            [key] if key == "success" => self.success = read(json)?,
            [_, _] => self.file(&read(json)?, emit),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &[String], _: &mut Emit<'_>) {}

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        if whole {
            // An unhandled error shows nowhere else.
            let status = self.success.filter(|success| !success).map(|_| RunStatus::Failed);
            let finished = RunFinished { status, message: "".into() };
            emit(Event { time: None, fact: Fact::RunFinished(finished) });
        }
    }
}

impl<const VITEST: bool> Jest<VITEST> {
    fn started(&self, emit: &mut Emit<'_>) {
        let started = RunStarted { title: Self::RUNNER.into(), attributes: Vec::new() };
        emit(Event { time: self.begun, fact: Fact::RunStarted(started) });
    }

    fn file(&self, file: &File<'_>, emit: &mut Emit<'_>) {
        let name = short_name(&file.name);
        let start = file.start_time.and_then(epoch_millis).or(self.begun);
        let started = SuiteStarted { suite: name.as_str().into(), worker: "".into() };
        emit(Event { time: start, fact: Fact::SuiteStarted(started) });
        let (mut spent, mut seen, mut failing) = (Duration::ZERO, HashMap::new(), false);
        for assertion in &file.assertion_results {
            let duration = millis(assertion.duration);
            let begun = assertion.start_at.and_then(epoch_millis).or(start.map(|start| after(start, spent)));
            spent += duration.unwrap_or_default();
            let titles = assertion.ancestor_titles.iter().chain([&assertion.title]);
            let mut id = name.clone();
            titles.for_each(|title| {
                id.push_str(" > ");
                id.push_str(title);
            });
            let count = seen.entry(id.clone()).or_insert(0);
            *count += 1;
            if *count > 1 {
                id.push_str(&format!(" ({count})"));
            }
            let test = TestRef { id: id.into(), suite: name.as_str().into(), worker: "".into() };
            failing |= say::<VITEST>(&test, assertion, begun, duration, emit);
        }
        let end = file.end_time.and_then(epoch_millis).filter(|end| Some(*end) >= start);
        // A file that could not be loaded has no test that says so.
        let own = file.status == "failed" && !failing;
        let finished = SuiteFinished {
            suite: name.as_str().into(),
            worker: "".into(),
            status: match (own, failing) {
                (true, _) => Status::Errored,
                (_, true) => Status::Failed,
                _ => Status::Passed,
            },
            duration: start.zip(end).map(|(start, end)| end.since(start)),
            message: match (own, file.message.trim()) {
                (true, "") => "the file failed without a failing test".into(),
                (true, message) => message.into(),
                (false, _) => "".into(),
            },
        };
        let time = end.or(start.map(|start| after(start, spent)));
        emit(Event { time, fact: Fact::SuiteFinished(finished) });
    }
}

/// Says a test with its attempts; true if it failed.
fn say<const VITEST: bool>(
    test: &TestRef<'_>,
    assertion: &Assertion<'_>,
    begun: Option<Timestamp>,
    duration: Option<Duration>,
    emit: &mut Emit<'_>,
) -> bool {
    let status = match &*assertion.status {
        "passed" => Status::Passed,
        "failed" => Status::Failed,
        _ => Status::Skipped,
    };
    let messages = &assertion.failure_messages;
    let mut last = messages.iter().map(String::as_str);
    let before: Vec<&str> = if VITEST {
        let same = messages.windows(2).all(|pair| first_line(&pair[0]) == first_line(&pair[1]));
        match status {
            // Its attempts show in nothing but their messages. Several different ones of a failed test are of one attempt,
            // which went on after a soft assertion.
            Status::Passed => last.by_ref().collect(),
            Status::Failed if same => last.by_ref().take(messages.len().saturating_sub(1)).collect(),
            _ => Vec::new(),
        }
    } else {
        let count = assertion.invocations.unwrap_or(1).clamp(1, 1000) - 1;
        (0..count as usize).map(|at| assertion.retry_reasons.get(at).map_or("", String::as_str)).collect()
    };
    for (number, message) in (1..).zip(&before) {
        let mut finished = TestFinished::new(test.clone(), Status::Retried);
        finished.attempt = Some(number);
        finished.duration = Some(Duration::ZERO);
        finished.message = (*message).into();
        emit(Event { time: begun, fact: Fact::TestFinished(finished) });
    }
    let mut finished = TestFinished::new(test.clone(), status);
    finished.attempt = (!before.is_empty()).then_some(before.len() as u32 + 1);
    finished.duration = duration;
    finished.message = last.collect::<Vec<_>>().join("\n\n").into();
    if &*assertion.status == "todo" {
        finished.message = "todo".into();
    }
    let time = begun.map(|begun| after(begun, duration.unwrap_or_default()));
    emit(Event { time, fact: Fact::TestFinished(finished) });
    status == Status::Failed
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A duration in milliseconds.
pub(super) fn millis(millis: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(millis?.max(0.0) / 1e3).ok()
}

pub(super) fn short_name(path: &str) -> String {
    let path = path.replace('\\', "/");
    if !path.starts_with('/') && path.get(1..3) != Some(":/") {
        return path;
    }
    let folders: Vec<&str> = path.split('/').collect();
    let known = |folder: &&str| FOLDERS.contains(folder);
    let from = folders.iter().position(known).unwrap_or(folders.len().saturating_sub(1));
    folders.get(from..).unwrap_or_default().join("/")
}
