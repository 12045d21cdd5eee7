//! JUnit XML → events, as Surefire, Gradle, pytest, nextest, jest-junit, mocha, node, gtest, ctest and others write it.
//!
//! There is no standard, so it is read by what stands in it: test cases are counted, never what attributes say of their
//! number. Properties are left out: Surefire puts the whole environment there.

mod case;
mod live;
mod names;
mod output;

use std::time::Duration;

use self::case::{Case, Problem, Skip};
pub(super) use self::live::Live;
pub use self::live::ReportHead;
use self::names::{Again, Identity, Names, Position, Told, full_name};
use self::output::{Lines, log};
use super::Emit;
use super::document::{Broken, Document};
use super::wall::{Zone, after, seconds, timestamp};
use super::xml::{Elements, Tag, Xml};
use crate::event::{
    Event, Fact, Level, Note, RunFinished, RunStarted, Source, Status, SuiteFinished, SuiteStarted, Timestamp,
};

/// Stands before a report whose earlier version came before: it says more of the same tests.
pub const AGAIN: &str = "<!-- testwire: written again -->";

/// State of the format.
pub(super) struct Junit {
    xml: Xml,
    report: Report,
}

impl Junit {
    /// `zone` reads times that name no zone.
    pub(super) fn new(zone: Zone) -> Self {
        Self { xml: Xml::default(), report: Report::new(zone) }
    }

    /// For the reports that a runner writes while it runs, one after the other; there may be none. Before one that was
    /// written again stands a line with [`AGAIN`].
    pub(super) fn of_many(zone: Zone) -> Self {
        Self { xml: Xml::of_any_number(), report: Report { is_of_many: true, ..Report::new(zone) } }
    }
}

impl Document for Junit {
    fn bytes(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        self.xml.bytes(bytes, &mut self.report, emit);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.xml.finish(&mut self.report, emit);
    }

    fn broken(&self) -> Option<&Broken> {
        self.xml.broken()
    }

    fn runner(&self) -> &str {
        "junit"
    }
}

/// What an open element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Root,
    Suite,
    Case,
    /// `<failure>` and `<error>`.
    Problem,
    /// `<flakyFailure>`, `<rerunError>` and the like: an attempt beside the one that counts.
    Attempt,
    Skipped,
    /// The text of an attempt, in an element of its own.
    StackTrace,
    Out,
    Err,
    Other,
}

#[derive(Debug, Default)]
struct Suite {
    /// Whole name, from the outermost suite on.
    path: String,
    name: String,
    host: String,
    number: u32,
    start: Option<Timestamp>,
    /// What the test cases took so far.
    spent: Duration,
    duration: Option<Duration>,
    failing: bool,
    problem: Option<Problem>,
}

struct Report {
    zone: Zone,
    elements: Vec<Element>,
    suites: Vec<Suite>,
    suites_seen: u32,
    names: Names,
    case: Option<Case>,
    /// A test case that the next one may say more about.
    held: Option<Case>,
    lines: Lines,
    is_pytest: bool,
    is_of_many: bool,
    /// An earlier version of this report was read.
    is_again: bool,
}

impl Report {
    fn new(zone: Zone) -> Self {
        Self {
            zone,
            elements: Vec::new(),
            suites: Vec::new(),
            suites_seen: 0,
            names: Names::default(),
            case: None,
            held: None,
            lines: Lines::default(),
            is_pytest: false,
            is_of_many: false,
            is_again: false,
        }
    }

    fn start_document(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>) {
        let name = tag.get("name");
        self.is_pytest = name == "pytest tests" || name == "pytest";
        let title = if name.is_empty() { "JUnit XML".to_owned() } else { format!("JUnit XML: {name}") };
        let started = RunStarted { title: title.into(), attributes: Vec::new() };
        let time = timestamp(&tag.get("timestamp"), &self.zone);
        emit(Event { time, fact: Fact::RunStarted(started) });
    }

    fn start_suite(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>) {
        self.suites_seen += 1;
        let mut suite = Suite { number: self.suites_seen, ..Suite::default() };
        for (key, value) in tag.attributes() {
            match key {
                "name" => suite.name = value.into_owned(),
                "hostname" => suite.host = value.into_owned(),
                "timestamp" => suite.start = timestamp(&value, &self.zone),
                "time" => suite.duration = seconds(&value),
                _ => {}
            }
        }
        self.is_pytest |= suite.name == "pytest";
        suite.path = match self.suites.last() {
            Some(parent) if !parent.path.is_empty() => format!("{} > {}", parent.path, suite.name),
            _ => suite.name.clone(),
        };
        if self.is_again && self.suites.is_empty() {
            self.names.forget(&suite.path, &suite.host);
        }
        let parent = self.suites.last();
        suite.start = suite.start.or_else(|| parent.and_then(|parent| Some(after(parent.start?, parent.spent))));
        let started = SuiteStarted { suite: suite.path.as_str().into(), worker: "".into() };
        emit(Event { time: suite.start, fact: Fact::SuiteStarted(started) });
        self.suites.push(suite);
    }

    fn end_suite(&mut self, emit: &mut Emit<'_>) {
        self.flush(emit);
        let Some(suite) = self.suites.pop() else { return };
        let duration = suite.duration.unwrap_or_default().max(suite.spent);
        let (message, status) = match &suite.problem {
            Some(problem) => (problem.message.trim().to_owned() + "\n" + problem.details.trim(), Status::Errored),
            // Only its tests say how it went where they may yet be run again.
            None if suite.failing && !self.is_of_many => (String::new(), Status::Failed),
            None => (String::new(), Status::Passed),
        };
        let finished = SuiteFinished {
            suite: suite.path.as_str().into(),
            worker: "".into(),
            status,
            duration: Some(duration),
            message: message.trim().into(),
        };
        let time = suite.start.map(|start| after(start, duration));
        emit(Event { time, fact: Fact::SuiteFinished(finished) });
        if let Some(parent) = self.suites.last_mut() {
            parent.spent += duration;
            parent.failing |= status.is_failing();
        }
    }

    fn start_case(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>) {
        let (mut case, mut name, mut class) = (Case::default(), None, None);
        for (key, value) in tag.attributes() {
            match key {
                "name" => name = Some(value),
                "classname" => class = Some(value),
                "timestamp" => case.start = timestamp(&value, &self.zone),
                "time" => case.duration = seconds(&value),
                "status" => case.status = value.into_owned(),
                "result" => case.result = value.into_owned(),
                _ => {}
            }
        }
        let none = Suite::default();
        let suite = self.suites.last().unwrap_or(&none);
        case.suite.clone_from(&suite.path);
        case.nameless = name.is_none() && class.is_none();
        let again = if self.is_pytest { Again::Attempt } else { Again::of(class.as_deref(), &suite.name) };
        case.repeats = again != Again::Test;
        let position = Position { suite: suite.number, path: &suite.path, host: &suite.host, again };
        let name = full_name(class.as_deref(), &suite.path, &name.unwrap_or_default());
        let Identity { id, attempt, key } = self.names.identify(name, position);
        case.told = if self.is_again { self.names.told(&id) } else { None };
        (case.id, case.attempt, case.key) = (id, attempt, key);
        case.start = case.start.or_else(|| Some(after(suite.start?, suite.spent)));
        if self.held.as_ref().is_some_and(|held| held.id != case.id) {
            self.flush(emit);
        }
        self.case = Some(case);
    }

    fn end_case(&mut self, whole: bool, emit: &mut Emit<'_>) {
        let Some(case) = self.case.take() else { return };
        if let Some(suite) = self.suites.last_mut() {
            suite.spent += case.duration.unwrap_or_default();
        }
        if !whole {
            // The file ends within it: what it says of its result may not be all.
            self.flush(emit);
            if case.problems.is_empty() && case.skip.is_none() {
                return case.emit(Status::Unfinished, emit);
            }
        }
        if case.nameless && case.problems.is_empty() {
            let text = "a test case without a name is left out".into();
            return emit(Event { time: case.start, fact: Fact::Note(Note { level: Level::Warn, text }) });
        }
        if self.is_pytest {
            match &mut self.held {
                Some(held) if case.is_teardown() => return held.problems.extend(case.problems),
                // Under xdist other test cases are between the two.
                None if case.is_teardown() && case.attempt > 1 => return case.correct(emit),
                _ => self.flush(emit),
            }
            self.held = Some(case);
        } else {
            self.say(&case, emit);
        }
    }

    /// Says the test case that was held back.
    fn flush(&mut self, emit: &mut Emit<'_>) {
        self.held.take().into_iter().for_each(|case| self.say(&case, emit));
    }

    fn say(&mut self, case: &Case, emit: &mut Emit<'_>) {
        let status = case.outcome();
        if status.is_failing()
            && let Some(suite) = self.suites.last_mut()
        {
            suite.failing = true;
        }
        self.names.ended(case.key, status.is_failing());
        if case.is_told() && case.told.is_some_and(|told| told.status == status) {
            return;
        }
        case.emit(status, emit);
        if self.is_of_many {
            self.names.tell(&case.id, Told { attempts: case.number(), status });
        }
    }

    /// What was read of an output is said.
    fn end_output(&mut self, source: &Source<'static>, emit: &mut Emit<'_>) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.finish(|line| self.log(source, line, emit));
    }

    fn log(&self, source: &Source<'static>, line: &str, emit: &mut Emit<'_>) {
        match &self.case {
            Some(case) if case.is_told() => {}
            Some(case) => log(Some(case.reference()), source, case.start, line, emit),
            None => log(None, source, self.suites.last().and_then(|suite| suite.start), line, emit),
        }
    }

    /// What text of an element of this kind belongs to.
    fn problem(&mut self, element: Element) -> Option<&mut Problem> {
        let Some(case) = &mut self.case else { return self.suites.last_mut()?.problem.as_mut() };
        match element {
            Element::Problem => case.problems.last_mut(),
            Element::Attempt | Element::StackTrace => case.attempts.last_mut(),
            Element::Skipped => case.skip.as_mut().map(|skip| &mut skip.problem),
            _ => None,
        }
    }

    fn start_problem(&mut self, element: Element, tag: &Tag<'_>) {
        let mut problem = Problem { is_error: tag.name.ends_with("rror"), ..Problem::default() };
        for (key, value) in tag.attributes() {
            match key {
                "type" => problem.kind = value.into_owned(),
                "message" => problem.message = value.into_owned(),
                "timestamp" => problem.time = timestamp(&value, &self.zone),
                "time" => problem.duration = seconds(&value),
                _ => {}
            }
        }
        match (&mut self.case, element) {
            (Some(case), Element::Problem) => case.problems.push(problem),
            (Some(case), Element::Attempt) => case.attempts.push(problem),
            (Some(case), Element::Skipped) => {
                case.skip = Some(Skip { kind: std::mem::take(&mut problem.kind), problem });
            }
            // What goes wrong outside of all tests: TAP::Formatter::JUnit says so of a program that died.
            (None, Element::Problem) => {
                if let Some(suite) = self.suites.last_mut() {
                    suite.problem.get_or_insert(problem);
                }
            }
            _ => {}
        }
    }
}

impl Elements for Report {
    const ROOTS: &'static [&'static str] = &["testsuites", "testsuite"];

    fn start(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>) {
        if self.elements.is_empty() {
            self.start_document(tag, emit);
        }
        let inside = self.elements.last().copied();
        let in_case = self.case.is_some();
        let element = match tag.name {
            "testsuites" => Element::Root,
            "testsuite" if !in_case => Element::Suite,
            "testcase" if !in_case => Element::Case,
            "failure" | "error" if matches!(inside, Some(Element::Case | Element::Suite)) => Element::Problem,
            "flakyFailure" | "flakyError" | "rerunFailure" | "rerunError" if in_case => Element::Attempt,
            "skipped" | "ignored" if in_case => Element::Skipped,
            "stackTrace" if inside == Some(Element::Attempt) => Element::StackTrace,
            "system-out" => Element::Out,
            "system-err" => Element::Err,
            _ => Element::Other,
        };
        self.elements.push(element);
        match element {
            Element::Suite => self.start_suite(tag, emit),
            Element::Case => self.start_case(tag, emit),
            Element::Problem | Element::Attempt | Element::Skipped => self.start_problem(element, tag),
            Element::Root | Element::StackTrace | Element::Out | Element::Err | Element::Other => {}
        }
    }

    fn between(&mut self, text: &str) {
        self.is_again |= text.contains(AGAIN);
    }

    fn text(&mut self, text: &str, emit: &mut Emit<'_>) {
        let Some(element) = self.elements.last().copied() else { return };
        match element {
            Element::Out | Element::Err => {
                let mut lines = std::mem::take(&mut self.lines);
                lines.push(text, |line| self.log(source(element), line, emit));
                self.lines = lines;
            }
            _ => {
                if let Some(problem) = self.problem(element)
                    && !problem.push(text)
                {
                    self.log(&Source::Runner, text, emit);
                }
            }
        }
    }

    fn end(&mut self, whole: bool, emit: &mut Emit<'_>) {
        let Some(element) = self.elements.pop() else { return };
        match element {
            Element::Suite if whole => self.end_suite(emit),
            Element::Suite => {
                self.flush(emit);
                self.suites.pop();
            }
            Element::Case => self.end_case(whole, emit),
            Element::Out | Element::Err => self.end_output(source(element), emit),
            _ => {}
        }
        if whole && self.elements.is_empty() {
            self.flush(emit);
            self.is_again = false;
            emit(Event { time: None, fact: Fact::RunFinished(RunFinished::default()) });
        }
    }
}

fn source(element: Element) -> &'static Source<'static> {
    if element == Element::Err { &Source::Stderr } else { &Source::Stdout }
}
