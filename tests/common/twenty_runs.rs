//! Twenty-one runs of a project of 5,000 tests with scripted flips, fixes, renames, slow-downs and a rerun, and what each
//! result means by a computation over all results that shares nothing with the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fastrand::Rng;

pub(crate) const RUNS: usize = 21;
pub(crate) const TESTS: usize = 5_000;

/// Attempts of a test in a run: status and milliseconds; the last one is its result.
pub(crate) type Attempts = Vec<(&'static str, u64)>;

/// What the end entry of a test must say: previous, change, flaky_score (empty for 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) previous: String,
    pub(crate) change: String,
    pub(crate) flaky_score: String,
}

/// All runs: attempts by test.
pub(crate) struct Story {
    pub(crate) runs: Vec<BTreeMap<String, Attempts>>,
    /// Start of the first run, in seconds since the epoch; the others follow every half hour.
    pub(crate) began: i64,
}

struct Test {
    name: String,
    fails: bool,
    millis: u64,
}

impl Story {
    /// Always the same for the same `began`.
    pub(crate) fn new(began: i64, tests: usize) -> Self {
        let mut rng = Rng::with_seed(20_261_120);
        let name = |i: usize| format!("shop/area{}/test_{i}", i % 40);
        let mut all: Vec<Test> = (0..tests)
            .map(|i| Test { name: name(i), fails: rng.usize(..50) == 0, millis: 1 + rng.u64(..2000) })
            .collect();
        let mut runs: Vec<BTreeMap<String, Attempts>> = Vec::new();
        for run in 0..RUNS {
            match run {
                5 => all.extend((0..tests / 50).map(|i| Test {
                    name: format!("{}_new", name(i)),
                    fails: i % 7 == 0,
                    millis: 5,
                })),
                7 | 13 => all.iter_mut().skip(run).step_by(100).for_each(|test| test.name.push_str("_renamed")),
                9 => all.retain(|_| rng.usize(..100) > 0),
                15 => all.iter_mut().step_by(120).for_each(|test| test.millis *= 6),
                _ => {}
            }
            for test in &mut all {
                // Failures appear in one of 60, and are fixed sooner.
                test.fails = if test.fails { rng.usize(..5) > 0 } else { rng.usize(..60) == 0 };
            }
            let failed = |name: &str| {
                runs.last()
                    .and_then(|last| last.get(name))
                    .is_some_and(|a| matches!(a.last(), Some(("failed" | "errored", _))))
            };
            // Run 18 is a rerun of what failed.
            let chosen = all.iter().filter(|test| run != 18 || failed(&test.name));
            let results = chosen.map(|test| (test.name.clone(), attempts(test, &mut rng))).collect();
            runs.push(results);
        }
        Self { runs, began }
    }

    pub(crate) fn run_id(run: usize) -> String {
        format!("run-{run:02}")
    }

    /// The events of a run, or of that part of it which `of_shard` chooses.
    pub(crate) fn events(&self, run: usize, of_shard: impl Fn(&str) -> bool) -> String {
        let mut time = (self.began + run as i64 * 1800) * 1000;
        let mut text = format!("{{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"custom\",\"time\":{time}}}\n");
        let tests = || self.runs[run].iter().filter(|(name, _)| of_shard(name));
        let names: Vec<&String> = tests().map(|(name, _)| name).collect();
        writeln!(
            text,
            "{{\"event\":\"planned\",\"time\":{time},\"tests\":{}}}",
            serde_json::to_string(&names).unwrap()
        )
        .unwrap();
        for (name, attempts) in tests() {
            for (status, millis) in attempts {
                time += 7;
                writeln!(
                    text,
                    "{{\"event\":\"test_finished\",\"time\":{time},\"test\":\"{name}\",\"status\":\"{status}\",\"duration_ms\":{millis}}}"
                )
                .unwrap();
            }
        }
        writeln!(text, "{{\"event\":\"run_finished\",\"time\":{time}}}").unwrap();
        text
    }

    /// Outcomes of a test in the runs up to `run`, by run.
    fn outcomes(&self, run: usize, name: &str) -> Vec<(usize, &'static str)> {
        let outcome = |attempts: &Attempts| {
            let is_flaky = attempts.len() > 1 && attempts.last().unwrap().0 == "passed";
            if is_flaky { "flaky" } else { attempts.last().unwrap().0 }
        };
        (0..=run).filter_map(|r| Some((r, outcome(self.runs[r].get(name)?)))).collect()
    }

    /// What a run's results mean.
    pub(crate) fn expected(&self, run: usize) -> BTreeMap<String, Expected> {
        let good = |outcome: &str| match outcome {
            "passed" | "flaky" | "xfailed" | "xpassed" => Some(true),
            "failed" | "errored" => Some(false),
            _ => None,
        };
        let meaning = |name: &String| {
            let all = self.outcomes(run, name);
            let (now, before) = all.split_last().unwrap();
            let last = before.iter().rev().find_map(|(_, outcome)| good(outcome));
            let change = match (good(now.1), last) {
                _ if run == 0 => "",
                (Some(false), Some(false)) => "still_failing",
                (Some(false), _) => "new_failure",
                (Some(true), Some(false)) => "fixed",
                _ if before.is_empty() => "new_test",
                _ => "",
            };
            let newest: Vec<&str> = all.iter().rev().take(20).map(|(_, outcome)| *outcome).collect();
            let sides: Vec<bool> = newest.iter().filter_map(|outcome| good(outcome)).collect();
            let flips = sides.windows(2).filter(|pair| pair[0] != pair[1]).count();
            let score = flips + newest.iter().filter(|outcome| **outcome == "flaky").count();
            let previous = before.last().map_or("", |(_, outcome)| outcome);
            Expected {
                previous: previous.to_owned(),
                change: change.to_owned(),
                flaky_score: if score > 0 { score.to_string() } else { String::new() },
            }
        };
        self.runs[run].keys().map(|name| (name.clone(), meaning(name))).collect()
    }
}

fn attempts(test: &Test, rng: &mut Rng) -> Attempts {
    let millis = test.millis + rng.u64(..=test.millis / 10);
    match (test.fails, rng.usize(..100)) {
        (_, 0) => vec![("skipped", 0)],
        (_, 1) => vec![("xfailed", millis)],
        (true, 2..15) => vec![("retried", millis), ("passed", millis)],
        // A runner that does not say that it will try again.
        (true, 15..30) => vec![("failed", millis), ("passed", millis)],
        (true, 30..45) => vec![("failed", millis), ("failed", millis)],
        (true, 45..60) => vec![("errored", millis)],
        (true, _) => vec![("failed", millis)],
        (false, _) => vec![("passed", millis)],
    }
}

/// Checks the end entries and the end of a run, as maps of labels and metadata in the order of their sequence numbers.
pub(crate) fn check(what: &str, expected: &BTreeMap<String, Expected>, entries: &[BTreeMap<String, String>]) {
    let text = |entry: &BTreeMap<String, String>, name: &str| entry.get(name).cloned().unwrap_or_default();
    let mut found: BTreeMap<String, Expected> = BTreeMap::new();
    let ended = entries.iter().filter(|e| text(e, "kind") == "test" && text(e, "status") != "started");
    for entry in ended.filter(|e| text(e, "status") != "retried") {
        let [previous, change, flaky_score] = ["previous", "change", "flaky_score"].map(|name| text(entry, name));
        found.insert(text(entry, "test"), Expected { previous, change, flaky_score });
    }
    let names: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let wrong: Vec<String> = names
        .into_iter()
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| format!("{name}: expected {:?}, found {:?}", expected.get(name), found.get(name)))
        .collect();
    assert!(
        wrong.is_empty(),
        "{what}: {} of {} are wrong:\n{}",
        wrong.len(),
        expected.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    for (counter, change) in [
        ("new_failures", "new_failure"),
        ("fixed", "fixed"),
        ("still_failing", "still_failing"),
        ("new_tests", "new_test"),
    ] {
        let count = expected.values().filter(|e| e.change == change).count() as u64;
        let ends = entries.iter().filter(|e| text(e, "kind") == "run" && text(e, "status") != "started");
        let said: u64 = ends.map(|e| text(e, counter).parse().unwrap_or(0)).sum();
        assert_eq!(said, count, "{what}: {counter}");
    }
}
