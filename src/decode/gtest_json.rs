//! GoogleTest's `--gtest_output=json` → events. Its times end in `Z` and are local all the same (`gtest.cc`,
//! `FormatEpochTimeInMillisAsRFC3339`).

use std::borrow::Cow;

use serde::Deserialize;

use super::Emit;
use super::split::{Parts, list, read};
use super::wall::{Zone, after, seconds, timestamp};
use crate::event::{
    Event, Fact, RunFinished, RunStarted, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef, Timestamp,
};

/// State of the format.
pub(super) struct GtestJson {
    zone: Zone,
}

#[derive(Deserialize)]
struct Suite<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "list")]
    testsuite: Vec<Test<'a>>,
}

#[derive(Deserialize)]
struct Test<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    classname: Cow<'a, str>,
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    result: Cow<'a, str>,
    #[serde(borrow, default)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(default, deserialize_with = "list")]
    failures: Vec<Failure>,
    #[serde(default, deserialize_with = "list")]
    skipped: Vec<Skip>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    failure: String,
}

#[derive(Deserialize)]
struct Skip {
    #[serde(default)]
    message: String,
}

impl Parts for GtestJson {
    const RUNNER: &'static str = "gtest";
    const FIRST_KEYS: &'static [&'static str] = &["tests"];

    fn begin(&mut self, _: &mut Emit<'_>) {}

    fn opens(&self, path: &[String]) -> bool {
        matches!(path, [key] if key == "testsuites")
    }

    fn part(&mut self, path: &[String], json: &str, emit: &mut Emit<'_>) -> Result<(), serde_json::Error> {
        match path {
            [key] if key == "timestamp" => {
                let time = self.time(&read::<Cow<'_, str>>(json)?);
                let started = RunStarted { title: "GoogleTest".into(), attributes: Vec::new() };
                emit(Event { time, fact: Fact::RunStarted(started) });
            }
            [key, _] if key == "testsuites" => self.suite(&read(json)?, emit),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &[String], _: &mut Emit<'_>) {}

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        if whole {
            emit(Event { time: None, fact: Fact::RunFinished(RunFinished::default()) });
        }
    }
}

impl GtestJson {
    /// `zone` reads all times.
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone }
    }

    fn time(&self, text: &str) -> Option<Timestamp> {
        timestamp(text.strip_suffix('Z').unwrap_or(text), &self.zone)
    }

    fn suite(&self, suite: &Suite<'_>, emit: &mut Emit<'_>) {
        let start = self.time(&suite.timestamp);
        let name = || Cow::Borrowed(suite.name.as_ref());
        let started = SuiteStarted { suite: name(), worker: "".into() };
        emit(Event { time: start, fact: Fact::SuiteStarted(started) });
        let mut failing = false;
        for test in &suite.testsuite {
            let class = if test.classname.is_empty() { &suite.name } else { &test.classname };
            let reference = TestRef { id: format!("{class}.{}", test.name).into(), suite: name(), worker: "".into() };
            let status = match (test.failures.is_empty(), &*test.status, &*test.result) {
                (false, ..) => Status::Failed,
                (_, "NOTRUN", _) | (_, _, "SKIPPED" | "SUPPRESSED") => Status::Skipped,
                _ => Status::Passed,
            };
            failing |= status.is_failing();
            let mut finished = TestFinished::new(reference, status);
            finished.duration = seconds(&test.time);
            let texts = test.failures.iter().map(|failure| failure.failure.as_str());
            let texts = texts.chain(test.skipped.iter().map(|skip| skip.message.as_str()));
            finished.message = texts.collect::<Vec<_>>().join("\n\n").into();
            let begun = self.time(&test.timestamp).or(start);
            let time = begun.map(|begun| after(begun, finished.duration.unwrap_or_default()));
            emit(Event { time, fact: Fact::TestFinished(finished) });
        }
        let duration = seconds(&suite.time);
        let finished = SuiteFinished {
            suite: name(),
            worker: "".into(),
            status: if failing { Status::Failed } else { Status::Passed },
            duration,
            message: "".into(),
        };
        let time = start.map(|start| after(start, duration.unwrap_or_default()));
        emit(Event { time, fact: Fact::SuiteFinished(finished) });
    }
}
