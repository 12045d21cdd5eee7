//! Entries of suites, tests, steps and notes.

use std::borrow::Cow;
use std::time::Duration;

use super::text::{after_first_line, first_line, millis, push_duration, word};
use super::write::{StreamKey, key};
use super::{Normalizer, RunInfo, borrowed, changes, configuration, level_of, signature};
use crate::event::{
    Note, RunFinished, RunStarted, RunStatus, Status, StepFinished, SuiteFinished, SuiteStarted, TestFinished, TestRef,
    TestStarted, Timestamp,
};
use crate::history::slot::Outcome;
use crate::loki::entry::EntrySink;
use crate::names::{kind, meta, status};

/// Names of failing tests and suites are kept for the run's end up to this many.
const MAX_NAMES: usize = 200;
/// Longest metadata value but for `message`, in bytes: a test id of kilobytes is a parameter gone wild, and all
/// metadata of an entry together may have 64 KiB.
const MAX_VALUE: usize = 4 << 10;

/// Structured metadata of an entry in the making.
pub(super) struct Pairs<'p> {
    level: &'p str,
    pairs: Vec<(&'p str, &'p str)>,
}

impl<'p> Pairs<'p> {
    pub(super) fn new(level: &'p str) -> Self {
        Self { level, pairs: Vec::with_capacity(8) }
    }

    /// Adds a pair, unless its value is empty: Loki drops those.
    pub(super) fn push(&mut self, name: &'p str, value: &'p str) {
        if !value.is_empty() {
            self.pairs.push((name, super::text::prefix(value, MAX_VALUE)));
        }
    }

    /// All pairs of one entry, with those that every entry has.
    pub(super) fn finish<'a>(&'a self, info: &'a RunInfo, part: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut all = Vec::with_capacity(self.pairs.len() + 4);
        all.push((meta::RUN_ID, info.run_id.as_str()));
        all.push((meta::LEVEL, self.level));
        if !info.shard.is_empty() {
            all.push((meta::SHARD, info.shard.as_str()));
        }
        if !part.is_empty() {
            all.push((meta::PART, part));
        }
        all.extend_from_slice(&self.pairs);
        all
    }
}

/// What an end entry of a test says, whether it ended now or is corrected later.
pub(super) struct TestEnd<'a> {
    pub(super) test: TestRef<'a>,
    pub(super) status: Status,
    pub(super) attempt: u32,
    pub(super) flaky: bool,
    pub(super) duration: Option<Duration>,
    pub(super) message: &'a str,
    pub(super) details: &'a str,
    pub(super) tags: &'a str,
    /// True if this is the test's result; false for an attempt that was lost.
    pub(super) is_result: bool,
    /// False for a file in whose place its tests count: it has a history, but no change or failure of its own.
    pub(super) counts: bool,
    pub(super) was_hung: bool,
    /// Of a file that is a test; else empty.
    pub(super) exit_code: &'a str,
}

impl Normalizer {
    pub(super) fn run_started(&mut self, run: &RunStarted<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        if run.title.is_empty() && run.attributes.is_empty() {
            return;
        }
        let mut line = format!("RUNNER {}", run.title);
        for (name, value) in &run.attributes {
            line.push_str(&format!("\n{name}: {value}"));
        }
        self.write(key(kind::NOTE, ""), time, &line, &mut Pairs::new("info"), out);
    }

    pub(super) fn run_finished(&mut self, run: &RunFinished<'_>) {
        self.verdict.finished += 1;
        let rank = |s: Option<RunStatus>| match s {
            None => 0,
            Some(RunStatus::Passed) => 1,
            Some(RunStatus::Failed) => 2,
            Some(RunStatus::Aborted) => 3,
        };
        if rank(run.status) > rank(self.verdict.worst) {
            self.verdict.worst = run.status;
        }
        if !run.message.is_empty() {
            self.verdict.message = super::text::prefix(&run.message, super::text::MAX_MESSAGE).to_owned();
        }
    }

    pub(super) fn suite_started(&mut self, suite: &SuiteStarted<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        self.open_suites.insert(suite.suite.clone().into_owned(), time);
        let mut pairs = Pairs::new("info");
        pairs.push(meta::SUITE, &suite.suite);
        pairs.push(meta::WORKER, &suite.worker);
        self.write(key(kind::SUITE, status::STARTED), time, &format!("START suite {}", suite.suite), &mut pairs, out);
    }

    pub(super) fn suite_finished(&mut self, suite: &SuiteFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let started = self.open_suites.remove(suite.suite.as_ref());
        let duration = suite.duration.or_else(|| started.map(|s| time.since(s)));
        if suite.status.is_failing() && !suite.message.is_empty() && self.failed_suites.len() < MAX_NAMES {
            self.failed_suites.push(format!("{}: {}", suite.suite, first_line(&suite.message)));
        }
        self.verdict.suite_failed |= suite.status.is_failing();
        let mut line = format!("{} suite {}", word(suite.status), suite.suite);
        finish_line(&mut line, duration, &suite.message, "");
        let (millis, message) = (duration.map(millis).unwrap_or_default(), first_line(&suite.message));
        let mut pairs = Pairs::new(level_of(suite.status));
        pairs.push(meta::SUITE, &suite.suite);
        pairs.push(meta::WORKER, &suite.worker);
        pairs.push(meta::DURATION_MS, &millis);
        pairs.push(meta::MESSAGE, message);
        self.write(key(kind::SUITE, suite.status.as_str()), time, &line, &mut pairs, out);
    }

    pub(super) fn test_started(&mut self, start: &TestStarted<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let tags = tags_text(&start.tags);
        let lost = self.tests.start(&start.test, start.attempt, start.repeat, time, tags.clone());
        self.running.lock().start(&start.test.id, &start.test.worker, time);
        if let Some(lost) = lost {
            // Its end never came; it is not the test's result, because another attempt is under way.
            let test = TestRef { id: lost.id.into(), suite: lost.suite.into(), worker: lost.worker.into() };
            let duration = Some(time.since(lost.started));
            let end = TestEnd {
                status: Status::Unfinished,
                attempt: lost.attempt,
                flaky: false,
                duration,
                message: "started again before it ended",
                details: "",
                tags: &lost.tags,
                is_result: false,
                counts: true,
                was_hung: lost.is_hung,
                exit_code: "",
                test,
            };
            self.write_end(&end, time, out);
        }
        self.pace.start(time, self.tests.counters.running);
        let expected = self.changes.expected(&start.test.id);
        let attempt = self.tests.get_open_mut(&start.test.id).map_or(1, |open| {
            open.expected = expected;
            open.attempt
        });
        let attempt = if attempt > 1 { attempt.to_string() } else { String::new() };
        let mut pairs = Pairs::new("info");
        pairs.push(meta::TEST, &start.test.id);
        pairs.push(meta::SUITE, &start.test.suite);
        pairs.push(meta::WORKER, &start.test.worker);
        pairs.push(meta::ATTEMPT, &attempt);
        pairs.push(meta::TAGS, &tags);
        self.write(key(kind::TEST, status::STARTED), time, &format!("START {}", start.test.id), &mut pairs, out);
    }

    pub(super) fn test_finished(&mut self, end: &TestFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        self.finish_test(end, "", time, out);
    }

    /// The same for a test that is a program with an exit code.
    pub(super) fn finish_test(
        &mut self,
        end: &TestFinished<'_>,
        exit_code: &str,
        time: Timestamp,
        out: &mut dyn EntrySink,
    ) {
        if self.tests.get_open(&end.test.id).is_none() {
            let began = Timestamp(time.0 - end.duration.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(0)));
            let start =
                TestStarted { test: borrowed(&end.test), attempt: end.attempt, repeat: false, tags: Vec::new() };
            self.test_started(&start, began, out);
        }
        let Some(done) = self.tests.finish(&end.test.id, end.status) else { return };
        self.running.lock().end(&end.test.id, time);
        self.remember_failing(&end.test.id, end.status);
        self.pace.end(done.open.expected, end.duration.or_else(|| Some(time.since(done.open.started))));
        let or = |own: &Cow<'_, str>, known: String| {
            if own.is_empty() { known.into() } else { Cow::Owned(own.clone().into_owned()) }
        };
        let tags = if end.tags.is_empty() { done.open.tags } else { tags_text(&end.tags) };
        let end = TestEnd {
            test: TestRef {
                id: Cow::Borrowed(end.test.id.as_ref()),
                suite: or(&end.test.suite, done.open.suite),
                worker: or(&end.test.worker, done.open.worker),
            },
            status: end.status,
            attempt: end.attempt.unwrap_or(done.open.attempt),
            flaky: done.flaky,
            duration: end.duration.or_else(|| Some(time.since(done.open.started))),
            message: &end.message,
            details: &end.details,
            tags: &tags,
            is_result: true,
            counts: true,
            was_hung: done.open.is_hung,
            exit_code,
        };
        self.write_end(&end, time, out);
    }

    pub(super) fn test_corrected(&mut self, end: &TestFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let attempt = self.tests.correct(&end.test.id, end.status);
        self.remember_failing(&end.test.id, end.status);
        let tags = tags_text(&end.tags);
        let end = TestEnd {
            test: borrowed(&end.test),
            status: end.status,
            attempt,
            flaky: false,
            duration: end.duration,
            message: &end.message,
            details: &end.details,
            tags: &tags,
            is_result: true,
            counts: true,
            was_hung: false,
            exit_code: "",
        };
        self.write_end(&end, time, out);
    }

    pub(super) fn remember_failing(&mut self, id: &str, status: Status) {
        let known = self.failing.iter().position(|f| f == id);
        match (status.is_failing(), known) {
            (true, None) if self.failing.len() < MAX_NAMES => self.failing.push(id.to_owned()),
            (false, Some(i)) => {
                self.failing.remove(i);
            }
            _ => {}
        }
    }

    pub(super) fn write_end(&mut self, end: &TestEnd<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        line.push_str(word(end.status));
        line.push(' ');
        line.push_str(&end.test.id);
        finish_line(&mut line, end.duration, end.message, end.details);
        let failed = (end.status.is_failing() || end.status == Status::Retried) && end.counts;
        let signature = if failed {
            signature(if end.message.is_empty() { end.details } else { end.message })
        } else {
            String::new()
        };
        let (judged, is_known) = if end.is_result {
            let result = (end.status, end.flaky);
            let counters = end.counts.then_some(&mut self.tests.counters);
            self.changes.note(&end.test.id, result, time, end.duration, &signature, counters)
        } else {
            Default::default()
        };
        let attempt = if end.attempt > 1 { end.attempt.to_string() } else { String::new() };
        let (expected, slower_by) =
            (judged.expected.map(millis).unwrap_or_default(), judged.slower_by.map(millis).unwrap_or_default());
        let flips = if judged.flaky_score > 0 { judged.flaky_score.to_string() } else { String::new() };
        let millis = end.duration.map(millis).unwrap_or_default();
        // Of results as they should be there are many, and each pair makes all queries slower.
        let is_expected = matches!(end.status, Status::Passed | Status::Skipped | Status::Xfailed);
        let configuration = if is_expected { String::new() } else { configuration(&self.info.metadata) };
        let mut pairs = Pairs::new(level_of(end.status));
        pairs.push(meta::TEST, &end.test.id);
        pairs.push(meta::SUITE, &end.test.suite);
        pairs.push(meta::WORKER, &end.test.worker);
        pairs.push(meta::ATTEMPT, &attempt);
        pairs.push(meta::OUTCOME, if end.flaky { "flaky" } else { "" });
        pairs.push(meta::DURATION_MS, &millis);
        pairs.push(meta::TAGS, end.tags);
        pairs.push(meta::MESSAGE, first_line(end.message));
        pairs.push(meta::SIGNATURE, &signature);
        pairs.push(meta::PREVIOUS, judged.previous.map_or("", Outcome::as_str));
        pairs.push(meta::CHANGE, changes::word(judged.change));
        pairs.push(meta::EXPECTED_MS, &expected);
        pairs.push(meta::SLOWER_BY, &slower_by);
        pairs.push(meta::FLAKY_SCORE, &flips);
        pairs.push(meta::HUNG, if end.was_hung { "false" } else { "" });
        pairs.push(meta::EXIT_CODE, end.exit_code);
        pairs.push(meta::KNOWN, if is_known { "true" } else { "" });
        pairs.push(meta::CONFIGURATION, &configuration);
        self.write(key(kind::TEST, end.status.as_str()), time, &line, &mut pairs, out);
        self.line = line;
    }

    /// Closes every open test; used at the end of a run.
    pub(super) fn close_open(&mut self, why: &str, time: Timestamp, out: &mut dyn EntrySink) {
        let open: Vec<String> = self.tests.open_sorted().into_iter().map(|open| open.id.clone()).collect();
        for id in open {
            let mut end = TestFinished::new(TestRef { id: id.into(), ..TestRef::default() }, Status::Unfinished);
            end.message = why.into();
            self.test_finished(&end, time, out);
        }
    }

    pub(super) fn step_finished(&mut self, step: &StepFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let mut line = "  ".repeat(step.depth.min(32) as usize);
        line.push_str(step.status.map_or("NOT RUN", word));
        line.push(' ');
        line.push_str(&step.name);
        finish_line(&mut line, step.duration, &step.message, "");
        let millis = step.duration.map(millis).unwrap_or_default();
        let mut pairs = Pairs::new(step.status.map_or("info", level_of));
        if let Some(test) = &step.test {
            pairs.push(meta::TEST, &test.id);
        }
        pairs.push(meta::SUITE, &step.suite);
        pairs.push(meta::DURATION_MS, &millis);
        self.write(key(kind::STEP, ""), time, &line, &mut pairs, out);
    }

    pub(super) fn note(&mut self, note: &Note<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let key = StreamKey { kind: kind::NOTE, status: "", source: Cow::Borrowed("") };
        self.write(key, time, &note.text, &mut Pairs::new(note.level.as_str()), out);
    }
}

/// Duration, message and details behind the head of a line.
fn finish_line(line: &mut String, duration: Option<Duration>, message: &str, details: &str) {
    if let Some(duration) = duration {
        push_duration(line, duration);
    }
    let first = first_line(message);
    if !first.is_empty() {
        line.push(' ');
        line.push_str(first);
    }
    for more in [after_first_line(message), details] {
        let more = more.trim_end();
        if !more.is_empty() {
            line.push('\n');
            line.push_str(more);
        }
    }
}

/// `,a,b,`, so that a pattern can find one tag between commas.
fn tags_text(tags: &[Cow<'_, str>]) -> String {
    let mut text = String::new();
    for tag in tags.iter().filter(|t| !t.is_empty()) {
        if text.is_empty() {
            text.push(',');
        }
        // A comma within a tag would look like two tags.
        text.extend(tag.chars().map(|c| if c == ',' { ' ' } else { c }));
        text.push(',');
    }
    text
}
