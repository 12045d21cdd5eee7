//! One line of a Robot Framework listener → its fields.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::fields::text;
use crate::event::{Level, Status};

/// The fields of all events; empty where an event has none.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    pub(super) event: Kind,
    pub(super) pid: u64,
    /// When the line was written.
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) ts: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) full_name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) start_time: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) end_time: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) timestamp: Cow<'a, str>,
    pub(super) total_tests: Option<u64>,
    pub(super) all_tests: Option<Vec<String>>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) robot: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) worker: Cow<'a, str>,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
    /// Seconds.
    pub(super) elapsed: Option<f64>,
    #[serde(borrow, default)]
    pub(super) corrected: Vec<Corrected<'a>>,
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    pub(super) item: Cow<'a, str>,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) level: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) test: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) suite: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) path: Cow<'a, str>,
    pub(super) count: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    StartSuite,
    EndSuite,
    StartTest,
    EndTest,
    StartKeyword,
    EndKeyword,
    LogMessage,
    Message,
    OutputFile,
    XunitFile,
    Dropped,
    Close,
}

/// A test whose result its suite's teardown changed.
#[derive(Deserialize)]
pub(super) struct Corrected<'a> {
    #[serde(borrow)]
    pub(super) full_name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
}

/// Reads a JSON object; `None` if it is no event of a listener.
pub(super) fn parse(text: &str) -> Option<Line<'_>> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let complete = match line.event {
        Kind::StartSuite | Kind::StartTest => !line.full_name.is_empty(),
        Kind::EndSuite | Kind::EndTest => !line.full_name.is_empty() && status_of(&line.status).is_some(),
        Kind::StartKeyword
        | Kind::EndKeyword
        | Kind::LogMessage
        | Kind::Message
        | Kind::OutputFile
        | Kind::XunitFile
        | Kind::Dropped
        | Kind::Close => true,
    };
    complete.then_some(line)
}

/// `None` for what was not run.
pub(super) fn status_of(word: &str) -> Option<Status> {
    match word {
        "PASS" => Some(Status::Passed),
        "FAIL" => Some(Status::Failed),
        "SKIP" => Some(Status::Skipped),
        _ => None,
    }
}

/// Robot's levels: https://robotframework.org/robotframework/latest/RobotFrameworkUserGuide.html#log-levels
pub(super) fn level_of(word: &str) -> Level {
    match word {
        "TRACE" => Level::Trace,
        "DEBUG" => Level::Debug,
        "WARN" => Level::Warn,
        "FAIL" | "ERROR" => Level::Error,
        _ => Level::Info,
    }
}

/// A message for people: without the mark of HTML, and without the line break after a heading, so that the first line
/// says what happened (`Setup failed: no pressure`).
pub(super) fn message_of(message: &str) -> String {
    let message = message.strip_prefix("*HTML*").map(str::trim_start).unwrap_or(message);
    match message.split_once('\n') {
        Some((heading, rest)) if heading.ends_with(" failed:") || heading.ends_with(" occurred:") => {
            format!("{heading} {}", rest.trim_start_matches('\n'))
        }
        _ => message.to_owned(),
    }
}
