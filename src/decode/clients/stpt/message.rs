//! Bodies → messages, and the answers to them.

use serde_json::{Value, json};

use super::super::json::{self, Fields};
use super::super::{Answer, Zone};
use crate::decode::time::rfc3339;
use crate::event::{Status, Timestamp};

/// Which path was posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `/tm_api/dry_run/`.
    DryRun,
    /// `/tm_api/test_start/`.
    Start,
    /// `/tm_api/test_stop/`.
    Stop,
}

/// A message.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Told {
    pub(super) kind: Kind,
    pub(super) machine: String,
    pub(super) file: String,
    pub(super) status: String,
    /// The master scenario, then the others.
    pub(super) scenarios: Vec<File>,
    /// Name of the scenario, and the test, in their order.
    pub(super) tests: Vec<(String, File)>,
    #[serde(serialize_with = "times")]
    fields: Fields,
}

/// A script.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct File {
    pub(super) path: String,
    #[serde(skip)]
    pub(super) script: String,
}

/// Of the fields, which have the whole plan with its scripts, only the times are needed later.
fn times<S: serde::Serializer>(fields: &Fields, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().filter(|(name, value)| name.starts_with("timestamp") && json::is_flat(value)))
}

/// Reads a message.
///
/// # Errors
/// 400 for what is none.
pub fn parse(kind: Kind, body: &[u8]) -> Result<Told, Answer> {
    let invalid = |why: &str| Answer::json(400, json!({ "detail": why }).to_string());
    let fields = json::object(body).ok_or_else(|| invalid("JSON parse error"))?;
    let machine = json::text(&fields, "machine_name");
    if machine.is_empty() {
        return Err(Answer::json(400, "{\"machine_name\":[\"This field is required.\"]}"));
    }
    let (mut scenarios, mut tests) = (Vec::new(), Vec::new());
    if kind == Kind::DryRun {
        let Some(Value::Object(master)) = fields.get("master_scenario") else {
            return Err(Answer::json(400, "{\"master_scenario\":[\"This field is required.\"]}"));
        };
        scenarios.push(file(master));
        for scenario in objects(master, "scenarios") {
            let name = json::text(scenario, "file_name");
            tests.extend(objects(scenario, "tests").map(|test| (name.clone(), file(test))));
            scenarios.push(file(scenario));
        }
    }
    let status = json::text(&fields, "status");
    Ok(Told { kind, machine, file: path(&fields), status, scenarios, tests, fields })
}

/// Lists are null where they are empty.
fn objects<'f>(fields: &'f Fields, name: &str) -> impl Iterator<Item = &'f Fields> {
    fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn path(fields: &Fields) -> String {
    format!("{}/{}", json::text(fields, "file_path").trim_end_matches('/'), json::text(fields, "file_name"))
}

fn file(fields: &Fields) -> File {
    File { path: path(fields), script: json::text(fields, "script") }
}

impl Told {
    fn time_field(&self) -> &'static str {
        match self.kind {
            Kind::DryRun => "timestamp",
            Kind::Start => "timestamp_start",
            Kind::Stop => "timestamp_stop",
        }
    }

    /// The time, which names no zone: the machine's own is the configured one. Whole seconds have no fraction.
    pub(super) fn time(&self, zone: &Zone) -> Option<Timestamp> {
        let text = json::text(&self.fields, self.time_field()).trim().replacen(' ', "T", 1);
        let wall = || chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok();
        rfc3339(&text).or_else(|| zone(wall()?))
    }

    /// Status, message and tag of a test that ended.
    pub(super) fn result(&self) -> (Status, String, &'static str) {
        match self.status.as_str() {
            "passed" => (Status::Passed, String::new(), ""),
            // It ended well, and somebody should look at it.
            "warning" => (Status::Passed, "warning".into(), "warning"),
            "failed" => (Status::Failed, String::new(), ""),
            "error" => (Status::Errored, String::new(), ""),
            "" => (Status::Unfinished, "the script set no status".into(), ""),
            other => (Status::Unfinished, other.to_owned(), ""),
        }
    }

    /// What the client's own server answers; the client prints it.
    pub(super) fn answer(&self, zone: &Zone) -> Answer {
        let mut echo = self.fields.clone();
        let (status, known) = match self.kind {
            Kind::DryRun => {
                echo.remove("machine_name");
                (201, true)
            }
            Kind::Start => (202, true),
            Kind::Stop => (202, self.fields.get("status").is_some_and(|status| !status.is_null())),
        };
        if !known {
            // The event is taken nevertheless: there it stayed running for ever.
            return Answer::json(400, "{\"status\":[\"This field may not be null.\"]}");
        }
        if let Some(time) = self.time(zone) {
            let utc = chrono::DateTime::from_timestamp_nanos(time.0);
            let text = utc.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
            echo.insert(self.time_field().to_owned(), text.into());
        }
        Answer::json(status, Value::Object(echo).to_string())
    }
}
