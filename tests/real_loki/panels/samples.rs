//! Every query of every dashboard, asked about the real runs of the sample projects: the answers are their truth.

use super::compare;
use super::truths::{self, Counts, Facts};
use crate::loki::Loki;
use crate::query::now;
use crate::recorded::Recorded;
use crate::sample_runs::{SampleRun, SampleRuns, sample_runs};

fn facts<'a>(sample: &'a SampleRun, recorded: &'a Recorded) -> Facts<'a> {
    let truth = &sample.truth;
    let counts = Counts {
        planned: truth.tests,
        passed: truth.passed,
        failed: truth.failed,
        errored: truth.errored,
        skipped: truth.skipped,
        xfailed: truth.xfailed,
        xpassed: truth.xpassed,
        flaky: truth.flaky,
        retried: truth.retries,
        unfinished: truth.unfinished,
    };
    Facts { run: sample.runner, counts, failing: truth.failing.iter().cloned().collect(), status: "failed", recorded }
}

#[tokio::test]
async fn every_query_of_every_dashboard_returns_the_truth_of_real_runs() {
    let loki = Loki::get();
    let SampleRuns { project, robot, pytest, go } = sample_runs();
    let mut runs = Vec::new();
    for sample in [robot, pytest, go] {
        runs.push((sample, Recorded::read(loki, project, sample.runner).await));
    }
    let all: Vec<Facts<'_>> = runs.iter().map(|(sample, recorded)| facts(sample, recorded)).collect();
    let now = now();
    for facts in &all {
        compare(loki, "live", &[("run_id", facts.run)], project, now, &truths::live(facts)).await;
        compare(loki, "runs", &[("runner", facts.run)], project, now, &truths::runs(&[facts])).await;
        compare(
            loki,
            "failures",
            &[("run_id", facts.run), ("runner", facts.run)],
            project,
            now,
            &truths::failures(facts),
        )
        .await;
        let test = &facts.failing[0];
        let pattern = format!(r"\Q{test}\E");
        compare(
            loki,
            "test",
            &[("test", pattern.as_str()), ("runner", facts.run)],
            project,
            now,
            &truths::test(facts, test),
        )
        .await;
    }
    compare(loki, "runs", &[], project, now, &truths::runs(&all.iter().collect::<Vec<_>>())).await;
}
