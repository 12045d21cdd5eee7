//! testwire's own events over HTTP: `POST /v1/events`, described in `docs/events.md`.

use std::collections::HashMap;

use super::{Answer, Context, RunFacts, Runs, name};
use crate::decode::{Decoder, Format};
use crate::event::{Event, Fact};

/// Some whole lines of a body.
#[derive(Debug)]
pub struct Piece {
    /// The run's key, the same for all pieces of a run.
    pub key: String,
    /// What opens the run.
    pub facts: RunFacts,
    /// The run is this body: it ends with it.
    pub alone: bool,
    /// The lines, each with its end but for the last of a body.
    pub lines: Vec<u8>,
    /// Nothing of this body comes after it.
    pub last: bool,
}

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
            runner: runner.unwrap_or_else(|| "custom".into()),
            project: context.project.clone(),
            env: context.env.clone(),
            ..RunFacts::default()
        };
        Self { key, alone: given.is_empty(), facts, lines, last: false }
    }

    /// Another piece of the same body.
    pub fn next(&self, lines: Vec<u8>) -> Self {
        Self { key: self.key.clone(), facts: self.facts.clone(), alone: self.alone, lines, last: false }
    }
}

/// Runs of testwire's own format.
#[derive(Default)]
pub struct Own {
    runs: HashMap<String, Run>,
}

struct Run {
    decoder: Box<dyn Decoder + Send>,
    started: u64,
    finished: u64,
}

impl Own {
    pub(super) fn take(&mut self, piece: &Piece, runs: &mut dyn Runs) -> Answer {
        let Piece { key, lines, .. } = piece;
        let run = self.runs.entry(key.clone()).or_insert_with(|| Run {
            decoder: Format::Testwire.decoder(),
            started: 0,
            finished: 0,
        });
        let Run { decoder, started, finished } = run;
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
            decoder.line(line.strip_suffix(b"\r").unwrap_or(line), &mut emit);
            rest = behind.get(1..).unwrap_or_default();
        }
        if piece.last && piece.alone {
            decoder.finish(&mut emit);
            self.runs.remove(key);
            runs.close(key);
        } else if *finished > 0 && finished >= started {
            // Another process of the run may still come, and its end after that.
            runs.close_soon(key);
        }
        Answer::empty(204)
    }

    pub(super) fn forget(&mut self, key: &str) {
        self.runs.remove(key);
    }
}
