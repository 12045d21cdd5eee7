//! What is configured for a source of log lines, as plain data.

use std::fmt;
use std::sync::Arc;

use chrono::NaiveDateTime;
use regex::bytes::Regex;

use crate::event::Timestamp;

/// Longest group of lines that is kept in one record, in bytes; what follows begins another record.
const MAX_GROUP: usize = 200 << 10;

/// How the lines of one source are understood. [`Rules::default`] is what a source without settings has: everything is
/// recognised by itself, zone-less times are UTC, and nothing is redacted.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Zone of times that name none.
    pub zone: Zone,
    /// Where the time is, if not where [`super::Assembler`] finds it by itself.
    pub time: Option<TimePattern>,
    /// Finds the level: the group `level`, else the first group, else the whole match is a word such as `WARN`.
    pub level: Option<Regex>,
    /// Which lines belong together.
    pub multiline: Multiline,
    /// What container runtimes wrap lines in.
    pub container: Container,
    /// Secrets that do not leave the process.
    pub redact: Redaction,
    /// Finds a trace or request id: the group `trace`, else the first group, else the whole match.
    pub trace: Option<Regex>,
    /// Finds the id of the test that a line belongs to: the group `test`, else the first group, else the whole match.
    pub test: Option<Regex>,
    /// Finds the name of the worker that a line belongs to: the group `worker`, else the first group, else the whole match.
    pub worker: Option<Regex>,
    /// Longest group of lines in bytes; a single line may be longer.
    pub max_group: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            zone: Zone::utc(),
            time: None,
            level: None,
            multiline: Multiline::default(),
            container: Container::default(),
            redact: Redaction::default(),
            trace: None,
            test: None,
            worker: None,
            max_group: MAX_GROUP,
        }
    }
}

/// Which lines belong to one record.
#[derive(Clone, Debug, Default)]
pub enum Multiline {
    /// A line with a time begins a record. Indented lines, blank lines and the lines of traces (Python, Java, Go, Rust,
    /// Node) belong to the record before them.
    #[default]
    Auto,
    /// A line begins a record if it matches; all others belong to the record before them.
    Start(Regex),
    /// Each line is a record.
    Off,
}

/// What wraps the lines of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Container {
    /// Recognised line by line: Docker's objects have `log`, `stream` and `time` and nothing else, CRI's lines have a time,
    /// a stream and `P` or `F`.
    #[default]
    Auto,
    /// `{"log":"…\n","stream":"stdout","time":"…"}`, the `json-file` driver.
    Docker,
    /// `2026-11-20T10:04:43.123456789Z stdout F …`, containerd and CRI-O.
    Cri,
    /// Lines are as they were written.
    None,
}

/// Where the time of a line is.
#[derive(Clone, Debug)]
pub struct TimePattern {
    /// The group `time`, else the first group, else the whole match is the time.
    pub find: Regex,
    /// How to read it, as `strftime` writes it; `None`: one of the shapes that are known.
    pub format: Option<String>,
}

/// What is taken out of lines.
#[derive(Clone, Debug, Default)]
pub struct Redaction {
    /// Common tokens: AWS, GitHub and Slack keys, JWTs, authorisation headers, passwords in assignments and URLs, private keys.
    pub builtin: bool,
    /// Further patterns: the group `secret`, else the first group, else the whole match is replaced.
    pub patterns: Vec<Regex>,
}

/// What clocks of a zone show → the instant.
type Instant = dyn Fn(NaiveDateTime) -> Option<Timestamp> + Send + Sync;

/// The zone of times that name none. Its rules are those of the settings, as a function, because decoders know no settings.
#[derive(Clone)]
pub struct Zone(Arc<Instant>);

impl Zone {
    /// A zone in which clocks show a wall time at the instant that `instant` gives; `None` where there is none.
    pub fn new(instant: impl Fn(NaiveDateTime) -> Option<Timestamp> + Send + Sync + 'static) -> Self {
        Self(Arc::new(instant))
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self::new(|wall| wall.and_utc().timestamp_nanos_opt().map(Timestamp))
    }

    /// The instant at which clocks show `wall`.
    pub fn timestamp(&self, wall: NaiveDateTime) -> Option<Timestamp> {
        (self.0)(wall)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zone")
    }
}
