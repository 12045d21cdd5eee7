//! Entries of suites, tests, steps and notes.

use std::borrow::Cow;
use std::time::Duration;

use super::changes::Result;
use super::pairs::Pairs;
use super::text::{after_first_line, first_line, millis, push_duration, word};
use super::write::{StreamKey, key as stream_key};
use super::{Normalizer, borrowed, changes, configuration, level_of, signature};
use crate::event::{
    Note, RunFinished, RunStarted, RunStatus, Status, StepFinished, SuiteFinished, SuiteStarted, TestFinished, TestRef,
    TestStarted, Timestamp,
};
use crate::history::past::test_key;
use crate::history::slot::Outcome;
use crate::loki::entry::EntrySink;
use crate::names::{kind, meta, status};

/// Names of failing tests and suites are kept for the run's end up to this many.
const MAX_NAMES: usize = 200;

/// What an end entry of a test says, whether it ended now or is corrected later.
pub(super) struct TestEnd<'a> {
    /// What stands for the test in its history.
    pub(super) key: u64,
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
    /// True if other tests are parts of it.
    pub(super) has_parts: bool,
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
        self.write(stream_key(kind::NOTE, ""), time, &line, Pairs::new("info"), out);
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
        self.write(stream_key(kind::SUITE, status::STARTED), time, &format!("START suite {}", suite.suite), pairs, out);
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
        self.write(stream_key(kind::SUITE, suite.status.as_str()), time, &line, pairs, out);
    }

    pub(super) fn test_started(&mut self, start: &TestStarted<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let (key, tags) = (test_key(&start.test.id), tags_text(&start.tags));
        let lost = self.tests.start(key, start, time, tags.clone());
        self.running.lock().start(&start.test.id, &start.test.worker, time);
        if let Some(lost) = lost {
            // Its end never came; it is not the test's result, because another attempt is under way.
            let test = TestRef { id: lost.id.into(), suite: lost.suite.into(), worker: lost.worker.into() };
            let duration = Some(time.since(lost.started));
            let end = TestEnd {
                key,
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
                has_parts: lost.has_parts,
                exit_code: "",
                test,
            };
            self.write_end(&end, time, out);
        }
        self.pace.turn(time, self.tests.working());
        let attempt = self.tests.get_open(key).map_or(1, |open| open.attempt);
        let attempt = if attempt > 1 { attempt.to_string() } else { String::new() };
        let mut pairs = Pairs::new("info");
        pairs.push(meta::TEST, &start.test.id);
        pairs.push(meta::SUITE, &start.test.suite);
        pairs.push(meta::WORKER, &start.test.worker);
        pairs.push(meta::ATTEMPT, &attempt);
        pairs.push(meta::TAGS, &tags);
        let stream = stream_key(kind::TEST, status::STARTED);
        self.write(stream, time, &format!("START {}", start.test.id), pairs, out);
    }

    /// It waits for its turn: what is logged meanwhile is of other tests.
    pub(super) fn test_paused(&mut self, test: &TestRef<'_>, time: Timestamp) {
        self.tests.pause(test_key(&test.id), time);
        self.running.lock().end(&test.id, time);
        self.pace.turn(time, self.tests.working());
    }

    pub(super) fn test_resumed(&mut self, test: &TestRef<'_>, time: Timestamp) {
        let key = test_key(&test.id);
        if self.tests.get_open(key).is_some() {
            self.tests.resume(key, time);
            self.running.lock().start(&test.id, &test.worker, time);
            self.pace.turn(time, self.tests.working());
        }
    }

    pub(super) fn test_finished(&mut self, end: &TestFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        self.finish_test(end, "", time, out);
    }

    /// The same for a test that is a program with an exit code.
    pub(super) fn finish_test<'e>(
        &mut self,
        end: &'e TestFinished<'_>,
        exit_code: &'e str,
        time: Timestamp,
        out: &mut dyn EntrySink,
    ) {
        let key = test_key(&end.test.id);
        if self.tests.get_open(key).is_none() {
            let began = Timestamp(time.0 - end.duration.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(0)));
            let start =
                TestStarted { test: borrowed(&end.test), attempt: end.attempt, repeat: false, tags: Vec::new() };
            self.test_started(&start, began, out);
        }
        let Some(done) = self.tests.finish(key, end.status) else { return };
        self.running.lock().end(&end.test.id, time);
        self.remember_failing(&end.test.id, end.status, done.was_failing);
        let took = end.duration.unwrap_or_else(|| done.open.age(time));
        self.pace.turn_late(done.open.last_turn(took, time), time, self.tests.working());
        let or = |own: &'e str, known: String| if own.is_empty() { Cow::Owned(known) } else { Cow::Borrowed(own) };
        let tags = if end.tags.is_empty() { done.open.tags } else { tags_text(&end.tags) };
        let end = TestEnd {
            key,
            test: TestRef {
                id: Cow::Borrowed(end.test.id.as_ref()),
                suite: or(&end.test.suite, done.open.suite),
                worker: or(&end.test.worker, done.open.worker),
            },
            status: end.status,
            attempt: end.attempt.unwrap_or(done.open.attempt),
            flaky: done.flaky,
            duration: Some(took),
            message: &end.message,
            details: &end.details,
            tags: &tags,
            is_result: true,
            counts: true,
            was_hung: done.open.is_hung,
            has_parts: done.open.has_parts,
            exit_code,
        };
        let expected = self.write_end(&end, time, out);
        if !end.has_parts {
            self.pace.end(time, expected, took);
        }
    }

    pub(super) fn test_corrected(&mut self, end: &TestFinished<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let key = test_key(&end.test.id);
        let (attempt, was_failing) = self.tests.correct(key, end.status);
        self.remember_failing(&end.test.id, end.status, was_failing);
        let tags = tags_text(&end.tags);
        let end = TestEnd {
            key,
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
            has_parts: false,
            exit_code: "",
        };
        self.write_end(&end, time, out);
    }

    pub(super) fn remember_failing(&mut self, id: &str, status: Status, was_failing: bool) {
        match (status.is_failing(), was_failing) {
            (true, false) if self.failing.len() < MAX_NAMES => self.failing.push(id.to_owned()),
            (false, true) => self.failing.retain(|name| name != id),
            _ => {}
        }
    }

    /// Gives the time that the test usually takes.
    pub(super) fn write_end(
        &mut self,
        end: &TestEnd<'_>,
        time: Timestamp,
        out: &mut dyn EntrySink,
    ) -> Option<Duration> {
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
            let result = Result {
                test: end.key,
                id: &end.test.id,
                status: end.status,
                is_flaky: end.flaky,
                time,
                duration: end.duration,
                signature: &signature,
                has_parts: end.has_parts,
            };
            self.changes.note(&result, end.counts.then_some(&mut self.tests.counters))
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
        self.write(stream_key(kind::TEST, end.status.as_str()), time, &line, pairs, out);
        self.line = line;
        judged.expected
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
        self.write(stream_key(kind::STEP, ""), time, &line, pairs, out);
    }

    pub(super) fn note(&mut self, note: &Note<'_>, time: Timestamp, out: &mut dyn EntrySink) {
        let key = StreamKey { kind: kind::NOTE, status: "", source: Cow::Borrowed("") };
        self.write(key, time, &note.text, Pairs::new(note.level.as_str()), out);
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
