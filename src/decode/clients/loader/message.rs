//! Bodies → messages.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::super::Answer;
use super::super::json::{self, Fields};
use crate::decode::time::epoch_seconds;
use crate::event::{Status, Timestamp};

/// Attributes that a run takes from its custom data.
const MAX_ATTRIBUTES: usize = 32;

/// A message.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Loaded {
    pub(super) runner: Cow<'static, str>,
    pub(super) job: String,
    /// Names a run of several jobs; empty if there is but one.
    pub(super) custom: String,
    pub(super) time: Option<Timestamp>,
    pub(super) what: What,
    /// Pictures of the test that ended.
    pub screens: Vec<Screen>,
}

/// A picture.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Screen {
    /// What the test calls it; empty if it does not.
    pub name: String,
    /// The picture.
    #[serde(skip)]
    pub bytes: Vec<u8>,
    /// Where it is kept; to be filled in before the message is handed in.
    pub path: String,
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) enum What {
    StartRun {
        tests: Vec<(String, String)>,
        env: String,
        attributes: Vec<(String, String)>,
    },
    StartTest(Item),
    StopTest {
        item: Item,
        status: Status,
        #[serde(skip)]
        message: String,
        #[serde(skip)]
        details: String,
    },
    StopRun,
}

/// Which test: by number, by name, or both.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Item {
    pub(super) uuid: String,
    pub(super) name: String,
}

/// Reads a message.
///
/// # Errors
/// 400 for what is none, as Testgr answers.
pub fn parse(body: &[u8]) -> Result<Loaded, Answer> {
    let fields = json::object(body).ok_or_else(|| Answer::error(400, "the body is not a JSON object"))?;
    let nose = match json::text(&fields, "fw").as_str() {
        "1" => true,
        "2" => false,
        _ => return Err(Answer::error(400, "`fw` is neither 1 (nose2) nor 2 (pytest)")),
    };
    let item = || Item { uuid: json::text(&fields, "uuid"), name: json::text(&fields, "test") };
    let what = match json::text(&fields, "type").as_str() {
        "startTestRun" => What::StartRun {
            tests: tests(&fields),
            env: Some(json::text(&fields, "env")).filter(|env| env != "None").unwrap_or_default(),
            attributes: attributes(fields.get("custom_data")),
        },
        "startTestItem" | "startTest" => What::StartTest(item()),
        "stopTestItem" | "stopTest" => {
            let (status, message, details) = if nose { nose2_result(&fields) } else { pytest_result(&fields) };
            What::StopTest { item: item(), status, message, details }
        }
        "stopTestRun" => What::StopRun,
        _ => return Err(Answer::error(400, "`type` is not a message that is known")),
    };
    let time = json::number(&fields, "startTime").or_else(|| json::number(&fields, "stopTime"));
    Ok(Loaded {
        runner: Cow::Borrowed(if nose { "nose2" } else { "pytest" }),
        job: json::text(&fields, "job_id"),
        custom: json::text(&fields, "custom_id"),
        time: time.and_then(epoch_seconds),
        what,
        screens: screens(&fields),
    })
}

/// Identity and number of each test: pytest's are objects, nose2's `{method: id}` with the numbers beside.
fn tests(fields: &Fields) -> Vec<(String, String)> {
    let numbers: HashMap<&str, String> = match fields.get("test_uuids") {
        Some(Value::Object(all)) => all.iter().map(|(id, uuid)| (id.as_str(), json::value_text(uuid))).collect(),
        _ => HashMap::new(),
    };
    let test = |value: &Value| {
        let id = match value {
            Value::Object(test) if test.contains_key("nodeid") => {
                return Some((json::text(test, "nodeid"), json::text(test, "uuid")));
            }
            Value::Object(test) => json::value_text(test.values().next()?),
            other => json::value_text(other),
        };
        let uuid = numbers.get(id.as_str()).cloned().unwrap_or_default();
        Some((id, uuid))
    };
    let listed = fields.get("tests").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(test).filter(|(id, _)| !id.is_empty()).collect()
}

/// Custom data is a JSON document in a string.
fn attributes(custom: Option<&Value>) -> Vec<(String, String)> {
    let parsed = match custom {
        Some(Value::String(text)) => json::parse(text.as_bytes()).unwrap_or_else(|| Value::from(text.as_str())),
        Some(other) => other.clone(),
        None => return Vec::new(),
    };
    match parsed {
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(key, value)| (super::super::attribute_name(key), plain(value)));
            pairs.filter(|(name, value)| !name.is_empty() && !value.is_empty()).take(MAX_ATTRIBUTES).collect()
        }
        Value::Null => Vec::new(),
        other => vec![("custom_data".into(), plain(&other))],
    }
}

fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
        plain => json::value_text(plain),
    };
    text.chars().take(1024).collect()
}

/// A skip is a tuple `('path', 15, 'Skipped: not today')`; a skip with another text is a failure that was expected.
fn pytest_result(fields: &Fields) -> (Status, String, String) {
    let text = message_text(fields);
    // The heading is there without any output, too.
    let text = text.strip_suffix("\n\nCaptured stdout call:\n").unwrap_or(&text);
    let failure = text.split("\n\nCaptured stdout call:\n").next().unwrap_or_default();
    let skipped = || {
        let (_, reason) = text.strip_suffix("')").or_else(|| text.strip_suffix("\")"))?.split_once("Skipped: ")?;
        text.starts_with("('").then(|| reason.to_owned())
    };
    match json::text(fields, "status").as_str() {
        "passed" => (Status::Passed, String::new(), String::new()),
        "skipped" => match skipped() {
            Some(reason) => (Status::Skipped, reason, String::new()),
            None if text.trim().is_empty() || text.starts_with('(') => {
                (Status::Skipped, text.to_owned(), String::new())
            }
            None => (Status::Xfailed, message_of(failure), text.to_owned()),
        },
        word => {
            let status = if word == "error" { Status::Errored } else { Status::Failed };
            let message = message_of(failure);
            let details = if text.trim_end() == message { String::new() } else { text.to_owned() };
            (status, message, details)
        }
    }
}

/// The last lines that pytest marks as the error's (`E   AssertionError: boom`), else the last line.
fn message_of(text: &str) -> String {
    let marked = |line: &&str| line.starts_with("E ") || *line == "E";
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().rposition(marked).map_or(0, |last| last + 1);
    let error = lines.get(..end).unwrap_or_default();
    let begin = error.iter().rposition(|line| !marked(line)).map_or(0, |before| before + 1);
    let error: Vec<&str> = error.iter().skip(begin).map(|line| line.strip_prefix('E').unwrap_or(line).trim()).collect();
    if error.is_empty() {
        return lines.iter().rev().find(|line| !line.trim().is_empty()).unwrap_or(&"").trim().to_owned();
    }
    error.join("\n")
}

/// The message is a tuple `(<class 'X'>, X('text'), <traceback object at 0x…>)`. No status means that a subtest failed:
/// nose2rt does not know that outcome.
fn nose2_result(fields: &Fields) -> (Status, String, String) {
    let (text, trace) = (message_text(fields), json::text(fields, "trace"));
    let exception = text.strip_prefix("(<class '").and_then(|rest| rest.split_once("'>, ")).map(|(_, rest)| rest);
    let exception =
        exception.and_then(|rest| rest.rsplit_once(", <traceback object at ")).map(|(exception, _)| exception);
    let message = exception.map_or_else(|| text.clone(), str::to_owned);
    match json::text(fields, "status").as_str() {
        "passed" => (Status::Passed, message, trace),
        "skipped" if trace.is_empty() => (Status::Skipped, message, trace),
        "skipped" => (Status::Xfailed, message, trace),
        "error" => (Status::Errored, message, trace),
        "" if message.is_empty() => (Status::Failed, "a subtest failed".into(), trace),
        _ => (Status::Failed, message, trace),
    }
}

/// Old versions of nose2rt sent the three parts of the message one by one.
fn message_text(fields: &Fields) -> String {
    match fields.get("msg") {
        Some(Value::Array(_)) => json::texts(fields, "msg").join("\n"),
        _ => json::text(fields, "msg"),
    }
}

/// `""`, or a list of base64 texts and of objects with `name` and `image`.
fn screens(fields: &Fields) -> Vec<Screen> {
    let engine = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let listed = fields.get("screens").and_then(Value::as_array).into_iter().flatten();
    let read = |value: &Value| {
        let (name, image) = match value {
            Value::Object(screen) => (json::text(screen, "name"), json::text(screen, "image")),
            other => (String::new(), json::value_text(other)),
        };
        let packed: Vec<u8> = image.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = engine.decode(packed).ok().filter(|bytes| !bytes.is_empty())?;
        Some(Screen { name, bytes, path: String::new() })
    };
    listed.filter_map(read).collect()
}
