//! Files of a batch. Each is a test of the run, and what its runner reports happens within it.
//!
//! A file counts as one test until its runner names or starts tests in it; from then on these count in its place. A file that
//! fails for a reason which none of its tests shows (a crash, a time-out, nothing to collect) counts besides. So counters
//! never count a failure twice, and every failed file shows in them. The entries of start and end are written for every file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::render::TestEnd;
use super::{Normalizer, OpenTest, Part, PartEnd, borrowed};
use crate::event::{
    Event, Fact, LogLine, Planned, Status, StepFinished, SuiteFinished, SuiteStarted, TestFinished, TestRef,
    TestStarted, Timestamp,
};
use crate::history::past::test_key;
use crate::loki::entry::EntrySink;
use crate::names::status;

/// The files under way.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Parts {
    open: BTreeMap<String, OpenPart>,
    /// Files in whose place tests have counted.
    holding: BTreeSet<String>,
    /// Runners that were named before; a batch has hundreds of processes of each.
    titles: BTreeSet<String>,
    /// The file that events belong to.
    #[serde(skip)]
    within: Option<Part>,
    /// The files that will run, until the run begins.
    files: Vec<String>,
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct OpenPart {
    worker: String,
    attempt: u32,
    started: Timestamp,
    /// True once tests count in its place.
    holds: bool,
    /// True if one of its tests failed.
    has_failure: bool,
    tests: BTreeSet<String>,
    suites: BTreeSet<String>,
    /// What the runner said of its end.
    said: String,
}

impl Normalizer {
    /// The run is a batch of these files, which are to run in this order.
    pub fn set_files(&mut self, files: Vec<String>) {
        self.parts.files = files;
    }

    /// Opens the history, or looks whether it has come since. True if there is one.
    pub fn recall(&mut self) -> bool {
        self.changes.open(&self.info);
        self.take_history();
        self.changes.is_told()
    }

    /// True while a history may still come from elsewhere.
    pub fn awaits_history(&self) -> bool {
        self.changes.awaits()
    }

    /// How long a test usually takes, once the history is there.
    pub fn expected(&self, test: &str) -> Option<Duration> {
        self.changes.expected(test_key(test))
    }

    /// The run begins, or, if it is a batch, will begin with its first file.
    pub fn open_run(&mut self, time: Timestamp, out: &mut dyn EntrySink) {
        if self.parts.files.is_empty() {
            return self.start(time, out);
        }
        let files = self.parts.files.len();
        let noun = if files == 1 { "file" } else { "files" };
        if self.started.is_some() {
            self.tests.plan_anew(files);
            self.plan_files();
            let line = format!("RESUME run {}: {files} {noun}", self.info.run_id);
            self.write_run(status::STARTED, &line, time, out);
        } else {
            let line = format!("CREATED run {}: {files} {noun}", self.info.run_id);
            self.write_run(status::CREATED, &line, time, out);
        }
    }

    /// Announces the files.
    pub(super) fn plan_files(&mut self) {
        for file in std::mem::take(&mut self.parts.files) {
            let key = test_key(&file);
            self.tests.plan(key, &file, self.changes.expected(key));
            self.tests.plan_is_whole();
        }
    }

    /// Events belong to this file from now on; with `None` to the run itself.
    pub fn enter(&mut self, part: Option<&Part>) {
        self.parts.within = part.cloned();
    }

    pub(super) fn within(&self) -> Option<Part> {
        self.parts.within.clone()
    }

    /// An attempt of a file begins.
    pub fn part_started(&mut self, part: &Part, attempt: u32, now: Timestamp, out: &mut dyn EntrySink) {
        let open = OpenPart {
            worker: part.worker.to_string(),
            attempt,
            started: now,
            holds: false,
            has_failure: false,
            tests: BTreeSet::new(),
            suites: BTreeSet::new(),
            said: String::new(),
        };
        self.parts.open.insert(part.file.to_string(), open);
        let start = TestStarted { test: part.test(), attempt: Some(attempt), repeat: false, tags: Vec::new() };
        self.start(now, out);
        self.test_started(&start, now, out);
        // An earlier attempt has shown that it holds tests.
        if self.parts.holding.contains(&*part.file) {
            self.hold(part, now);
        }
        self.changed = true;
        self.tick(now, out);
    }

    /// The runner of a file says something.
    pub(super) fn part_event(&mut self, part: &Part, event: &Event<'_>, now: Timestamp, out: &mut dyn EntrySink) {
        let time = event.time;
        let mut take = |this: &mut Self, fact: Fact<'_>| this.take(&Event { time, fact }, now, out);
        match &event.fact {
            Fact::Log(log) => {
                let line = LogLine {
                    test: part.of_line(log.test.as_ref()),
                    source: log.source.clone(),
                    level: log.level,
                    text: Cow::Borrowed(log.text.as_ref()),
                };
                take(self, Fact::Log(line));
            }
            Fact::RunStarted(run) => {
                if self.parts.titles.insert(run.title.clone().into_owned()) {
                    self.run_started(run, time.unwrap_or(now), out);
                }
            }
            Fact::RunFinished(run) => self.parts.said(part, &run.message),
            Fact::Planned(planned) => {
                let tests: Vec<_> = planned.tests.iter().map(|id| part.id(id)).collect();
                if !tests.is_empty() {
                    self.hold(part, now);
                    take(self, Fact::Planned(Planned { total: None, tests }));
                }
            }
            Fact::SuiteStarted(suite) => {
                let suite = SuiteStarted { suite: part.id(&suite.suite), worker: part.worker(&suite.worker) };
                self.parts.with(part, |open| open.suites.insert(suite.suite.clone().into_owned()));
                take(self, Fact::SuiteStarted(suite));
            }
            Fact::SuiteFinished(suite) => self.part_suite_finished(part, suite, time.unwrap_or(now), out),
            Fact::TestStarted(start) if *start.test.id != *part.file => {
                self.hold(part, now);
                let start = TestStarted { test: part.inner(&start.test), ..start.clone() };
                self.parts.with(part, |open| open.tests.insert(start.test.id.clone().into_owned()));
                take(self, Fact::TestStarted(start));
            }
            Fact::TestPaused(test) => take(self, Fact::TestPaused(part.inner(test))),
            Fact::TestResumed(test) => take(self, Fact::TestResumed(part.inner(test))),
            Fact::TestFinished(end) if *end.test.id != *part.file => {
                self.hold(part, now);
                let end = TestFinished { test: part.inner(&end.test), ..end.clone() };
                self.parts.ended(part, &end);
                take(self, Fact::TestFinished(end));
            }
            Fact::TestCorrected(end) if *end.test.id != *part.file => {
                let end = TestFinished { test: part.inner(&end.test), ..end.clone() };
                self.parts.ended(part, &end);
                take(self, Fact::TestCorrected(end));
            }
            // Some runners call what goes wrong outside of tests by the file's name.
            Fact::TestFinished(end) | Fact::TestCorrected(end) => self.parts.said(part, &end.message),
            Fact::TestStarted(_) => {}
            Fact::StepFinished(step) => {
                let test = part.of_line(step.test.as_ref());
                take(self, Fact::StepFinished(StepFinished { test, ..step.clone() }));
            }
            Fact::Note(_) => take(self, event.fact.clone()),
        }
    }

    /// The file's exit code says whether it failed, so that a suite which failed in an attempt that was repeated does not
    /// make the run fail.
    fn part_suite_finished(
        &mut self,
        part: &Part,
        suite: &SuiteFinished<'_>,
        time: Timestamp,
        out: &mut dyn EntrySink,
    ) {
        let (had_failed, names) = (self.verdict.suite_failed, self.failed_suites.len());
        let suite = SuiteFinished { suite: part.id(&suite.suite), worker: part.worker(&suite.worker), ..suite.clone() };
        self.parts.with(part, |open| open.suites.remove(suite.suite.as_ref()));
        if suite.status.is_failing() {
            self.parts.said(part, &suite.message);
        }
        self.suite_finished(&suite, time, out);
        self.verdict.suite_failed = had_failed;
        self.failed_suites.truncate(names);
    }

    /// From now on the tests of a file count in its place, unless an attempt of it has counted before.
    fn hold(&mut self, part: &Part, now: Timestamp) {
        let Some(open) = self.parts.open.get_mut(&*part.file).filter(|open| !open.holds) else { return };
        if self.tests.hold(test_key(&part.file)) {
            open.holds = true;
            self.parts.holding.insert(part.file.to_string());
            self.running.lock().end(&part.file, now);
            self.pace.turn(now, self.tests.working());
        }
    }

    /// An attempt of a file has ended, and all that it had to say was taken.
    pub fn part_finished(&mut self, part: &Part, end: &PartEnd, now: Timestamp, out: &mut dyn EntrySink) {
        let Some(open) = self.parts.open.remove(&*part.file) else { return };
        let reason = if end.message.is_empty() { "the file ended without a result of it" } else { &end.message };
        for id in &open.tests {
            let test = TestRef { id: id.into(), ..TestRef::default() };
            let end = TestFinished { message: reason.into(), ..TestFinished::new(test, Status::Unfinished) };
            self.take(&Event { time: None, fact: Fact::TestFinished(end) }, now, out);
        }
        for suite in &open.suites {
            let suite = SuiteFinished {
                suite: suite.into(),
                worker: part.worker(""),
                status: Status::Unfinished,
                duration: None,
                message: reason.into(),
            };
            self.part_suite_finished(part, &suite, now, out);
        }
        self.write_part_end(part, &open, end, now, out);
        self.changed = true;
        self.tick(now, out);
    }

    fn write_part_end(&mut self, part: &Part, open: &OpenPart, end: &PartEnd, now: Timestamp, out: &mut dyn EntrySink) {
        let details = if open.has_failure { "" } else { open.said.as_str() };
        let code = end.exit_code.map(|code| code.to_string()).unwrap_or_default();
        if !open.holds {
            let test = TestFinished {
                attempt: Some(open.attempt),
                duration: Some(end.duration),
                message: Cow::Borrowed(&end.message),
                details: Cow::Borrowed(details),
                ..TestFinished::new(part.test(), end.status)
            };
            return self.finish_test(&test, &code, now, out);
        }
        let counts = end.status.is_failing() && !open.has_failure;
        let key = test_key(&part.file);
        let mut flaky = false;
        if counts {
            let (is_flaky, was_failing) = self.tests.count(key, end.status, open.attempt);
            self.remember_failing(&part.file, end.status, was_failing);
            flaky = is_flaky;
        }
        let end = TestEnd {
            key,
            test: borrowed(&part.test()),
            status: end.status,
            attempt: open.attempt,
            flaky,
            duration: Some(end.duration),
            message: &end.message,
            details,
            tags: "",
            is_result: true,
            counts,
            was_hung: false,
            has_parts: true,
            exit_code: &code,
        };
        self.write_end(&end, now, out);
    }

    /// Ends the files that are open although the run ends.
    pub(super) fn close_parts(&mut self, why: &str, now: Timestamp, out: &mut dyn EntrySink) {
        let open: Vec<_> = self.parts.open.iter().map(|(file, open)| (file.clone(), open.clone_head())).collect();
        for (file, head) in open {
            let part = Part { file: file.into(), worker: head.worker.into(), prefix: "".into() };
            let duration = now.since(Timestamp(head.started));
            let end = PartEnd { status: Status::Unfinished, exit_code: None, message: why.to_owned(), duration };
            self.part_finished(&part, &end, now, out);
        }
    }

    /// The files under way in whose place tests count.
    pub(super) fn open_parts(&self) -> Vec<OpenTest> {
        let holding = self.parts.open.iter().filter(|(_, open)| open.holds);
        holding.map(|(file, open)| OpenTest { id: file.clone(), ..open.clone_head() }).collect()
    }

    /// Takes them of a run that another process began.
    pub(super) fn restore_parts(&mut self, parts: Vec<OpenTest>) {
        let restored = |part: OpenTest| {
            let open = OpenPart {
                worker: part.worker,
                attempt: part.attempt,
                started: Timestamp(part.started),
                holds: true,
                has_failure: false,
                tests: BTreeSet::new(),
                suites: BTreeSet::new(),
                said: String::new(),
            };
            (part.id, open)
        };
        self.parts.open = parts.into_iter().map(restored).collect();
    }
}

impl Parts {
    fn with<T>(&mut self, part: &Part, change: impl FnOnce(&mut OpenPart) -> T) -> Option<T> {
        self.open.get_mut(&*part.file).map(change)
    }

    fn said(&mut self, part: &Part, message: &str) {
        if !message.is_empty() {
            self.with(part, |open| message.clone_into(&mut open.said));
        }
    }

    fn ended(&mut self, part: &Part, end: &TestFinished<'_>) {
        self.with(part, |open| {
            open.tests.remove(end.test.id.as_ref());
            open.has_failure |= end.status.is_failing();
        });
    }
}

impl OpenPart {
    /// What a snapshot keeps of it, without its name.
    fn clone_head(&self) -> OpenTest {
        OpenTest { worker: self.worker.clone(), attempt: self.attempt, started: self.started.0, ..OpenTest::default() }
    }
}
