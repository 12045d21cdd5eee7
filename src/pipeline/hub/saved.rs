//! The state of the hub as it is kept, and back.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::Duration;

use super::super::journal::Place;
use super::open::Table;
use crate::decode::clients::{self, Message};
use crate::event::Timestamp;

/// Version of the form. A state of another one is not read.
pub(super) const VERSION: u32 = 2;

/// All that must survive.
#[derive(Serialize, Deserialize)]
pub(super) struct State<T, C> {
    pub(super) version: u32,
    pub(super) table: T,
    pub(super) clients: C,
}

pub(super) type Owned = State<Table, clients::State>;

/// What was taken at once.
#[derive(Serialize, Deserialize)]
pub(super) struct Step<M> {
    pub(super) now: Timestamp,
    pub(super) clock: Duration,
    /// True if entries came of it.
    pub(super) wrote: bool,
    /// Entries of the runs that wrote some, so that a testwire which would write others goes on with the right number.
    pub(super) entries: Vec<(String, u64)>,
    /// True if all runs were ended then.
    #[serde(default)]
    pub(super) over: bool,
    /// Entries that belong to no run.
    pub(super) ambient: u64,
    pub(super) messages: Vec<M>,
}

/// Messages in their serialized form, of the step that is under way.
#[derive(Default)]
pub(super) struct Taken(pub(super) Vec<Box<RawValue>>);

impl Taken {
    pub(super) fn add(&mut self, message: &Message) {
        // Lines of no run make no state.
        if matches!(message, Message::Ambient(_)) {
            return;
        }
        match serde_json::value::to_raw_value(message) {
            Ok(raw) => self.0.push(raw),
            Err(error) => tracing::error!(%error, "a message cannot be kept for a restart"),
        }
    }
}

/// The steps behind the state that count: those up to the mark, and then those that wrote nothing.
pub(super) fn steps(journal: &[u8], generation: u64, marked: Option<Place>) -> Vec<Step<Box<RawValue>>> {
    let mut steps = Vec::new();
    let mut lines = journal.split_inclusive(|byte| *byte == b'\n');
    let mut at = lines.next().map_or(0, <[u8]>::len) as u64;
    let until = marked.filter(|place| place.generation == generation).map_or(at, |place| place.bytes);
    for line in lines {
        at += line.len() as u64;
        // A line without its end was being written.
        let step = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Step<Box<RawValue>>>(line).ok());
        match step {
            Some(step) if at <= until || !step.wrote => steps.push(step),
            Some(_) => break,
            None if at <= until => tracing::error!("a step of the journal is damaged"),
            None => break,
        }
    }
    if at < until {
        tracing::error!("the journal is shorter than it was; numbers of entries may be used twice");
    }
    steps
}

/// The state in front of the steps.
pub(super) fn state(journal: &[u8]) -> Result<Owned, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let line = journal.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Version { version } = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has version {version}, and this testwire reads {VERSION}"));
    }
    serde_json::from_slice(line).map_err(|error| error.to_string())
}
