//! One line of testwire's own format → its fields. The format is described in `docs/events.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::super::fields::text;
use super::super::time::{epoch_seconds, rfc3339};
use crate::event::{Level, RunStatus, Status, Timestamp};

/// The version that this program reads.
pub(super) const VERSION: u64 = 1;

/// Longest name of a runner or source; both become labels.
pub(super) const LONGEST_LABEL: usize = 32;

/// Numbers from here on are milliseconds: as seconds they would be the year 5138, as milliseconds they are 1973.
const FIRST_MILLISECONDS: f64 = 1e11;

/// The fields of all events; empty where an event has none. Unknown fields are ignored.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub(super) testwire: Option<u64>,
    pub(super) event: Kind,
    #[serde(default, deserialize_with = "time")]
    pub(super) time: Option<Timestamp>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) runner: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) title: Cow<'a, str>,
    #[serde(default)]
    pub(super) attributes: Option<BTreeMap<String, Value>>,
    pub(super) total: Option<u64>,
    #[serde(default)]
    pub(super) tests: Option<Vec<String>>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) test: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) suite: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) worker: Cow<'a, str>,
    pub(super) status: Option<Word>,
    pub(super) attempt: Option<u32>,
    pub(super) repeat: Option<bool>,
    #[serde(default, deserialize_with = "milliseconds")]
    pub(super) duration_ms: Option<Duration>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) details: Cow<'a, str>,
    pub(super) tags: Option<Vec<String>>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    pub(super) depth: Option<u32>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) text: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) source: Cow<'a, str>,
    pub(super) level: Option<LevelWord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    RunStarted,
    Planned,
    RunFinished,
    SuiteStarted,
    SuiteFinished,
    TestStarted,
    TestFinished,
    TestCorrected,
    StepFinished,
    Log,
    Note,
}

/// Every status of runs, suites, tests and steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Passed,
    Failed,
    Errored,
    Skipped,
    Xfailed,
    Xpassed,
    Retried,
    Unfinished,
    Aborted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LevelWord {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl From<LevelWord> for Level {
    fn from(word: LevelWord) -> Self {
        match word {
            LevelWord::Trace => Self::Trace,
            LevelWord::Debug => Self::Debug,
            LevelWord::Info => Self::Info,
            LevelWord::Warn => Self::Warn,
            LevelWord::Error => Self::Error,
            LevelWord::Fatal => Self::Fatal,
        }
    }
}

/// The value of an attribute.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Number(serde_json::Number),
    Truth(bool),
    Nothing,
}

impl Value {
    /// As text; `None` for null.
    pub(super) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(number.to_string().into()),
            Self::Truth(truth) => Some(truth.to_string().into()),
            Self::Nothing => None,
        }
    }
}

/// Reads a line; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Line<'_>, String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|error| {
        // serde counts lines inside the line that it got.
        error.to_string().replace("at line 1 column", "at column")
    })?;
    line.check()?;
    Ok(line)
}

/// Label values are few and plain.
pub(super) fn is_label(text: &str) -> bool {
    (1..=LONGEST_LABEL).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
}

impl Line<'_> {
    fn check(&self) -> Result<(), String> {
        let required: &[(&str, bool)] = match self.event {
            Kind::RunStarted | Kind::RunFinished => &[],
            Kind::Planned => &[("total` or `tests", self.total.is_none() && self.tests.is_none())],
            Kind::SuiteStarted => &[("suite", self.suite.is_empty())],
            Kind::SuiteFinished => &[("suite", self.suite.is_empty()), ("status", self.status.is_none())],
            Kind::TestStarted => &[("test", self.test.is_empty())],
            Kind::TestFinished | Kind::TestCorrected => {
                &[("test", self.test.is_empty()), ("status", self.status.is_none())]
            }
            Kind::StepFinished => &[("name", self.name.is_empty())],
            Kind::Log => &[],
            Kind::Note => &[("text", self.text.is_empty())],
        };
        if let Some((name, _)) = required.iter().find(|(_, missing)| *missing) {
            return Err(format!("`{name}` is missing or empty"));
        }
        let wrong_status = match self.event {
            Kind::RunFinished => self.run_status().is_none(),
            _ => self.test_status().is_none(),
        };
        if let Some(word) = self.status.filter(|_| wrong_status) {
            return Err(format!("`status` cannot be `{word:?}` here").to_lowercase());
        }
        if !(self.source.is_empty() || is_label(&self.source)) {
            return Err(format!("`source` is not 1 to {LONGEST_LABEL} of a-z, 0-9, - and _"));
        }
        if self.attempt == Some(0) {
            return Err("`attempt` counts from 1".to_owned());
        }
        Ok(())
    }

    /// Result of a run.
    pub(super) fn run_status(&self) -> Option<RunStatus> {
        match self.status? {
            Word::Passed => Some(RunStatus::Passed),
            Word::Failed => Some(RunStatus::Failed),
            Word::Aborted => Some(RunStatus::Aborted),
            _ => None,
        }
    }

    /// Result of a suite, test or step.
    pub(super) fn test_status(&self) -> Option<Status> {
        match self.status? {
            Word::Passed => Some(Status::Passed),
            Word::Failed => Some(Status::Failed),
            Word::Errored => Some(Status::Errored),
            Word::Skipped => Some(Status::Skipped),
            Word::Xfailed => Some(Status::Xfailed),
            Word::Xpassed => Some(Status::Xpassed),
            Word::Retried => Some(Status::Retried),
            Word::Unfinished => Some(Status::Unfinished),
            Word::Aborted => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a time as RFC 3339 text with a zone, or a number since the epoch")]
enum Time<'a> {
    Number(f64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let found = match Option::<Time<'_>>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Time::Number(number)) if number >= FIRST_MILLISECONDS => epoch_seconds(number / 1e3),
        Some(Time::Number(number)) => epoch_seconds(number),
        Some(Time::Text(text)) => rfc3339(&text),
    };
    let words = "`time` is neither RFC 3339 with a zone nor seconds or milliseconds since the epoch";
    found.map(Some).ok_or_else(|| serde::de::Error::custom(words))
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(number) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
    let duration = Duration::try_from_secs_f64(number / 1e3).ok();
    duration.map(Some).ok_or_else(|| serde::de::Error::custom("`duration_ms` is below 0 or far too large"))
}
