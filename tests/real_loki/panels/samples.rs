//! Every query of every dashboard, asked about the real runs of the sample projects: the answers are their truth.

use super::{Want, compare, sorted};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::now;
use crate::recorded::Recorded;
use crate::sample_runs::{SampleRun, SampleRuns, sample_runs};

/// A run that is over, as its own page shows it.
fn live_truth<'a>(sample: &'a SampleRun, recorded: &Recorded) -> Vec<(&'static str, Want<'a>)> {
    let truth = &sample.truth;
    let value = |count: u64| Want::Value(count as f64);
    let texts = |kind| Want::TextsInAnyOrder(sorted(recorded.of(kind).map(|row| row.line.clone())));
    vec![
        ("State", Want::Run(sample.runner, 2.0)),
        ("Progress", Want::Run(sample.runner, 1.0)),
        ("Elapsed", value(recorded.end().number("elapsed_ms"))),
        ("To go", Want::Nothing),
        ("Done", value(truth.tests)),
        ("Planned", value(truth.tests)),
        ("Passed", value(truth.passed)),
        ("Failed", value(truth.failed)),
        ("Errored", value(truth.errored)),
        ("Skipped", value(truth.skipped)),
        ("Xfailed", value(truth.xfailed)),
        ("Xpassed", value(truth.xpassed)),
        ("Flaky", value(truth.flaky)),
        ("Retries", value(truth.retries)),
        ("Running", value(0)),
        ("Unfinished", value(0)),
        ("Failures as they come", Want::EachOnce("test", truth.failing.iter().cloned().collect())),
        ("Course of the run/A", Want::Course { last: truth.tests as f64, among: &[] }),
        ("Course of the run/B", Want::Course { last: (truth.failed + truth.errored) as f64, among: &[] }),
        ("Course of the run/C", Want::Course { last: 0.0, among: &[] }),
        ("Longest running test", Want::Lines(&[&[("running", "0")]])),
        ("Running tests", Want::StillStarted("test", &[])),
        ("Suites", Want::StillStarted("suite", &[])),
        ("Log", texts("log")),
        ("The run", Want::Lines(&[&[("status", "failed")], &[("status", "started"), ("branch", "trunk")]])),
        ("How it ended", Want::TextsInAnyOrder(vec![recorded.end().line.clone()])),
        ("Notes", texts("note")),
        ("Measurements", Want::Nothing),
    ]
}

/// The page of all runs, on which these are.
fn runs_truth<'a>(runs: &[(&'a SampleRun, &Recorded)]) -> Vec<(&'static str, Want<'a>)> {
    let sum = |count: fn(&SampleRun) -> u64| runs.iter().map(|(run, _)| count(run)).sum::<u64>() as f64;
    let (passed, failed) = (sum(|run| run.truth.passed), sum(|run| run.truth.failed + run.truth.errored));
    let elapsed: u64 = runs.iter().map(|(_, recorded)| recorded.end().number("elapsed_ms")).sum();
    let count = runs.len() as f64;
    let mut table = vec![
        ("Live runs", Want::Value(0.0)),
        ("Failing in live runs", Want::Value(0.0)),
        ("Finished runs", Want::Value(count)),
        ("Failed", Want::Value(count)),
        ("Aborted", Want::Value(0.0)),
        ("Runs passed", Want::Value(0.0)),
        ("Tests passed", Want::Value(passed / (passed + failed))),
        ("Flaky", Want::Value(sum(|run| run.truth.flaky))),
        ("Mean duration", Want::Value(elapsed as f64 / count)),
        ("Every finished run", Want::EachOnce("run_id", sorted(runs.iter().map(|(run, _)| run.runner.to_owned())))),
        ("Silent runs", Want::Nothing),
    ];
    table.extend(over_time(runs));
    table.extend(UNDER_WAY.map(|query| (query, Want::Nothing)));
    table
}

/// Columns of a table that is empty when no run is under way.
const UNDER_WAY: [&str; 12] = [
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
];

/// Graphs over runs. Of one run they have its numbers; of several, what lies between, because it depends on which of them
/// end in one interval: `sum` says whether numbers of such runs add up, or else their mean is taken.
fn over_time<'a>(runs: &[(&SampleRun, &Recorded)]) -> Vec<(&'static str, Want<'a>)> {
    let between = |sum: bool, value: &dyn Fn(&SampleRun, &Recorded) -> f64| {
        let values: Vec<f64> = runs.iter().map(|(run, recorded)| value(run, recorded)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = if sum { values.iter().sum() } else { values.iter().copied().fold(0.0, f64::max) };
        Want::Between(least, most)
    };
    let count = |count: fn(&Truth) -> u64| between(true, &|run, _| count(&run.truth) as f64);
    vec![
        (
            "Pass rate",
            between(false, &|run, _| {
                run.truth.passed as f64 / (run.truth.passed + run.truth.failed + run.truth.errored) as f64
            }),
        ),
        ("Duration", between(false, &|_, recorded| recorded.end().number("elapsed_ms") as f64)),
        ("Results/A", count(|truth| truth.passed)),
        ("Results/B", count(|truth| truth.failed)),
        ("Results/C", count(|truth| truth.errored)),
        ("Results/D", count(|truth| truth.skipped)),
    ]
}

#[tokio::test]
async fn every_query_of_every_dashboard_returns_the_truth_of_real_runs() {
    let loki = Loki::get();
    let SampleRuns { project, robot, pytest, go } = sample_runs();
    let mut runs = Vec::new();
    for sample in [robot, pytest, go] {
        runs.push((sample, Recorded::read(loki, project, sample.runner).await));
    }
    let now = now();
    for (sample, recorded) in &runs {
        compare(loki, "live", &[("run_id", sample.runner)], project, now, &live_truth(sample, recorded)).await;
        compare(loki, "runs", &[("runner", sample.runner)], project, now, &runs_truth(&[(sample, recorded)])).await;
    }
    let all: Vec<_> = runs.iter().map(|(sample, recorded)| (*sample, recorded)).collect();
    compare(loki, "runs", &[], project, now, &runs_truth(&all)).await;
}
