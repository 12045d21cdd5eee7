//! testwire's own events over HTTP: `POST /v1/events`, described in `docs/events.md`.

use std::collections::{BTreeSet, HashMap};

use super::{Answer, Context, RunFacts, Runs, name};
use crate::decode::Decoder;
use crate::decode::pytest::Pytest;
use crate::decode::robot::Robot;
use crate::decode::testwire::Testwire;
use crate::event::{Event, Fact, Level, Note, RunFinished, RunStatus};

/// Some whole lines of a body.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Piece {
    /// The run's key, the same for all pieces of a run.
    pub key: String,
    /// What opens the run.
    pub facts: RunFacts,
    /// The run is this body: it ends with it.
    pub alone: bool,
    /// The lines, each with its end but for the last of a body.
    #[serde(with = "as_text")]
    pub lines: Vec<u8>,
    /// Nothing of this body comes after it.
    pub last: bool,
    /// Who sends it.
    pub part: Part,
}

/// What a sender says of itself in the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// `shard`: its name among the parts of the run; empty if not given.
    pub shard: String,
    /// `shards`: the parts that there are, by name or, if only their number is given, as `1` to that.
    pub shards: Shards,
    /// `writer`: names what numbers its lines; empty if nothing does.
    pub writer: String,
    /// `format`: what the lines are; empty: testwire's own events.
    pub format: String,
    /// `line`: the number of the first line, from 1. Lines of a writer that were taken before are passed over, so a
    /// body of which nobody knows whether it arrived may be sent again.
    pub line: Option<u64>,
}

/// Parts of a run that were announced.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shards {
    count: usize,
    names: Vec<String>,
}

/// Reads `3`, or `a,b,c`.
pub fn shards(text: &str) -> Shards {
    match text.trim().parse() {
        Ok(count) => Shards { count: usize::min(count, MAX_SHARDS), names: Vec::new() },
        Err(_) => {
            let names: Vec<String> =
                text.split(',').map(name).filter(|name| !name.is_empty()).take(MAX_SHARDS).collect();
            Shards { count: names.len(), names }
        }
    }
}

/// Shards and writers of a run that are known by name.
const MAX_SHARDS: usize = 10_000;

/// What a body says about its run before its events are looked at.
#[derive(Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Head {
    /// The run, where the request does not name it.
    #[serde(default)]
    pub run_id: Option<String>,
    /// The label `runner`.
    #[serde(default)]
    pub runner: Option<String>,
}

impl Head {
    /// Reads it from the first line that is not blank; what cannot be read says nothing.
    pub fn of(lines: &[u8]) -> Self {
        let first = lines.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
        first.and_then(|line| serde_json::from_slice(line).ok()).unwrap_or_default()
    }
}

impl Piece {
    /// The first piece of a body. `number` tells bodies apart that name no run.
    pub fn first(context: &Context, lines: Vec<u8>, number: u64) -> Self {
        let head = Head::of(&lines);
        let given =
            if context.run_id.is_empty() { name(&head.run_id.unwrap_or_default()) } else { name(&context.run_id) };
        let key = if given.is_empty() { format!("own//{number}") } else { format!("own/{}/{given}", context.project) };
        let runner = head.runner.filter(|runner| crate::decode::testwire::is_runner(runner));
        let facts = RunFacts {
            run_id: given.clone(),
            runner: match context.part.format.as_str() {
                "" | "testwire" => runner.unwrap_or_else(|| "custom".into()),
                format => format.to_owned(),
            },
            project: context.project.clone(),
            env: context.env.clone(),
            ..RunFacts::default()
        };
        Self { key, alone: given.is_empty(), facts, lines, last: false, part: context.part.clone() }
    }

    /// Another piece of the same body.
    pub fn next(&self, lines: Vec<u8>) -> Self {
        let mut part = self.part.clone();
        part.line = part.line.map(|line| line + memchr::memchr_iter(b'\n', &self.lines).count() as u64);
        Self { key: self.key.clone(), facts: self.facts.clone(), alone: self.alone, lines, last: false, part }
    }
}

/// Runs of testwire's own format.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub struct Own {
    runs: HashMap<String, Run>,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Run {
    decoder: Lines,
    started: u64,
    finished: u64,
    /// Parts that were announced, and those that said something.
    expected: BTreeSet<String>,
    count: usize,
    reported: BTreeSet<String>,
    /// The next line of each writer.
    writers: HashMap<String, u64>,
}

/// What lines are.
#[derive(serde::Serialize, serde::Deserialize)]
enum Lines {
    Testwire(Testwire),
    Pytest(Pytest),
    Robot(Robot),
}

impl Default for Lines {
    fn default() -> Self {
        Self::Testwire(Testwire::default())
    }
}

impl Lines {
    /// By the name of a format; `None` if its lines are not taken here.
    fn named(format: &str) -> Option<Self> {
        Some(match format {
            "" | "testwire" => Self::default(),
            "pytest" => Self::Pytest(Pytest::default()),
            "robot" => Self::Robot(Robot::default()),
            _ => return None,
        })
    }

    fn decoder(&mut self) -> &mut dyn Decoder {
        match self {
            Self::Testwire(lines) => lines,
            Self::Pytest(lines) => lines,
            Self::Robot(lines) => lines,
        }
    }
}

impl Part {
    /// True if lines of its format are taken.
    pub fn is_known(&self) -> bool {
        Lines::named(&self.format).is_some()
    }
}

impl Run {
    /// Takes note of who speaks.
    fn hear(&mut self, part: &Part) {
        self.count = self.count.max(part.shards.count);
        self.expected.extend(part.shards.names.iter().cloned());
        if !part.shard.is_empty() && self.reported.len() < MAX_SHARDS {
            self.reported.insert(part.shard.clone());
        }
    }

    fn missing(&self) -> usize {
        self.count.max(self.expected.len()).saturating_sub(self.reported.len())
    }

    /// Lines at the beginning of a piece that were taken before.
    fn known(&mut self, part: &Part, lines: &[u8]) -> u64 {
        let Some(line) = part.line.filter(|_| !part.writer.is_empty()) else { return 0 };
        let cut = u64::from(!lines.is_empty() && !lines.ends_with(b"\n"));
        let behind = line + memchr::memchr_iter(b'\n', lines).count() as u64 + cut;
        if self.writers.len() >= MAX_SHARDS {
            return 0;
        }
        let next = self.writers.entry(part.writer.clone()).or_insert(line);
        let known = next.saturating_sub(line);
        *next = behind.max(*next);
        known
    }
}

impl Own {
    pub(super) fn take(&mut self, piece: &Piece, runs: &mut dyn Runs) -> Answer {
        let Piece { key, lines, .. } = piece;
        let run = self
            .runs
            .entry(key.clone())
            .or_insert_with(|| Run { decoder: Lines::named(&piece.part.format).unwrap_or_default(), ..Run::default() });
        run.hear(&piece.part);
        let mut known = run.known(&piece.part, lines);
        let is_missed = run.missing() > 0;
        let Run { decoder, started, finished, .. } = run;
        let decoder = decoder.decoder();
        let mut emit = |event: Event<'_>| {
            runs.open(key, piece.facts.clone());
            match &event.fact {
                Fact::RunStarted(_) => *started += 1,
                Fact::RunFinished(_) => *finished += 1,
                _ => {}
            }
            runs.event(key, &event);
        };
        let mut rest = lines.as_slice();
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, behind) = rest.split_at(end);
            match known {
                0 => decoder.line(line.strip_suffix(b"\r").unwrap_or(line), &mut emit),
                _ => known -= 1,
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        if piece.last && piece.alone {
            decoder.finish(&mut emit);
            self.runs.remove(key);
            runs.close(key);
        } else if *finished > 0 && finished >= started && !is_missed {
            // Another process of the run may still come, and its end after that.
            runs.close_soon(key);
        }
        Answer::empty(204)
    }

    /// Says which parts of a run never came.
    pub(super) fn last_words(&mut self, key: &str, runs: &mut dyn Runs) {
        let Some(run) = self.runs.get(key).filter(|run| run.missing() > 0) else { return };
        let all = run.count.max(run.expected.len());
        let names: Vec<&str> = run.expected.difference(&run.reported).map(String::as_str).collect();
        let mut text = format!("{} of {all} shards never reported", run.missing());
        if !names.is_empty() {
            text.push_str(": ");
            text.push_str(&names.join(", "));
        }
        let note = Fact::Note(Note { level: Level::Error, text: text.as_str().into() });
        runs.event(key, &Event { time: None, fact: note });
        let finished = RunFinished { status: Some(RunStatus::Aborted), message: text.into() };
        runs.event(key, &Event { time: None, fact: Fact::RunFinished(finished) });
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.runs.remove(key);
    }
}

/// Lines are text; what is none becomes U+FFFD, as the decoder has it.
mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(lines: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(lines))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(deserializer).map(String::into_bytes)
    }
}
