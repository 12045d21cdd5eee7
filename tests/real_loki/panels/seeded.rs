//! Every query of every dashboard, asked of a real Loki that holds seeded runs: more states than real runs can be brought
//! into at will, and all of it twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Pairs, Want, ask, compare, holds, page, value_of};
use crate::dashboards::{self as panels, Answer};
use crate::loki::Loki;
use crate::query;

/// Seconds before now at which something happened.
type Ago = i64;
/// Builds the entries of one project and pushes them, one stream a push, oldest first within a stream.
struct Seed {
    project: String,
    now: i64,
    seq: i64,
    streams: BTreeMap<String, (Value, Vec<(i64, Value)>)>,
}

impl Seed {
    fn add(&mut self, ago: Ago, labels: Pairs, line: &str, metadata: Pairs) {
        self.seq += 1;
        let time = self.now - ago * 1_000_000_000 + self.seq;
        let mut all = BTreeMap::from([("service_name", self.project.as_str()), ("env", "local"), ("runner", "pytest")]);
        all.extend(labels.iter().copied());
        let entry = json!([time.to_string(), line, metadata.iter().copied().collect::<BTreeMap<_, _>>()]);
        self.streams.entry(format!("{all:?}")).or_insert_with(|| (json!(all), Vec::new())).1.push((time, entry));
    }

    fn run_start(&mut self, ago: Ago, run: &str, branch: &str, user: &str) {
        let facts = [("run_id", run), ("level", "info"), ("host", "h1"), ("user", user), ("branch", branch)];
        self.add(
            ago,
            &[("kind", "run"), ("status", "started")],
            "START",
            &[&facts[..], &[("commit", "c0ffee")]].concat(),
        );
    }

    /// `counters` in the order of [`COUNTERS`].
    fn run_end(&mut self, ago: Ago, run: &str, status: &str, facts: (&str, &str), counters: [&str; 12]) {
        let mut metadata =
            vec![("run_id", run), ("level", "info"), ("host", "h1"), ("branch", facts.0), ("user", facts.1)];
        metadata.extend(COUNTERS.into_iter().zip(counters));
        metadata.extend([("unfinished", "0"), ("exit_code", if status == "passed" { "0" } else { "1" })]);
        let line = format!("{} of {run}\nFAIL a.test_bad\nNEVER RUN a.test_last", status.to_uppercase());
        self.add(ago, &[("kind", "run"), ("status", status)], &line, &metadata);
    }

    fn progress(&mut self, ago: Ago, run: &str, more: Pairs, counters: [&str; 12]) {
        let mut metadata = vec![("run_id", run), ("level", "info"), ("host", "h1")];
        metadata.extend(COUNTERS.into_iter().zip(counters));
        metadata.push(("unfinished", if run == "live" { "1" } else { "0" }));
        metadata.extend(more);
        self.add(ago, &[("kind", "progress")], "progress", &metadata);
    }

    fn test(&mut self, ago: Ago, run: &str, status: &str, test: &str, more: Pairs) {
        let metadata = [&[("run_id", run), ("test", test), ("suite", "a"), ("level", "info")][..], more].concat();
        self.add(ago, &[("kind", "test"), ("status", status)], &format!("{status} {test}"), &metadata);
    }

    /// One stream a push.
    async fn push(&mut self, loki: &Loki) {
        for (labels, values) in self.streams.values_mut() {
            values.sort_by_key(|(time, _)| *time);
            push(loki, labels, values.iter().map(|(_, value)| value.clone()).collect()).await;
        }
    }
}

async fn push(loki: &Loki, labels: &Value, values: Vec<Value>) {
    let body = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
    let request = loki.client().post(format!("{}/loki/api/v1/push", loki.url()));
    let answer = request.header("Content-Type", "application/json").body(body).send().await.expect("Loki answers");
    let status = answer.status();
    assert_eq!(status, 204, "push of {labels}: {}", answer.text().await.unwrap_or_default());
}

/// Moves what is in memory to the store; a Loki that does not allow it just keeps fewer copies.
async fn flush(loki: &Loki) {
    loki.client().post(format!("{}/flush", loki.url())).send().await.expect("Loki answers");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// The order in which the seed gives them.
const COUNTERS: [&str; 12] = [
    "planned",
    "done",
    "passed",
    "failed",
    "errored",
    "skipped",
    "xfailed",
    "xpassed",
    "flaky",
    "retried",
    "running",
    "elapsed_ms",
];

/// Six runs of one project: finished ones of each status, one that has just ended, a silent one, and a live one with two
/// shards; and one of another project, which no panel may count.
///
/// All of it is sent twice with a flush between, as after a lost answer: a stored copy and one in memory, which Loki's
/// counting functions count double.
async fn seed(loki: &Loki, project: &str, now: i64) {
    let mut s = Seed { project: project.to_owned(), now, seq: 0, streams: BTreeMap::new() };
    s.run_start(3000, "gone", "main", "ana");
    s.progress(2950, "gone", &[], ["50", "10", "8", "2", "0", "0", "0", "0", "0", "0", "1", "50000"]);
    s.run_end(
        2900,
        "gone",
        "aborted",
        ("main", "ana"),
        ["50", "12", "9", "3", "0", "0", "0", "0", "0", "0", "0", "100000"],
    );
    s.run_start(2400, "silent", "main", "ana");
    s.progress(2300, "silent", &[], ["9", "1", "1", "0", "0", "0", "0", "0", "0", "0", "1", "100000"]);
    s.run_start(1860, "good", "dev", "bo");
    s.run_end(
        1800,
        "good",
        "passed",
        ("dev", "bo"),
        ["30", "30", "28", "0", "0", "1", "1", "0", "0", "0", "0", "60000"],
    );
    s.run_start(800, "bad", "main", "ana");
    s.progress(600, "bad", &[], ["120", "118", "100", "6", "4", "5", "2", "1", "2", "3", "0", "200000"]);
    s.run_end(
        600,
        "bad",
        "failed",
        ("main", "ana"),
        ["120", "118", "100", "6", "4", "5", "2", "1", "2", "3", "0", "200000"],
    );
    s.run_start(70, "just", "main", "ana");
    s.progress(40, "just", &[], ["2", "1", "1", "0", "0", "0", "0", "0", "0", "0", "1", "30000"]);
    s.run_end(30, "just", "passed", ("main", "ana"), ["2", "2", "2", "0", "0", "0", "0", "0", "0", "0", "0", "40000"]);
    live_run(&mut s);
    s.push(loki).await;
    flush(loki).await;
    s.push(loki).await;

    let mut other = Seed { project: format!("{project}-other"), now, seq: 0, streams: BTreeMap::new() };
    other.run_start(500, "other", "main", "ana");
    other.run_end(
        400,
        "other",
        "failed",
        ("main", "ana"),
        ["7", "7", "0", "7", "0", "0", "0", "0", "0", "0", "0", "1"],
    );
    other.progress(5, "other-live", &[], ["7", "7", "0", "7", "0", "0", "0", "0", "0", "0", "0", "1"]);
    other.push(loki).await;
}

fn live_run(s: &mut Seed) {
    let (one, two) = (("shard", "1/2"), ("shard", "2/2"));
    s.run_start(100, "live", "main", "ana");
    s.progress(
        60,
        "live",
        &[one, ("eta_ms", "90000")],
        ["60", "9", "9", "0", "0", "0", "0", "0", "0", "0", "2", "40000"],
    );
    s.progress(
        55,
        "live",
        &[two, ("eta_ms", "99000")],
        ["40", "5", "5", "0", "0", "0", "0", "0", "0", "0", "1", "45000"],
    );
    let oldest =
        [one, ("eta_ms", "30000"), ("oldest_test", "a.test_slow"), ("oldest_worker", "gw1"), ("oldest_ms", "61000")];
    s.progress(
        5,
        "live",
        &[two, ("eta_ms", "45000")],
        ["40", "20", "15", "2", "0", "2", "1", "0", "1", "1", "2", "95000"],
    );
    s.progress(4, "live", &oldest, ["60", "40", "30", "4", "1", "3", "1", "1", "2", "3", "1", "90000"]);
    s.add(99, &[("kind", "suite"), ("status", "started")], "START a", &[("run_id", "live"), ("suite", "a")]);
    s.add(98, &[("kind", "suite"), ("status", "started")], "START b", &[("run_id", "live"), ("suite", "b")]);
    let failed = [("run_id", "live"), ("suite", "b"), ("duration_ms", "48000.5"), ("message", "set-up broke")];
    s.add(50, &[("kind", "suite"), ("status", "failed")], "FAIL b", &failed);
    s.test(65, "live", "started", "a.test_slow", &[("worker", "gw1")]);
    s.test(64, "live", "started", "a.test_ok", &[]);
    s.test(63, "live", "passed", "a.test_ok", &[("duration_ms", "900")]);
    s.test(62, "live", "started", "a.test_bad", &[("worker", "gw0")]);
    let why = [("message", "AssertionError: 500"), ("signature", "0123456789abcdef"), ("duration_ms", "2000.25")];
    s.test(60, "live", "failed", "a.test_bad", &[&why[..], &[("worker", "gw0")]].concat());
    s.test(59, "live", "errored", "a.test_broken", &[("message", "fixture gone")]);
    s.test(58, "live", "failed", "a.test_again", &[("message", "first try")]);
    s.test(20, "live", "started", "a.test_again", &[("attempt", "2")]);
    s.test(58, "bad", "failed", "a.test_of_another_run", &[]);
    let of_test = [("run_id", "live"), ("test", "a.test_bad"), ("level", "error")];
    s.add(61, &[("kind", "log"), ("source", "stderr")], "Boom \"quoted\" 100%", &of_test);
    s.add(57, &[("kind", "log"), ("source", "stdout")], "plain line", &[("run_id", "live"), ("level", "info")]);
    let measured = [("value", "42.5"), ("unit", "%"), ("host", "h1"), ("level", "info")];
    s.add(30, &[("kind", "metric"), ("source", "cpu")], "cpu 42.5 %", &measured);
    s.add(50, &[("kind", "note")], "line 17 is not an event", &[("run_id", "live"), ("level", "warn")]);
}

fn runs_truth() -> Vec<(&'static str, Want<'static>)> {
    let live = |value| Want::Run("live", value);
    vec![
        ("Live runs", Want::Value(1.0)),
        ("Failing in live runs", Want::Value(7.0)),
        ("Finished runs", Want::Value(4.0)),
        ("Failed", Want::Value(1.0)),
        ("Aborted", Want::Value(1.0)),
        ("Runs passed", Want::Value(0.5)),
        ("Tests passed", Want::Value(139.0 / 152.0)),
        ("Flaky", Want::Value(2.0)),
        ("Mean duration", Want::Value(100_000.0)),
        ("Runs under way/A", live(0.6)),
        ("Runs under way/B", live(60.0)),
        ("Runs under way/C", live(100.0)),
        ("Runs under way/D", live(45.0)),
        ("Runs under way/E", live(6.0)),
        ("Runs under way/F", live(1.0)),
        ("Runs under way/G", live(5.0)),
        ("Runs under way/H", live(3.0)),
        ("Runs under way/I", live(3.0)),
        ("Runs under way/J", live(95_000.0)),
        ("Runs under way/K", live(45_000.0)),
        (
            "Runs under way/L",
            Want::Labels(&[&[("run_id", "live"), ("branch", "main"), ("user", "ana"), ("host", "h1")]]),
        ),
        ("Every finished run", Want::Lines(&FINISHED)),
        ("Pass rate", Want::Course { last: 1.0, among: &[0.75, 100.0 / 110.0, 1.0] }),
        ("Duration", Want::Course { last: 40_000.0, among: &[100_000.0, 60_000.0, 200_000.0] }),
        ("Results/A", Want::Course { last: 2.0, among: &[9.0, 28.0, 100.0] }),
        ("Results/B", Want::Course { last: 0.0, among: &[3.0, 6.0] }),
        ("Results/C", Want::Course { last: 0.0, among: &[4.0] }),
        ("Results/D", Want::Course { last: 0.0, among: &[0.0, 1.0, 5.0] }),
        ("Silent runs", Want::Labels(&[&[("run_id", "silent"), ("branch", "main"), ("host", "h1")]])),
    ]
}

/// The table of finished runs, newest first.
const FINISHED: [&[(&str, &str)]; 4] = [
    &[("run_id", "just"), ("status", "passed"), ("done", "2"), ("complete", "1"), ("elapsed_ms", "40000")],
    &[("run_id", "bad"), ("status", "failed"), ("failed", "6"), ("errored", "4"), ("flaky", "2"), ("planned", "120")],
    &[("run_id", "good"), ("status", "passed"), ("branch", "dev"), ("user", "bo"), ("host", "h1"), ("xfailed", "1")],
    &[("run_id", "gone"), ("status", "aborted"), ("complete", "0.24"), ("branch", "main"), ("user", "ana")],
];

/// What the page of the run `live` shows while it runs.
fn live_truth() -> Vec<(&'static str, Want<'static>)> {
    vec![
        ("State", Want::Run("live", 0.0)),
        ("Progress", Want::Run("live", 0.6)),
        ("Elapsed", Want::Value(95_000.0)),
        ("To go", Want::Value(45_000.0)),
        ("Done", Want::Value(60.0)),
        ("Planned", Want::Value(100.0)),
        ("Passed", Want::Value(45.0)),
        ("Failed", Want::Value(6.0)),
        ("Errored", Want::Value(1.0)),
        ("Skipped", Want::Value(5.0)),
        ("Xfailed", Want::Value(2.0)),
        ("Xpassed", Want::Value(1.0)),
        ("Flaky", Want::Value(3.0)),
        ("Retries", Want::Value(4.0)),
        ("Running", Want::Value(3.0)),
        ("Unfinished", Want::Value(2.0)),
        ("Failures as they come", Want::Lines(&LIVE_FAILURES)),
        ("Course of the run/A", Want::Course { last: 60.0, among: &[14.0] }),
        ("Course of the run/B", Want::Course { last: 7.0, among: &[0.0] }),
        ("Course of the run/C", Want::Course { last: 3.0, among: &[3.0] }),
        (
            "Longest running test",
            Want::Lines(&[&[("oldest_test", "a.test_slow"), ("oldest_worker", "gw1"), ("oldest_ms", "61000")]]),
        ),
        ("Running tests", Want::StillStarted("test", &["a.test_again", "a.test_slow"])),
        ("Suites", Want::StillStarted("suite", &["a"])),
        ("Log", Want::Texts(&["plain line", "Boom \"quoted\" 100%"])),
        ("The run", Want::Lines(&[&[("status", "started"), ("branch", "main"), ("commit", "c0ffee"), ("host", "h1")]])),
        ("How it ended", Want::Nothing),
        ("Notes", Want::Texts(&["line 17 is not an event"])),
        ("Measurements", Want::Course { last: 42.5, among: &[] }),
    ]
}

/// Failures of the run `live`, newest first.
const LIVE_FAILURES: [&[(&str, &str)]; 3] = [
    &[("test", "a.test_again"), ("status", "failed"), ("message", "first try")],
    &[("test", "a.test_broken"), ("status", "errored"), ("message", "fixture gone")],
    &[("test", "a.test_bad"), ("message", "AssertionError: 500"), ("signature", "0123456789abcdef"), ("worker", "gw0")],
];

/// The same page for the run `bad`, ten minutes after its end: what differs from an empty page.
fn ended_truth() -> Vec<(&'static str, Want<'static>)> {
    vec![
        ("State", Want::Run("bad", 2.0)),
        ("Progress", Want::Run("bad", 118.0 / 120.0)),
        ("Elapsed", Want::Value(200_000.0)),
        ("To go", Want::Nothing),
        ("Done", Want::Value(118.0)),
        ("Planned", Want::Value(120.0)),
        ("Passed", Want::Value(100.0)),
        ("Failed", Want::Value(6.0)),
        ("Errored", Want::Value(4.0)),
        ("Skipped", Want::Value(5.0)),
        ("Xfailed", Want::Value(2.0)),
        ("Xpassed", Want::Value(1.0)),
        ("Flaky", Want::Value(2.0)),
        ("Retries", Want::Value(3.0)),
        ("Running", Want::Value(0.0)),
        ("Unfinished", Want::Value(0.0)),
        ("Failures as they come", Want::Lines(&[&[("test", "a.test_of_another_run")]])),
        ("Course of the run/A", Want::Course { last: 118.0, among: &[] }),
        ("Course of the run/B", Want::Course { last: 10.0, among: &[] }),
        ("Course of the run/C", Want::Course { last: 0.0, among: &[] }),
        ("Longest running test", Want::Lines(&[&[("run_id", "bad"), ("running", "0")]])),
        ("Running tests", Want::StillStarted("test", &[])),
        ("Suites", Want::Nothing),
        ("Log", Want::Nothing),
        ("The run", Want::Lines(&[&[("status", "failed"), ("exit_code", "1")], &[("status", "started")]])),
        ("How it ended", Want::Texts(&["FAILED of bad\nFAIL a.test_bad\nNEVER RUN a.test_last"])),
        ("Notes", Want::Nothing),
        // They belong to no run.
        ("Measurements", Want::Course { last: 42.5, among: &[] }),
    ]
}

/// Each run's state by number: 0 running, 1 passed, 2 failed, 3 aborted, 4 silent.
const STATES: &[(&str, f64)] =
    &[("bad", 2.0), ("gone", 3.0), ("good", 1.0), ("just", 1.0), ("live", 0.0), ("silent", 4.0)];

#[tokio::test]
async fn every_query_of_every_dashboard_returns_the_truth_from_a_real_loki() {
    let loki = Loki::get();
    let now = query::now() / 1_000_000 * 1_000_000;
    let project = query::unique_project("panels");
    seed(loki, &project, now).await;
    println!(
        "counting lines gives {} run entries; 10 were written, each sent twice",
        doubled(loki, &project, now).await
    );

    compare(loki, "runs", &[], &project, now, &runs_truth()).await;
    compare(loki, "live", &[("run_id", "live")], &project, now, &live_truth()).await;
    compare(loki, "live", &[("run_id", "bad")], &project, now, &ended_truth()).await;
    filters_narrow_what_the_panels_show(loki, &project, now).await;
    // A dashboard without a table above would go unchecked.
    let files = std::fs::read_dir(panels::folder()).expect("the folder is there");
    let mut names: Vec<_> = files.map(|file| file.expect("a readable folder").file_name()).collect();
    names.sort();
    assert_eq!(names, ["live.json", "runs.json"]);
}

/// What a panel would show that counts lines: 20 as long as the second copy is in memory, 10 without copies.
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
    one("runs", &[("status", "aborted")], "Every finished run", Want::Lines(&FINISHED[3..])).await;
    one("runs", &[("status", "passed"), ("branch", "dev")], "Every finished run", Want::Lines(&FINISHED[2..3])).await;
    one("runs", &[("user", "b.*")], "Finished runs", Want::Value(1.0)).await;
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
