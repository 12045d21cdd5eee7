//! An attempt of a test between its start and its teardown.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use super::super::Emit;
use super::super::time::epoch_seconds;
use super::report::{Outcome, Report, When};
use crate::event::{Event, Fact, Level, LogLine, Source, Status, TestFinished, TestRef, Timestamp};

/// How often each section of captured output was seen, by hash of title and text.
pub(super) type Seen = HashMap<u64, u32, foldhash::fast::FixedState>;

/// State of an attempt.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct Running {
    nodeid: String,
    worker: String,
    /// Order of start.
    pub(super) number: u64,
    pub(super) attempt: Option<u32>,
    /// True once a report came, not only a start.
    pub(super) reported: bool,
    /// True if the start told the tags.
    pub(super) tagged: bool,
    pub(super) seen: Seen,
    worst: Option<Status>,
    message: String,
    details: String,
    tags: Vec<String>,
    /// Seconds over all phases, as in pytest's JUnit file.
    seconds: f64,
    failed_subtest: Option<(String, String)>,
}

impl Running {
    pub(super) fn new(nodeid: &str, worker: &str, number: u64) -> Self {
        Self {
            nodeid: nodeid.to_owned(),
            worker: worker.to_owned(),
            number,
            attempt: None,
            reported: false,
            tagged: false,
            seen: Seen::default(),
            worst: None,
            message: String::new(),
            details: String::new(),
            tags: Vec::new(),
            seconds: 0.0,
            failed_subtest: None,
        }
    }

    pub(super) fn is(&self, nodeid: &str) -> bool {
        self.nodeid == nodeid
    }

    pub(super) fn reference(&self) -> TestRef<'_> {
        TestRef {
            id: Cow::Borrowed(&self.nodeid),
            suite: Cow::Borrowed(suite_of(&self.nodeid)),
            worker: Cow::Borrowed(&self.worker),
        }
    }

    /// Takes a phase's result into account: the worst phase decides, the first of equal ones gives the message.
    pub(super) fn add(&mut self, report: &Report<'_>) {
        self.reported = true;
        self.attempt = self.attempt.or(report.rerun.map(|before| before.saturating_add(1)));
        self.seconds += report.duration;
        if self.tags.is_empty() && !self.tagged {
            self.tags.clone_from(&report.markers);
        }
        let Some(status) = phase_status(report) else { return };
        if self.worst.is_some_and(|worst| rank(worst) >= rank(status)) {
            return;
        }
        self.worst = Some(status);
        (self.message, self.details) = report.failure();
        if let Some(reason) = report.wasxfail.as_deref().filter(|reason| !reason.is_empty()) {
            reason.strip_prefix("reason: ").unwrap_or(reason).clone_into(&mut self.message);
        }
        if status == Status::Passed {
            self.message.clear();
            self.details.clear();
        }
    }

    /// Notes a failed part; only the first is told.
    pub(super) fn subtest_failed(&mut self, message: String, details: String) {
        self.failed_subtest.get_or_insert((message, details));
    }

    /// True if some phase has decided the result.
    pub(super) fn is_decided(&self) -> bool {
        self.worst.is_some() || self.failed_subtest.is_some()
    }

    /// The result if the attempt ended now.
    pub(super) fn status(&self) -> Status {
        match self.worst {
            // unittest reports a test as passed although one of its subtests failed.
            Some(Status::Passed) | None if self.failed_subtest.is_some() => Status::Failed,
            Some(status) => status,
            None if self.reported => Status::Passed,
            None => Status::Unfinished,
        }
    }

    /// The end of the attempt.
    pub(super) fn finished(&mut self, status: Status) -> TestFinished<'_> {
        if let Some((message, details)) = self.failed_subtest.take()
            && (self.message.is_empty() || self.message.starts_with("contains "))
        {
            self.message = message;
            self.details = details;
        }
        let mut finished = TestFinished::new(self.reference(), status);
        finished.attempt = self.attempt;
        finished.duration = duration(self.seconds);
        finished.message = Cow::Borrowed(&self.message);
        finished.details = Cow::Borrowed(&self.details);
        finished.tags = self.tags.iter().map(|tag| Cow::Borrowed(tag.as_str())).collect();
        finished
    }

    /// Passes on captured output. reportlog repeats in each report what earlier ones had; with `once`, all is new.
    pub(super) fn sections(&mut self, report: &Report<'_>, once: bool, emit: &mut Emit<'_>) {
        let mut in_report = Seen::default();
        for (title, text) in &report.sections {
            if !once {
                let hash = self.seen.hasher().hash_one((title, text));
                let count = in_report.entry(hash).or_default();
                *count += 1;
                let before = self.seen.entry(hash).or_default();
                if *count <= *before {
                    continue;
                }
                *before = *count;
            }
            section(self.reference(), title, text, epoch_seconds(report.stop), emit);
        }
    }
}

/// Captured text, by its title `Captured stdout call`. Records of `logging` keep their continuation lines.
fn section(test: TestRef<'_>, title: &str, text: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let source = match title {
        _ if title.contains("stderr") => Source::Stderr,
        _ if title.contains("log") => Source::Runner,
        _ => Source::Stdout,
    };
    let is_log = source == Source::Runner;
    let mut log = |level: Option<Level>, text: &str| {
        let line = LogLine { test: Some(test.clone()), source: source.clone(), level, text: Cow::Borrowed(text) };
        emit(Event { time, fact: Fact::Log(line) });
    };
    let mut rest = text.strip_suffix('\n').unwrap_or(text);
    while !rest.is_empty() {
        let level = if is_log { level_of(rest) } else { None };
        let mut end = line_end(rest, 0);
        while is_log
            && level.is_some()
            && end < rest.len()
            && rest.get(end + 1..).is_some_and(|next| level_of(next).is_none())
        {
            end = line_end(rest, end + 1);
        }
        log(level, rest.get(..end).unwrap_or_default());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
}

/// Where the line that begins at `from` ends.
fn line_end(text: &str, from: usize) -> usize {
    text.get(from..).and_then(|rest| rest.find('\n')).map_or(text.len(), |at| from + at)
}

/// Level of a record in pytest's default format, `WARNING  orbit:test_orbit.py:16 text`, at the text's beginning.
fn level_of(text: &str) -> Option<Level> {
    let (word, _) = text.split_once(' ')?;
    Some(match word {
        "DEBUG" => Level::Debug,
        "INFO" => Level::Info,
        "WARNING" => Level::Warn,
        "ERROR" => Level::Error,
        "CRITICAL" => Level::Fatal,
        _ => return None,
    })
}

/// What a phase says about the test; `None` if nothing.
fn phase_status(report: &Report<'_>) -> Option<Status> {
    let xfail = report.wasxfail.is_some();
    Some(match (report.outcome, report.when) {
        (Outcome::Rerun, _) => Status::Retried,
        (Outcome::Skipped, _) if xfail => Status::Xfailed,
        (Outcome::Passed, _) if xfail => Status::Xpassed,
        (Outcome::Skipped, _) => Status::Skipped,
        (Outcome::Failed, When::Setup | When::Teardown) => Status::Errored,
        (Outcome::Failed, _) => Status::Failed,
        (Outcome::Passed, When::Call) => Status::Passed,
        (Outcome::Passed | Outcome::Other, _) => return None,
    })
}

/// Which of two phases' results is the test's. An attempt that will be repeated is nothing else.
fn rank(status: Status) -> u8 {
    match status {
        Status::Retried => 7,
        Status::Failed => 6,
        Status::Errored => 5,
        Status::Unfinished => 4,
        Status::Xpassed => 3,
        Status::Xfailed => 2,
        Status::Skipped => 1,
        Status::Passed => 0,
    }
}

/// The file of a node id.
pub(in crate::decode) fn suite_of(nodeid: &str) -> &str {
    nodeid.split_once("::").map_or(nodeid, |(file, _)| file)
}

/// A duration in seconds.
pub(super) fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}
