//! Runs in more states than real ones can be brought into at will, and all of it sent twice.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::Pairs;
use crate::loki::Loki;

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
    fn run_end(&mut self, ago: Ago, run: &str, status: &str, facts: (&str, &str), more: Pairs, counters: [&str; 12]) {
        let mut metadata =
            vec![("run_id", run), ("level", "info"), ("host", "h1"), ("branch", facts.0), ("user", facts.1)];
        metadata.extend(COUNTERS.into_iter().zip(counters));
        metadata.extend([("unfinished", "0"), ("exit_code", if status == "passed" { "0" } else { "1" })]);
        metadata.extend(more);
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

pub(super) async fn push(loki: &Loki, labels: &Value, values: Vec<Value>) {
    let body = json!({"streams": [{"stream": labels, "values": values}]}).to_string();
    let request = loki.client().post(format!("{}/loki/api/v1/push", loki.url()));
    let answer = request.header("Content-Type", "application/json").body(body).send().await.expect("Loki answers");
    let status = answer.status();
    assert_eq!(status, 204, "push of {labels}: {}", answer.text().await.unwrap_or_default());
}

/// Moves what is in memory to the store; a Loki that does not allow it just keeps fewer copies.
pub(super) async fn flush(loki: &Loki) {
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

/// Seven runs of one project: finished ones of each status, one that has just ended, a silent one, a live one with two
/// shards, and one of whose shards one has ended; and one of another project, which no panel may count.
///
/// All of it is sent twice with a flush between, as after a lost answer: a stored copy and one in memory, which Loki's
/// counting functions count double.
pub(super) async fn seed(loki: &Loki, project: &str, now: i64) {
    let mut s = Seed { project: project.to_owned(), now, seq: 0, streams: BTreeMap::new() };
    s.run_start(3000, "gone", "main", "ana");
    s.progress(2950, "gone", &[], ["50", "10", "8", "2", "0", "0", "0", "0", "0", "0", "1", "50000"]);
    s.run_end(
        2900,
        "gone",
        "aborted",
        ("main", "ana"),
        &[],
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
        &[],
        ["30", "30", "28", "0", "0", "1", "1", "0", "0", "0", "0", "60000"],
    );
    s.run_start(800, "bad", "main", "ana");
    s.progress(600, "bad", &[], ["120", "118", "100", "6", "4", "5", "2", "1", "2", "3", "0", "200000"]);
    s.run_end(
        600,
        "bad",
        "failed",
        ("main", "ana"),
        &[("new_failures", "4"), ("still_failing", "6"), ("fixed", "3"), ("known", "1")],
        ["120", "118", "100", "6", "4", "5", "2", "1", "2", "3", "0", "200000"],
    );
    s.run_start(70, "just", "main", "ana");
    s.progress(40, "just", &[], ["2", "1", "1", "0", "0", "0", "0", "0", "0", "0", "1", "30000"]);
    s.run_end(
        30,
        "just",
        "passed",
        ("main", "ana"),
        &[],
        ["2", "2", "2", "0", "0", "0", "0", "0", "0", "0", "0", "40000"],
    );
    half_run(&mut s);
    live_run(&mut s);
    results_of_one_test(&mut s);
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
        &[],
        ["7", "7", "0", "7", "0", "0", "0", "0", "0", "0", "0", "1"],
    );
    other.progress(5, "other-live", &[], ["7", "7", "0", "7", "0", "0", "0", "0", "0", "0", "0", "1"]);
    other.push(loki).await;
}

/// Two shards, of which one has ended.
fn half_run(s: &mut Seed) {
    s.run_start(90, "half", "main", "ana");
    let counters = ["10", "10", "9", "0", "0", "1", "0", "0", "0", "0", "0", "40000"];
    s.run_end(50, "half", "passed", ("main", "ana"), &[("shard", "1/2")], counters);
    let counters = ["20", "5", "4", "1", "0", "0", "0", "0", "0", "0", "1", "80000"];
    s.progress(3, "half", &[("shard", "2/2"), ("eta_ms", "20000")], counters);
}

/// The test `a.test_bad` in the other runs: it passed, broke, and was mended.
fn results_of_one_test(s: &mut Seed) {
    s.test(1810, "good", "passed", "a.test_bad", &[("duration_ms", "1500"), ("expected_ms", "1400")]);
    let broke = [("change", "new_failure"), ("previous", "passed"), ("duration_ms", "1900")];
    s.test(598, "bad", "failed", "a.test_bad", &[&broke[..], &WHY].concat());
    let mended = [("change", "fixed"), ("previous", "failed"), ("duration_ms", "1000"), ("outcome", "flaky")];
    s.test(35, "just", "passed", "a.test_bad", &mended);
}

/// The same failure each time.
const WHY: [(&str, &str); 2] = [("message", "AssertionError: 500"), ("signature", "0123456789abcdef")];

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
        &[two, ("eta_ms", "45000"), ("new_failures", "2")],
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
    let still = [("worker", "gw0"), ("duration_ms", "2000.25"), ("change", "still_failing"), ("previous", "failed")];
    s.test(60, "live", "failed", "a.test_bad", &[&still[..], &WHY].concat());
    let known = [("message", "fixture gone"), ("known", "true"), ("change", "new_failure")];
    s.test(59, "live", "errored", "a.test_broken", &known);
    s.test(58, "live", "failed", "a.test_again", &[("message", "first try")]);
    s.test(20, "live", "started", "a.test_again", &[("attempt", "2")]);
    s.test(6, "live", "started", "a.test_slow", &[("worker", "gw1"), ("hung", "true"), ("duration_ms", "59000")]);
    s.test(58, "bad", "failed", "a.test_of_another_run", &[]);
    let of_test = [("run_id", "live"), ("test", "a.test_bad"), ("level", "error")];
    s.add(61, &[("kind", "log"), ("source", "stderr")], "Boom \"quoted\" 100%", &of_test);
    s.add(57, &[("kind", "log"), ("source", "stdout")], "plain line", &[("run_id", "live"), ("level", "info")]);
    let measured = [("value", "42.5"), ("unit", "%"), ("host", "h1"), ("level", "info")];
    s.add(30, &[("kind", "metric"), ("source", "cpu")], "cpu 42.5 %", &measured);
    s.add(50, &[("kind", "note")], "line 17 is not an event", &[("run_id", "live"), ("level", "warn")]);
}
