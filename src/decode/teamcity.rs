//! TeamCity service messages (<https://www.jetbrains.com/help/teamcity/service-messages.html>), as the reporters of pytest,
//! unittest, jest and mocha write them → events.
//!
//! A test is the suites around it, which are kept per flow, and its name. Two ways of reporting are told apart: Python's
//! reporters give each test a flow of its own name, so a name that comes again is a part of the same test and any failure
//! wins; others have one flow, so a test that starts again before it ended is a retry, and after it ended another one.
//! There is no start and no end of a run.

mod message;

use std::borrow::Cow;
use std::collections::HashMap;

use self::message::{Message, find};
use super::occurrences::Occurrences;
use super::output::{milliseconds, output, run_finished, run_started, test_ref};
use super::wall::{self, Zone};
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, Level, LogLine, Planned, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef,
    TestStarted,
};

/// Between the names of suites and of a test.
const BETWEEN: &str = " > ";
/// A flow may have so many suites inside each other; further ones are not told apart.
const DEEPEST: usize = 256;

/// State of the format.
pub(super) struct TeamCity {
    /// Reads times: Python's reporters write none with a zone.
    zone: Zone,
    began: bool,
    flows: HashMap<String, Flow, foldhash::fast::RandomState>,
    names: Occurrences,
    /// Tests of Python's reporters that failed, with the message: a later part that passes does not mend them.
    failed: HashMap<String, String, foldhash::fast::RandomState>,
    /// Counts the starts, to know which test began last.
    starts: u64,
}

#[derive(Default)]
struct Flow {
    suites: Vec<String>,
    /// Tests under way, by name.
    open: HashMap<String, Open, foldhash::fast::RandomState>,
    /// The last one that ended, for messages that come after that.
    last: Option<(String, Open)>,
}

struct Open {
    id: String,
    suite: String,
    number: u64,
    started: bool,
    status: Status,
    message: String,
    details: String,
}

impl Decoder for TeamCity {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        let Some((mut before, mut message, mut rest)) = find(&text) else { return stdout_line(bytes, emit) };
        loop {
            if !before.trim().is_empty() {
                stdout_text(before, emit);
            }
            message.time = wall::timestamp(&message.timestamp, &self.zone);
            self.message(&message, emit);
            match find(rest) {
                Some(next) => (before, message, rest) = next,
                None => break,
            }
        }
        if !rest.trim().is_empty() {
            stdout_text(rest, emit);
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        // A failed hook after everything is the last message.
        let mut flows: Vec<String> = self.flows.keys().cloned().collect();
        flows.sort_unstable();
        flows.iter().for_each(|flow| self.close_unstarted(flow, emit));
        let mut open: Vec<Open> = self.flows.values_mut().flat_map(|flow| flow.open.drain().map(|(_, t)| t)).collect();
        open.sort_by_key(|test| test.number);
        let suites = self.flows.values().any(|flow| !flow.suites.is_empty());
        // There is no end mark. The last test that began is still on: the runner died. An earlier one is (a worker
        // died): the runner lived on and ended.
        let died = suites || open.last().is_some_and(|test| test.number == self.starts);
        if died || !self.began {
            return;
        }
        for test in open {
            let mut finished = TestFinished::new(test.reference(), Status::Unfinished);
            finished.message = Cow::Borrowed("it never ended");
            emit(Event { time: None, fact: Fact::TestFinished(finished) });
        }
        run_finished(None, "", None, emit);
    }

    fn runner(&self) -> &str {
        "teamcity"
    }
}

impl Open {
    fn reference(&self) -> TestRef<'_> {
        test_ref(&self.id, &self.suite)
    }

    fn fail(&mut self, message: &Message<'_>) {
        if self.status == Status::Failed && !self.message.is_empty() {
            self.details.push_str(&format!("\n{}\n{}", message.message, message.details));
            return;
        }
        self.status = Status::Failed;
        (self.message, self.details) = failure(message);
    }
}

impl TeamCity {
    /// `zone` reads times that name none.
    pub(super) fn new(zone: Zone) -> Self {
        Self {
            zone,
            began: false,
            flows: HashMap::default(),
            names: Occurrences::default(),
            failed: HashMap::default(),
            starts: 0,
        }
    }

    fn message(&mut self, message: &Message<'_>, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started("TeamCity messages", message.time, emit);
        }
        match message.kind {
            "testCount" => {
                if let Ok(total) = message.count.parse() {
                    let planned = Planned { total: Some(total), tests: Vec::new() };
                    emit(Event { time: message.time, fact: Fact::Planned(planned) });
                }
            }
            "testSuiteStarted" => self.suite_started(message, emit),
            "testSuiteFinished" => self.suite_finished(message, emit),
            "testStarted" => self.test_started(message, emit),
            "testFailed" => self.with_test(message, emit, |test| test.fail(message)),
            "testIgnored" => self.with_test(message, emit, |test| {
                if test.status != Status::Failed {
                    test.status = Status::Skipped;
                    message.message.as_ref().clone_into(&mut test.message);
                    test.details.clear();
                }
            }),
            "testFinished" => self.test_finished(message, emit),
            "testStdOut" => self.test_output(message, &Source::Stdout, emit),
            "testStdErr" => self.test_output(message, &Source::Stderr, emit),
            "message" | "progressMessage" | "buildProblem" => remark(message, emit),
            // Blocks, metadata, statistics, flows, artefacts, and whatever else there is.
            _ => {}
        }
    }

    fn suite_started(&mut self, message: &Message<'_>, emit: &mut Emit<'_>) {
        let flow = self.flow(&message.flow);
        if flow.suites.len() < DEEPEST {
            flow.suites.push(message.name.clone().into_owned());
        }
        let suite = flow.suites.join(BETWEEN);
        let started = SuiteStarted { suite: suite.into(), worker: Cow::Borrowed("") };
        emit(Event { time: message.time, fact: Fact::SuiteStarted(started) });
    }

    fn suite_finished(&mut self, message: &Message<'_>, emit: &mut Emit<'_>) {
        // What failed without start and end has waited for an end until here.
        self.close_unstarted(&message.flow, emit);
        let flow = self.flow(&message.flow);
        let Some(at) = flow.suites.iter().rposition(|suite| *suite == message.name) else { return };
        while flow.suites.len() > at {
            let suite = flow.suites.join(BETWEEN);
            flow.suites.pop();
            let finished = SuiteFinished {
                suite: suite.into(),
                worker: Cow::Borrowed(""),
                // Only its tests say how it went.
                status: Status::Passed,
                duration: milliseconds(message.duration.parse().ok()),
                message: Cow::Borrowed(""),
            };
            emit(Event { time: message.time, fact: Fact::SuiteFinished(finished) });
        }
    }

    fn flow(&mut self, id: &str) -> &mut Flow {
        // mocha's reporter puts failed hooks into a flow of their own, beside that of the suites around them.
        let id = id.strip_suffix("_hook").unwrap_or(id);
        if !self.flows.contains_key(id) {
            self.flows.insert(id.to_owned(), Flow::default());
        }
        self.flows.get_mut(id).expect("it was there or has just been inserted")
    }

    fn test_started(&mut self, message: &Message<'_>, emit: &mut Emit<'_>) {
        self.close_unstarted(&message.flow, emit);
        let time = message.time;
        let flow = self.flow(&message.flow);
        let again = flow.open.remove(message.name.as_ref());
        let retry = again.is_some() && !is_python(message);
        let test = match again {
            Some(open) if retry => {
                let mut finished = TestFinished::new(open.reference(), Status::Retried);
                finished.message = Cow::Borrowed(&open.message);
                emit(Event { time, fact: Fact::TestFinished(finished) });
                Open { number: 0, status: Status::Passed, message: String::new(), details: String::new(), ..open }
            }
            Some(open) => Open { number: 0, ..open },
            None => self.new_test(message),
        };
        self.starts += 1;
        let test = Open { number: self.starts, started: true, ..test };
        let repeat = is_python(message);
        let started = TestStarted { test: test.reference(), attempt: None, repeat, tags: Vec::new() };
        emit(Event { time, fact: Fact::TestStarted(started) });
        self.flow(&message.flow).open.insert(message.name.clone().into_owned(), test);
    }

    /// A test that has not been heard of, or not since it ended.
    fn new_test(&mut self, message: &Message<'_>) -> Open {
        let suite = self.flow(&message.flow).suites.join(BETWEEN);
        let path =
            if suite.is_empty() { message.name.to_string() } else { format!("{suite}{BETWEEN}{}", message.name) };
        let id = if is_python(message) { path } else { self.names.next(&path).into_owned() };
        let (message, details) = (String::new(), String::new());
        Open { id, suite, number: 0, started: false, status: Status::Passed, message, details }
    }

    /// Changes the test that a message is about; one that never started is a hook, or an ignored test.
    fn with_test(&mut self, message: &Message<'_>, emit: &mut Emit<'_>, change: impl FnOnce(&mut Open)) {
        let flow = self.flow(&message.flow);
        if !flow.open.contains_key(message.name.as_ref()) {
            self.close_unstarted(&message.flow, emit);
            let test = self.new_test(message);
            self.flow(&message.flow).open.insert(message.name.clone().into_owned(), test);
        }
        if let Some(test) = self.flow(&message.flow).open.get_mut(message.name.as_ref()) {
            change(test);
        }
    }

    /// mocha reports failed hooks without a start and an end: the next message ends them.
    fn close_unstarted(&mut self, flow: &str, emit: &mut Emit<'_>) {
        let flow = self.flow(flow);
        let names = flow.open.iter().filter(|(_, test)| !test.started).map(|(name, _)| name.clone());
        for name in names.collect::<Vec<_>>() {
            let Some(test) = flow.open.remove(&name) else { continue };
            let mut finished = TestFinished::new(test.reference(), test.status);
            finished.message = Cow::Borrowed(&test.message);
            finished.details = Cow::Borrowed(&test.details);
            emit(Event { time: None, fact: Fact::TestFinished(finished) });
        }
    }

    fn test_finished(&mut self, message: &Message<'_>, emit: &mut Emit<'_>) {
        let open = self.flow(&message.flow).open.remove(message.name.as_ref());
        let mut test = match open {
            Some(test) => test,
            None => self.new_test(message),
        };
        if is_python(message) {
            if test.status == Status::Failed {
                self.failed.insert(test.id.clone(), test.message.clone());
            } else if let Some(before) = self.failed.get(&test.id) {
                test.status = Status::Failed;
                test.message.clone_from(before);
            }
        }
        let mut finished = TestFinished::new(test.reference(), test.status);
        finished.duration = milliseconds(message.duration.parse().ok());
        finished.message = Cow::Borrowed(&test.message);
        finished.details = Cow::Borrowed(&test.details);
        emit(Event { time: message.time, fact: Fact::TestFinished(finished) });
        self.flow(&message.flow).last = Some((message.name.clone().into_owned(), test));
    }

    fn test_output(&mut self, message: &Message<'_>, source: &Source<'_>, emit: &mut Emit<'_>) {
        let flow = self.flow(&message.flow);
        let known = flow.open.get(message.name.as_ref());
        let last = flow.last.as_ref().filter(|(name, _)| *name == message.name).map(|(_, test)| test);
        let test = known.or(last).map(Open::reference);
        output(test.as_ref(), source, &message.out, message.time, emit);
    }
}

/// Python's reporters (`teamcity-messages`) use the test's name as its flow.
fn is_python(message: &Message<'_>) -> bool {
    message.flow == message.name && !message.name.is_empty()
}

/// Message and details of a failure. pytest's reporter puts all it knows into the details.
fn failure(message: &Message<'_>) -> (String, String) {
    let marked = || message.details.lines().find_map(|line| line.strip_prefix("E ")).map(str::trim);
    let last = || message.details.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let told = message.message.trim();
    let own = !told.is_empty() && !matches!(told, "Failure" | "Error" | "test failed") && !told.ends_with(" failed");
    let text = if own { told } else { marked().or_else(last).unwrap_or(told) };
    let mut details = message.details.clone().into_owned();
    if !message.expected.is_empty() || !message.actual.is_empty() {
        details.push_str(&format!("\nexpected: {}\nactual: {}", message.expected, message.actual));
    }
    (text.to_owned(), details)
}

fn remark(message: &Message<'_>, emit: &mut Emit<'_>) {
    let level = match message.status.as_ref() {
        "WARNING" => Some(Level::Warn),
        "ERROR" | "FAILURE" => Some(Level::Error),
        _ => None,
    };
    let mut text = message.text.clone();
    if !message.error_details.is_empty() {
        text = Cow::Owned(format!("{text}\n{}", message.error_details));
    }
    let log = LogLine { test: None, source: Source::Runner, level, text };
    emit(Event { time: message.time, fact: Fact::Log(log) });
}

/// Tells whether a line has a message of this format.
pub(super) fn has_message(text: &str) -> bool {
    find(text).is_some_and(|(_, message, _)| message.kind.starts_with("test") || message.kind.starts_with("block"))
}
