//! One `<testcase>` in the making, and what it means.

use std::borrow::Cow;
use std::time::Duration;

use memchr::memmem;

use super::names::Told;
use crate::decode::Emit;
use crate::decode::wall::after;
use crate::event::{Event, Fact, Status, TestFinished, TestRef, Timestamp};

/// Text of a failure that is kept; what is beyond it is logged.
const MAX_DETAILS: usize = 4 << 20;

/// What went wrong, or why nothing was done.
#[derive(Debug, Default)]
pub(super) struct Problem {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) details: String,
    pub(super) is_error: bool,
    /// When and how long, for the attempts that have their own.
    pub(super) time: Option<Timestamp>,
    pub(super) duration: Option<Duration>,
}

impl Problem {
    /// Adds to the details; false if they are full.
    pub(super) fn push(&mut self, text: &str) -> bool {
        let room = self.details.len() + text.len() <= MAX_DETAILS;
        if room {
            self.details.push_str(text);
        }
        room
    }

    /// Message and details, without saying anything twice: most writers begin the text with the message.
    fn texts(&self) -> (Cow<'_, str>, Cow<'_, str>) {
        let (message, details) = (self.message.trim_end(), self.details.trim());
        if message.trim_start().is_empty() {
            return if details.is_empty() {
                (self.kind.as_str().into(), "".into())
            } else {
                (details.into(), "".into())
            };
        }
        if details.starts_with(message.trim_start()) {
            return (details.into(), "".into());
        }
        if memmem::find(details.as_bytes(), message.as_bytes()).is_some() {
            return (message.lines().next().unwrap_or_default().into(), details.into());
        }
        (message.into(), details.into())
    }
}

/// What a `<skipped>` says.
#[derive(Debug, Default)]
pub(super) struct Skip {
    pub(super) kind: String,
    pub(super) problem: Problem,
}

/// A test case that is read, or has been.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) suite: String,
    /// Number of its (last) attempt, where the writer repeats test cases.
    pub(super) attempt: u32,
    /// True if the writer repeats test cases.
    pub(super) repeats: bool,
    /// Of its name.
    pub(super) key: u64,
    /// What an earlier version of the report said of it.
    pub(super) told: Option<Told>,
    pub(super) start: Option<Timestamp>,
    pub(super) duration: Option<Duration>,
    /// `status` and `result` of gtest and ctest.
    pub(super) status: String,
    pub(super) result: String,
    pub(super) problems: Vec<Problem>,
    pub(super) attempts: Vec<Problem>,
    pub(super) skip: Option<Skip>,
    /// True if a name is missing, so that it is no test of which one could speak.
    pub(super) nameless: bool,
}

impl Case {
    pub(super) fn reference(&self) -> TestRef<'_> {
        TestRef { id: self.id.as_str().into(), suite: self.suite.as_str().into(), worker: "".into() }
    }

    /// The result by what the test case contains, and by the attributes of those that say more there:
    /// - pytest: `<skipped type="pytest.xfail">` (pytest's `junitxml.py`);
    /// - node: `<skipped type="todo">`, beside `<failure>` if it failed (`reporter/junit.js`);
    /// - gtest: `status="notrun"`, `result="suppressed"` or `"skipped"` (`gtest.cc`, `OutputXmlTestInfo`);
    /// - ctest: `status="notrun"` and `<skipped>` also for tests that cannot be run; `"disabled"` (`cmCTestTestHandler.cxx`).
    pub(super) fn outcome(&self) -> Status {
        let failed = self.problems.iter().any(|problem| !problem.is_error);
        if let Some(skip) = &self.skip {
            let any = !self.problems.is_empty();
            return match skip.kind.as_str() {
                "pytest.xfail" => Status::Xfailed,
                "todo" if any => Status::Xfailed,
                "todo" => Status::Xpassed,
                _ if failed => Status::Failed,
                _ if any => Status::Errored,
                _ if self.status == "notrun" && cannot_run(&skip.problem.message) => Status::Failed,
                _ => Status::Skipped,
            };
        }
        match (failed, self.problems.is_empty()) {
            (true, _) => Status::Failed,
            (false, false) => Status::Errored,
            (false, true) => match (self.status.as_str(), self.result.as_str()) {
                ("notrun" | "disabled" | "skipped" | "ignored", _) | (_, "suppressed" | "skipped") => Status::Skipped,
                ("fail" | "failed", _) => Status::Failed,
                _ => Status::Passed,
            },
        }
    }

    /// Time of its end.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.start.map(|start| after(start, self.duration.unwrap_or_default()))
    }

    /// pytest writes a test that failed and whose teardown broke as two test cases.
    pub(super) fn is_teardown(&self) -> bool {
        let of_teardown = |problem: &Problem| problem.is_error && problem.message.starts_with("failed on teardown");
        self.problems.first().is_some_and(of_teardown)
    }

    /// Number of its last attempt.
    pub(super) fn number(&self) -> u32 {
        if self.attempts.is_empty() { self.attempt } else { self.attempts.len() as u32 + 1 }
    }

    /// Attempts that an earlier version of the report told.
    fn attempts_told(&self) -> u32 {
        self.told.map_or(0, |told| told.attempts)
    }

    /// True if its last attempt, as far as it was read, is one that was told.
    pub(super) fn is_told(&self) -> bool {
        self.attempts_told() >= self.number()
    }

    /// Says its attempts and its result.
    pub(super) fn emit(&self, status: Status, emit: &mut Emit<'_>) {
        let before = self.attempts_told() as usize;
        for (number, attempt) in (1..).zip(&self.attempts).skip(before) {
            let mut finished = TestFinished::new(self.reference(), Status::Retried);
            finished.attempt = Some(number);
            finished.duration = attempt.duration;
            (finished.message, finished.details) = attempt.texts();
            let time = attempt.time.map(|time| after(time, attempt.duration.unwrap_or_default())).or(self.start);
            emit(Event { time, fact: Fact::TestFinished(finished) });
        }
        let mut finished = TestFinished::new(self.reference(), status);
        let counts = !self.attempts.is_empty() || self.repeats;
        finished.attempt = (counts && !self.is_told()).then_some(self.number());
        finished.duration = self.duration;
        let skip = self.skip.as_ref().map(|skip| &skip.problem);
        let mut problems = self.problems.iter().chain(skip);
        if let Some(first) = problems.next() {
            (finished.message, finished.details) = first.texts();
            for more in problems {
                let (message, details) = more.texts();
                let text = [finished.details.as_ref(), &message, &details].join("\n");
                finished.details = text.trim().to_owned().into();
            }
        }
        emit(Event { time: self.end(), fact: Fact::TestFinished(finished) });
    }

    /// Says that a test that has failed before has a further problem.
    pub(super) fn correct(&self, emit: &mut Emit<'_>) {
        let mut finished = TestFinished::new(self.reference(), Status::Failed);
        if let Some(problem) = self.problems.first() {
            (finished.message, finished.details) = problem.texts();
        }
        emit(Event { time: self.end(), fact: Fact::TestCorrected(finished) });
    }
}

/// ctest's reasons for `<skipped>` that are failures in its own summary.
fn cannot_run(message: &str) -> bool {
    ["Unable to find", "Fixture dependency failed", "Required Files Missing", "Missing Configuration"]
        .iter()
        .any(|reason| message.starts_with(reason))
        || message.starts_with("BAD_COMMAND")
}
