//! The JSON of mocha's `json` reporter → events. Failed hooks stand among the failures only.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::Emit;
use super::jest::millis;
use super::split::{Parts, read};
use super::time::rfc3339;
use super::wall::after;
use crate::event::{Event, Fact, RunFinished, RunStarted, Status, TestFinished, TestRef, Timestamp};

/// State of the format.
#[derive(Default)]
pub(super) struct MochaJson {
    /// Time at which the next test began, as far as durations tell.
    clock: Option<Timestamp>,
    seen: HashMap<String, u32>,
    /// Failed tests by title, to know the failures that are none.
    failed: HashMap<String, u32>,
    /// Tests of old versions, of which nothing tells whether they passed or are pending.
    unclear: Vec<Unclear>,
}

struct Unclear {
    title: String,
    id: String,
    file: String,
    end: Option<Timestamp>,
    duration: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Test<'a> {
    #[serde(borrow, default)]
    full_title: Cow<'a, str>,
    #[serde(borrow, default)]
    file: Option<Cow<'a, str>>,
    duration: Option<f64>,
    #[serde(default)]
    current_retry: u32,
    #[serde(borrow, default)]
    speed: Option<Cow<'a, str>>,
    #[serde(default)]
    err: Failure,
}

#[derive(Default, Deserialize)]
struct Failure {
    message: Option<String>,
    stack: Option<String>,
}

impl Parts for MochaJson {
    const RUNNER: &'static str = "mocha";
    const FIRST_KEYS: &'static [&'static str] = &["stats"];

    fn begin(&mut self, _: &mut Emit<'_>) {
        *self = Self::default();
    }

    fn opens(&self, path: &[String]) -> bool {
        matches!(path, [key] if ["tests", "failures", "pending"].contains(&key.as_str()))
    }

    fn part(&mut self, path: &[String], json: &str, emit: &mut Emit<'_>) -> Result<(), serde_json::Error> {
        #[derive(Deserialize)]
        struct Stats<'a> {
            #[serde(borrow, default)]
            start: Cow<'a, str>,
        }
        match path {
            [key] if key == "stats" => {
                self.clock = rfc3339(&read::<Stats<'_>>(json)?.start);
                let started = RunStarted { title: "mocha".into(), attributes: Vec::new() };
                emit(Event { time: self.clock, fact: Fact::RunStarted(started) });
            }
            [key, _] if key == "tests" => self.test(&read(json)?, emit),
            [key, _] if key == "failures" => {
                let test: Test<'_> = read(json)?;
                match self.failed.get_mut(&*test.full_title) {
                    Some(count) if *count > 0 => *count -= 1,
                    _ => self.test(&test, emit),
                }
            }
            [key, _] if key == "pending" => {
                let test: Test<'_> = read(json)?;
                if let Some(at) = self.unclear.iter().position(|unclear| unclear.title == test.full_title) {
                    say_unclear(&self.unclear.remove(at), Status::Skipped, emit);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, _: &[String], _: &mut Emit<'_>) {}

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        for unclear in std::mem::take(&mut self.unclear) {
            say_unclear(&unclear, Status::Passed, emit);
        }
        if whole {
            emit(Event { time: None, fact: Fact::RunFinished(RunFinished::default()) });
        }
    }
}

impl MochaJson {
    fn test(&mut self, test: &Test<'_>, emit: &mut Emit<'_>) {
        let mut id = test.full_title.clone().into_owned();
        let count = self.seen.entry(id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            id.push_str(&format!(" ({count})"));
        }
        let file = test.file.as_deref().map_or("", |file| file.rsplit('/').next().unwrap_or(file));
        let duration = millis(test.duration);
        let begun = self.clock;
        self.clock = begun.map(|begun| after(begun, duration.unwrap_or_default()));
        let failed = test.err.message.is_some() || test.err.stack.is_some();
        let status = match (failed, &test.speed, duration) {
            (true, ..) => Status::Failed,
            (_, Some(_), _) => Status::Passed,
            (_, _, None) => Status::Skipped,
            _ => {
                let title = test.full_title.clone().into_owned();
                return self.unclear.push(Unclear { title, id, file: file.to_owned(), end: self.clock, duration });
            }
        };
        if failed {
            *self.failed.entry(test.full_title.clone().into_owned()).or_default() += 1;
        }
        let reference = || TestRef { id: id.as_str().into(), suite: file.into(), worker: "".into() };
        let retries = test.current_retry.min(1000);
        for number in 1..=retries {
            let mut finished = TestFinished::new(reference(), Status::Retried);
            finished.attempt = Some(number);
            finished.duration = Some(Duration::ZERO);
            emit(Event { time: begun, fact: Fact::TestFinished(finished) });
        }
        let mut finished = TestFinished::new(reference(), status);
        finished.attempt = (retries > 0).then_some(retries + 1);
        finished.duration = duration;
        let message = test.err.message.as_deref().unwrap_or_default();
        let stack = test.err.stack.as_deref().unwrap_or_default();
        (finished.message, finished.details) =
            if stack.contains(message) { (stack.into(), "".into()) } else { (message.into(), stack.into()) };
        emit(Event { time: self.clock, fact: Fact::TestFinished(finished) });
    }
}

fn say_unclear(unclear: &Unclear, status: Status, emit: &mut Emit<'_>) {
    let test = TestRef { id: unclear.id.as_str().into(), suite: unclear.file.as_str().into(), worker: "".into() };
    let mut finished = TestFinished::new(test, status);
    finished.duration = unclear.duration;
    emit(Event { time: unclear.end, fact: Fact::TestFinished(finished) });
}
