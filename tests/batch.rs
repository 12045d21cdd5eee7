//! `testwire batch` with plain scripts: what its entries, its journal and its logs say, and that nothing outlives it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/binary.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use binary::{Done, Scratch, run, start, text_of, until};
use serde_json::Value;

/// A place with scripts in it.
struct Place(Scratch);

impl Place {
    fn new() -> Self {
        Self(Scratch::new())
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.0.work().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn batch(&self, arguments: &[&str]) -> std::process::Command {
        let common = ["batch", "--output", "ndjson", "--project", "p", "--run-id", "r"];
        self.0.testwire(common.iter().chain(arguments))
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.0.state().join("batch").join(name)
    }

    fn journal(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory("r").join("journal.ndjson")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// States of the run (as the file "") and of each file, in order.
    fn states(&self) -> BTreeMap<String, Vec<String>> {
        let mut states = BTreeMap::<String, Vec<String>>::new();
        for line in self.journal() {
            let file = line["file"].as_str().unwrap_or_default().to_owned();
            states.entry(file).or_default().push(line["state"].as_str().unwrap().to_owned());
        }
        states
    }
}

/// Entries of this kind; of runs and tests with this status, if it is not empty.
fn entries(done: &Done, kind: &str, status: &str) -> Vec<Value> {
    let out = done.out();
    let all = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|entry| entry["labels"]["kind"] == kind && (status.is_empty() || entry["labels"]["status"] == status))
        .collect()
}

/// The run's end.
fn end(done: &Done) -> Value {
    let mut runs = entries(done, "run", "");
    runs.pop().unwrap_or_else(|| panic!("no run: {}", done.err()))
}

/// Counters of the run's end that are not 0.
fn counters(done: &Done) -> BTreeMap<String, u64> {
    let end = end(done);
    let names = ["planned", "done", "passed", "failed", "errored", "flaky", "retried", "unfinished", "running"];
    let count = |name: &str| end["metadata"][name].as_str().unwrap().parse().unwrap();
    names.map(|name| (name.to_owned(), count(name))).into_iter().filter(|(_, count)| *count > 0).collect()
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// True while there is such a process, and it is no zombie.
fn lives(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Waits until the processes that wrote their ids into these files are gone.
fn wait_until_gone(place: &Place, names: &[&str]) {
    for name in names {
        let pid = fs::read_to_string(place.0.work().join(name)).unwrap();
        until(&format!("{name} is gone"), || (!lives(pid.trim())).then_some(()));
    }
}

#[test]
fn exit_codes_signals_and_time_limits_become_statuses_and_each_costs_one_file() {
    let place = Place::new();
    place.script("good", "echo out of $0; echo err >&2");
    place.script("bad", "echo before; exit 3");
    place.script("crash", "kill -SEGV $$");
    place.script("hang", "sleep 600");
    fs::write(place.0.work().join("no.sh"), "exit 0\n").unwrap();
    let files = ["good", "bad", "crash", "hang", "no.sh"];
    let done =
        run(&mut place.batch(&[&["--workers", "3", "--timeout", "10s", "--user", "alice"][..], &files].concat()), b"");
    assert_eq!(done.code, 1, "{}", done.err());

    let runs: Vec<_> = entries(&done, "run", "").iter().map(|run| run["labels"]["status"].clone()).collect();
    assert_eq!(runs, ["created", "started", "failed"]);
    assert_eq!(end(&done)["metadata"]["user"], "alice");
    let expected = [("planned", 5), ("done", 5), ("passed", 2), ("failed", 1), ("errored", 2)];
    assert_eq!(counters(&done), counts(&expected));
    let told = |status: &str| {
        let tests = entries(&done, "test", status).into_iter().map(|test| {
            let meta = &test["metadata"];
            let text = |name: &str| meta[name].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("test"), text("exit_code"), text("message"))
        });
        let mut tests: Vec<_> = tests.collect();
        tests.sort();
        tests
    };
    assert_eq!(told("started").len(), 5);
    assert_eq!(told("passed"), ["good 0 ", "no.sh 0 "]);
    assert_eq!(told("failed"), ["bad 3 exit code 3"]);
    assert_eq!(told("errored"), ["crash  killed by signal 11 (SIGSEGV)", "hang  timed out after 10s"]);

    let logs: Vec<_> = entries(&done, "log", "").into_iter().filter(|log| log["metadata"]["test"] == "good").collect();
    let mut lines: Vec<_> = logs.iter().map(|log| (log["labels"]["source"].clone(), log["line"].clone())).collect();
    lines.sort_by_key(|(source, _)| source.to_string());
    assert_eq!(lines, [("stderr".into(), "err".into()), ("stdout".into(), "out of ./good".into())]);
    let kept = fs::read_to_string(place.directory("r").join("output/1.log")).unwrap();
    assert_eq!(kept, "before\n", "the log of the second file");

    let journal = place.journal();
    let last = |file: &str| journal.iter().rfind(|line| line["file"] == file).unwrap();
    assert_eq!((&last("bad")["state"], &last("bad")["code"]), (&"failed".into(), &3.into()));
    assert_eq!((&last("crash")["state"], &last("crash")["signal"]), (&"failed".into(), &11.into()));
    assert_eq!((&last("hang")["state"], &last("hang")["timed_out"]), (&"failed".into(), &true.into()));
    assert_eq!(place.states()[""], ["created", "started", "failed"]);
    assert_eq!(place.states()["good"], ["created", "started", "passed"]);
    let batch: Value = serde_json::from_slice(&fs::read(place.directory("r").join("batch.json")).unwrap()).unwrap();
    assert_eq!((&batch["user"], &batch["workers"]), (&"alice".into(), &3.into()));
    assert_eq!(batch["files"], serde_json::json!(files));

    let again = run(&mut place.batch(&["good"]), b"");
    assert_eq!(again.code, 2, "one run id is one batch: {}", again.err());
}

#[test]
fn a_file_that_passes_when_it_is_run_again_is_flaky_and_one_that_does_not_has_failed_once() {
    let place = Place::new();
    place.script("flaky", "test -e seen || { touch seen; exit 1; }");
    place.script("bad", "echo again; exit 1");
    let done = run(&mut place.batch(&["--retry", "2", "flaky", "bad"]), b"");
    assert_eq!(done.code, 1);
    let expected = [("planned", 2), ("done", 2), ("passed", 1), ("failed", 1), ("flaky", 1), ("retried", 3)];
    assert_eq!(counters(&done), counts(&expected));
    let passed = entries(&done, "test", "passed");
    assert_eq!((&passed[0]["metadata"]["outcome"], &passed[0]["metadata"]["attempt"]), (&"flaky".into(), &"2".into()));
    assert_eq!(entries(&done, "test", "failed").len(), 4, "every attempt has an end");
    assert_eq!(fs::read_to_string(place.directory("r").join("output/1.log")).unwrap(), "again\n", "the last attempt's");
}

#[test]
fn fail_fast_stops_what_runs_and_starts_nothing_more() {
    let place = Place::new();
    place.script("bad", "until test -s long.pid; do sleep 0.05; done; exit 1");
    place.script("long", "echo $$ > long.pid; exec sleep 600");
    place.script("never", "touch ran");
    let done = run(&mut place.batch(&["--fail-fast", "--workers", "2", "bad", "long", "never"]), b"");
    assert_eq!(done.code, 1, "{}", done.err());
    assert!(!place.0.work().join("ran").exists());
    wait_until_gone(&place, &["long.pid"]);
    assert_eq!(counters(&done), counts(&[("planned", 3), ("done", 1), ("failed", 1), ("unfinished", 1)]));
    assert_eq!(end(&done)["labels"]["status"], "failed");
    assert_eq!(place.states()["never"], ["created"]);
    assert!(end(&done)["line"].as_str().unwrap().contains("never ran: 1\n  never"), "{}", end(&done)["line"]);
}

#[test]
fn what_a_file_left_running_costs_the_batch_nothing_and_ends_with_it() {
    let place = Place::new();
    place.script(
        "leaves",
        "setsid sh -c 'echo $$ > left.pid; while :; do echo again; sleep 0.1; done' & until test -s left.pid; do sleep 0.05; done",
    );
    let done = run(&mut place.batch(&["--workers", "1", "leaves"]), b"");
    assert_eq!(done.code, 0, "{}", done.err());
    assert_eq!(counters(&done), counts(&[("planned", 1), ("done", 1), ("passed", 1)]));
    wait_until_gone(&place, &["left.pid"]);
}

#[test]
fn a_signal_ends_every_file_with_all_that_it_has_started() {
    let place = Place::new();
    // The second process leaves the group, and neither listens to SIGTERM.
    let deaf = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ > far.pid; while :; do sleep 1; done' & echo $$ > near.pid; \
                while :; do sleep 1; done";
    place.script("deaf", deaf);
    place.script("never", "touch ran");
    let batch = start(&mut place.batch(&["--workers", "1", "deaf", "never"]));
    for name in ["near.pid", "far.pid"] {
        text_of(&place.0.work().join(name));
    }
    batch.signal("TERM");
    let done = batch.wait();
    assert_eq!(done.code, 143, "{}", done.err());
    wait_until_gone(&place, &["near.pid", "far.pid"]);
    assert!(!place.0.work().join("ran").exists());
    assert_eq!(end(&done)["labels"]["status"], "aborted");
    assert_eq!(counters(&done), counts(&[("planned", 2), ("unfinished", 1)]));
    assert_eq!(place.states()[""], ["created", "started", "aborted"]);
    assert_eq!(place.states()["deaf"], ["created", "started", "aborted"]);
}

#[test]
fn nothing_outlives_a_killed_testwire_and_what_had_finished_is_not_run_again() {
    let place = Place::new();
    place.script("first", "echo ran >> first.log");
    let long =
        "setsid sh -c 'echo $$ > far.pid; exec sleep 600' & echo $$ > near.pid; echo ran >> long.log; exec sleep 600";
    place.script("long", long);
    place.script("later", "echo ran >> later.log");
    let batch = start(&mut place.batch(&["--workers", "1", "first", "long", "later"]));
    for name in ["near.pid", "far.pid"] {
        text_of(&place.0.work().join(name));
    }
    // The next file begins before the end of the last one is written down.
    until("the end of the first file is in the journal", || {
        place.states()["first"].contains(&"passed".to_owned()).then_some(())
    });
    batch.signal("KILL");
    batch.wait();
    wait_until_gone(&place, &["near.pid", "far.pid"]);
    assert_eq!(place.states()["first"], ["created", "started", "passed"]);
    assert_eq!(place.states()["long"], ["created", "started"]);

    let done = run(&mut place.batch(&["--resume"]), b"");
    assert_eq!(done.code, 1, "one did not finish: {}", done.err());
    assert!(done.err().contains("3 files: 2 passed, 1 aborted"), "{}", done.err());
    assert_eq!(place.states()["long"], ["created", "started", "aborted"]);
    assert_eq!(place.states()["later"], ["created", "started", "passed"]);
    for (name, runs) in [("first.log", 1), ("long.log", 1), ("later.log", 1)] {
        assert_eq!(fs::read_to_string(place.0.work().join(name)).unwrap().lines().count(), runs, "{name}");
    }
}

#[test]
fn shards_share_the_files_out_and_have_a_journal_each() {
    let place = Place::new();
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| place.script(name, "echo $0 >> ran"));
    for shard in ["1/2", "2/2"] {
        let done = run(&mut place.batch(&[&["--shard", shard][..], &names].concat()), b"");
        assert_eq!(done.code, 0, "{}", done.err());
        assert!(entries(&done, "test", "").iter().all(|test| test["metadata"]["shard"] == shard));
    }
    let mut ran: Vec<_> = fs::read_to_string(place.0.work().join("ran")).unwrap().lines().map(str::to_owned).collect();
    ran.sort();
    assert_eq!(ran, ["./a", "./b", "./c"]);
    assert!(
        place.directory("r.1_2").join("batch.json").exists() && place.directory("r.2_2").join("batch.json").exists()
    );
}

#[test]
fn what_cannot_be_run_is_said_before_anything_runs() {
    let place = Place::new();
    place.script("good", "touch ran");
    fs::write(place.0.work().join("what.txt"), "").unwrap();
    for (arguments, text) in [
        (&["good", "gone"][..], "cannot run gone"),
        (&["good", "what.txt"], "no command is known for what.txt"),
        (&["good", "."], "a directory"),
        (&["--shard", "3/2", "good"], "there is no shard 3/2"),
        (&["--command", "sh 'x", "good"], "a quote that is not closed"),
        (&["--resume"], "no batch with this run id"),
    ] {
        let done = run(&mut place.batch(arguments), b"");
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.err());
        assert!(done.err().contains(text), "{arguments:?}: {}", done.err());
    }
    assert!(!place.0.work().join("ran").exists());
    let done = run(&mut place.batch(&["--command", "/nowhere/runner {}", "good"]), b"");
    assert_eq!(done.code, 1, "{}", done.err());
    assert_eq!(counters(&done)["errored"], 1);
}
