//! Every query of every dashboard, asked of a real Loki that holds seeded runs: more states than real runs can be brought
//! into at will, and all of it twice.

use serde_json::json;

use super::seed::seed;
use super::{Pairs, Table, Want, ask, compare, holds, page, value_of};
use crate::dashboards::{self as panels, Answer};
use crate::loki::Loki;
use crate::query;

/// What both live runs must show.
fn both(half: f64, live: f64) -> Want<'static> {
    Want::Values(vec![("half", half), ("live", live)])
}

fn runs_truth() -> Table<'static> {
    vec![
        ("Live runs", Want::Value(2.0)),
        ("Failing in live runs", Want::Value(8.0)),
        ("Stalled runs", Want::Value(1.0)),
        ("Finished runs", Want::Value(4.0)),
        ("Failed", Want::Value(1.0)),
        ("Aborted", Want::Value(1.0)),
        ("Runs passed", Want::Value(0.5)),
        ("Tests passed", Want::Value(148.0 / 161.0)),
        ("New failures", Want::Value(4.0)),
        ("Mean duration", Want::Value(100_000.0)),
        ("Runs under way/A", both(0.5, 0.6)),
        ("Runs under way/B", both(15.0, 60.0)),
        ("Runs under way/C", both(30.0, 100.0)),
        ("Runs under way/D", both(13.0, 45.0)),
        ("Runs under way/E", both(1.0, 6.0)),
        ("Runs under way/F", both(0.0, 1.0)),
        ("Runs under way/G", both(1.0, 5.0)),
        ("Runs under way/H", both(0.0, 3.0)),
        ("Runs under way/I", Want::Run("live", 2.0)),
        ("Runs under way/J", both(1.0, 3.0)),
        ("Runs under way/K", both(80_000.0, 95_000.0)),
        ("Runs under way/L", both(20_000.0, 45_000.0)),
        (
            "Runs under way/M",
            Want::Labels(&[
                &[("run_id", "half"), ("branch", "main"), ("user", "ana"), ("host", "h1")],
                &[("run_id", "live"), ("branch", "main"), ("user", "ana"), ("host", "h1")],
            ]),
        ),
        ("Stalled", Want::Labels(&[&[("run_id", "silent"), ("branch", "main"), ("host", "h1")]])),
        ("Finished runs, newest first", Want::Lines(&FINISHED)),
        ("Pass rate", Want::Course { last: 1.0, among: &[0.75, 100.0 / 110.0, 1.0] }),
        ("Duration", Want::Course { last: 40_000.0, among: &[100_000.0, 60_000.0, 200_000.0] }),
        ("Results/A", Want::Course { last: 2.0, among: &[9.0, 28.0, 100.0] }),
        ("Results/B", Want::Course { last: 0.0, among: &[3.0, 6.0] }),
        ("Results/C", Want::Course { last: 0.0, among: &[4.0] }),
        ("Results/D", Want::Course { last: 0.0, among: &[0.0, 1.0, 5.0] }),
    ]
}

/// The table of finished runs and parts, newest first.
const FINISHED: [&[(&str, &str)]; 5] = [
    &[("run_id", "just"), ("status", "passed"), ("done", "2"), ("complete", "1"), ("elapsed_ms", "40000")],
    &[("run_id", "half"), ("shard", "1/2"), ("state", "1"), ("done", "10"), ("skipped", "1")],
    &[("run_id", "bad"), ("state", "2"), ("failed", "6"), ("errored", "4"), ("flaky", "2"), ("new_failures", "4")],
    &[("run_id", "good"), ("state", "1"), ("branch", "dev"), ("user", "bo"), ("host", "h1"), ("xfailed", "1")],
    &[("run_id", "gone"), ("state", "3"), ("complete", "0.24"), ("branch", "main"), ("user", "ana")],
];

/// What the page of the run `live` shows while it runs.
fn live_truth() -> Table<'static> {
    vec![
        ("State", Want::Run("live", 0.0)),
        ("Progress", Want::Run("live", 0.6)),
        ("Done of planned/A", Want::Value(60.0)),
        ("Done of planned/B", Want::Value(100.0)),
        ("Time/A", Want::Value(95_000.0)),
        ("Time/B", Want::Value(45_000.0)),
        ("Under way/A", Want::Value(3.0)),
        ("Under way/B", Want::Value(2.0)),
        ("Results/A", Want::Value(45.0)),
        ("Results/B", Want::Value(6.0)),
        ("Results/C", Want::Value(1.0)),
        ("Results/D", Want::Value(5.0)),
        ("Results/E", Want::Value(2.0)),
        ("Results/F", Want::Value(1.0)),
        ("Results/G", Want::Value(3.0)),
        ("Results/H", Want::Value(4.0)),
        ("Results/I", Want::Value(2.0)),
        ("Results/J", Want::Nothing),
        ("Results/K", Want::Nothing),
        ("Results/L", Want::Nothing),
        ("Failures as they come", Want::Lines(&LIVE_FAILURES)),
        ("Running tests", Want::StillStarted("test", &["a.test_again", "a.test_slow"])),
        ("Course of the run/A", Want::Course { last: 60.0, among: &[14.0] }),
        ("Course of the run/B", Want::Course { last: 7.0, among: &[0.0] }),
        ("Course of the run/C", Want::Course { last: 3.0, among: &[3.0] }),
        ("Workers/A", Want::Groups("lane", &[("a", 3), ("gw0", 1)])),
        ("Workers/B", Want::Groups("lane", &[("a", 5), ("gw0", 2), ("gw1", 1)])),
        ("Suites", Want::StillStarted("suite", &["a"])),
        ("How it ended, and what never ran", Want::Nothing),
        ("Log", Want::Texts(&["plain line", "Boom \"quoted\" 100%"])),
        ("Longest running test", Want::Lines(&PROGRESS)),
        ("Notes", Want::Texts(&["line 17 is not an event"])),
        ("Side by side/A", Want::Run("live", 0.6)),
        ("Side by side/B", Want::Run("live", 45.0)),
        ("Side by side/C", Want::Run("live", 7.0)),
        ("Side by side/D", Want::Run("live", 3.0)),
        ("Side by side/E", Want::Run("live", 95_000.0)),
        ("Side by side/F", Want::Run("live", 0.0)),
        ("The run", Want::Lines(&[&[("status", "started"), ("branch", "main"), ("commit", "c0ffee"), ("host", "h1")]])),
        ("Measurements", Want::Course { last: 42.5, among: &[] }),
    ]
}

/// Reports of the run `live`, newest first.
const PROGRESS: [&[(&str, &str)]; 4] = [
    &[("shard", "1/2"), ("oldest_test", "a.test_slow"), ("oldest_worker", "gw1"), ("oldest_ms", "61000")],
    &[("shard", "2/2")],
    &[("shard", "2/2")],
    &[("shard", "1/2")],
];

/// Failures of the run `live`, newest first.
const LIVE_FAILURES: [&[(&str, &str)]; 3] = [
    &[("test", "a.test_again"), ("status", "failed"), ("message", "first try")],
    &[("test", "a.test_broken"), ("status", "errored"), ("message", "fixture gone"), ("meaning", "known")],
    &[("test", "a.test_bad"), ("message", "AssertionError: 500"), ("meaning", "still_failing"), ("worker", "gw0")],
];

/// The same page for the run `bad`, ten minutes after its end: what differs from an empty page.
fn ended_truth() -> Table<'static> {
    vec![
        ("State", Want::Run("bad", 2.0)),
        ("Progress", Want::Run("bad", 118.0 / 120.0)),
        ("Done of planned/A", Want::Value(118.0)),
        ("Done of planned/B", Want::Value(120.0)),
        ("Time/A", Want::Value(200_000.0)),
        ("Time/B", Want::Nothing),
        ("Under way/A", Want::Value(0.0)),
        ("Under way/B", Want::Value(0.0)),
        ("Results/A", Want::Value(100.0)),
        ("Results/B", Want::Value(6.0)),
        ("Results/C", Want::Value(4.0)),
        ("Results/D", Want::Value(5.0)),
        ("Results/E", Want::Value(2.0)),
        ("Results/F", Want::Value(1.0)),
        ("Results/G", Want::Value(2.0)),
        ("Results/H", Want::Value(3.0)),
        ("Results/I", Want::Value(4.0)),
        ("Results/J", Want::Value(6.0)),
        ("Results/K", Want::Value(3.0)),
        ("Results/L", Want::Value(1.0)),
        ("Failures as they come", Want::Lines(&[&[("test", "a.test_of_another_run")], &[("test", "a.test_bad")]])),
        ("Running tests", Want::StillStarted("test", &[])),
        ("Course of the run/A", Want::Course { last: 118.0, among: &[] }),
        ("Course of the run/B", Want::Course { last: 10.0, among: &[] }),
        ("Course of the run/C", Want::Course { last: 0.0, among: &[] }),
        ("Workers/A", Want::Groups("block", &[("·", 2)])),
        ("Workers/B", Want::Groups("block", &[("✗ a.test_bad", 1), ("✗ a.test_of_another_run", 1)])),
        ("Suites", Want::Nothing),
        ("How it ended, and what never ran", Want::Texts(&["FAILED of bad\nFAIL a.test_bad\nNEVER RUN a.test_last"])),
        ("Log", Want::Nothing),
        ("Longest running test", Want::Lines(&[&[("run_id", "bad"), ("running", "0")]])),
        ("Notes", Want::Nothing),
        ("Side by side/A", Want::Run("bad", 118.0 / 120.0)),
        ("Side by side/B", Want::Run("bad", 100.0)),
        ("Side by side/C", Want::Run("bad", 10.0)),
        ("Side by side/D", Want::Run("bad", 0.0)),
        ("Side by side/E", Want::Run("bad", 200_000.0)),
        ("Side by side/F", Want::Run("bad", 2.0)),
        ("The run", Want::Lines(&[&[("status", "failed"), ("exit_code", "1")], &[("status", "started")]])),
        // They belong to no run.
        ("Measurements", Want::Course { last: 42.5, among: &[] }),
    ]
}

/// Failing tests, and how often each does.
const FAILING: &[(&str, usize)] =
    &[("a.test_again", 1), ("a.test_bad", 2), ("a.test_broken", 1), ("a.test_of_another_run", 1)];

fn failures_truth() -> Table<'static> {
    vec![
        ("Causes", Want::Value(2.0)),
        ("Failing results", Want::Value(13.0)),
        ("New", Want::Value(4.0)),
        ("Still failing", Want::Value(6.0)),
        ("Fixed", Want::Value(3.0)),
        ("Known", Want::Value(1.0)),
        ("Failures by cause", Want::Groups("signature", &[("", 3), ("0123456789abcdef", 2)])),
        ("Affected tests", Want::Groups("test", FAILING)),
        ("New, old and fixed/A", Want::Course { last: 4.0, among: &[] }),
        ("New, old and fixed/B", Want::Course { last: 6.0, among: &[] }),
        ("New, old and fixed/C", Want::Course { last: 3.0, among: &[] }),
        ("Each failure", Want::Groups("test", FAILING)),
        ("Messages in full", Want::Groups("test", FAILING)),
    ]
}

/// The page of `a.test_bad`: it passed in `good`, broke in `bad`, fails in `live`, and was mended in `just`.
fn test_truth() -> Table<'static> {
    vec![
        ("Newest result", Want::Lines(&[&[("status", "passed"), ("run_id", "just")]])),
        ("Results", Want::Value(4.0)),
        ("Passed", Want::Value(0.5)),
        ("Failures", Want::Value(2.0)),
        ("Flips", Want::Value(2.0)),
        ("Passed on retry", Want::Value(1.0)),
        ("Mean duration", Want::Value(1250.0)),
        ("Results by environment", Want::Groups("lane", &[("local pytest a.test_bad", 4)])),
        ("Duration", Want::Groups("duration_ms", &[("1000", 1), ("1500", 1), ("1900", 1), ("2000.25", 1)])),
        ("Newest failures in full", Want::Texts(&["failed a.test_bad", "failed a.test_bad"])),
        (
            "Where it broke, and where it was mended",
            Want::Lines(&[&[("change", "fixed"), ("run_id", "just")], &[("change", "new_failure"), ("run_id", "bad")]]),
        ),
        (
            "When it failed",
            Want::Lines(&[&[("run_id", "live"), ("meaning", "still_failing")], &[("meaning", "new_failure")]]),
        ),
        ("Every result", Want::Groups("run_id", &[("bad", 1), ("good", 1), ("just", 1), ("live", 1)])),
    ]
}

/// Each run's state by number: 0 running, 1 passed, 2 failed, 3 aborted, 4 silent.
const STATES: &[(&str, f64)] =
    &[("bad", 2.0), ("gone", 3.0), ("good", 1.0), ("half", 0.0), ("just", 1.0), ("live", 0.0), ("silent", 4.0)];

#[tokio::test]
async fn every_query_of_every_dashboard_returns_the_truth_from_a_real_loki() {
    let loki = Loki::get();
    let now = query::now() / 1_000_000 * 1_000_000;
    let project = query::unique_project("panels");
    seed(loki, &project, now).await;
    println!(
        "counting lines gives {} run entries; 12 were written, each sent twice",
        doubled(loki, &project, now).await
    );

    compare(loki, "runs", &[], &project, now, &runs_truth()).await;
    compare(loki, "live", &[("run_id", "live")], &project, now, &live_truth()).await;
    compare(loki, "live", &[("run_id", "bad")], &project, now, &ended_truth()).await;
    filters_narrow_what_the_panels_show(loki, &project, now).await;
    compare(loki, "failures", &[], &project, now, &failures_truth()).await;
    compare(loki, "test", &[("test", r"\Qa.test_bad\E")], &project, now, &test_truth()).await;
}

/// What a panel would show that counts lines: 24 as long as the second copy is in memory, 12 without copies.
async fn doubled(loki: &Loki, project: &str, now: i64) -> f64 {
    let expr = format!("sum(count_over_time({{service_name=\"{project}\", kind=\"run\"}} [1h]))");
    let panel = json!({"id": 1, "title": "", "targets": [{"refId": "A", "queryType": "instant", "expr": expr}]});
    let dashboard = json!({"panels": [panel]});
    let (vars, range) = page(&dashboard, &[], project, now);
    match ask(loki, &panels::queries(&dashboard)[0], &vars, range).await {
        Ok(Answer::Series(series)) if series.len() == 1 => value_of(&series),
        other => panic!("{other:?}"),
    }
}

async fn filters_narrow_what_the_panels_show(loki: &Loki, project: &str, now: i64) {
    let one = |dashboard, set, panel, want| check_one(loki, project, now, dashboard, set, panel, want);
    one("live", &[], "State", Want::Runs(STATES)).await;
    one("live", &[("run_id", "live"), ("test", "a.test_bad")], "Log", Want::Texts(&["Boom \"quoted\" 100%"])).await;
    one("live", &[("run_id", "live"), ("source", "stdout")], "Log", Want::Texts(&["plain line"])).await;
    one("live", &[("run_id", "live"), ("search", "PLAIN")], "Log", Want::Texts(&["plain line"])).await;
    one(
        "live",
        &[("run_id", "live"), ("test", "a.test_bad")],
        "Failures as they come",
        Want::Lines(&LIVE_FAILURES[2..]),
    )
    .await;
    one("runs", &[("status", "aborted")], "Finished runs, newest first", Want::Lines(&FINISHED[4..])).await;
    one(
        "runs",
        &[("status", "passed"), ("branch", "dev")],
        "Finished runs, newest first",
        Want::Lines(&FINISHED[3..4]),
    )
    .await;
    one("runs", &[("user", "b.*")], "Finished runs", Want::Value(1.0)).await;
    one("runs", &[("fact", "host:h1.*user:bo")], "Finished runs", Want::Value(1.0)).await;
    one("runs", &[("user", "b.*")], "Live runs", Want::Value(0.0)).await;
    one(
        "failures",
        &[("change", "new_failure")],
        "Affected tests",
        Want::Groups("test", &[("a.test_bad", 1), ("a.test_broken", 1)]),
    )
    .await;
    one("failures", &[("signature", "0123456789abcdef")], "Causes", Want::Value(1.0)).await;
    one("failures", &[("tag", "smoke")], "Causes", Want::Nothing).await;
    one("test", &[], "Every result", Want::Nothing).await;
    one("runs", &[("branch", "no such")], "Finished runs", Want::Nothing).await;
    one("runs", &[("branch", "no such")], "Failed", Want::Value(0.0)).await;
    one("runs", &[("runner", "robot|gotest")], "Live runs", Want::Value(0.0)).await;
}

async fn check_one(loki: &Loki, project: &str, now: i64, dashboard: &str, set: Pairs<'_>, panel: &str, want: Want<'_>) {
    let (vars, range) = page(&panels::load(dashboard), set, project, now);
    let queries = panels::queries(&panels::load(dashboard));
    let query = queries.iter().find(|q| q.title == panel).unwrap_or_else(|| panic!("no panel {panel}"));
    let got = ask(loki, query, &vars, range).await.unwrap_or_else(|e| panic!("{panel}: {e}"));
    assert!(
        holds(&want, &got),
        "{panel} with {set:?}: {got:#?}\nasked: {}",
        query.fill(&vars, range).unwrap_or_default()
    );
}

#[test]
fn an_unknown_variable_is_an_error_that_names_the_panel() {
    let dashboard = json!({"panels": [{"id": 1, "title": "T", "targets": [
        {"refId": "A", "queryType": "instant", "expr": "sum(count_over_time({a=~\"$known\"} [${__range}])) + ${unknown:raw}"}]}]});
    let query = &panels::queries(&dashboard)[0];
    let (vars, range) = page(&dashboard, &[("known", "x")], "p", 0);
    assert_eq!(query.fill(&vars, range).unwrap_err(), "T: no value for $unknown");
    let full = page(&dashboard, &[("known", "x"), ("unknown", "7")], "p", 0).0;
    assert_eq!(query.fill(&full, range).unwrap(), "sum(count_over_time({a=~\"x\"} [3600s])) + 7");
    assert!(query.path(&full, range).unwrap().starts_with("/loki/api/v1/query?query=sum%28count%5Fover%5Ftime"));
}
