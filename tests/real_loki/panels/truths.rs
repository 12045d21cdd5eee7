//! What the pages must show of runs that are over: counts from a truth that was written by hand, lists from the run's entries.

use std::collections::BTreeSet;

use super::{Table, Want, sorted};
use crate::query::Row;
use crate::recorded::Recorded;

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) planned: u64,
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) errored: u64,
    pub(super) skipped: u64,
    pub(super) xfailed: u64,
    pub(super) xpassed: u64,
    pub(super) flaky: u64,
    pub(super) retried: u64,
    pub(super) unfinished: u64,
}

impl Counts {
    fn done(&self) -> u64 {
        self.passed + self.failing() + self.skipped + self.xfailed + self.xpassed
    }

    fn failing(&self) -> u64 {
        self.failed + self.errored
    }
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) run: &'a str,
    pub(super) counts: Counts,
    /// Names of the tests whose last attempt failed or broke, once for each such attempt.
    pub(super) failing: Vec<String>,
    /// `passed`, `failed` or `aborted`.
    pub(super) status: &'a str,
    pub(super) recorded: &'a Recorded,
}

/// Signs of the blocks in the workers' timeline.
const SIGNS: [(&str, &str); 6] =
    [("started", "▶"), ("passed", "✓"), ("failed", "✗"), ("errored", "!"), ("retried", "↻"), ("unfinished", "?")];

impl Facts<'_> {
    fn of<'b>(&'b self, kind: &'b str) -> impl Iterator<Item = &'b Row> {
        self.recorded.of(kind)
    }

    fn texts(&self, kind: &str) -> Want<'static> {
        Want::TextsInAnyOrder(sorted(self.of(kind).map(|row| row.line.clone())))
    }

    /// Ends of the run's shards.
    fn ends(&self) -> impl Iterator<Item = &Row> {
        self.of("run").filter(|row| row.get("status") != "started")
    }

    fn failures(&self) -> impl Iterator<Item = &Row> {
        self.of("test").filter(|row| matches!(row.get("status"), "failed" | "errored"))
    }

    fn elapsed(&self) -> f64 {
        self.ends().map(|row| row.number("elapsed_ms")).max().unwrap_or_default() as f64
    }

    /// A counter that only runs with a history have.
    fn judged(&self, name: &str) -> Option<f64> {
        let told: Vec<u64> = self.ends().filter(|row| !row.get(name).is_empty()).map(|row| row.number(name)).collect();
        (!told.is_empty()).then(|| told.iter().sum::<u64>() as f64)
    }

    fn state(&self) -> f64 {
        match self.status {
            "passed" => 1.0,
            "failed" => 2.0,
            _ => 3.0,
        }
    }

    /// Values of a label or metadata of rows, one for each row that has it.
    fn each<'b>(name: &'static str, rows: impl Iterator<Item = &'b Row>) -> Want<'static> {
        Want::EachOnce(name, sorted(rows.map(|row| row.get(name).to_owned()).filter(|value| !value.is_empty())))
    }

    /// After each end of a test its worker has nothing to do.
    fn idle(&self) -> Want<'static> {
        Want::EachOnce(
            "block",
            self.of("test").filter(|row| row.get("status") != "started").map(|_| "·".into()).collect(),
        )
    }

    fn blocks(&self) -> Want<'static> {
        let block = |row: &Row| {
            let sign = SIGNS.iter().find(|(status, _)| *status == row.get("status")).map_or("–", |(_, sign)| *sign);
            format!("{sign} {}", row.get("test"))
        };
        Want::EachOnce("block", sorted(self.of("test").filter(|row| row.get("hung") != "true").map(block)))
    }
}

fn value(count: u64) -> Want<'static> {
    Want::Value(count as f64)
}

fn value_or_nothing(value: Option<f64>) -> Want<'static> {
    value.map_or(Want::Nothing, Want::Value)
}

/// The page of one run.
pub(super) fn live<'a>(facts: &Facts<'a>) -> Table<'a> {
    let (run, counts) = (facts.run, facts.counts);
    let progress = (counts.planned > 0).then(|| counts.done() as f64 / counts.planned as f64);
    let progress = || progress.map_or(Want::Nothing, |share| Want::Run(run, share));
    let reports = facts.of("progress").count().min(100);
    let mut table = vec![
        ("State", Want::Run(run, facts.state())),
        ("Progress", progress()),
        ("Done of planned/A", value(counts.done())),
        ("Done of planned/B", value(counts.planned)),
        ("Time/A", Want::Value(facts.elapsed())),
        ("Time/B", Want::Nothing),
        ("Under way/A", value(0)),
        ("Under way/B", value(counts.unfinished)),
        ("Results/A", value(counts.passed)),
        ("Results/B", value(counts.failed)),
        ("Results/C", value(counts.errored)),
        ("Results/D", value(counts.skipped)),
        ("Results/E", value(counts.xfailed)),
        ("Results/F", value(counts.xpassed)),
        ("Results/G", value(counts.flaky)),
        ("Results/H", value(counts.retried)),
        ("Results/I", value_or_nothing(facts.judged("new_failures"))),
        ("Results/J", value_or_nothing(facts.judged("still_failing"))),
        ("Results/K", value_or_nothing(facts.judged("fixed"))),
        ("Results/L", value_or_nothing(facts.judged("known"))),
        ("Failures as they come", Want::EachOnce("test", sorted(facts.failing.iter().cloned()))),
        ("Running tests", Want::StillStarted("test", &[])),
        ("Course of the run/A", Want::Course { last: counts.done() as f64, among: &[] }),
        ("Course of the run/B", Want::Course { last: counts.failing() as f64, among: &[] }),
        ("Course of the run/C", Want::Course { last: 0.0, among: &[] }),
        ("Workers/A", facts.idle()),
        ("Workers/B", facts.blocks()),
        ("Suites", Facts::each("suite", facts.of("suite"))),
        ("How it ended, and what never ran", Want::TextsInAnyOrder(sorted(facts.ends().map(|row| row.line.clone())))),
        ("Log", facts.texts("log")),
        ("Longest running test", Want::EachOnce("run_id", vec![run.to_owned(); reports])),
        ("Notes", facts.texts("note")),
        ("The run", Facts::each("status", facts.of("run"))),
        ("Measurements", Want::Nothing),
    ];
    table.extend([
        ("Side by side/A", progress()),
        ("Side by side/B", Want::Run(run, counts.passed as f64)),
        ("Side by side/C", Want::Run(run, counts.failing() as f64)),
        ("Side by side/D", Want::Run(run, 0.0)),
        ("Side by side/E", Want::Run(run, facts.elapsed())),
        ("Side by side/F", Want::Run(run, facts.state())),
    ]);
    table
}

/// Queries of the table of live runs, and of that of stalled ones, which are empty when all runs are over.
const UNDER_WAY: [&str; 14] = [
    "Runs under way/A",
    "Runs under way/B",
    "Runs under way/C",
    "Runs under way/D",
    "Runs under way/E",
    "Runs under way/F",
    "Runs under way/G",
    "Runs under way/H",
    "Runs under way/I",
    "Runs under way/J",
    "Runs under way/K",
    "Runs under way/L",
    "Runs under way/M",
    "Stalled",
];

/// The page of all runs, on which these are.
pub(super) fn runs(all: &[&Facts<'_>]) -> Table<'static> {
    let sum = |count: fn(&Counts) -> u64| all.iter().map(|facts| count(&facts.counts)).sum::<u64>();
    let with = |status: &str| all.iter().filter(|facts| facts.status == status).count() as u64;
    let (passed, failing) = (sum(|c| c.passed), sum(|c| c.failing()));
    let judged = all.iter().filter_map(|facts| facts.judged("new_failures")).sum::<f64>();
    let elapsed: f64 = all.iter().map(|facts| facts.elapsed()).sum();
    let ends = all.iter().flat_map(|facts| facts.ends());
    let mut table = vec![
        ("Live runs", value(0)),
        ("Failing in live runs", value(0)),
        ("Stalled runs", value(0)),
        ("Finished runs", value(all.len() as u64)),
        ("Failed", value(with("failed"))),
        ("Aborted", value(with("aborted"))),
        ("Runs passed", Want::Value(with("passed") as f64 / all.len() as f64)),
        ("Tests passed", Want::Value(passed as f64 / (passed + failing) as f64)),
        ("New failures", Want::Value(judged)),
        ("Mean duration", Want::Value(elapsed / all.len() as f64)),
        ("Finished runs, newest first", Facts::each("run_id", ends)),
    ];
    table.extend(trends(all));
    table.extend(UNDER_WAY.map(|query| (query, Want::Nothing)));
    table
}

/// Graphs over runs. Of one run they have its numbers; of several, what lies between, because it depends on which of them
/// end in one interval: `sum` says whether numbers of such runs add up, or else their mean is taken.
fn trends(all: &[&Facts<'_>]) -> Table<'static> {
    let between = |sum: bool, value: &dyn Fn(&Row) -> f64| {
        let values: Vec<f64> = all.iter().flat_map(|facts| facts.ends()).map(value).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = if sum { values.iter().sum() } else { values.iter().copied().fold(0.0, f64::max) };
        Want::Between(least, most)
    };
    let count = |name: &'static str| between(true, &move |row: &Row| row.number(name) as f64);
    let passed = |row: &Row| {
        let [passed, failed, errored] = ["passed", "failed", "errored"].map(|name| row.number(name) as f64);
        passed / (passed + failed + errored).max(1.0)
    };
    vec![
        ("Pass rate", between(false, &passed)),
        ("Duration", between(false, &|row: &Row| row.number("elapsed_ms") as f64)),
        ("Results/A", count("passed")),
        ("Results/B", count("failed")),
        ("Results/C", count("errored")),
        ("Results/D", count("skipped")),
    ]
}

/// The failures of one run.
pub(super) fn failures(facts: &Facts<'_>) -> Table<'static> {
    let signatures: BTreeSet<&str> = facts.failures().map(|row| row.get("signature")).collect();
    let causes = (!signatures.is_empty()).then_some(signatures.len() as f64);
    let judged = |name| Want::Value(facts.judged(name).unwrap_or_default());
    let course = |name| match facts.judged(name) {
        Some(most) => Want::Between(0.0, most),
        None => Want::Nothing,
    };
    let mut newest: Vec<&Row> = facts.failures().collect();
    newest.sort_by_key(|row| std::cmp::Reverse(row.time));
    let messages = newest.iter().take(20).map(|row| row.line.clone());
    let tests = || Facts::each("test", facts.failures());
    vec![
        ("Causes", value_or_nothing(causes)),
        ("Failing results", value(facts.counts.failing())),
        ("New", judged("new_failures")),
        ("Still failing", judged("still_failing")),
        ("Fixed", judged("fixed")),
        ("Known", judged("known")),
        ("Failures by cause", Facts::each("signature", facts.failures())),
        ("Affected tests", tests()),
        ("New, old and fixed/A", course("new_failures")),
        ("New, old and fixed/B", course("still_failing")),
        ("New, old and fixed/C", course("fixed")),
        ("Each failure", tests()),
        ("Messages in full", Want::TextsInAnyOrder(sorted(messages))),
    ]
}

/// One test of one run.
pub(super) fn test(facts: &Facts<'_>, test: &str) -> Table<'static> {
    let rows = || facts.of("test").filter(move |row| row.get("test") == test && row.get("status") != "started");
    let results: Vec<&Row> = rows().filter(|row| row.get("status") != "retried").collect();
    let last = results.iter().max_by_key(|row| row.time).expect("the test has a result");
    let status = last.get("status");
    let failed = || results.iter().filter(|row| matches!(row.get("status"), "failed" | "errored")).copied();
    let passes = match status {
        "failed" | "errored" => Some(0.0),
        "passed" | "xfailed" | "xpassed" => Some(1.0),
        _ => None,
    };
    let count = |yes: bool| value(u64::from(yes));
    let turned = || results.iter().filter(|row| matches!(row.get("change"), "new_failure" | "fixed")).copied();
    let took = (status == "passed").then(|| last.get("duration_ms").parse().ok()).flatten();
    vec![
        ("Newest result", Want::EachOnce("status", vec![status.to_owned()])),
        ("Results", value(1)),
        ("Passed", value_or_nothing(passes)),
        ("Failures", count(failed().count() > 0)),
        ("Flips", count(turned().count() > 0)),
        ("Passed on retry", count(last.get("outcome") == "flaky")),
        ("Mean duration", value_or_nothing(took)),
        ("Results by environment", Facts::each("status", results.iter().copied())),
        ("Duration", Facts::each("duration_ms", results.iter().copied())),
        ("Newest failures in full", Want::TextsInAnyOrder(sorted(failed().take(3).map(|row| row.line.clone())))),
        ("Where it broke, and where it was mended", Facts::each("change", turned())),
        ("When it failed", Facts::each("test", failed())),
        ("Every result", Facts::each("status", rows())),
    ]
}
