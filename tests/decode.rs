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
            Fact::TestPaused(_) | Fact::TestResumed(_) => {}
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

mod testwire_format {
    use super::*;

    #[test]
    fn the_example_gives_its_results_and_names_its_bad_lines() {
        let fold = replay(Format::Testwire, "testwire/example.jsonl");
        let status = |id: &str| fold.tests[id];
        assert_eq!(status("a.one"), Some(Status::Passed));
        assert_eq!(status("a.two"), Some(Status::Passed));
        assert_eq!(status("a.three"), Some(Status::Errored));
        assert_eq!(status("a.four"), None);
        assert_eq!((fold.tests.len(), fold.planned.len(), fold.retries, fold.runs), (4, 5, 1, 1));
        assert!(fold.failed_before.contains("a.two"));
        assert_eq!(fold.suites["a"].0, Status::Failed);
        let lines: Vec<_> = fold.notes.iter().map(|note| note.split(' ').nth(1).unwrap()).collect();
        assert_eq!(lines, ["7", "10", "12", "13"], "{:?}", fold.notes);
        assert_eq!(fold.text_logs()[..3], ["hello", "plain text of a program", ".. "]);
        assert_eq!(fold.logs.len(), 5);
    }
}

mod damage {
    use super::*;

    /// A small generator, so that a failure comes again.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }
    }

    fn captures() -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        for folder in ["go", "pytest", "robot", "testwire"] {
            for file in std::fs::read_dir(fixture(folder)).expect("the folder is there") {
                let path = file.expect("it can be listed").path();
                if path.extension().is_some_and(|end| end == "jsonl") {
                    found.push((path.display().to_string(), std::fs::read(&path).expect("it can be read")));
                }
            }
        }
        found.sort();
        found
    }

    /// Feeds bytes to every decoder; what counts is that each comes to its end.
    fn feed_all(bytes: &[u8]) {
        for format in Format::ALL {
            let mut facts = 0_u64;
            let mut decoder = format.decoder();
            for line in bytes.split(|byte| *byte == b'\n') {
                decoder.line(line, &mut |_| facts += 1);
            }
            decoder.finish(&mut |_| facts += 1);
        }
    }

    #[test]
    fn nothing_is_lost_or_panics_when_lines_are_cut_anywhere() {
        for (name, bytes) in captures() {
            let mut dice = Dice(bytes.len() as u64);
            let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            for _ in 0..60 {
                let line = lines[dice.below(lines.len())];
                feed_all(&line[..dice.below(line.len())]);
                feed_all(&line[dice.below(line.len())..]);
            }
            let half = &bytes[..bytes.len() / 2 + dice.below(bytes.len() / 2)];
            for format in Format::ALL {
                let fold = Fold::of(*format, half);
                // What a decoder does not know it must pass on.
                assert!(!fold.order.is_empty() || fold.runs + fold.notes.len() as u32 > 0, "{format} on {name}");
            }
        }
    }

    #[test]
    fn flipped_bytes_do_no_harm() {
        for (_, bytes) in captures() {
            let mut dice = Dice(7);
            for _ in 0..4 {
                let mut bytes = bytes.clone();
                for _ in 0..200 {
                    let at = dice.below(bytes.len());
                    bytes[at] = dice.below(256) as u8;
                }
                feed_all(&bytes);
            }
        }
    }

    #[test]
    fn spliced_captures_do_no_harm() {
        let all = captures();
        let mut dice = Dice(11);
        for _ in 0..40 {
            let mut bytes = Vec::new();
            for _ in 0..6 {
                let (_, piece) = &all[dice.below(all.len())];
                let from = dice.below(piece.len());
                bytes.extend_from_slice(&piece[from..piece.len().min(from + dice.below(40_000))]);
            }
            feed_all(&bytes);
        }
    }

    #[test]
    fn every_format_keeps_lines_that_are_no_events_in_their_place() {
        let noise: &[&[u8]] = &[
            b"plain",
            b"{",
            b"{}",
            b"[1,2]",
            b"null",
            b"{\"event\":\"start_test\",\"full_name\":\"x\"}",
            b"{\"$report_type\":\"TestReport\",\"nodeid\":\"x\"}",
            b"{\"$report_type\":7}",
            b"{\"Action\":\"run\",\"pid\":3}",
            b"\xff\xfe caf\xe9",
            b"\x1b[31mred\x1b[0m",
            b"{\"event\":\"test_finished\",\"pid\":\"x\"",
        ];
        for (name, format) in [
            ("go/panic.jsonl", Format::GoTest),
            ("robot/crash.listener.jsonl", Format::Robot),
            ("pytest/crash.reportlog.jsonl", Format::ReportLog),
            ("testwire/example.jsonl", Format::Testwire),
        ] {
            let bytes = std::fs::read(fixture(name)).unwrap();
            let clean = Fold::of(format, &bytes);
            let mut dirty = Vec::new();
            for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                dirty.extend_from_slice(noise[number % noise.len()]);
                dirty.extend_from_slice(b"\r\n");
                dirty.extend_from_slice(line);
                dirty.extend_from_slice(b"\r\n");
            }
            let fold = Fold::of(format, &dirty);
            assert_eq!(clean.tests, fold.tests, "{name}");
            for (number, line) in noise.iter().enumerate() {
                let text = String::from_utf8_lossy(line);
                let wanted = bytes.split(|byte| *byte == b'\n').count();
                let wanted = wanted / noise.len() + usize::from(wanted % noise.len() > number);
                let found = fold
                    .logs
                    .iter()
                    .filter(|(test, source, log)| test.is_empty() && *source == Source::Stdout && *log == text);
                assert_eq!(found.count(), wanted, "{text} in {name}");
            }
        }
    }

    #[test]
    fn a_line_of_a_megabyte_is_taken_as_it_is() {
        let long = "x".repeat(1 << 20);
        for format in Format::ALL {
            let fold = Fold::of(*format, long.as_bytes());
            assert_eq!(fold.logs.len(), 1, "{format}");
            assert_eq!(fold.logs[0].2.len(), long.len(), "{format}");
        }
        let event = format!(
            r#"{{"Time":"2026-11-20T09:40:53Z","Action":"output","Package":"p","Test":"T","Output":"{long}\n"}}"#
        );
        assert_eq!(Fold::of(Format::GoTest, event.as_bytes()).logs[0].2.len(), long.len());
        let event = format!(r#"{{"event":"log","text":"{long}"}}"#);
        assert_eq!(Fold::of(Format::Testwire, event.as_bytes()).logs[0].2.len(), long.len());
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
            let truth = truth(file);
            assert_eq!(truth["complete"], fold.ends.len() == 1, "end of {file}");
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
        "pytest/plugin_sample.jsonl",
        "pytest/plugin_xdist.jsonl",
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
        "robot/listener_sample.jsonl",
    ];

    #[test]
    fn every_capture_gives_the_results_of_its_run() {
        for file in FILES {
            let fold = replay(Format::Robot, file);
            assert_truth(&fold, file);
            let truth = truth(file);
            let corrected = fold.order.iter().filter_map(|step| step.strip_prefix("corrected "));
            if truth["changed_after_end_test"].is_array() {
                assert_eq!(strings(&truth["changed_after_end_test"]), corrected.collect(), "corrected of {file}");
            }
            assert_eq!(truth["complete"], fold.ends.len() == fold.runs as usize, "end of {file}");
            assert_eq!(truth["workers"].as_u64().unwrap_or(1), u64::from(fold.runs), "processes of {file}");
        }
    }
}

/// What the captures of the formats show beyond results.
mod details {
    use super::*;

    #[test]
    fn reportlog_s_repeated_sections_are_logged_once_and_before_the_end() {
        let fold = replay(Format::ReportLog, "pytest/reruns.reportlog.jsonl");
        let id = "tests/test_flaky.py::test_link_second_try";
        let logs: Vec<_> = fold.logs.iter().filter(|(test, ..)| test == id).map(|(.., text)| text.as_str()).collect();
        assert_eq!(logs, ["ground station up", "attempt 1", "attempt 2"]);
        let order: Vec<_> =
            fold.order.iter().filter(|step| step.ends_with(id)).map(|step| step.split(' ').next().unwrap()).collect();
        assert_eq!(order, ["start", "log", "log", "end", "start", "log", "end"]);
    }

    #[test]
    fn captured_output_of_pytest_keeps_its_source() {
        let fold = replay(Format::ReportLog, "pytest/basic.reportlog.jsonl");
        let logs = fold.logs.iter().filter(|(test, ..)| test.ends_with("::test_pass_prints"));
        let sources: Vec<_> =
            logs.map(|(_, source, text)| (source.as_str(), text.split(' ').next().unwrap())).collect();
        let expected = [("stdout", "out"), ("stdout", "out"), ("stdout", "out"), ("stderr", "err"), ("stderr", "err")];
        assert_eq!(sources[..5], expected);
        assert_eq!(sources[5..], [("stderr", "err"), ("runner", "WARNING")]);
    }

    #[test]
    fn pytest_s_messages_and_tracebacks_are_those_of_its_report() {
        let fold = replay(Format::ReportLog, "pytest/basic.reportlog.jsonl");
        let said = |id: &str| fold.messages[&format!("tests/test_orbit.py::{id}")].lines().next().unwrap_or_default();
        assert_eq!(said("test_skip_mark"), "no launch window, \"weather\"");
        assert_eq!(said("test_xfail"), "J2 term missing");
        assert_eq!(said("test_xpass"), "was fixed meanwhile");
        assert_eq!(said("OldStyle::test_with_subtests"), "(ring=2) AssertionError: 2 == 2 : ring 2 is open");
        assert!(said("test_subtests_fixture").starts_with("[panel B] (side='B') AssertionError: panel B did not"));
        let id = "tests/test_flaky.py::test_link_second_try";
        assert_eq!(fold.messages[id], "AssertionError: no carrier on attempt 1\nassert 1 >= 2");
        assert!(fold.details[id].starts_with("    def test_link_second_try():\n"), "{}", fold.details[id]);
        assert!(fold.details[id].ends_with("\n\ntests/test_flaky.py:17: AssertionError"), "{}", fold.details[id]);
        assert_eq!(fold.steps.len(), 7);
    }

    #[test]
    fn sessions_of_pytest_end_as_their_exit_status_says() {
        let end = |file: &str| replay(Format::ReportLog, file).ends;
        assert_eq!(end("pytest/basic.reportlog.jsonl"), [(Some(RunStatus::Failed), String::new())]);
        let collection = (Some(RunStatus::Failed), "2 errors during collection".to_owned());
        assert_eq!(end("pytest/collect_abort.reportlog.jsonl"), [collection]);
        assert_eq!(end("pytest/crash.reportlog.jsonl"), []);
        let fold = replay(Format::ReportLog, "pytest/collect_abort.reportlog.jsonl");
        let (_, message) = &fold.suites["broken/test_import_error.py"];
        assert!(message.starts_with("ModuleNotFoundError: No module named 'no_such_module_here'\n"), "{message}");
    }

    #[test]
    fn the_plugin_s_starts_carry_tags_and_its_workers_are_kept_apart() {
        let fold = replay(Format::Pytest, "pytest/plugin_xdist.jsonl");
        assert_eq!(fold.tags["test_checkout.py::test_pays[1]"], ["payments", "area"]);
        assert_eq!(fold.planned.len(), 120);
        assert_eq!(fold.planned.iter().collect::<Vec<_>>(), fold.tests.keys().collect::<Vec<_>>());
    }

    #[test]
    fn robot_s_steps_are_nested_and_named_with_their_arguments() {
        let fold = replay(Format::Robot, "robot/basic.listener.jsonl");
        let step = |name: &str| {
            let found = fold.steps.iter().find(|(found, ..)| found == name);
            found.map(|(_, status, depth)| (*status, *depth)).unwrap_or_else(|| panic!("no step {name}"))
        };
        assert_eq!(step("Move Ram    120"), (Some(Status::Passed), 0));
        assert_eq!(step("Setup: Log    per-test setup"), (Some(Status::Passed), 0));
        assert_eq!(step("Fail    first of two"), (Some(Status::Failed), 1));
        assert_eq!(step("FOR    ${f}    IN    @{FORCES}"), (Some(Status::Passed), 0));
        assert_eq!(step("${f} = 1"), (Some(Status::Passed), 1));
        assert_eq!(step("IF    ${f} > 5"), (None, 2));
        assert!(fold.steps.iter().all(|(name, ..)| !name.is_empty() && name.chars().count() <= 201));
    }

    #[test]
    fn a_failed_suite_teardown_corrects_the_tests_below_with_robot_s_words_before_the_suite_ends() {
        let fold = replay(Format::Robot, "robot/basic.listener.jsonl");
        let id = "Suites.02 Press.03 Templates.Nominal";
        assert_eq!(fold.messages[id], "Parent suite teardown failed: hydraulics would not switch off");
        let at = |step: &str| fold.order.iter().position(|found| found == step).unwrap();
        assert!(at(&format!("end {id}")) < at(&format!("corrected {id}")));
        assert!(at(&format!("corrected {id}")) < at("suite Suites.02 Press"));
        assert_eq!(fold.messages["Suites.02 Press.01 Teardown.Body And Setup"], "Setup failed: setup: no pressure");
    }

    #[test]
    fn a_warning_that_robot_sends_twice_is_logged_once() {
        let fold = replay(Format::Robot, "robot/basic.listener.jsonl");
        assert_eq!(fold.text_logs().iter().filter(|text| **text == "coolant low").count(), 1);
        assert_eq!(fold.text_logs().iter().filter(|text| **text == "ram reached end stop").count(), 1);
    }

    #[test]
    fn robot_under_pabot_and_robot_5_give_the_statuses_of_the_whole_project() {
        let whole = replay(Format::Robot, "robot/listener_sample.jsonl");
        for (file, tests, runs) in [("robot/listener_pabot.jsonl", 49, 3), ("robot/listener_robot5.jsonl", 19, 1)] {
            let fold = replay(Format::Robot, file);
            assert_eq!((fold.tests.len(), fold.runs as usize), (tests, runs), "{file}");
            assert_eq!(fold.planned.len(), fold.tests.len(), "{file}");
            for (id, status) in &fold.tests {
                assert_eq!(status, &whole.tests[id], "{id} in {file}");
            }
            assert!(!fold.steps.is_empty(), "{file}");
        }
    }

    #[test]
    fn go_s_failures_read_as_in_its_own_output() {
        let fold = replay(Format::GoTest, "go/all.jsonl");
        let said = |id: &str| fold.messages[&format!("example.com/depot/{id}")].as_str();
        assert_eq!(said("alpha.TestFailMultiline"), "alpha_test.go:21: got \"12,5 kg\" <want> '≤ 10 kg' & more");
        assert_eq!(said("alpha.TestParallel/belt2"), "alpha_test.go:75: belt 2 stopped");
        assert_eq!(said("alpha.TestTable"), "subtest big/box failed");
        assert_eq!(said("alpha.TestSkip"), "alpha_test.go:33: no scale attached");
        assert_eq!(said("beta.TestPanics"), "panic: assignment to entry in nil map [recovered, repanicked]");
        assert_eq!(said("exits.TestExits"), "calling os.Exit");
        assert_eq!(fold.suites["example.com/depot/setup"].1, "TestMain: could not open the database");
        assert!(fold.suites["example.com/depot/gamma"].1.contains("gamma/gamma.go:3:28: cannot use"));
        let huge = &fold.details["example.com/depot/alpha.TestHugeMessage"];
        assert!(huge.contains("bytes left out") && huge.len() < 34_000, "{}", huge.len());
    }
}

/// Cases that no capture has, in lines as the listeners write them.
mod by_hand {
    use super::*;

    fn robot(lines: &[&str]) -> Fold {
        let head = |line: &&str| format!("{{\"pid\":7,\"ts\":\"2026-11-20T09:00:00.000001+00:00\",{line}}}\n");
        Fold::of(Format::Robot, lines.iter().map(head).collect::<String>().as_bytes())
    }

    fn pytest(lines: &[&str]) -> Fold {
        let head = |line: &&str| format!("{{\"$report_type\":{line}}}\n");
        Fold::of(Format::Pytest, lines.iter().map(head).collect::<String>().as_bytes())
    }

    #[test]
    fn two_tests_of_a_robot_suite_with_one_name_are_two_tests() {
        let fold = robot(&[
            r#""event":"start_suite","id":"s1","full_name":"S","total_tests":3,"all_tests":["S.A","S.B","S.A"]"#,
            r#""event":"start_test","name":"A","full_name":"S.A""#,
            r#""event":"end_test","name":"A","full_name":"S.A","status":"PASS""#,
            r#""event":"start_test","name":"A","full_name":"S.A""#,
            r#""event":"log_message","level":"INFO","message":"hello","test":"S.A","suite":"S""#,
            r#""event":"end_test","name":"A","full_name":"S.A","status":"FAIL","message":"no""#,
        ]);
        assert_eq!(fold.tests.get("S.A"), Some(&Some(Status::Passed)));
        assert_eq!(fold.tests.get("S.A (2)"), Some(&Some(Status::Failed)));
        assert_eq!(fold.planned.iter().collect::<Vec<_>>(), ["S.A", "S.A (2)", "S.B"]);
        assert_eq!(fold.logs, [("S.A (2)".to_owned(), Source::Runner, "hello".to_owned())]);
    }

    #[test]
    fn corrections_that_the_robot_listener_tells_are_taken_as_they_are() {
        let fold = robot(&[
            r#""event":"start_suite","id":"s1","full_name":"S","total_tests":2"#,
            r#""event":"start_test","name":"A","full_name":"S.A""#,
            r#""event":"end_test","name":"A","full_name":"S.A","status":"PASS""#,
            r#""event":"start_test","name":"B","full_name":"S.B""#,
            r#""event":"end_test","name":"B","full_name":"S.B","status":"PASS""#,
            concat!(
                r#""event":"end_suite","full_name":"S","status":"SKIP","message":"Skipped in suite teardown:\nno","#,
                r#""corrected":[{"full_name":"S.B","status":"SKIP","message":"Skipped in parent suite teardown:\nno"}]"#
            ),
        ]);
        assert_eq!(fold.tests["S.A"], Some(Status::Passed));
        assert_eq!(fold.tests["S.B"], Some(Status::Skipped));
        assert_eq!(fold.planned_total, Some(2));
    }

    #[test]
    fn a_suite_teardown_of_robot_that_skips_turns_the_tests_that_the_listener_does_not_correct() {
        let fold = robot(&[
            r#""event":"start_suite","id":"s1","full_name":"S","total_tests":2"#,
            r#""event":"start_test","name":"A","full_name":"S.A""#,
            r#""event":"end_test","name":"A","full_name":"S.A","status":"PASS""#,
            r#""event":"start_test","name":"B","full_name":"S.B""#,
            r#""event":"end_test","name":"B","full_name":"S.B","status":"FAIL","message":"no""#,
            concat!(
                r#""event":"end_suite","full_name":"S","status":"SKIP","#,
                r#""message":"Skipped in suite teardown:\nwhy\n\nEarlier message:\n1 test failed""#
            ),
        ]);
        assert_eq!((fold.tests["S.A"], fold.tests["S.B"]), (Some(Status::Skipped), Some(Status::Skipped)));
        assert_eq!(fold.messages["S.B"], "Skipped in parent suite teardown:\nwhy");
    }

    #[test]
    fn a_robot_process_that_got_the_number_of_a_killed_one_starts_anew() {
        let suite = r#""event":"start_suite","id":"s1","full_name":"S","total_tests":1"#;
        let test = r#""event":"start_test","name":"A","full_name":"S.A""#;
        let end = r#""event":"end_test","name":"A","full_name":"S.A","status":"PASS""#;
        let fold = robot(&[suite, test, suite, test, end]);
        assert_eq!((fold.runs, fold.tests.len(), fold.tests["S.A"]), (2, 1, Some(Status::Passed)));
    }

    #[test]
    fn what_a_listener_could_not_write_is_remarked_on() {
        assert_eq!(robot(&[r#""event":"dropped","count":3"#]).notes, ["the Robot listener could not write 3 events"]);
        let fold = pytest(&[r#""Dropped","count":4,"time":1795177279.5"#]);
        assert_eq!(fold.notes, ["the pytest plugin could not write 4 events"]);
    }

    #[test]
    fn a_crashed_worker_s_test_fails_though_the_report_does_not_name_the_worker() {
        let fold = pytest(&[
            r#""TestStart","nodeid":"a.py::t","worker_id":"gw1","time":1"#,
            r#""TestReport","nodeid":"a.py::t","when":"???","outcome":"failed","longrepr":"worker 'gw1' crashed""#,
        ]);
        assert_eq!(fold.tests["a.py::t"], Some(Status::Failed));
        assert_eq!(fold.messages["a.py::t"], "worker 'gw1' crashed");
        assert_eq!(fold.order, ["start a.py::t", "end a.py::t"]);
    }

    #[test]
    fn a_rerun_without_a_teardown_report_ends_with_the_next_start() {
        let setup = r#""TestReport","nodeid":"a.py::t","when":"setup","outcome":"rerun","longrepr":"E  boom""#;
        let start = r#""TestStart","nodeid":"a.py::t","time":1"#;
        let rest = [
            r#""TestReport","nodeid":"a.py::t","when":"call","outcome":"passed""#,
            r#""TestReport","nodeid":"a.py::t","when":"teardown","outcome":"failed","longrepr":"E  left open""#,
        ];
        let fold = pytest(&[start, setup, start, rest[0], rest[1]]);
        assert_eq!((fold.attempts, fold.retries), (2, 1));
        assert!(fold.failed_before.contains("a.py::t"));
        assert_eq!(fold.tests["a.py::t"], Some(Status::Errored));
        assert_eq!(fold.messages["a.py::t"], "left open");
    }

    #[test]
    fn an_interrupted_session_is_aborted_and_decides_what_is_known() {
        let fold = pytest(&[
            r#""TestStart","nodeid":"a.py::bad","time":1"#,
            r#""TestReport","nodeid":"a.py::bad","when":"call","outcome":"failed","message":"no","longrepr":"E  no""#,
            r#""TestStart","nodeid":"a.py::open","time":2"#,
            r#""SessionFinish","exitstatus":2,"message":"KeyboardInterrupt""#,
        ]);
        assert_eq!(fold.tests["a.py::bad"], Some(Status::Failed));
        assert_eq!(fold.tests["a.py::open"], None);
        assert_eq!(fold.ends, [(Some(RunStatus::Aborted), "KeyboardInterrupt".to_owned())]);
    }

    #[test]
    fn reports_on_pytest_s_own_output_lines_count() {
        let text = "tests/a.py F{\"pytest_version\": \"9\", \"$report_type\": \"SessionStart\"}\r\n.. {\"exitstatus\": 0, \"$report_type\": \"SessionFinish\"}";
        let fold = Fold::of(Format::ReportLog, text.as_bytes());
        assert_eq!((fold.runs, fold.ends.len()), (1, 1));
        assert_eq!(fold.text_logs(), ["tests/a.py F", ".. "]);
    }
}
