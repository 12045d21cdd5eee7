//! What Robot Framework's result files have in common: how results become events.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::decode::Emit;
use crate::decode::wall::after;
use crate::event::{Event, Fact, Level, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef, Timestamp};

/// A suite that is open.
#[derive(Debug, Default)]
pub(in crate::decode) struct Suite {
    pub(in crate::decode) full_name: String,
    pub(in crate::decode) announced: bool,
    /// Status and message of its teardown, if that failed or skipped.
    pub(in crate::decode) teardown: Option<(Status, String)>,
    /// Tests in it and below that ended, in case the teardown turns them.
    ended: Vec<(String, Status)>,
}

/// Result of a test, suite or keyword.
#[derive(Debug, Default, Clone)]
pub(in crate::decode) struct Outcome {
    /// `PASS`, `FAIL`, `SKIP`, `NOT RUN`; empty if the file ends before it.
    pub(in crate::decode) status: String,
    pub(in crate::decode) start: Option<Timestamp>,
    pub(in crate::decode) duration: Option<Duration>,
    pub(in crate::decode) message: String,
}

impl Outcome {
    /// Time of the end.
    pub(in crate::decode) fn end(&self) -> Option<Timestamp> {
        self.start.map(|start| after(start, self.duration.unwrap_or_default()))
    }
}

/// `None` for what was not run.
pub(in crate::decode) fn status_of(word: &str) -> Option<Status> {
    match word {
        "PASS" => Some(Status::Passed),
        "FAIL" => Some(Status::Failed),
        "SKIP" => Some(Status::Skipped),
        _ => None,
    }
}

/// What a suite's teardown with this status makes of the tests.
pub(in crate::decode) fn turns(word: &str) -> Option<Status> {
    status_of(word).filter(|status| *status != Status::Passed)
}

/// Robot's log levels.
pub(in crate::decode) fn level_of(word: &str) -> Level {
    match word {
        "TRACE" => Level::Trace,
        "DEBUG" => Level::Debug,
        "WARN" => Level::Warn,
        "FAIL" | "ERROR" => Level::Error,
        _ => Level::Info,
    }
}

/// The suites that are open and the names that were used.
#[derive(Default)]
pub(in crate::decode) struct Teller {
    pub(in crate::decode) suites: Vec<Suite>,
    hasher: FixedState,
    names: HashMap<u64, u32, FixedState>,
}

impl Teller {
    /// Whole name of something in the innermost suite.
    pub(in crate::decode) fn full_name(&self, name: &str) -> String {
        match self.suites.last() {
            Some(suite) => format!("{}.{name}", suite.full_name),
            None => name.to_owned(),
        }
    }

    /// Whole name of the innermost suite; empty outside.
    pub(in crate::decode) fn suite(&self) -> &str {
        self.suites.last().map_or("", |suite| &suite.full_name)
    }

    /// The identity of a test of the innermost suite. Two tests of a suite may share a name.
    pub(in crate::decode) fn identify(&mut self, name: &str) -> String {
        let full_name = self.full_name(name);
        let count = self.names.entry(self.hasher.hash_one(&full_name)).or_default();
        *count += 1;
        if *count > 1 { format!("{full_name} ({count})") } else { full_name }
    }

    /// A suite begins; it is announced once a time is known.
    pub(in crate::decode) fn enter(&mut self, name: &str) {
        let suite = Suite { full_name: self.full_name(name), ..Suite::default() };
        self.suites.push(suite);
    }

    /// Says the start of suites of which it was not said yet.
    pub(in crate::decode) fn announce(&mut self, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        for suite in self.suites.iter_mut().filter(|suite| !suite.announced) {
            suite.announced = true;
            let started = SuiteStarted { suite: suite.full_name.as_str().into(), worker: "".into() };
            emit(Event { time, fact: Fact::SuiteStarted(started) });
        }
    }

    /// The innermost suite ends.
    pub(in crate::decode) fn leave(&mut self, outcome: &Outcome, emit: &mut Emit<'_>) {
        self.announce(outcome.start, emit);
        let Some(mut suite) = self.suites.pop() else { return };
        let time = outcome.end();
        // Robot writes tests as they end; what a teardown does to them it works out when it reads the file again
        // (`robot/result/suiteteardownfailed.py`). One that skips turns all of them; one that fails does not skipped ones.
        if let Some((turned, message)) = &suite.teardown {
            let skips = *turned == Status::Skipped;
            let heading = if skips { "Skipped in parent suite teardown" } else { "Parent suite teardown failed" };
            for (id, status) in &mut suite.ended {
                if *status != Status::Passed && !(skips && *status == Status::Failed) {
                    continue;
                }
                *status = *turned;
                let (id, suite) = (id.as_str().into(), suite.full_name.as_str().into());
                let mut finished = TestFinished::new(TestRef { id, suite, worker: "".into() }, *turned);
                finished.message = format!("{heading}: {}", plain(message)).into();
                emit(Event { time, fact: Fact::TestCorrected(finished) });
            }
        }
        if let Some(parent) = self.suites.last_mut() {
            parent.ended.append(&mut suite.ended);
        }
        let finished = SuiteFinished {
            suite: suite.full_name.as_str().into(),
            worker: "".into(),
            status: status_of(&outcome.status).unwrap_or(Status::Unfinished),
            duration: outcome.duration,
            message: plain(&outcome.message).into(),
        };
        emit(Event { time, fact: Fact::SuiteFinished(finished) });
    }

    /// A test of the innermost suite ended. Attempts that were merged into it stand in its message only.
    pub(in crate::decode) fn test(&mut self, id: &str, outcome: &Outcome, tags: &[String], emit: &mut Emit<'_>) {
        self.announce(outcome.start, emit);
        let suite = self.suites.last_mut();
        let name = suite.as_ref().map_or("", |suite| suite.full_name.as_str()).to_owned();
        let status = status_of(&outcome.status).unwrap_or(Status::Unfinished);
        if let Some(suite) = suite {
            suite.ended.push((id.to_owned(), status));
        }
        let test = || TestRef { id: id.into(), suite: name.as_str().into(), worker: "".into() };
        let (message, attempts) = merged(&outcome.message);
        for (number, old) in (1..).zip(&attempts) {
            let mut finished = TestFinished::new(test(), old.status);
            finished.attempt = Some(number);
            finished.message = plain(&old.message).into();
            emit(Event { time: outcome.start, fact: Fact::TestFinished(finished) });
        }
        let mut finished = TestFinished::new(test(), status);
        finished.attempt = (!attempts.is_empty()).then_some(attempts.len() as u32 + 1);
        finished.duration = outcome.duration;
        finished.message = plain(&message).into();
        finished.tags = tags.iter().map(|tag| Cow::Borrowed(tag.as_str())).collect();
        emit(Event { time: outcome.end(), fact: Fact::TestFinished(finished) });
    }
}

/// An earlier result of a test that was merged.
struct Old {
    status: Status,
    message: String,
}

/// Reads the message that `rebot --merge` makes of results (`robot/result/merger.py`): the newest message, and the older
/// results, the oldest first.
fn merged(message: &str) -> (Cow<'_, str>, Vec<Old>) {
    const NEW: &str = "<span class=\"new-message\">New message:</span>";
    const OLD: &str = "<span class=\"old-status\">Old status:</span>";
    const OLD_MESSAGE: &str = "<span class=\"old-message\">Old message:</span>";
    let mut parts = message.split(OLD);
    let newest = parts.next().unwrap_or_default();
    let mut old: Vec<Old> = parts
        .map(|part| {
            let (head, text) = part.split_once(OLD_MESSAGE).unwrap_or((part, ""));
            let status = match head {
                _ if head.contains("PASS") => Status::Passed,
                _ if head.contains("SKIP") => Status::Skipped,
                _ => Status::Retried,
            };
            Old { status, message: text_of(text) }
        })
        .collect();
    if old.is_empty() {
        return (message.into(), old);
    }
    old.reverse();
    let newest = newest.split_once(NEW).map_or("", |(_, text)| text);
    (text_of(newest).into(), old)
}

/// HTML of a merged message → text.
fn text_of(html: &str) -> String {
    let html = html.trim().trim_end_matches("<hr>").trim_end_matches("<br>").trim();
    let text = html.replace("<br>", "\n");
    quick_xml::escape::unescape(&text).map_or_else(|_| text.clone(), Cow::into_owned).trim().to_owned()
}

/// A message for people, as that of the listener: `Setup failed: no pressure` in its first line.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("*HTML*").map(str::trim_start).unwrap_or(message);
    match message.split_once('\n') {
        Some((heading, rest)) if heading.ends_with(" failed:") || heading.ends_with(" occurred:") => {
            format!("{heading} {}", rest.trim_start_matches('\n'))
        }
        _ => message.to_owned(),
    }
}
