//! One line of pytest-reportlog or of our own plugin → its fields.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::fields::text;

/// The fields of all kinds of lines; empty where a line has none.
#[derive(Deserialize)]
pub(super) struct Report<'a> {
    #[serde(rename = "$report_type")]
    pub(super) kind: Kind,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) nodeid: Cow<'a, str>,
    #[serde(default)]
    pub(super) when: When,
    #[serde(default)]
    pub(super) outcome: Outcome,
    /// Seconds.
    #[serde(default)]
    pub(super) duration: f64,
    /// Seconds since the epoch; 0 where unknown.
    #[serde(default)]
    pub(super) start: f64,
    #[serde(default)]
    pub(super) stop: f64,
    #[serde(default)]
    pub(super) time: f64,
    #[serde(borrow)]
    longrepr: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
    #[serde(default)]
    pub(super) sections: Vec<(String, String)>,
    pub(super) wasxfail: Option<String>,
    pub(super) rerun: Option<u32>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) worker_id: Cow<'a, str>,
    #[serde(default)]
    pub(super) markers: Vec<String>,
    #[serde(rename = "_subtest.context")]
    context: Option<Context>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) pytest_version: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) python: Cow<'a, str>,
    pub(super) exitstatus: Option<i64>,
    #[serde(default)]
    pub(super) nodeids: Vec<String>,
    pub(super) count: Option<u64>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) category: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) filename: Cow<'a, str>,
    pub(super) lineno: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    SessionStart,
    Collected,
    CollectReport,
    TestStart,
    TestReport,
    SubTestReport,
    /// What pytest-subtests calls it before pytest 9.
    SubtestReport,
    WarningMessage,
    Dropped,
    SessionFinish,
}

/// Phase of a test; warnings use the same field with words of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    Setup,
    Call,
    Teardown,
    /// An xdist worker died while it ran the test.
    #[serde(rename = "???")]
    Crash,
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
    Rerun,
    #[default]
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Context {
    msg: Option<String>,
    #[serde(default)]
    kwargs: BTreeMap<String, String>,
}

/// Reads a JSON object; `None` if it is no report.
pub(super) fn parse(text: &str) -> Option<Report<'_>> {
    let report: Report<'_> = serde_json::from_str(text).ok()?;
    let complete = match report.kind {
        Kind::TestReport | Kind::SubTestReport | Kind::SubtestReport => {
            !report.nodeid.is_empty() && report.when != When::Other && report.outcome != Outcome::Other
        }
        Kind::TestStart => !report.nodeid.is_empty(),
        Kind::CollectReport => report.outcome != Outcome::Other,
        Kind::SessionFinish => report.exitstatus.is_some(),
        Kind::SessionStart | Kind::Collected | Kind::WarningMessage | Kind::Dropped => true,
    };
    complete.then_some(report)
}

impl Report<'_> {
    /// Name of a subtest for a person, as pytest prints it: `[panel B] (side='B')`.
    pub(super) fn subtest_name(&self) -> String {
        let Some(context) = &self.context else { return String::new() };
        let kwargs: Vec<String> = context.kwargs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let parts = [
            context.msg.as_ref().map(|message| format!("[{message}]")),
            (!kwargs.is_empty()).then(|| format!("({})", kwargs.join(", "))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "(<subtest>)".to_owned() } else { parts.join(" ") }
    }

    /// Message and whole text of a failure or skip.
    pub(super) fn failure(&self) -> (String, String) {
        let longrepr = self.longrepr.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let (message, details) = match longrepr {
            None => (String::new(), String::new()),
            Some(Longrepr::Text(text)) => (message_of(&text), text),
            Some(Longrepr::Skip(path, line, reason)) => {
                let reason = reason.strip_prefix("Skipped: ").unwrap_or(&reason).to_owned();
                let line = line.map(|line| format!(":{line}")).unwrap_or_default();
                (reason.clone(), format!("{path}{line}: {reason}"))
            }
            Some(Longrepr::Exception(exception)) => exception.render(),
        };
        // Our plugin's own choice counts, also where it gives no text.
        let message = if self.message.is_empty() { message } else { self.message.clone().into_owned() };
        let details = if details.trim_end() == message.trim_end() { String::new() } else { details };
        (message, details)
    }
}

/// The last line that pytest marks as the error's (`E   ValueError: …`), else the last line.
fn message_of(text: &str) -> String {
    let marked = text.lines().rev().find_map(|line| line.strip_prefix("E ").filter(|line| !line.trim().is_empty()));
    let last = || text.lines().rev().find(|line| !line.trim().is_empty());
    marked.or_else(last).unwrap_or_default().trim().to_owned()
}

/// The forms of `longrepr`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Longrepr {
    Text(String),
    Skip(String, Option<u64>, String),
    Exception(Exception),
}

#[derive(Deserialize)]
struct Exception {
    reprcrash: Option<Location>,
    reprtraceback: Option<Traceback>,
    /// Exceptions that led to each other, the last one last, each with the words that lead on to the next.
    #[serde(default)]
    chain: Vec<(Traceback, Option<Location>, Option<String>)>,
    /// What plugins add below.
    #[serde(default)]
    sections: Vec<(String, String, String)>,
}

#[derive(Deserialize)]
struct Location {
    path: String,
    lineno: u64,
    message: String,
}

#[derive(Deserialize)]
struct Traceback {
    #[serde(default)]
    reprentries: Vec<Entry>,
    extraline: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    data: EntryData,
}

#[derive(Deserialize)]
struct EntryData {
    #[serde(default)]
    lines: Vec<String>,
    reprfileloc: Option<Location>,
}

impl Exception {
    fn render(self) -> (String, String) {
        let message = self.reprcrash.map(|crash| crash.message).unwrap_or_default();
        let mut text = String::new();
        if self.chain.is_empty() {
            self.reprtraceback.iter().for_each(|traceback| traceback.render(&mut text));
        }
        for (traceback, _, leads_on) in &self.chain {
            traceback.render(&mut text);
            if let Some(words) = leads_on {
                text.push_str(&format!("\n{words}\n\n"));
            }
        }
        for (title, content, _) in &self.sections {
            text.push_str(&format!("--- {title} ---\n{content}\n"));
        }
        let text = text.trim_end().to_owned();
        let message = if message.is_empty() { message_of(&text) } else { message };
        (message, text)
    }
}

impl Traceback {
    fn render(&self, text: &mut String) {
        for (number, entry) in self.reprentries.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            for line in &entry.data.lines {
                text.push_str(line);
                text.push('\n');
            }
            if let Some(Location { path, lineno, message }) = &entry.data.reprfileloc {
                text.push_str(&format!("\n{path}:{lineno}: {message}\n"));
            }
        }
        if let Some(line) = &self.extraline {
            text.push_str(line);
            text.push('\n');
        }
    }
}
