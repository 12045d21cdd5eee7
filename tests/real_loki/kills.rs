//! testwire itself is killed at random, while a listener and a pipe feed it: what it had accepted arrives, once.
//!
//! `TESTWIRE_LONG=1` makes it 200 kills; normally there are 20.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::binary::{Scratch, kill, run, start, until};
use crate::loki::Loki;
use crate::query::{now, unique_project};

/// Rounds; each kills two processes.
fn rounds() -> usize {
    if std::env::var_os("TESTWIRE_LONG").is_some() { 100 } else { 10 }
}

/// Rounds that run at the same time, on one state directory.
const BESIDE: usize = 5;
/// Tests that the listener of a round writes, one every 4 ms.
const TESTS: usize = 300;

/// What a round leaves to be checked.
struct Round {
    run_id: String,
    /// True for a wrapped runner, whose events are all in a file; of a pipe nobody knows how much was read.
    wrapped: bool,
}

/// A "pytest" that writes events as the plugin does, goes on when testwire is dead, and says when it is through.
fn write_runner(directory: &Path) {
    let script = format!(
        r#"#!/usr/bin/env python3
import fcntl, json, os, sys, time
fd = os.open(os.environ["TESTWIRE_EVENTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_SH)
def say(**event):
    os.write(fd, (json.dumps(event) + "\n").encode())
say(**{{"$report_type": "SessionStart", "pytest_version": "9"}})
for n in range({TESTS}):
    node = "t.py::test_%d" % n
    say(**{{"$report_type": "TestStart", "nodeid": node, "time": time.time()}})
    for when in "setup", "call", "teardown":
        say(**{{"$report_type": "TestReport", "nodeid": node, "when": when, "outcome": "passed", "start": time.time(),
               "stop": time.time(), "duration": 0.001, "sections": [["Captured stdout call", "line of %d\n" % n]]}})
    time.sleep(0.004)
say(**{{"$report_type": "SessionFinish", "exitstatus": 0}})
open(os.environ["TESTWIRE_RUN_ID"] + ".through", "w").close()
"#
    );
    let path = directory.join("pytest");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// One round: a wrapped runner and a pipe, both killed at a random moment.
fn round(scratch: &Scratch, url: &str, project: &str, n: usize) -> Vec<Round> {
    let (wrapped_id, piped_id) = (format!("wrapped-{n}"), format!("piped-{n}"));
    let common = ["--quiet", "--project", project, "--loki-url", url, "--drain-timeout", "2s", "--run-id"];
    let testwire = |command: &str, id: &str, rest: &[&str]| {
        let mut arguments = vec![command];
        arguments.extend(common);
        arguments.extend([id, "--shard", "s"]);
        arguments.extend(rest);
        scratch.testwire(arguments)
    };
    let runner = scratch.work().join("pytest");
    let wrapped = start(&mut testwire("run", &wrapped_id, &["--", runner.to_str().unwrap()]));
    let mut piped = start(&mut testwire("pipe", &piped_id, &["--format", "gotest"]));
    let mut stdin = piped.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        for n in 0..100_000 {
            let time = chrono::Utc::now().to_rfc3339();
            let event = |action: &str, rest: &str| {
                format!("{{\"Time\":\"{time}\",\"Action\":\"{action}\",\"Package\":\"p\",\"Test\":\"T{n}\"{rest}}}\n")
            };
            let lines = [event("run", ""), event("output", ",\"Output\":\"x\\n\""), event("pass", ",\"Elapsed\":0.1")];
            if stdin.write_all(lines.concat().as_bytes()).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let seed = now().unsigned_abs() as usize + n * 7919;
    std::thread::sleep(Duration::from_millis(100 + (seed % 1300) as u64));
    for process in [&wrapped, &piped] {
        kill(process.id(), "KILL");
    }
    writer.join().unwrap();
    vec![Round { run_id: wrapped_id, wrapped: true }, Round { run_id: piped_id, wrapped: false }]
}

/// Delivers what is left until no directory of a dead process is there any more.
fn flush(scratch: &Scratch, url: &str) {
    let begun = Instant::now();
    until("everything is delivered", || {
        let flush = run(&mut scratch.testwire(["flush", "--loki-url", url, "--drain-timeout", "20s"]), b"");
        assert_eq!(flush.code, 0, "{}", flush.err());
        // A queue whose making was cut short has a hidden name, and nothing in it.
        let left = std::fs::read_dir(scratch.state().join("spool")).into_iter().flatten().flatten();
        let left = left.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        (left.count() == 0).then_some(())
    });
    eprintln!("flushed in {:?}", begun.elapsed());
}

#[tokio::test]
async fn nothing_is_missing_or_doubled_however_often_testwire_is_killed() {
    let loki = Loki::get();
    let (scratch, project) = (Scratch::new(), unique_project("kills"));
    write_runner(&scratch.work());
    let mut all = Vec::new();
    for first in (0..rounds()).step_by(BESIDE) {
        let (scratch, project, url) = (&scratch, &project, loki.url());
        std::thread::scope(|scope| {
            let beside: Vec<_> = (first..(first + BESIDE).min(rounds()))
                .map(|n| scope.spawn(move || round(scratch, url, project, n)))
                .collect();
            all.extend(beside.into_iter().flat_map(|thread| thread.join().unwrap()));
        });
    }
    flush(&scratch, loki.url());
    let (mut runners, mut early) = (0, 0);
    for Round { run_id, wrapped } in &all {
        let audit = run(&mut scratch.testwire(["audit", "--project", &project, "--loki-url", loki.url(), run_id]), b"");
        if audit.err().contains("no entry of run") && !scratch.work().join(format!("{run_id}.through")).exists() {
            // Killed before it had accepted anything.
            early += 1;
            continue;
        }
        assert!(
            audit.code == 0 && audit.out().contains(" 0 missing, 0 doubled"),
            "{run_id}: {}{}",
            audit.out(),
            audit.err()
        );
        // Killed so early that the runner was not started, there is nothing to take up.
        if !wrapped || !scratch.work().join(format!("{run_id}.through")).exists() {
            continue;
        }
        runners += 1;
        assert_complete(loki, &project, run_id).await;
    }
    assert!(runners * 5 > rounds(), "runners were started: {runners} of {}", rounds());
    assert!(early * 4 < all.len() * 3, "many had accepted something: {early} of {} had not", all.len());
    eprintln!(
        "{} processes killed, {early} of them before they had accepted anything; {runners} runners outlived theirs",
        all.len()
    );
}

/// All that the listener wrote is there, and the run ended as the runner said.
async fn assert_complete(loki: &Loki, project: &str, run_id: &str) {
    let tests = format!("{{service_name=\"{project}\", kind=\"test\", status=\"passed\"}} | run_id=\"{run_id}\"");
    let rows = loki.query_range(&tests, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
    assert_eq!(rows.len(), TESTS, "tests of {run_id} that the listener wrote");
    let end = format!("{{service_name=\"{project}\", kind=\"run\", status=\"passed\"}} | run_id=\"{run_id}\"");
    let end = loki.query_range(&end, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
    assert_eq!(end.len(), 1, "{run_id} was taken up by another process and ended as the runner said: {end:?}");
    assert_eq!(end[0].number("passed"), TESTS as u64);
}

#[tokio::test]
async fn a_runner_that_has_written_nothing_yet_when_testwire_is_killed_is_waited_for() {
    let loki = Loki::get();
    let (scratch, project) = (Scratch::new(), unique_project("early"));
    write_runner(&scratch.work());
    let common = ["--quiet", "--project", &project, "--loki-url", loki.url(), "--run-id", "early"];
    let script = "touch begun; while [ ! -e go ]; do sleep 0.02; done; ./pytest";
    let testwire = start(scratch.testwire(["run"]).args(common).args(["--", "sh", "-c", script]));
    until("the runner has begun", || scratch.work().join("begun").exists().then_some(()));
    kill(testwire.id(), "KILL");
    drop(testwire);
    for _ in 0..3 {
        let flush = run(&mut scratch.testwire(["flush", "--loki-url", loki.url(), "--drain-timeout", "20s"]), b"");
        assert_eq!(flush.code, 0, "{}", flush.err());
    }
    let events = std::fs::read_dir(scratch.state().join("events")).unwrap();
    assert_eq!(events.count(), 1, "the run is not given up");
    std::fs::write(scratch.work().join("go"), "").unwrap();
    until("the runner is through", || scratch.work().join("early.through").exists().then_some(()));
    flush(&scratch, loki.url());
    assert_complete(loki, &project, "early").await;
}

#[tokio::test]
async fn a_bundled_reporter_that_outlives_testwire_is_understood_by_the_one_that_takes_over() {
    let loki = Loki::get();
    let (scratch, project) = (Scratch::new(), unique_project("reporter"));
    let script = "#!/bin/sh\n\
        echo '{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"node\"}' >> \"$TESTWIRE_EVENTS\"\n\
        echo '{\"event\":\"test_started\",\"test\":\"a\"}' >> \"$TESTWIRE_EVENTS\"\n\
        touch begun; while [ ! -e go ]; do sleep 0.02; done\n\
        echo '{\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"failed\"}' >> \"$TESTWIRE_EVENTS\"\n\
        echo '{\"event\":\"run_finished\"}' >> \"$TESTWIRE_EVENTS\"; touch through\n";
    let node = scratch.work().join("node");
    std::fs::write(&node, script).unwrap();
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755)).unwrap();
    let common = ["--quiet", "--project", &project, "--loki-url", loki.url(), "--run-id", "r"];
    let testwire = start(scratch.testwire(["run"]).args(common).args(["--", node.to_str().unwrap(), "--test"]));
    until("the runner has begun", || scratch.work().join("begun").exists().then_some(()));
    kill(testwire.id(), "KILL");
    drop(testwire);
    std::fs::write(scratch.work().join("go"), "").unwrap();
    until("the runner is through", || scratch.work().join("through").exists().then_some(()));
    flush(&scratch, loki.url());
    let end =
        format!("{{service_name=\"{project}\", runner=\"node\", kind=\"run\", status=\"failed\"}} | run_id=\"r\"");
    let end = loki.query_range(&end, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
    assert_eq!(end.len(), 1, "{end:?}");
    assert_eq!((end[0].number("failed"), end[0].number("unfinished")), (1, 0));
}
