//! Bodies → events as the client says them.

use serde_json::Value;

use super::super::json::{self, Fields};
use super::super::{Answer, python};

/// Which path was posted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// `/event`.
    Event,
    /// `/event/log_message`.
    LogMessage,
    /// `/log`.
    Log,
    /// `/metric`.
    Metric,
}

/// What came.
#[derive(Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Parsed {
    /// Each with its path.
    #[serde(serialize_with = "of_runs")]
    pub(super) events: Vec<(Kind, Fields)>,
}

/// Those that belong to runs, without the texts of messages.
fn of_runs<S: serde::Serializer>(events: &[(Kind, Fields)], serializer: S) -> Result<S::Ok, S::Error> {
    let of_runs = events.iter().filter(|(kind, _)| matches!(kind, Kind::Event | Kind::LogMessage));
    serializer.collect_seq(of_runs.map(|(kind, fields)| {
        let mut fields = fields.clone();
        fields.remove("message");
        // No field that is read is nested, and what is too deep could not be read back.
        fields.retain(|_, value| json::is_flat(value));
        (kind, fields)
    }))
}

/// The only success there is; the listener does not look, but others may.
pub(super) const RECEIVED: &str = "{\"received\":true}";

const EVENTS: [&str; 7] =
    ["start_suite", "end_suite", "start_test", "end_test", "start_keyword", "end_keyword", "test_step"];

/// Reads the body of a post.
///
/// # Errors
/// The answer, as the client's own server gives it.
pub fn parse(kind: Kind, body: &[u8]) -> Result<Parsed, Answer> {
    let fields = json::object(body).ok_or_else(|| Answer::error(400, "Invalid JSON"))?;
    let event = json::text(&fields, "event_type");
    let (path, allowed) = match kind {
        Kind::Event => ("/event", EVENTS.contains(&event.as_str())),
        Kind::LogMessage => ("/event/log_message", event == "log_message"),
        Kind::Metric => ("/metric", event == "metric"),
        Kind::Log if event.is_empty() => return Err(Answer::error(400, "Missing event_type for /log")),
        Kind::Log => ("/log", true),
    };
    if !allowed {
        return Err(Answer::error(400, &format!("Invalid event_type '{event}' for {path}")));
    }
    Ok(Parsed { events: vec![(kind, fields)] })
}

/// Reads what the client's old Loki sink sends: a body that Loki 1 and later takes and forgets. Its lines are Python
/// values; its time stamps say nothing.
///
/// # Errors
/// If it is of another shape.
pub fn parse_push(body: &[u8]) -> Result<Parsed, Answer> {
    let refused = || Answer::error(400, "only bodies of the RealtimeResults listener are taken here");
    let fields = json::object(body).ok_or_else(refused)?;
    let streams = fields.get("streams").and_then(Value::as_array).ok_or_else(refused)?;
    let mut parsed = Parsed::default();
    for stream in streams {
        let entries = stream.get("entries").and_then(Value::as_array).ok_or_else(refused)?;
        for line in entries.iter().filter_map(|entry| entry.get("line")?.as_str()) {
            parsed.events.push(match python::parse(line) {
                Some(Value::Object(fields)) => (kind_of(&fields), fields),
                _ => (Kind::Log, Fields::from_iter([("message".to_owned(), Value::from(line))])),
            });
        }
    }
    Ok(parsed)
}

fn kind_of(fields: &Fields) -> Kind {
    match json::text(fields, "event_type").as_str() {
        "log_message" => Kind::LogMessage,
        "metric" => Kind::Metric,
        event if EVENTS.contains(&event) => Kind::Event,
        _ => Kind::Log,
    }
}
