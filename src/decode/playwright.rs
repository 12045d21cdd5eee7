//! The JSON of Playwright's `json` reporter → events: suites of files, specs, a test for each project, its attempts.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::Emit;
use super::jest::millis;
use super::split::{Parts, list, read};
use super::wall::after;
use crate::decode::time::rfc3339;
use crate::event::{
    Event, Fact, Level, LogLine, Note, RunFinished, RunStarted, RunStatus, Source, Status, TestFinished, TestRef,
    Timestamp,
};

/// State of the format.
#[derive(Default)]
pub(super) struct Playwright {
    broken: bool,
    seen: HashMap<String, u32>,
    last: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Suite<'a> {
    #[serde(borrow, default)]
    title: Cow<'a, str>,
    #[serde(borrow, default)]
    file: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list")]
    specs: Vec<Spec<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    suites: Vec<Suite<'a>>,
}

#[derive(Deserialize)]
struct Spec<'a> {
    #[serde(borrow, default)]
    title: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list")]
    tags: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "list")]
    tests: Vec<Test<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test<'a> {
    #[serde(borrow, default)]
    project_name: Cow<'a, str>,
    #[serde(borrow, default)]
    expected_status: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list")]
    annotations: Vec<Annotation<'a>>,
    #[serde(borrow, default, deserialize_with = "list")]
    results: Vec<Attempt<'a>>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(borrow, default)]
    description: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt<'a> {
    worker_index: Option<i64>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    duration: Option<f64>,
    #[serde(borrow, default)]
    start_time: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "list")]
    errors: Vec<Failure>,
    error: Option<Failure>,
    #[serde(default, deserialize_with = "list")]
    stdout: Vec<Piece>,
    #[serde(default, deserialize_with = "list")]
    stderr: Vec<Piece>,
}

#[derive(Default, Deserialize)]
struct Failure {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    stack: Option<String>,
    #[serde(default)]
    value: Option<String>,
}

impl Failure {
    fn text(&self) -> &str {
        self.message.as_deref().or(self.stack.as_deref()).or(self.value.as_deref()).unwrap_or_default()
    }
}

/// Output: text, or bytes in base64 if the test wrote a buffer.
#[derive(Deserialize)]
struct Piece {
    text: Option<String>,
    buffer: Option<String>,
}

impl Piece {
    fn bytes(&self) -> Cow<'_, [u8]> {
        use base64::Engine as _;
        let decode = |text: &String| base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        match (&self.text, &self.buffer) {
            (Some(text), _) => text.as_bytes().into(),
            (None, buffer) => buffer.as_ref().map(decode).unwrap_or_default().into(),
        }
    }
}

impl Parts for Playwright {
    const RUNNER: &'static str = "playwright";
    const FIRST_KEYS: &'static [&'static str] = &["config", "suites"];

    fn begin(&mut self, _: &mut Emit<'_>) {
        *self = Self::default();
    }

    fn opens(&self, path: &[String]) -> bool {
        matches!(path, [key] if key == "suites" || key == "errors")
    }

    fn part(&mut self, path: &[String], json: &str, emit: &mut Emit<'_>) -> Result<(), serde_json::Error> {
        #[derive(Deserialize)]
        struct Config<'a> {
            #[serde(borrow, default)]
            version: Cow<'a, str>,
        }
        match path {
            [key] if key == "config" => {
                let config: Config<'_> = read(json)?;
                let title = format!("Playwright {}", config.version).trim_end().to_owned().into();
                emit(Event { time: None, fact: Fact::RunStarted(RunStarted { title, attributes: Vec::new() }) });
            }
            [key, _] if key == "suites" => {
                let suite: Suite<'_> = read(json)?;
                let file = if suite.file.is_empty() { suite.title.clone() } else { suite.file.clone() };
                self.suite(&suite, &file, "", emit);
            }
            [key, _] if key == "errors" => {
                let failure: Failure = read(json)?;
                self.broken = true;
                let note = Note { level: Level::Error, text: failure.text().into() };
                emit(Event { time: self.last, fact: Fact::Note(note) });
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &[String], _: &mut Emit<'_>) {}

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        if whole {
            let status = self.broken.then_some(RunStatus::Failed);
            let finished = RunFinished { status, message: "".into() };
            emit(Event { time: None, fact: Fact::RunFinished(finished) });
        }
    }
}

impl Playwright {
    fn suite(&mut self, suite: &Suite<'_>, file: &str, titles: &str, emit: &mut Emit<'_>) {
        for spec in &suite.specs {
            for test in &spec.tests {
                let project = if test.project_name.is_empty() { "" } else { " > " };
                let mut id = format!("{}{project}{file} > {titles}{}", test.project_name, spec.title);
                let count = self.seen.entry(id.clone()).or_default();
                *count += 1;
                if *count > 1 {
                    id.push_str(&format!(" ({count})"));
                }
                self.test(&id, file, spec, test, emit);
            }
        }
        for inner in &suite.suites {
            self.suite(inner, file, &format!("{titles}{} > ", inner.title), emit);
        }
    }

    fn test(&mut self, id: &str, file: &str, spec: &Spec<'_>, test: &Test<'_>, emit: &mut Emit<'_>) {
        let tags = || spec.tags.iter().map(|tag| Cow::Borrowed(tag.as_ref())).collect();
        let skipped = || {
            let mut described = test.annotations.iter().filter_map(|annotation| annotation.description.as_deref());
            described.next().unwrap_or_default()
        };
        if test.results.is_empty() {
            let reference = TestRef { id: id.into(), suite: file.into(), worker: "".into() };
            let mut finished = TestFinished::new(reference, Status::Skipped);
            finished.duration = Some(std::time::Duration::ZERO);
            finished.message = skipped().into();
            return emit(Event { time: self.last, fact: Fact::TestFinished(finished) });
        }
        for (number, attempt) in (1..).zip(&test.results) {
            let worker = attempt.worker_index.filter(|index| *index >= 0).map(|index| index.to_string());
            let reference =
                || TestRef { id: id.into(), suite: file.into(), worker: worker.clone().unwrap_or_default().into() };
            let start = attempt.start_time.as_deref().and_then(rfc3339);
            let duration = millis(attempt.duration);
            output(&reference(), &attempt.stdout, &Source::Stdout, start, emit);
            output(&reference(), &attempt.stderr, &Source::Stderr, start, emit);
            let is_last = number as usize == test.results.len();
            let own = attempt.status.as_deref().unwrap_or_default();
            let status = if is_last { test.outcome(own) } else { earlier(own, &test.expected_status) };
            let mut finished = TestFinished::new(reference(), status);
            finished.attempt = (test.results.len() > 1).then_some(number);
            finished.duration = duration;
            finished.tags = tags();
            finished.message = match status {
                Status::Skipped => skipped().into(),
                _ if own == "passed" && status != Status::Passed => "expected to fail, but passed".into(),
                _ => {
                    let single = attempt.error.iter().filter(|_| attempt.errors.is_empty());
                    let texts: Vec<&str> = attempt.errors.iter().chain(single).map(Failure::text).collect();
                    if texts.is_empty() && status.is_failing() { own.into() } else { texts.join("\n\n").into() }
                }
            };
            let time = start.map(|start| after(start, duration.unwrap_or_default()));
            self.last = time.or(self.last);
            emit(Event { time, fact: Fact::TestFinished(finished) });
        }
    }
}

impl Test<'_> {
    /// The result, by what Playwright makes of all attempts and what the last one did.
    fn outcome(&self, last: &str) -> Status {
        match (&*self.status, last) {
            // Stopped while it ran, which is neither for Playwright.
            ("skipped", "interrupted") => Status::Unfinished,
            ("skipped", _) => Status::Skipped,
            // Also where an attempt failed and the next one was not run any more.
            ("unexpected", _) => Status::Failed,
            (_, "skipped") => Status::Skipped,
            ("expected", "failed" | "timedOut") => Status::Xfailed,
            (_, "failed" | "timedOut" | "interrupted") => Status::Failed,
            _ => Status::Passed,
        }
    }
}

/// The result of an attempt that others followed.
fn earlier(status: &str, expected: &str) -> Status {
    match status {
        "skipped" => Status::Skipped,
        own if own == expected && own == "passed" => Status::Passed,
        _ => Status::Retried,
    }
}

fn output(
    test: &TestRef<'_>,
    pieces: &[Piece],
    source: &Source<'static>,
    time: Option<Timestamp>,
    emit: &mut Emit<'_>,
) {
    let bytes = pieces.iter().map(Piece::bytes).collect::<Vec<_>>().concat();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = LogLine { test: Some(test.clone()), source: source.clone(), level: None, text: line.into() };
        emit(Event { time, fact: Fact::Log(line) });
    }
}
