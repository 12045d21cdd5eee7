//! Runs as entries: counters, order, sequence numbers, words.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use testwire::decode::Format;
use testwire::event::{
    Event, Fact, LogLine, Planned, RunStatus, Source, Status, TestFinished, TestRef, TestStarted, Timestamp,
};
use testwire::loki::entry::{Entry, EntrySink, Stream};
use testwire::normalize::{MAX_LINE, Normalizer, Part, PartEnd, RunEnd, RunInfo};

/// The moment at which the input is read, for events that bring no time; later than every capture.
const NOW: Timestamp = Timestamp(1_795_200_000_000_000_000);

/// An entry as it was written.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    labels: BTreeMap<String, String>,
    time: i64,
    seq: u64,
    line: String,
    metadata: BTreeMap<String, String>,
}

impl Written {
    fn is(&self, kind: &str, status: &str) -> bool {
        self.labels.get("kind").is_some_and(|k| k == kind)
            && self.labels.get("status").map_or("", String::as_str) == status
    }

    fn number(&self, name: &str) -> u64 {
        self.metadata[name].parse().expect("a counter is a number")
    }
}

#[derive(Default)]
struct Sink(Vec<Written>);

impl EntrySink for Sink {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        assert!(entry.metadata.iter().all(|(_, value)| !value.is_empty()), "Loki drops empty values: {entry:?}");
        let metadata: BTreeMap<_, _> = entry.metadata.iter().copied().map(own).collect();
        assert_eq!(metadata.len(), entry.metadata.len(), "a name twice: {entry:?}");
        self.0.push(Written {
            labels: stream.labels().iter().map(|(name, value)| own((name, value))).collect(),
            time: entry.time.0,
            seq: entry.seq,
            line: entry.line.to_owned(),
            metadata,
        });
    }
}

fn info() -> RunInfo {
    RunInfo {
        run_id: "r1".into(),
        project: "shop".into(),
        env: "ci".into(),
        runner: "pytest".into(),
        host: "h".into(),
        ..RunInfo::default()
    }
}

fn test(id: &str) -> TestRef<'_> {
    TestRef { id: id.into(), suite: "s".into(), worker: "".into() }
}

/// A run under test: what is written, at a clock that the test sets.
struct Run {
    normalizer: Normalizer,
    sink: Sink,
    now: Timestamp,
}

impl Run {
    fn new() -> Self {
        Self { normalizer: Normalizer::new(info()), sink: Sink::default(), now: NOW }
    }

    fn say(&mut self, fact: Fact<'_>) {
        self.normalizer.event(&Event { time: None, fact }, self.now, &mut self.sink);
    }

    fn start(&mut self, id: &str) {
        self.say(Fact::TestStarted(TestStarted { test: test(id), ..TestStarted::default() }));
    }

    fn end(&mut self, id: &str, status: Status, message: &str) {
        let end = TestFinished { message: message.to_owned().into(), ..TestFinished::new(test(id), status) };
        self.say(Fact::TestFinished(end));
    }

    fn after(&mut self, time: Duration) {
        self.now = Timestamp(self.now.0 + time.as_nanos() as i64);
        self.normalizer.tick(self.now, &mut self.sink);
    }

    fn finish(&mut self, end: RunEnd) -> RunStatus {
        self.normalizer.finish(&end, self.now, &mut self.sink).expect("the run began")
    }

    fn last(&self) -> &Written {
        self.sink.0.last().expect("something was written")
    }
}

fn replay(format: Format, bytes: &[u8]) -> (Vec<Written>, Option<RunStatus>) {
    let (mut normalizer, mut sink, mut decoder) = (Normalizer::new(info()), Sink::default(), format.decoder());
    for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|b| *b == b'\n') {
        decoder.line(line.strip_suffix(b"\r").unwrap_or(line), &mut |e| normalizer.event(&e, NOW, &mut sink));
    }
    decoder.finish(&mut |e| normalizer.event(&e, NOW, &mut sink));
    let status = normalizer.finish(&RunEnd::InputEnded, NOW, &mut sink);
    (sink.0, status)
}

#[test]
fn the_counters_of_every_capture_are_those_of_its_runner() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let truth: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(fixtures.join("truth.json")).unwrap()).unwrap();
    for (name, truth) in &truth {
        let format: Format = truth["format"].as_str().unwrap().parse().unwrap();
        let (entries, status) = replay(format, &std::fs::read(fixtures.join(name)).unwrap());
        let end = entries.last().unwrap();
        for counter in ["passed", "failed", "errored", "skipped", "xfailed", "xpassed", "unfinished", "flaky"] {
            assert_eq!(end.number(counter), truth[counter].as_u64().unwrap_or(0), "{name}: {counter}: {}", end.line);
        }
        assert_eq!(end.number("retried"), truth["retries"].as_u64().unwrap_or(0), "{name}: retried");
        if let Some(planned) = truth.get("planned").and_then(Value::as_u64) {
            assert_eq!(end.number("planned"), planned, "{name}: planned");
        }
        assert_eq!(end.number("running"), 0, "{name}");
        assert_eq!(end.number("entries"), entries.len() as u64, "{name}");
        let complete = truth["complete"].as_bool().unwrap_or(true);
        assert!(complete || status == Some(RunStatus::Aborted), "{name}: {status:?}");
        let failing = end.number("failed") + end.number("errored") > 0;
        assert!(
            !complete || !failing || status == Some(RunStatus::Failed) || end.number("unfinished") > 0,
            "{name}: {status:?}"
        );
    }
}

#[test]
fn entries_are_numbered_in_their_times_and_no_two_are_alike() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let (entries, _) = replay(Format::Robot, &std::fs::read(fixtures.join("robot/listener_sample.jsonl")).unwrap());
    assert!(entries.len() > 1000, "more than one round of residues");
    for (n, entry) in (1..).zip(&entries) {
        assert_eq!((entry.seq, entry.time % 1000), (n, (n % 1000) as i64), "{entry:?}");
    }
    let again = replay(Format::Robot, &std::fs::read(fixtures.join("robot/listener_sample.jsonl")).unwrap()).0;
    assert_eq!(entries, again, "the same input gives the same entries, so that a re-sent one is a duplicate for Loki");
}

#[test]
fn a_retry_that_passes_makes_the_test_flaky_and_corrects_the_counters() {
    let mut run = Run::new();
    for (status, message) in [(Status::Failed, "expected 1, got 2\nsecond line"), (Status::Passed, "")] {
        run.start("a");
        run.after(Duration::from_millis(1500));
        run.end("a", status, message);
    }
    let failed = run.sink.0.iter().find(|e| e.is("test", "failed")).unwrap().clone();
    assert_eq!(failed.line, "FAIL a (1.50s) expected 1, got 2\nsecond line");
    assert_eq!(
        (failed.metadata["level"].as_str(), failed.metadata["message"].as_str()),
        ("error", "expected 1, got 2")
    );
    assert_eq!((failed.metadata["duration_ms"].as_str(), failed.metadata["signature"].len()), ("1500", 16));
    assert!(!failed.metadata.contains_key("attempt"), "only above 1");
    let passed = run.sink.0.iter().find(|e| e.is("test", "passed")).unwrap();
    assert_eq!((passed.metadata["attempt"].as_str(), passed.metadata["outcome"].as_str()), ("2", "flaky"));
    assert_eq!(run.finish(RunEnd::Exited(0)), RunStatus::Passed);
    let end = run.last();
    let counts = ["planned", "done", "passed", "failed", "flaky", "retried"].map(|name| end.number(name));
    assert_eq!(counts, [1, 1, 1, 0, 1, 1], "{}", end.line);
}

#[test]
fn a_killed_run_is_aborted_and_says_by_name_what_never_ran() {
    let mut run = Run::new();
    run.say(Fact::Planned(Planned { total: None, tests: ["a", "b", "c", "d"].map(Into::into).to_vec() }));
    run.start("a");
    run.end("a", Status::Failed, "boom");
    run.start("b");
    assert_eq!(run.finish(RunEnd::Killed(9)), RunStatus::Aborted);
    let end = run.last();
    assert!(end.is("run", "aborted"), "{end:?}");
    let text = "ABORTED 2 tests: 1 failed, 1 unfinished, 2 never ran (0.000s)\nkilled by signal 9\nfailing: 1\n  a\nnever ran: 2\n  c\n  d";
    assert_eq!(end.line, text);
    let unfinished = run.sink.0.iter().find(|e| e.is("test", "unfinished")).unwrap();
    assert_eq!(unfinished.line, "UNFINISHED b (0.000s) the runner was killed by signal 9");
    assert_eq!(unfinished.metadata["level"], "warn");
}

#[test]
fn progress_comes_on_change_at_most_once_a_second_and_else_every_ten() {
    let mut run = Run::new();
    for n in 0..100 {
        run.start(&n.to_string());
        run.end(&n.to_string(), Status::Passed, "");
        run.after(Duration::from_millis(50));
    }
    let count = |run: &Run| run.sink.0.iter().filter(|e| e.is("progress", "")).count();
    assert_eq!(count(&run), 1 + 5, "the start, and 5 s of changes");
    run.after(Duration::from_secs(1));
    let busy = count(&run);
    for _ in 0..100 {
        run.after(Duration::from_millis(500));
    }
    assert_eq!(count(&run) - busy, 5, "50 s without one");
    run.start("slow");
    run.after(Duration::from_secs(10));
    let progress = run.last();
    assert_eq!((progress.metadata["oldest_test"].as_str(), progress.metadata["oldest_ms"].as_str()), ("slow", "10000"));
}

#[test]
fn a_line_too_long_for_loki_becomes_several_entries_and_nothing_is_cut() {
    let mut run = Run::new();
    let text = "é".repeat(MAX_LINE) + "x";
    let log = LogLine { test: Some(test("a")), source: Source::Stdout, level: None, text: text.as_str().into() };
    run.say(Fact::Log(log));
    let parts: Vec<_> = run.sink.0.iter().filter(|e| e.is("log", "")).collect();
    assert_eq!(parts.iter().map(|e| e.line.as_str()).collect::<String>(), text);
    let numbers: Vec<_> = parts.iter().map(|e| e.metadata["part"].as_str()).collect();
    assert_eq!(numbers, ["1/3", "2/3", "3/3"]);
}

#[test]
fn a_line_without_a_test_gets_the_only_one_that_was_running() {
    let mut run = Run::new();
    let log = |run: &mut Run| {
        run.say(Fact::Log(LogLine { test: None, source: Source::Stderr, level: None, text: "x".into() }));
        run.last().metadata.clone()
    };
    assert!(!log(&mut run).contains_key("test"));
    run.start("a");
    assert_eq!(log(&mut run)["test"], "a");
    run.start("b");
    let both = log(&mut run);
    assert_eq!((both.get("test"), both["tests_running"].as_str()), (None, "2"));
}

#[test]
fn a_run_told_after_the_fact_keeps_its_own_time() {
    let (mut normalizer, mut sink) = (Normalizer::new(info()), Sink::default());
    let day = 86_400_000_000_000;
    let at = |seconds: i64| Some(Timestamp(NOW.0 - day + seconds * 1_000_000_000));
    let start = TestStarted { test: test("a"), ..TestStarted::default() };
    normalizer.event(&Event { time: at(0), fact: Fact::TestStarted(start) }, NOW, &mut sink);
    let end = TestFinished::new(test("a"), Status::Passed);
    normalizer.event(&Event { time: at(90), fact: Fact::TestFinished(end) }, NOW, &mut sink);
    normalizer.finish(&RunEnd::InputEnded, NOW, &mut sink);
    assert!(sink.0.iter().all(|e| e.time < NOW.0 - day + 91_000_000_000), "no entry is of today: {:?}", sink.0);
    assert_eq!(sink.0.last().unwrap().number("elapsed_ms"), 90_000);
}

#[test]
fn another_process_can_end_a_run_from_its_snapshot() {
    let mut run = Run::new();
    run.say(Fact::Planned(Planned { total: Some(5), tests: Vec::new() }));
    for id in ["a", "b"] {
        run.start(id);
        run.end(id, Status::Passed, "");
    }
    run.start("c");
    let snapshot = serde_json::to_vec(&run.normalizer.snapshot()).unwrap();
    let written = run.sink.0.len() as u64;
    let mut sink = Sink::default();
    let mut heir = Normalizer::restore(serde_json::from_slice(&snapshot).unwrap());
    assert_eq!(heir.finish(&RunEnd::Abandoned, run.now, &mut sink), Some(RunStatus::Aborted));
    assert_eq!(sink.0[0].seq, written + 1, "the numbers go on");
    let end = sink.0.last().unwrap();
    let counts = ["planned", "passed", "unfinished", "running", "entries"].map(|name| end.number(name));
    assert_eq!(counts, [5, 2, 1, 0, written + sink.0.len() as u64], "{}", end.line);
}

/// A file of a batch.
fn part(file: &str) -> Part {
    Part { file: file.into(), worker: "w1".into(), prefix: "".into() }
}

impl Run {
    /// Begins an attempt of a file, in which a test may report; what is said from now on is said by the file.
    fn begin(&mut self, file: &str, attempt: u32) {
        self.normalizer.part_started(&part(file), attempt, self.now, &mut self.sink);
        self.normalizer.enter(Some(&part(file)));
    }

    /// Ends it.
    fn over(&mut self, file: &str, status: Status) {
        self.normalizer.enter(None);
        let end = PartEnd { status, exit_code: None, message: String::new(), duration: Duration::from_secs(1) };
        self.normalizer.part_finished(&part(file), &end, self.now, &mut self.sink);
    }

    /// Counters of the run's end, by the first letters that they have in the tests below.
    fn counts(&self) -> [u64; 8] {
        ["planned", "done", "passed", "failed", "errored", "flaky", "retried", "unfinished"]
            .map(|name| self.last().number(name))
    }
}

fn batch(files: &[&str]) -> Run {
    let mut run = Run::new();
    run.normalizer.set_files(files.iter().map(|file| (*file).to_owned()).collect());
    run.normalizer.open_run(run.now, &mut run.sink);
    run
}

#[test]
fn a_file_counts_until_its_tests_do_and_a_failure_counts_once() {
    let mut run = batch(&["plain", "tests", "crash", "late"]);
    run.begin("plain", 1);
    run.over("plain", Status::Passed);
    run.begin("tests", 1);
    run.say(Fact::Planned(Planned { total: None, tests: ["a", "b"].map(Into::into).to_vec() }));
    run.start("a");
    run.end("a", Status::Failed, "no");
    run.start("b");
    run.end("b", Status::Passed, "");
    run.over("tests", Status::Failed);
    run.begin("crash", 1);
    run.start("c");
    run.end("c", Status::Passed, "");
    run.start("d");
    run.over("crash", Status::Errored);
    assert_eq!(run.finish(RunEnd::Exited(1)), RunStatus::Failed);
    // plain, a, b, c, d, and crash for itself; late never ran.
    assert_eq!(run.counts(), [7, 5, 3, 1, 1, 0, 0, 1], "{}", run.last().line);
    assert!(run.last().line.ends_with("failing: 2\n  a\n  crash\nnever ran: 1\n  late"), "{}", run.last().line);
    let ends =
        |status| run.sink.0.iter().filter(|e| e.is("test", status)).map(|e| e.metadata["test"].as_str()).collect();
    let (failed, passed): (Vec<_>, Vec<_>) = (ends("failed"), ends("passed"));
    assert_eq!((failed, passed), (vec!["a", "tests"], vec!["plain", "b", "c"]));
    let file = run.sink.0.iter().find(|e| e.is("test", "failed") && e.metadata["test"] == "tests").unwrap();
    assert!(!file.metadata.contains_key("signature"), "its tests say why: {file:?}");
    let statuses: Vec<_> =
        run.sink.0.iter().filter(|e| e.labels["kind"] == "run").map(|e| &e.labels["status"]).collect();
    assert_eq!(statuses, ["created", "started", "failed"]);
}

#[test]
fn tests_of_a_file_that_is_run_again_are_retries_of_themselves() {
    let mut run = batch(&["f", "g"]);
    for (attempt, status) in [(1, Status::Failed), (2, Status::Passed)] {
        run.begin("f", attempt);
        run.start("a");
        run.end("a", status, "");
        run.start("b");
        run.end("b", Status::Passed, "");
        run.over("f", status);
    }
    // The first attempt crashed before it had a test, so it counts for itself from then on.
    run.begin("g", 1);
    run.over("g", Status::Errored);
    run.begin("g", 2);
    run.start("c");
    run.end("c", Status::Passed, "");
    run.over("g", Status::Passed);
    assert_eq!(run.finish(RunEnd::Exited(0)), RunStatus::Passed);
    // a, b, g and c; a and g are flaky.
    assert_eq!(run.counts(), [4, 4, 4, 0, 0, 2, 2, 0], "{}", run.last().line);
}

#[test]
fn a_batch_that_is_gone_on_with_counts_what_was_and_what_is_left_once() {
    let mut run = batch(&["f", "g", "h"]);
    run.begin("f", 1);
    run.over("f", Status::Passed);
    run.begin("g", 1);
    run.start("a");
    let snapshot = serde_json::to_vec(&run.normalizer.snapshot()).unwrap();
    // Whoever finds it ends the run, and keeps how that was.
    let mut heir = Run { normalizer: Normalizer::restore(serde_json::from_slice(&snapshot).unwrap()), ..Run::new() };
    heir.finish(RunEnd::Abandoned);
    assert_eq!(heir.counts(), [3, 1, 1, 0, 0, 0, 0, 1], "{}", heir.last().line);
    let unfinished = heir.sink.0.iter().filter(|e| e.is("test", "unfinished")).map(|e| e.metadata["test"].as_str());
    assert_eq!(unfinished.collect::<Vec<_>>(), ["a", "g"]);
    let (ended, written) = (heir.normalizer.snapshot(), heir.normalizer.entries());
    let mut next = Run { normalizer: Normalizer::restore(ended), ..Run::new() };
    next.normalizer.set_files(vec!["h".into()]);
    next.normalizer.open_run(next.now, &mut next.sink);
    assert_eq!((next.last().is("run", "started"), next.last().seq), (true, written + 1));
    next.begin("h", 1);
    next.over("h", Status::Passed);
    assert_eq!(next.finish(RunEnd::Exited(1)), RunStatus::Failed);
    assert_eq!(next.counts(), [3, 2, 2, 0, 0, 0, 0, 1], "{}", next.last().line);
}
