//! Requests of HTTP clients → facts about runs, and the answers that the clients need.
//!
//! Each client has a file: `parse` turns a body into a message, without state and before anything is queued; the state
//! machine turns messages into events of the runs that it knows.

mod json;
pub mod loader;
pub mod own;
mod python;
pub mod realtime;
pub mod resultsdb;
pub mod stpt;

use core::net::IpAddr;
use std::borrow::Cow;

use crate::event::{Event, Level, Timestamp};

/// What is known of a request beside its body.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Context {
    /// Who asks.
    pub peer: IpAddr,
    /// Query parameter `project`; empty if not there.
    pub project: String,
    /// Query parameter `env`; empty if not there.
    pub env: String,
    /// Query parameter `run_id`; empty if not there.
    pub run_id: String,
    /// Which part of the run the sender of own events is, and which there are.
    #[serde(default)]
    pub part: own::Part,
}

/// A request that was understood. Its serialized form has what makes state, and not the texts that are only passed on.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Message {
    /// testwire's own events.
    Own(own::Piece),
    /// pytest-rt or nose2rt.
    Loader(loader::Loaded, Context),
    /// A line that belongs to no run.
    #[serde(skip)]
    Ambient(Ambient),
    /// Part of an upload of WebKit's results database.
    Results(resultsdb::Part),
    /// A machine of System Test Progress Tracking.
    Stpt(stpt::Told, Context),
    /// A RealtimeResults listener, tailer or scraper.
    Realtime(realtime::Parsed, Context),
}

/// What is known of a run when it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunFacts {
    /// Its id; empty: it has none of its own.
    pub run_id: String,
    /// Label `runner`.
    pub runner: String,
    /// Label `service_name`; empty: as configured.
    pub project: String,
    /// Label `env`; empty: as configured.
    pub env: String,
    /// Machine; empty: this one.
    pub host: String,
    /// When it began, if that is known before its first event; part of the id of a run that has none.
    pub begun: Option<Timestamp>,
    /// Facts for the run's own entries, by names that match `[a-z][a-z0-9_]*`.
    pub attributes: Vec<(String, String)>,
    /// More for them, by names that metadata has: commit, branch, build.
    pub known: Vec<(Cow<'static, str>, String)>,
    /// The run is over and told after the fact: its times are those of its events alone, and told again it is the same.
    pub is_told_after: bool,
}

/// The runs that are on, as a client's state machine sees them. `key` is the client's own name for a run.
pub trait Runs {
    /// A run begins. Nothing happens if it is on.
    fn open(&mut self, key: &str, facts: RunFacts);
    /// Something happened in a run that is on.
    fn event(&mut self, key: &str, event: &Event<'_>);
    /// It is over.
    fn close(&mut self, key: &str);
    /// It is over unless something comes soon: a run of several processes has no one end.
    fn close_soon(&mut self, key: &str);
    /// It never was: it will be told again.
    fn discard(&mut self, key: &str);
    /// A log line or a metric that belongs to no run.
    fn ambient(&mut self, what: &Ambient);
    /// The wall clock.
    fn now(&self) -> Timestamp;
}

/// A log line or a metric that belongs to no run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ambient {
    /// Value and unit of a metric; `None` for a log line.
    pub metric: Option<(f64, String)>,
    /// Label `source`: the log, or what is measured.
    pub source: String,
    /// When; `None`: now.
    pub time: Option<Timestamp>,
    /// Severity, if the line has one.
    pub level: Option<Level>,
    /// The line.
    pub text: String,
    /// Machine; empty: not known.
    pub host: String,
    /// Label `service_name`; empty: as configured.
    pub project: String,
    /// Label `env`; empty: as configured.
    pub env: String,
}

/// The instant at which clocks of the configured zone show a time.
pub type Zone = dyn Fn(chrono::NaiveDateTime) -> Option<Timestamp> + Send;

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body; empty for an empty body.
    pub media_type: &'static str,
    /// The body.
    pub body: Cow<'static, str>,
}

impl Answer {
    /// No body.
    pub const fn empty(status: u16) -> Self {
        Self { status, media_type: "", body: Cow::Borrowed("") }
    }

    /// A JSON document.
    pub fn json(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        Self { status, media_type: "application/json", body: body.into() }
    }

    /// `{"error": "…"}`.
    pub fn error(status: u16, error: &str) -> Self {
        Self::json(status, serde_json::json!({ "error": error }).to_string())
    }
}

/// The state machines of all clients.
pub struct Clients {
    zone: Box<Zone>,
    state: State,
}

/// What the state machines know.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct State {
    own: own::Own,
    realtime: realtime::Realtime,
    loader: loader::Loader,
    stpt: stpt::Stpt,
    results: resultsdb::Results,
}

impl Clients {
    /// Without runs. `zone` reads times that name no zone.
    pub fn new(zone: Box<Zone>) -> Self {
        Self { zone, state: State::default() }
    }

    /// What they know now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Goes on with what others knew.
    pub fn set_state(&mut self, state: State) {
        self.state = state;
    }

    /// Takes a message.
    pub fn take(&mut self, message: Message, runs: &mut dyn Runs) -> Answer {
        match message {
            Message::Own(piece) => self.state.own.take(&piece, runs),
            Message::Loader(loaded, context) => self.state.loader.take(&loaded, &context, runs),
            Message::Ambient(what) => {
                runs.ambient(&what);
                Answer::empty(200)
            }
            Message::Results(part) => self.state.results.take(part, runs),
            Message::Stpt(told, context) => self.state.stpt.take(&told, &context, &self.zone, runs),
            Message::Realtime(parsed, context) => self.state.realtime.take(&parsed, &context, &self.zone, runs),
        }
    }

    /// A run is about to end for another reason than the client's own word.
    pub fn last_words(&mut self, key: &str, runs: &mut dyn Runs) {
        self.state.own.last_words(key, runs);
    }

    /// A run is over for another reason than the client's own word.
    pub fn forget(&mut self, key: &str) {
        self.state.own.forget(key);
        self.state.realtime.forget(key);
        self.state.loader.forget(key);
        self.state.stpt.forget(key);
        self.state.results.forget(key);
    }
}

/// A value that becomes a label or a run's id: control characters become spaces, and it is cut at 128 characters.
pub(crate) fn name(text: &str) -> String {
    let spaced = text.replace(char::is_control, " ");
    spaced.trim().chars().take(128).collect()
}

/// The severity that a word means.
fn level(word: &str) -> Option<Level> {
    Some(match word.to_ascii_lowercase().as_str() {
        "trace" | "verbose" => Level::Trace,
        "debug" => Level::Debug,
        "info" | "notice" | "html" => Level::Info,
        "warn" | "warning" | "skip" => Level::Warn,
        "error" | "fail" => Level::Error,
        "fatal" | "critical" | "alert" | "emergency" => Level::Fatal,
        _ => return None,
    })
}

/// A name as metadata has them, `[a-z][a-z0-9_]*`; empty if nothing is left.
fn attribute_name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let plain: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(64).collect();
    plain.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests;
