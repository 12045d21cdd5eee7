//! What one Robot Framework process is at.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::line::{Corrected, status_of};
use crate::event::{Status, TestRef};

/// Keywords that may be open inside each other; Robot itself stops far below.
const DEEPEST: usize = 1_000;
/// Warnings that are remembered to find their second copy.
const WARNINGS: usize = 16;
/// Length of a step's name, in characters.
const LONGEST_NAME: usize = 200;

/// State of a process.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Process {
    pub(super) announced: bool,
    pub(super) worker: String,
    pub(super) suites: Vec<Suite>,
    pub(super) test: Option<Test>,
    keywords: Vec<String>,
    warnings: VecDeque<(bool, String, String)>,
}

/// An open suite.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Suite {
    pub(super) full_name: String,
    /// How many tests of a name started.
    names: HashMap<String, u32>,
    /// Tests below it that ended and may still be corrected.
    ended: Vec<Test>,
}

/// A test.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Test {
    pub(super) id: String,
    pub(super) full_name: String,
    pub(super) suite: String,
    pub(super) status: Status,
    pub(super) duration: Option<Duration>,
    message: String,
}

impl Test {
    /// What Robot says about its result.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn reference<'r>(&'r self, worker: &'r str) -> TestRef<'r> {
        TestRef { id: Cow::Borrowed(&self.id), suite: Cow::Borrowed(&self.suite), worker: Cow::Borrowed(worker) }
    }
}

impl Process {
    /// A process whose first suite starts.
    pub(super) fn of_worker(worker: &str) -> Self {
        Self { announced: true, worker: worker.to_owned(), ..Self::default() }
    }

    /// Opens a suite.
    pub(super) fn enter(&mut self, full_name: &str) {
        self.suites.push(Suite { full_name: full_name.to_owned(), names: HashMap::new(), ended: Vec::new() });
    }

    /// Starts a test. Two tests of a suite may share a name: the second is called `name (2)`.
    pub(super) fn start_test(&mut self, full_name: &str, name: &str) -> &Test {
        self.keywords.clear();
        let (suite, occurrence) = match self.suites.last_mut() {
            Some(suite) => {
                let count = suite.names.entry(full_name.to_owned()).or_default();
                *count += 1;
                (suite.full_name.clone(), *count)
            }
            None => {
                let parent = full_name.strip_suffix(name).and_then(|parent| parent.strip_suffix('.'));
                (parent.unwrap_or_default().to_owned(), 1)
            }
        };
        self.test.insert(Test {
            id: with_occurrence(full_name, occurrence),
            full_name: full_name.to_owned(),
            suite,
            status: Status::Unfinished,
            duration: None,
            message: String::new(),
        })
    }

    /// Ends the open test.
    pub(super) fn end_test(&mut self, status: Status, duration: Option<Duration>, message: &str) -> Option<Test> {
        self.keywords.clear();
        let test = self.test.take()?;
        let test = Test { status, duration, ..test };
        if let Some(suite) = self.suites.last_mut() {
            // Only to a pass can a failed teardown add its words; failures can be long.
            let message = if status == Status::Passed { message } else { "" };
            suite.ended.push(Test { message: message.to_owned(), ..test.clone() });
        }
        Some(test)
    }

    /// Closes a suite and those that are still open inside it. Returns the tests whose result changed with it, each
    /// with its new status and message.
    pub(super) fn leave(&mut self, full_name: &str, message: &str, told: &[Corrected<'_>]) -> Vec<Test> {
        self.keywords.clear();
        let Some(depth) = self.suites.iter().rposition(|suite| suite.full_name == full_name) else {
            return Vec::new();
        };
        let mut ended: Vec<Test> = self.suites.drain(depth..).flat_map(|suite| suite.ended).collect();
        let mut changed = Vec::new();
        for correction in told {
            let Some(status) = status_of(&correction.status) else { continue };
            let found = ended.iter_mut().find(|test| test.full_name == correction.full_name && test.status != status);
            if let Some(test) = found {
                test.status = status;
                correction.message.as_ref().clone_into(&mut test.message);
                changed.push(test.clone());
            }
        }
        if let Some(failure) = teardown_failure(message) {
            for test in ended.iter_mut().filter(|test| test.status == Status::Passed) {
                // Robot's words: robot/result/suiteteardownfailed.py
                let also = if test.message.is_empty() { "Parent" } else { "\n\nAlso parent" };
                test.message.push_str(&format!("{also} suite teardown failed:\n{failure}"));
                test.status = Status::Failed;
                changed.push(test.clone());
            }
        }
        if let Some(reason) = teardown_skip(message).filter(|_| told.is_empty()) {
            for test in ended.iter_mut().filter(|test| test.status != Status::Skipped) {
                test.message = format!("Skipped in parent suite teardown:\n{reason}");
                test.status = Status::Skipped;
                changed.push(test.clone());
            }
        }
        if let Some(parent) = self.suites.last_mut() {
            // Our listener tells of any change.
            parent.ended.append(&mut ended);
        }
        changed
    }

    /// Opens a keyword or control structure.
    pub(super) fn push_keyword(&mut self, kind: &str, name: &str, args: &[String]) {
        if self.keywords.len() >= DEEPEST {
            self.keywords.clear();
        }
        self.keywords.push(step_name(kind, name, args));
    }

    /// Closes the innermost keyword: its name with arguments, and how deep it was.
    pub(super) fn pop_keyword(&mut self, kind: &str, name: &str) -> (String, u32) {
        let name = self.keywords.pop().unwrap_or_else(|| step_name(kind, name, &[]));
        let depth = self.keywords.iter().filter(|name| !name.is_empty()).count();
        (name, u32::try_from(depth).unwrap_or(u32::MAX))
    }

    /// True if this warning was already told by the other of the two events that Robot sends for it.
    pub(super) fn is_second_copy(&mut self, is_message: bool, timestamp: &str, text: &str) -> bool {
        let twin =
            self.warnings.iter().position(|(kind, at, said)| *kind != is_message && at == timestamp && said == text);
        if let Some(at) = twin {
            self.warnings.remove(at);
            return true;
        }
        if self.warnings.len() == WARNINGS {
            self.warnings.pop_front();
        }
        self.warnings.push_back((is_message, timestamp.to_owned(), text.to_owned()));
        false
    }

    /// Id of the test that an event belongs to.
    pub(super) fn test_named(&self, full_name: &str) -> Option<TestRef<'_>> {
        self.test.as_ref().filter(|test| test.full_name == full_name).map(|test| test.reference(&self.worker))
    }
}

/// Id of the nth test of a name.
pub(super) fn with_occurrence(full_name: &str, occurrence: u32) -> String {
    if occurrence > 1 { format!("{full_name} ({occurrence})") } else { full_name.to_owned() }
}

/// What a suite's message says about its teardown, which may come after other failures.
fn teardown_failure(message: &str) -> Option<&str> {
    message.strip_prefix("Suite teardown failed:\n").or_else(|| {
        let (_, failure) = message.split_once("\n\nAlso suite teardown failed:\n")?;
        Some(failure)
    })
}

/// What a suite's message says about its teardown, if that skipped.
fn teardown_skip(message: &str) -> Option<&str> {
    let reason = message.strip_prefix("Skipped in suite teardown:\n")?;
    Some(reason.split_once("\n\nEarlier message:\n").map_or(reason, |(reason, _)| reason))
}

/// What a step is called: nothing for the frame around branches, which has no source line of its own.
fn step_name(kind: &str, name: &str, args: &[String]) -> String {
    let mut text = match kind {
        "SETUP" => "Setup: ".to_owned(),
        "TEARDOWN" => "Teardown: ".to_owned(),
        "ITERATION" if name.is_empty() => "ITERATION".to_owned(),
        _ => String::new(),
    };
    text.push_str(name);
    for arg in args {
        text.push_str("    ");
        text.push_str(arg);
    }
    match text.char_indices().nth(LONGEST_NAME) {
        Some((end, _)) => {
            text.truncate(end);
            text + "…"
        }
        None => text,
    }
}
