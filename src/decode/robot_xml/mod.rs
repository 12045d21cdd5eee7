//! Robot Framework's output.xml → events, of Robot 3 to 7 and of rebot.
//!
//! Times are local and without a zone. A status stands at the end of its element, so that a test is told when it is over;
//! messages and keywords are told as they come.

pub(super) mod tell;

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::FixedState;

use self::tell::{Outcome, Teller, level_of, status_of, turns};
use super::Emit;
use super::document::{Broken, Document};
use super::wall::{Zone, seconds, timestamp};
use super::xml::{Elements, Tag, Xml};
use crate::event::{Event, Fact, Level, LogLine, RunFinished, RunStarted, Source, StepFinished, TestRef, Timestamp};

/// Longest name of a step with its arguments, in bytes.
const MAX_STEP: usize = 1000;

/// State of the format.
pub(super) struct RobotXml {
    xml: Xml,
    output: Output,
}

impl RobotXml {
    /// `zone` reads all times.
    pub(super) fn new(zone: Zone) -> Self {
        Self { xml: Xml::default(), output: Output::new(zone) }
    }
}

impl Document for RobotXml {
    fn bytes(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        self.xml.bytes(bytes, &mut self.output, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.xml.finish(&mut self.output, emit);
    }

    fn broken(&self) -> Option<&Broken> {
        self.xml.broken()
    }

    fn runner(&self) -> &str {
        "robot"
    }
}

/// An open element.
#[derive(Debug)]
enum Element {
    Robot,
    Suite(Outcome),
    Test(Box<Test>),
    Step(Box<Step>),
    /// Its text belongs to what is around it.
    Status,
    Tag,
    Arg,
    Message {
        level: Level,
        time: Option<Timestamp>,
    },
    /// The messages at the end of the file, which stand at their places too.
    Errors,
    Other,
}

#[derive(Debug, Default)]
struct Test {
    id: String,
    outcome: Outcome,
    tags: Vec<String>,
}

#[derive(Debug, Default)]
struct Step {
    /// Empty for the frame around branches.
    name: String,
    is_teardown: bool,
    outcome: Outcome,
}

struct Output {
    zone: Zone,
    elements: Vec<Element>,
    teller: Teller,
    text: String,
    /// Last time that was read, for what is cut.
    last: Option<Timestamp>,
    hasher: FixedState,
    /// Warnings that were told.
    told: HashSet<u64, FixedState>,
}

impl Output {
    fn new(zone: Zone) -> Self {
        Self {
            zone,
            elements: Vec::new(),
            teller: Teller::default(),
            text: String::new(),
            last: None,
            hasher: FixedState::default(),
            told: HashSet::default(),
        }
    }

    /// Attributes of `<status>`: `start` and `elapsed` since Robot 7, before it `starttime` and `endtime`.
    fn outcome(&self, tag: &Tag<'_>) -> Outcome {
        let (mut outcome, mut end) = (Outcome::default(), None);
        for (key, value) in tag.attributes() {
            match key {
                "status" => outcome.status = value.into_owned(),
                "start" | "starttime" => outcome.start = timestamp(&value, &self.zone),
                "elapsed" => outcome.duration = seconds(&value),
                "endtime" => end = timestamp(&value, &self.zone),
                _ => {}
            }
        }
        outcome.duration = outcome.duration.or_else(|| {
            let (start, end) = (outcome.start?, end?);
            Some(end.since(start))
        });
        outcome
    }

    fn start_step(tag: &Tag<'_>) -> Element {
        let (mut name, mut kind, mut condition) = (String::new(), String::new(), String::new());
        for (key, value) in tag.attributes() {
            match key {
                "name" => name = value.into_owned(),
                "type" => kind = value.to_ascii_uppercase(),
                "condition" => condition = value.into_owned(),
                _ => {}
            }
        }
        let is_teardown = kind == "TEARDOWN";
        let name = match (tag.name, kind.as_str()) {
            ("kw", "SETUP") => format!("Setup: {name}"),
            ("kw", "TEARDOWN") => format!("Teardown: {name}"),
            // Loops and branches of Robot 3.
            ("kw", "FOR" | "FORITEM") => format!("{kind} {name}"),
            ("kw", _) => name,
            ("if" | "try", _) => String::new(),
            ("iter", _) => "ITERATION".into(),
            ("branch", kind) => [kind, &condition].join(" ").trim().to_owned(),
            (other, _) => [other.to_ascii_uppercase().as_str(), &condition].join(" ").trim().to_owned(),
        };
        Element::Step(Box::new(Step { name, is_teardown, outcome: Outcome::default() }))
    }

    /// The test that is open.
    fn test(&self) -> Option<TestRef<'_>> {
        let id = self.elements.iter().find_map(|element| match element {
            Element::Test(test) => Some(test.id.as_str()),
            _ => None,
        })?;
        Some(TestRef { id: id.into(), suite: self.teller.suite().into(), worker: "".into() })
    }

    fn end_step(&mut self, step: &Step, emit: &mut Emit<'_>) {
        let is_of_suite = step.is_teardown && matches!(self.elements.last(), Some(Element::Suite(_)));
        if is_of_suite
            && let Some(status) = turns(&step.outcome.status)
            && let Some(suite) = self.teller.suites.last_mut()
        {
            suite.teardown = Some((status, step.outcome.message.clone()));
        }
        self.last = step.outcome.end().or(self.last);
        if step.name.is_empty() || step.outcome.status.is_empty() {
            return;
        }
        self.teller.announce(step.outcome.start, emit);
        let depth = self.elements.iter().filter(|e| matches!(e, Element::Step(step) if !step.name.is_empty())).count();
        let finished = StepFinished {
            test: self.test(),
            suite: self.teller.suite().into(),
            name: step.name.as_str().into(),
            status: status_of(&step.outcome.status),
            duration: step.outcome.duration,
            message: step.outcome.message.as_str().into(),
            depth: depth as u32,
        };
        emit(Event { time: step.outcome.end(), fact: Fact::StepFinished(finished) });
    }

    fn end_message(&mut self, level: Level, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let text = std::mem::take(&mut self.text);
        if matches!(level, Level::Warn | Level::Error) {
            let key = self.hasher.hash_one((time, &text));
            let known = !self.told.insert(key);
            if known && matches!(self.elements.last(), Some(Element::Errors)) {
                return;
            }
        }
        self.teller.announce(time, emit);
        self.last = time.or(self.last);
        let test = self.test();
        let line =
            LogLine { test, source: Source::Runner, level: Some(level), text: text.trim_end_matches('\n').into() };
        emit(Event { time, fact: Fact::Log(line) });
    }

    /// Gives a status to what it stands in.
    fn set_outcome(&mut self, outcome: Outcome) {
        match self.elements.last_mut() {
            Some(Element::Suite(own)) => *own = outcome,
            Some(Element::Test(test)) => test.outcome = outcome,
            Some(Element::Step(step)) => step.outcome = outcome,
            _ => {}
        }
    }

    fn end_text(&mut self, element: &Element) {
        let text = std::mem::take(&mut self.text);
        match (element, self.elements.iter_mut().rev().find(|e| !matches!(e, Element::Other))) {
            (Element::Tag, Some(Element::Test(test))) => test.tags.push(text),
            (Element::Arg, Some(Element::Step(step))) if !step.name.is_empty() => {
                if step.name.len() + text.len() < MAX_STEP {
                    step.name.push_str("    ");
                    step.name.push_str(&text);
                } else if !step.name.ends_with('…') {
                    step.name.push('…');
                }
            }
            (Element::Status, Some(Element::Suite(outcome))) => outcome.message = text,
            (Element::Status, Some(Element::Test(test))) => test.outcome.message = text,
            (Element::Status, Some(Element::Step(step))) => step.outcome.message = text,
            _ => {}
        }
    }

    fn end_test(&mut self, mut test: Test, whole: bool, emit: &mut Emit<'_>) {
        if !whole && test.outcome.status.is_empty() {
            test.outcome = Outcome { start: self.last, duration: Some(Duration::ZERO), ..Outcome::default() };
            test.outcome.message = "the file ends within this test".into();
        }
        self.teller.test(&test.id, &test.outcome, &test.tags, emit);
    }
}

impl Elements for Output {
    const ROOTS: &'static [&'static str] = &["robot"];

    fn start(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>) {
        let element = match tag.name {
            "robot" if self.elements.is_empty() => {
                let generator = tag.get("generator");
                // Rebot writes when it wrote, which is after all of it.
                let own = !generator.to_ascii_lowercase().starts_with("rebot");
                let time = timestamp(&tag.get("generated"), &self.zone).filter(|_| own);
                let started = RunStarted { title: generator.clone(), attributes: Vec::new() };
                emit(Event { time, fact: Fact::RunStarted(started) });
                Element::Robot
            }
            "suite" if matches!(self.elements.last(), Some(Element::Robot | Element::Suite(_))) => {
                self.teller.enter(&tag.get("name"));
                Element::Suite(Outcome::default())
            }
            "test" => {
                let id = self.teller.identify(&tag.get("name"));
                Element::Test(Box::new(Test { id, ..Test::default() }))
            }
            "kw" | "for" | "iter" | "while" | "if" | "branch" | "try" | "return" | "continue" | "break" | "group"
            | "error" => Self::start_step(tag),
            "status" => {
                let outcome = self.outcome(tag);
                self.set_outcome(outcome);
                Element::Status
            }
            "tag" => Element::Tag,
            "arg" => Element::Arg,
            "msg" => {
                let (mut level, mut time) = (Level::Info, None);
                for (key, value) in tag.attributes() {
                    match key {
                        "level" => level = level_of(&value),
                        "time" | "timestamp" => time = timestamp(&value, &self.zone),
                        _ => {}
                    }
                }
                Element::Message { level, time }
            }
            "errors" => Element::Errors,
            _ => Element::Other,
        };
        self.text.clear();
        self.elements.push(element);
    }

    fn text(&mut self, text: &str, _: &mut Emit<'_>) {
        if matches!(self.elements.last(), Some(Element::Status | Element::Tag | Element::Arg | Element::Message { .. }))
        {
            self.text.push_str(text);
        }
    }

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        let Some(element) = self.elements.pop() else { return };
        match element {
            Element::Suite(outcome) if whole => self.teller.leave(&outcome, emit),
            Element::Suite(_) => {
                self.teller.announce(self.last, emit);
                self.teller.suites.pop();
            }
            Element::Test(test) => self.end_test(*test, whole, emit),
            Element::Step(step) => self.end_step(&step, emit),
            Element::Message { level, time } => self.end_message(level, time, emit),
            Element::Status | Element::Tag | Element::Arg => self.end_text(&element),
            Element::Robot if whole => {
                emit(Event { time: None, fact: Fact::RunFinished(RunFinished::default()) });
            }
            Element::Robot | Element::Errors | Element::Other => {}
        }
    }
}
