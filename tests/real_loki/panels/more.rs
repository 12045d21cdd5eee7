//! The dashboards matrix, flaky, machines, logs and forwarder on seeded runs, all of it sent twice.

use std::collections::BTreeMap;

use super::{Pairs, Want, ask, compare, holds, page};
use crate::dashboards as panels;
use crate::loki::Loki;
use crate::query;

/// Seconds before now at which something happened.
type Ago = i64;

/// An entry of a project: when, its labels beside the project's, its line and its metadata.
struct Seeded {
    ago: Ago,
    labels: Vec<(String, String)>,
    line: String,
    metadata: Vec<(String, String)>,
}

/// What a run's end says beside its status.
const FIREFOX: Pairs<'static> =
    &[("configuration", "linux firefox"), ("host", "m1"), ("branch", "main"), ("user", "ana")];
const CHROME: Pairs<'static> = &[("configuration", "linux chrome"), ("host", "m2"), ("branch", "dev"), ("user", "bo")];
const PLAIN: Pairs<'static> = &[("host", "m1"), ("branch", "main"), ("user", "ana")];

fn owned(pairs: Pairs<'_>) -> impl Iterator<Item = (String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn entry(ago: Ago, labels: Pairs<'_>, line: &str, metadata: &[Pairs<'_>]) -> Seeded {
    let mut all: Vec<(String, String)> = metadata.iter().flat_map(|pairs| owned(pairs)).collect();
    if !all.iter().any(|(name, _)| name == "level") {
        all.extend(owned(&[("level", "info")]));
    }
    Seeded { ago, labels: owned(labels).collect(), line: line.to_owned(), metadata: all }
}

fn started(ago: Ago, run: &str, facts: Pairs<'_>) -> Seeded {
    entry(ago, &[("kind", "run"), ("status", "started")], "START", &[&[("run_id", run)], facts])
}

fn ended(ago: Ago, run: &str, status: &str, facts: Pairs<'_>, counts: Pairs<'_>) -> Seeded {
    entry(ago, &[("kind", "run"), ("status", status)], "END", &[&[("run_id", run)], facts, counts])
}

fn test(ago: Ago, run: &str, status: &str, test: &str, more: Pairs<'_>) -> Seeded {
    entry(ago, &[("kind", "test"), ("status", status)], status, &[&[("run_id", run), ("test", test)], more])
}

fn measured(ago: Ago, source: &str, host: &str, value: &str) -> Seeded {
    let labels = &[("kind", "metric"), ("runner", "app"), ("source", source)];
    entry(ago, labels, value, &[&[("host", host), ("value", value), ("unit", "%")]])
}

/// A report of a process: entries delivered, waiting, pushes tried again, entries refused.
fn told(ago: Ago, host: &str, process: &str, level: &str, figures: [&str; 4]) -> Seeded {
    let [pushed, waiting, retries, rejected] = figures;
    let labels = &[("kind", "metric"), ("runner", "app"), ("source", "testwire")];
    let counts: Pairs<'_> = &[("pushed", pushed), ("waiting", waiting), ("retries", retries), ("rejected", rejected)];
    let who: Pairs<'_> = &[("level", level), ("host", host), ("process", process)];
    let same: Pairs<'_> = &[
        ("pushed_bytes", "9000"),
        ("pushes", "7"),
        ("waiting_ms", "20000"),
        ("waiting_bytes", "100"),
        ("spool_used", "0.25"),
        ("entries_per_s", "15.5"),
        ("answer_ms", "5"),
        ("answer_slow_ms", "20"),
    ];
    entry(ago, labels, "testwire", &[who, counts, same])
}

fn runs() -> Vec<Seeded> {
    let first: Pairs<'_> = &[
        ("planned", "10"),
        ("done", "10"),
        ("failed", "2"),
        ("errored", "1"),
        ("flaky", "1"),
        ("retried", "3"),
        ("elapsed_ms", "60000"),
    ];
    let second: Pairs<'_> = &[
        ("planned", "8"),
        ("done", "8"),
        ("failed", "0"),
        ("errored", "0"),
        ("flaky", "0"),
        ("retried", "0"),
        ("elapsed_ms", "30000"),
    ];
    let third: Pairs<'_> = &[
        ("planned", "9"),
        ("done", "3"),
        ("failed", "0"),
        ("errored", "0"),
        ("flaky", "0"),
        ("retried", "1"),
        ("elapsed_ms", "20000"),
    ];
    let live: Pairs<'_> = &[
        ("run_id", "r4"),
        ("host", "m2"),
        ("planned", "8"),
        ("done", "4"),
        ("failed", "1"),
        ("errored", "0"),
        ("running", "2"),
        ("elapsed_ms", "95000"),
    ];
    vec![
        started(1860, "r1", FIREFOX),
        ended(1800, "r1", "failed", FIREFOX, first),
        started(930, "r2", CHROME),
        ended(900, "r2", "passed", CHROME, second),
        started(620, "r3", PLAIN),
        ended(600, "r3", "aborted", PLAIN, third),
        started(100, "r4", &[("host", "m2")]),
        entry(5, &[("kind", "progress")], "progress", &[live]),
    ]
}

fn tests() -> Vec<Seeded> {
    let on_firefox = ("configuration", "linux firefox");
    vec![
        test(
            1850,
            "r1",
            "failed",
            "t.a",
            &[("flaky_score", "4"), ("message", "500"), ("duration_ms", "700"), on_firefox],
        ),
        test(1845, "r1", "errored", "t.b", &[("flaky_score", "1"), ("duration_ms", "10"), on_firefox]),
        test(1840, "r1", "failed", "t.c", &[("duration_ms", "20"), on_firefox]),
        test(1835, "r1", "retried", "t.d", &[("message", "slow net"), ("duration_ms", "30"), on_firefox]),
        test(1830, "r1", "passed", "t.d", &[("attempt", "2"), ("outcome", "flaky"), ("duration_ms", "2500")]),
        test(
            1820,
            "r1",
            "passed",
            "t.slow",
            &[("duration_ms", "9000"), ("slower_by", "4000"), ("expected_ms", "5000")],
        ),
        test(925, "r2", "passed", "t.a", &[("duration_ms", "100")]),
        test(920, "r2", "xpassed", "t.x", &[("duration_ms", "50"), ("configuration", "linux chrome")]),
        test(915, "r2", "skipped", "t.s", &[]),
        test(90, "r4", "started", "t.a", &[("worker", "gw0")]),
        test(80, "r4", "failed", "t.a", &[("worker", "gw0"), ("flaky_score", "5"), ("duration_ms", "10000")]),
        test(70, "r4", "started", "t.e", &[("worker", "gw0")]),
    ]
}

fn beside() -> Vec<Seeded> {
    vec![
        entry(
            1847,
            &[("kind", "log"), ("source", "shop")],
            "boom",
            &[&[("run_id", "r1"), ("test", "t.a"), ("level", "error")]],
        ),
        entry(1846, &[("kind", "log"), ("source", "stdout")], "hello", &[&[("run_id", "r1"), ("test", "t.b")]]),
        entry(85, &[("kind", "log"), ("runner", "app"), ("source", "shop")], "ambient", &[]),
        measured(60, "cpu_percent", "m1", "10"),
        measured(30, "cpu_percent", "m1", "42.5"),
        measured(30, "memory_percent", "m1", "61"),
        measured(30, "cpu_percent", "m2", "7"),
        told(300, "m1", "p1", "info", ["100", "40", "0", "0"]),
        told(40, "m1", "p1", "warn", ["250", "3", "2", "1"]),
        // At the same moment, so that both are in one step of a graph.
        told(40, "m2", "p2", "info", ["30", "5", "0", "0"]),
    ]
}

/// Pushes it all, has Loki write it out, and pushes it again: a stored copy and one in memory.
async fn seed(loki: &Loki, project: &str, now: i64) {
    let mut all: Vec<Seeded> = runs().into_iter().chain(tests()).chain(beside()).collect();
    all.sort_by_key(|seeded| std::cmp::Reverse(seeded.ago));
    for round in 0..2 {
        for (number, seeded) in all.iter().enumerate() {
            let of_project = [("service_name", project), ("env", "local"), ("runner", "pytest")];
            let own = seeded.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            // The last of a name counts.
            let labels: Vec<_> = BTreeMap::from_iter(of_project.into_iter().chain(own)).into_iter().collect();
            let metadata: Vec<_> =
                seeded.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let time = now - seeded.ago * 1_000_000_000 + number as i64;
            loki.push(&labels, time, &seeded.line, &metadata).await;
        }
        if round == 0 {
            loki.client().post(format!("{}/flush", loki.url())).send().await.expect("Loki answers");
        }
    }
}

fn matrix_truth() -> Vec<(&'static str, Want<'static>)> {
    vec![
        ("Tests × runs", Want::Lines(&UNEXPECTED)),
        ("Tests × configurations", Want::Lines(&BY_CONFIGURATION)),
        (
            "Configurations over time",
            Want::Labels(&[&[("configuration", "linux firefox")], &[("configuration", "linux chrome")]]),
        ),
        (
            "Newest run of each configuration",
            Want::Lines(&[
                &[("run_id", "r2"), ("status", "passed"), ("configuration", "linux chrome"), ("failed", "0")],
                &[("run_id", "r1"), ("status", "failed"), ("configuration", "linux firefox"), ("failed", "2")],
            ]),
        ),
    ]
}

/// Results that are not as they should be, newest first.
const UNEXPECTED: [Pairs<'static>; 5] = [
    &[("test", "t.a"), ("run_id", "r4"), ("status", "failed")],
    &[("test", "t.x"), ("run_id", "r2"), ("status", "xpassed")],
    &[("test", "t.c"), ("run_id", "r1"), ("status", "failed")],
    &[("test", "t.b"), ("run_id", "r1"), ("status", "errored")],
    &[("test", "t.a"), ("run_id", "r1"), ("status", "failed")],
];
const BY_CONFIGURATION: [Pairs<'static>; 4] = [
    &[("test", "t.x"), ("configuration", "linux chrome"), ("status", "xpassed")],
    &[("test", "t.c"), ("configuration", "linux firefox"), ("status", "failed")],
    &[("test", "t.b"), ("configuration", "linux firefox"), ("status", "errored")],
    &[("test", "t.a"), ("configuration", "linux firefox"), ("status", "failed")],
];

fn flaky_truth() -> Vec<(&'static str, Want<'static>)> {
    vec![
        ("Passed on retry", Want::Value(1.0)),
        ("Retries", Want::Value(4.0)),
        ("Runs with a flaky test", Want::Value(1.0 / 3.0)),
        ("Over time/A", Want::Between(0.0, 1.0)),
        ("Over time/B", Want::Between(0.0, 3.0)),
        (
            "Flaky tests",
            Want::Lines(&[
                &[("test", "t.a"), ("flaky_score", "5"), ("run_id", "r4"), ("test_pattern", r"\Qt.a\E")],
                &[("test", "t.a"), ("flaky_score", "4"), ("run_id", "r1"), ("message", "500")],
            ]),
        ),
        ("Passed when tried again", Want::Lines(&[&[("test", "t.d"), ("attempt", "2"), ("run_id", "r1")]])),
        ("Tried again", Want::Lines(&[&[("test", "t.d"), ("message", "slow net")]])),
        (
            "Slowest tests",
            Want::Lines(&[
                &[("test", "t.a"), ("duration_ms", "10000")],
                &[("test", "t.slow"), ("duration_ms", "9000")],
                &[("test", "t.d"), ("duration_ms", "2500")],
            ]),
        ),
        ("Slower than usual", Want::Lines(&[&[("test", "t.slow"), ("slower_by", "4000"), ("expected_ms", "5000")]])),
    ]
}

fn machines_truth() -> Vec<(&'static str, Want<'static>)> {
    let live = |value| Want::Run("r4", value);
    vec![
        ("Machines", Want::Value(2.0)),
        ("Busy now", Want::Value(1.0)),
        ("Processor and memory/A", Want::Labels(&[&[("host", "m1")], &[("host", "m2")]])),
        ("Processor and memory/B", Want::Labels(&[&[("host", "m1")]])),
        ("Now/A", live(0.5)),
        ("Now/B", live(4.0)),
        ("Now/C", live(1.0)),
        ("Now/D", live(0.0)),
        ("Now/E", live(2.0)),
        ("Now/F", live(95_000.0)),
        ("Last run of each machine", Want::Lines(&FINISHED)),
        ("Run history", Want::Labels(&[&[("host", "m1")], &[("host", "m2")]])),
        ("Processor", Want::Labels(&[&[("host", "m1")], &[("host", "m2")]])),
        ("Memory", Want::Course { last: 61.0, among: &[] }),
        ("Finished runs", Want::Lines(&FINISHED)),
    ]
}

/// Newest first.
const FINISHED: [Pairs<'static>; 3] = [
    &[("host", "m1"), ("run_id", "r3"), ("status", "aborted"), ("done", "3")],
    &[("host", "m2"), ("run_id", "r2"), ("status", "passed"), ("branch", "dev"), ("user", "bo")],
    &[("host", "m1"), ("run_id", "r1"), ("status", "failed"), ("errored", "1"), ("elapsed_ms", "60000")],
];

fn logs_truth() -> Vec<(&'static str, Want<'static>)> {
    vec![
        ("Lines by level", Want::Labels(&[&[("level", "error")], &[("level", "info")]])),
        (
            "Tests",
            Want::EachOnce(
                "state",
                [[""; 10].as_slice(), &["t.a", "t.e"]].concat().into_iter().map(str::to_owned).collect(),
            ),
        ),
        ("Log", Want::Texts(&["ambient", "hello", "boom"])),
        (
            "Failures meanwhile",
            Want::Lines(&[
                &[("test", "t.a"), ("run_id", "r4"), ("worker", "gw0"), ("test_pattern", r"\Qt.a\E")],
                &[("test", "t.c"), ("run_id", "r1")],
                &[("test", "t.b"), ("status", "errored")],
                &[("test", "t.a"), ("message", "500")],
            ]),
        ),
    ]
}

fn forwarder_truth() -> Vec<(&'static str, Want<'static>)> {
    let machines: Want<'_> = Want::Labels(&[&[("host", "m1")], &[("host", "m2")]]);
    let both = || Want::Labels(&[&[("host", "m1"), ("process", "p1")], &[("host", "m2"), ("process", "p2")]]);
    vec![
        ("Waiting", Want::Value(8.0)),
        ("Waiting for", Want::Value(20_000.0)),
        ("Spool used", Want::Value(0.25)),
        ("Refused", Want::Value(1.0)),
        ("Tried again", Want::Value(2.0)),
        ("Delivered", Want::Value(280.0)),
        ("Backlog", machines),
        ("Throughput", Want::Labels(&[&[("host", "m1")], &[("host", "m2")]])),
        ("Answers of Loki/A", Want::Course { last: 5.0, among: &[] }),
        ("Answers of Loki/B", Want::Course { last: 20.0, among: &[] }),
        ("Trouble/A", Want::Course { last: 2.0, among: &[0.0] }),
        ("Trouble/B", Want::Course { last: 1.0, among: &[0.0] }),
        ("Processes/A", both()),
        ("Processes/B", both()),
        ("Processes/C", both()),
        ("Processes/D", both()),
        ("Processes/E", both()),
        ("Processes/F", both()),
        ("Reports of trouble", Want::Lines(&[&[("process", "p1"), ("rejected", "1")]])),
    ]
}

#[tokio::test]
async fn the_pages_beside_a_run_return_the_truth_from_a_real_loki() {
    let loki = Loki::get();
    let now = query::now() / 1_000_000 * 1_000_000;
    let project = query::unique_project("pages");
    seed(loki, &project, now).await;
    compare(loki, "matrix", &[], &project, now, &matrix_truth()).await;
    compare(loki, "flaky", &[], &project, now, &flaky_truth()).await;
    compare(loki, "machines", &[], &project, now, &machines_truth()).await;
    compare(loki, "logs", &[], &project, now, &logs_truth()).await;
    compare(loki, "forwarder", &[], &project, now, &forwarder_truth()).await;

    let one = |dashboard, set, panel, want| check_one(loki, &project, now, dashboard, set, panel, want);
    let firefox: Pairs<'_> = &[("configuration", ".*firefox")];
    one("matrix", firefox, "Configurations over time", Want::Course { last: 3.0, among: &[] }).await;
    one("matrix", firefox, "Tests × configurations", Want::Lines(&BY_CONFIGURATION[1..])).await;
    one("matrix", &[("run_id", "r4")], "Tests × runs", Want::Lines(&UNEXPECTED[..1])).await;
    one("matrix", &[("test", r"\Qt.b\E")], "Tests × runs", Want::Lines(&UNEXPECTED[3..4])).await;
    one("matrix", &[("show", "xpassed")], "Tests × runs", Want::Lines(&UNEXPECTED[1..2])).await;
    one("flaky", &[("flips", "6")], "Flaky tests", Want::Nothing).await;
    one("flaky", &[("slow_ms", "9500")], "Slowest tests", Want::Lines(&[&[("test", "t.a")]])).await;
    one("machines", &[("host", "m1")], "Run history", Want::Course { last: 3.0, among: &[2.0] }).await;
    one("machines", &[("host", "m2")], "Run history", Want::Course { last: 1.0, among: &[] }).await;
    one("machines", &[("host", "m1")], "Processor", Want::Course { last: 42.5, among: &[10.0] }).await;
    one("machines", &[("host", "m1")], "Now", Want::Nothing).await;
    one("logs", &[("level", "error|critical")], "Log", Want::Texts(&["boom"])).await;
    one("logs", &[("source", "shop"), ("search", "AMB")], "Log", Want::Texts(&["ambient"])).await;
    one("logs", &[("run_id", "r1"), ("test", r"\Qt.b\E")], "Log", Want::Texts(&["hello"])).await;
    // Counted twice at most, while both copies are there.
    one("logs", &[("level", "error")], "Lines by level", Want::Between(1.0, 2.0)).await;
    one("forwarder", &[("host", "m1")], "Backlog", Want::Course { last: 3.0, among: &[40.0] }).await;
    one("forwarder", &[("host", "m2")], "Refused", Want::Value(0.0)).await;
    one("forwarder", &[("host", "nobody")], "Waiting", Want::Nothing).await;
}

/// The first query of a panel.
async fn check_one(loki: &Loki, project: &str, now: i64, dashboard: &str, set: Pairs<'_>, panel: &str, want: Want<'_>) {
    let dashboard = panels::load(dashboard);
    let (vars, range) = page(&dashboard, set, project, now);
    let queries = panels::queries(&dashboard);
    let query = queries.iter().find(|q| q.title == panel).unwrap_or_else(|| panic!("no panel {panel}"));
    let got = ask(loki, query, &vars, range).await.unwrap_or_else(|e| panic!("{panel}: {e}"));
    let asked = query.fill(&vars, range).unwrap_or_default();
    assert!(holds(&want, &got), "{panel} with {set:?}: {got:#?}\nasked: {asked}");
}
