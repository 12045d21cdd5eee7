//! Every capture, replayed, gives the results that its runner reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use testwire::decode::{Decoder, Format};
use testwire::event::{Event, Fact, RunStatus, Source, Status, TestFinished};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What a reader of the facts knows at the end.
#[derive(Debug, Default)]
struct Fold {
    /// Test id → status of the last attempt; open ones are `None`.
    tests: BTreeMap<String, Option<Status>>,
    failed_before: BTreeSet<String>,
    messages: BTreeMap<String, String>,
    details: BTreeMap<String, String>,
    tags: BTreeMap<String, Vec<String>>,
    attempts: u64,
    retries: u64,
    suites: BTreeMap<String, (Status, String)>,
    open_suites: BTreeSet<String>,
    runs: u32,
    ends: Vec<(Option<RunStatus>, String)>,
    planned_total: Option<u64>,
    planned: BTreeSet<String>,
    /// Text of every line, with the test's id if it has one.
    logs: Vec<(String, Source<'static>, String)>,
    steps: Vec<(String, Option<Status>, u32)>,
    notes: Vec<String>,
    order: Vec<String>,
}

impl Fold {
    fn of(format: Format, bytes: &[u8]) -> Self {
        let mut fold = Self::default();
        let mut decoder = format.decoder();
        fold.feed(decoder.as_mut(), bytes);
        fold
    }

    fn feed(&mut self, decoder: &mut dyn Decoder, bytes: &[u8]) {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        for line in bytes.split(|byte| *byte == b'\n') {
            decoder.line(line.strip_suffix(b"\r").unwrap_or(line), &mut |event| self.take(event));
        }
        decoder.finish(&mut |event| self.take(event));
    }

    fn take(&mut self, event: Event<'_>) {
        let Event { time: _, fact } = event;
        match fact {
            Fact::RunStarted(_) => self.runs += 1,
            Fact::Planned(planned) => {
                self.planned_total = planned.total.or(self.planned_total);
                self.planned.extend(planned.tests.into_iter().map(|id| id.into_owned()));
            }
            Fact::RunFinished(end) => self.ends.push((end.status, end.message.into_owned())),
            Fact::SuiteStarted(suite) => {
                self.open_suites.insert(suite.suite.into_owned());
            }
            Fact::SuiteFinished(suite) => {
                self.order.push(format!("suite {}", suite.suite));
                self.open_suites.remove(suite.suite.as_ref());
                self.suites.insert(suite.suite.into_owned(), (suite.status, suite.message.into_owned()));
            }
            Fact::TestStarted(start) => {
                self.attempts += 1;
                self.order.push(format!("start {}", start.test.id));
                let known = self.tests.insert(start.test.id.to_string(), None);
                if known.is_some() && !start.repeat {
                    self.retries += 1;
                }
                let tags = start.tags.iter().map(|tag| tag.to_string()).collect();
                self.tags.insert(start.test.id.into_owned(), tags);
            }
            Fact::TestFinished(end) => {
                self.order.push(format!("end {}", end.test.id));
                self.end(end);
            }
            Fact::TestCorrected(end) => {
                self.order.push(format!("corrected {}", end.test.id));
                assert!(self.tests[end.test.id.as_ref()].is_some(), "{} is corrected before its end", end.test.id);
                self.end(end);
            }
            Fact::StepFinished(step) => self.steps.push((step.name.into_owned(), step.status, step.depth)),
            Fact::Log(line) => {
                let test = line.test.map(|test| test.id.into_owned()).unwrap_or_default();
                let source = match line.source {
                    Source::Stdout => Source::Stdout,
                    Source::Stderr => Source::Stderr,
                    Source::Runner => Source::Runner,
                    Source::Named(name) => Source::Named(name.into_owned().into()),
                };
                self.order.push(format!("log {test}"));
                self.logs.push((test, source, line.text.into_owned()));
            }
            Fact::Note(note) => self.notes.push(note.text.into_owned()),
        }
    }

    fn end(&mut self, end: TestFinished<'_>) {
        let id = end.test.id.into_owned();
        if end.status.is_failing() || end.status == Status::Retried {
            self.failed_before.insert(id.clone());
        }
        self.messages.insert(id.clone(), end.message.into_owned());
        self.details.insert(id.clone(), end.details.into_owned());
        let tags = self.tags.entry(id.clone()).or_default();
        tags.extend(end.tags.into_iter().map(|tag| tag.into_owned()));
        self.tests.insert(id, Some(end.status));
    }

    fn count(&self, status: Status) -> u64 {
        self.tests.values().filter(|found| found.unwrap_or(Status::Unfinished) == status).count() as u64
    }

    fn ids(&self, wanted: impl Fn(Status) -> bool) -> BTreeSet<&str> {
        let status = |found: &Option<Status>| found.unwrap_or(Status::Unfinished);
        self.tests.iter().filter(|(_, found)| wanted(status(found))).map(|(id, _)| id.as_str()).collect()
    }

    #[expect(dead_code, reason = "used by the tests to come")]
    fn text_logs(&self) -> Vec<&str> {
        self.logs.iter().map(|(.., text)| text.as_str()).collect()
    }
}

fn truth(file: &str) -> Value {
    let all: Value =
        serde_json::from_slice(&std::fs::read(fixture("truth.json")).expect("it is there")).expect("it is JSON");
    all[file].clone()
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn replay(format: Format, file: &str) -> Fold {
    Fold::of(format, &std::fs::read(fixture(file)).expect("the fixture is there"))
}

/// Compares everything that the truth says about a capture.
fn assert_truth(fold: &Fold, file: &str) {
    let truth = truth(file);
    assert_eq!(truth["tests"], fold.tests.len(), "tests of {file}");
    let counts = [
        ("passed", Status::Passed),
        ("failed", Status::Failed),
        ("errored", Status::Errored),
        ("skipped", Status::Skipped),
        ("xfailed", Status::Xfailed),
        ("xpassed", Status::Xpassed),
        ("unfinished", Status::Unfinished),
    ];
    for (name, status) in counts {
        assert_eq!(truth[name], fold.count(status), "{name} of {file}");
    }
    assert_eq!(strings(&truth["failing"]), fold.ids(Status::is_failing), "failing of {file}");
    if truth["unfinished_tests"].is_array() {
        let unfinished = fold.ids(|status| status == Status::Unfinished);
        assert_eq!(strings(&truth["unfinished_tests"]), unfinished, "unfinished of {file}");
    }
    let flaky = fold.ids(|status| status == Status::Passed);
    let flaky = flaky.into_iter().filter(|id| fold.failed_before.contains(*id)).count();
    assert_eq!(truth["flaky"], flaky, "flaky of {file}");
    if truth["retries"].is_number() {
        assert_eq!(truth["retries"], fold.retries, "retries of {file}");
    }
    if truth["planned"].is_number() {
        let planned = fold.planned_total.unwrap_or(fold.planned.len() as u64);
        assert_eq!(truth["planned"], planned, "planned of {file}");
    }
}

mod gotest {
    use super::*;

    const FILES: &[&str] = &[
        "go/all.jsonl",
        "go/all_buildtext.jsonl",
        "go/bench.jsonl",
        "go/buildfail.jsonl",
        "go/cached.jsonl",
        "go/count2.jsonl",
        "go/fuzzseed.jsonl",
        "go/killed.jsonl",
        "go/panic.jsonl",
        "go/timeout.jsonl",
    ];

    #[test]
    fn every_capture_gives_the_results_of_its_run() {
        for file in FILES {
            let fold = replay(Format::GoTest, file);
            assert_truth(&fold, file);
            assert_eq!(fold.runs, 1, "{file}");
            assert!(fold.ends.is_empty(), "{file}");
            let truth = truth(file);
            let failed = fold.suites.iter().filter(|(_, (status, _))| *status == Status::Failed);
            let failed: BTreeSet<&str> = failed.map(|(suite, _)| suite.as_str()).collect();
            assert_eq!(strings(&truth["packages_failed"]), failed, "packages of {file}");
            if truth["attempts"].is_number() {
                assert_eq!(truth["attempts"], fold.attempts, "attempts of {file}");
            }
        }
    }
}

mod pytest {
    use super::*;

    const FILES: &[&str] = &[
        "pytest/basic.reportlog.jsonl",
        "pytest/collect_abort.reportlog.jsonl",
        "pytest/collect_errors.reportlog.jsonl",
        "pytest/crash.reportlog.jsonl",
        "pytest/killed.reportlog.jsonl",
        "pytest/reruns.reportlog.jsonl",
        "pytest/xdist.reportlog.jsonl",
        "pytest/xdist_crash.reportlog.jsonl",
    ];

    #[test]
    fn every_capture_gives_the_results_of_its_run() {
        for file in FILES {
            let fold = replay(Format::ReportLog, file);
            assert_truth(&fold, file);
            let truth = truth(file);
            assert_eq!(truth["complete"], !fold.ends.is_empty(), "end of {file}");
            let failed = fold.suites.iter().filter(|(_, (status, _))| *status == Status::Failed);
            let failed: BTreeSet<&str> = failed.map(|(suite, _)| suite.as_str()).collect();
            assert_eq!(strings(&truth["extra_failures"]), failed, "collection errors of {file}");
        }
    }
}

mod robot {
    use super::*;

    const FILES: &[&str] = &[
        "robot/basic.listener.jsonl",
        "robot/crash.listener.jsonl",
        "robot/killed.listener.jsonl",
        "robot/parallel.listener.jsonl",
        "robot/rerun.listener.jsonl",
    ];

    #[test]
    fn every_capture_gives_the_results_of_its_run() {
        for file in FILES {
            let fold = replay(Format::Robot, file);
            assert_truth(&fold, file);
            let truth = truth(file);
            let corrected = fold.order.iter().filter_map(|step| step.strip_prefix("corrected "));
            assert_eq!(strings(&truth["changed_after_end_test"]), corrected.collect(), "corrected of {file}");
            assert_eq!(truth["complete"], fold.ends.len() == fold.runs as usize, "end of {file}");
            assert_eq!(truth["workers"].as_u64().unwrap_or(1), u64::from(fold.runs), "processes of {file}");
        }
    }
}
