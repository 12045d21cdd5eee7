//! One line of a Robot Framework listener → its fields.

use serde::{Deserialize, Deserializer};

use crate::event::{Level, Status};

/// The fields of all events; empty where an event has none.
#[derive(Deserialize)]
pub(super) struct Line {
    pub(super) event: Kind,
    pub(super) pid: u64,
    /// When the line was written.
    #[serde(default, deserialize_with = "text")]
    pub(super) ts: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) id: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) name: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) full_name: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) start_time: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) end_time: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) timestamp: String,
    pub(super) total_tests: Option<u64>,
    pub(super) all_tests: Option<Vec<String>>,
    #[serde(default, deserialize_with = "text")]
    pub(super) robot: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) worker: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) status: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) message: String,
    /// Seconds.
    pub(super) elapsed: Option<f64>,
    #[serde(default)]
    pub(super) corrected: Vec<Corrected>,
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub(super) item: String,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "text")]
    pub(super) level: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) test: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) suite: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) path: String,
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
pub(super) struct Corrected {
    pub(super) full_name: String,
    pub(super) status: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) message: String,
}

/// A string or null.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a JSON object; `None` if it is no event of a listener.
pub(super) fn parse(text: &str) -> Option<Line> {
    let line: Line = serde_json::from_str(text).ok()?;
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
