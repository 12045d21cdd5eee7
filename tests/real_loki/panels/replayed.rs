//! Every query of every dashboard, asked about runs that were recorded, of several runners and ends: the truth is that of the
//! recordings, also after each entry was sent again. Ends with a table of all queries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testwire::names;

use super::compare_page;
use super::seed::{flush, push};
use super::truths::{self, Counts, Facts};
use crate::binary::{Scratch, run};
use crate::dashboards::{self as panels, Range, Vars};
use crate::loki::Loki;
use crate::query::{Row, now, unique_project};
use crate::recorded::Recorded;

/// A run, also the name of its environment, which tells it apart on pages that know no run.
struct Replay {
    run: &'static str,
    /// `pipe` or `import`.
    command: &'static str,
    /// File of each process of the run.
    files: &'static [&'static str],
    status: &'static str,
}

/// The first [`ONCE`] of them are also asked about before anything was sent again.
const REPLAYS: [Replay; 7] = [
    Replay { run: "robot-pabot", command: "pipe", files: &["robot/parallel.listener.jsonl"], status: "failed" },
    Replay { run: "nextest-retries", command: "pipe", files: &["rust/nextest_retries.jsonl"], status: "failed" },
    Replay { run: "go-sharded", command: "pipe", files: &["go/alpha.jsonl", "go/buildfail.jsonl"], status: "failed" },
    Replay { run: "pytest-xdist", command: "pipe", files: &["pytest/xdist.reportlog.jsonl"], status: "failed" },
    Replay { run: "go", command: "pipe", files: &["go/all.jsonl"], status: "failed" },
    Replay { run: "go-killed", command: "pipe", files: &["go/killed.jsonl"], status: "aborted" },
    Replay { run: "imported", command: "import", files: &["playwright/basic.json"], status: "failed" },
];

const ONCE: usize = 3;

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures")
}

/// A capture, which may be kept compressed.
fn bytes_of(name: &str) -> Vec<u8> {
    let path = captures().join(name);
    if let Ok(bytes) = std::fs::read(&path) {
        return bytes;
    }
    let packed = format!("{}.gz", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&packed).unwrap_or_else(|e| panic!("{packed}: {e}"));
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The hand-made truths of all captures.
fn truths_of_captures() -> BTreeMap<String, Value> {
    let read = |name: &str| -> BTreeMap<String, Value> {
        serde_json::from_slice(&std::fs::read(captures().join(name)).unwrap()).unwrap()
    };
    let mut all = read("truth.json");
    all.extend(read("truth-reports.json"));
    all
}

impl Replay {
    /// What testwire makes of the files, an entry a line.
    fn entries(&self, project: &str) -> Vec<Value> {
        let all = self.files.iter().enumerate().flat_map(|(i, file)| {
            let scratch = Scratch::new();
            let shard = format!("{}/{}", i + 1, self.files.len());
            let name = file.rsplit('/').next().unwrap();
            let mut typed = vec![self.command, "--output", "ndjson", "--project", project, "--env", self.run];
            typed.extend(["--run-id", self.run]);
            if self.files.len() > 1 {
                typed.extend(["--shard", &shard]);
            }
            let input = bytes_of(file);
            if self.command == "import" {
                std::fs::write(scratch.work().join(name), &input).unwrap();
                typed.push(name);
            }
            let done = run(&mut scratch.testwire(&typed), if self.command == "pipe" { &input[..] } else { &[] });
            let lines: Vec<Value> = done
                .out()
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
                .collect();
            assert!(!lines.is_empty(), "{file}: {}", done.err());
            lines
        });
        all.collect()
    }

    /// Sums of the truths of its files.
    fn counts(&self, truths: &BTreeMap<String, Value>) -> (Counts, Vec<String>) {
        let mut counts = Counts::default();
        let mut failing = Vec::new();
        for file in self.files {
            let truth = &truths[*file];
            let number = |name: &str| truth[name].as_u64().unwrap_or_default();
            counts.planned += number("planned").max(number("tests"));
            counts.passed += number("passed");
            counts.failed += number("failed");
            counts.errored += number("errored");
            counts.skipped += number("skipped");
            counts.xfailed += number("xfailed");
            counts.xpassed += number("xpassed");
            counts.flaky += number("flaky");
            counts.retried += number("retries");
            counts.unfinished += number("unfinished");
            let names = truth["failing"].as_array().into_iter().flatten().filter_map(Value::as_str);
            failing.extend(names.map(str::to_owned));
        }
        (counts, failing)
    }
}

/// An entry as Loki gives it back.
fn row(entry: &Value) -> Row {
    let pairs = |name: &str| entry[name].as_object().into_iter().flatten().collect::<Vec<_>>();
    let labels = pairs("labels").into_iter().chain(pairs("metadata"));
    Row {
        labels: labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        time: entry["timestamp"].as_str().unwrap().parse().unwrap(),
        line: entry["line"].as_str().unwrap().to_owned(),
    }
}

/// Gives entries that are old by now the label that testwire gives them when it offers them: the hour of their own time.
/// Without it a second copy would be too far behind what the stream has by then, and Loki would refuse it.
fn mark_late(entries: &mut [Value], now: i64) {
    const LATE_AFTER: i64 = 30 * 60 * 1_000_000_000;
    for entry in entries {
        let time: i64 = entry["timestamp"].as_str().unwrap().parse().unwrap();
        if time < now - LATE_AFTER {
            let hour = chrono::DateTime::from_timestamp_nanos(time).format("%Y-%m-%dT%H").to_string();
            entry["labels"][names::label::LATE] = json!(hour);
        }
    }
}

/// One stream a push, oldest first.
async fn send(loki: &Loki, entries: &[Value]) {
    let mut streams = BTreeMap::<String, (Value, Vec<Value>)>::new();
    for entry in entries {
        let stream =
            streams.entry(entry["labels"].to_string()).or_insert_with(|| (entry["labels"].clone(), Vec::new()));
        stream.1.push(json!([entry["timestamp"], entry["line"], entry["metadata"]]));
    }
    for (labels, mut values) in streams.into_values() {
        values.sort_by_key(|value| value[0].as_str().unwrap().parse::<i64>().unwrap());
        push(loki, &labels, values).await;
    }
}

/// From just before the first to just after the last of these: a whole number of steps, of which Loki allows 11,000.
fn range(rows: &[Row]) -> Range {
    let first = rows.iter().map(|row| row.time).min().unwrap() / 1_000_000;
    let last = rows.iter().map(|row| row.time).max().unwrap() / 1_000_000;
    let step_s = panels::step_s(last - first, 200).max(20);
    let step = step_s * 1000;
    Range { from_ms: first / step * step - step, to_ms: (last / step + 2) * step, step_s }
}

/// Variables of a page that is narrowed to one run.
fn vars(page: &str, project: &str, run: &str, test: &str) -> Vars {
    let mut vars = panels::defaults(&panels::load(page));
    vars.extend([("project", project), ("env", run)].map(|(name, value)| (name.to_owned(), value.to_owned())));
    let narrowed = match page {
        "test" => Some(("test", format!(r"\Q{test}\E"))),
        "live" | "failures" => Some(("run_id", run.to_owned())),
        _ => None,
    };
    vars.extend(narrowed.map(|(name, value)| (name.to_owned(), value)));
    vars
}

/// Asks all pages about each run; returns which query was compared with how many truths.
async fn ask_all(loki: &Loki, project: &str, all: &[Facts<'_>]) -> BTreeMap<(&'static str, String), usize> {
    let mut asked = BTreeMap::new();
    for facts in all {
        let range = range(&facts.recorded.rows);
        // A test that failed, and one that did not.
        let failing = facts.failing[0].as_str();
        let ends = facts.recorded.of("test").filter(|row| row.get("status") == "passed");
        let names: BTreeSet<&str> = ends.map(|row| row.get("test")).collect();
        let passing = *names.first().expect("a test passed");
        let pages = [
            ("live", truths::live(facts), ""),
            ("runs", truths::runs(&[facts]), ""),
            ("failures", truths::failures(facts), ""),
            ("test", truths::test(facts, failing), failing),
            ("test", truths::test(facts, passing), passing),
        ];
        for (page, table, test) in pages {
            for key in compare_page(loki, page, &vars(page, project, facts.run, test), range, &table).await {
                *asked.entry((page, key)).or_default() += 1;
            }
        }
    }
    asked
}

#[tokio::test]
async fn every_query_of_every_dashboard_returns_the_truth_of_recorded_runs_once_and_sent_twice() {
    let loki = Loki::get();
    let project = unique_project("replayed");
    let known = truths_of_captures();
    let mut entries: Vec<Vec<Value>> = REPLAYS.iter().map(|replay| replay.entries(&project)).collect();
    // Once, so that both copies get the same labels.
    let now = now();
    entries.iter_mut().for_each(|entries| mark_late(entries, now));
    let recorded: Vec<Recorded> =
        entries.iter().map(|entries| Recorded { rows: entries.iter().map(row).collect() }).collect();
    let all: Vec<Facts<'_>> = REPLAYS
        .iter()
        .zip(&recorded)
        .map(|(replay, recorded)| {
            let (counts, failing) = replay.counts(&known);
            Facts { run: replay.run, counts, failing, status: replay.status, recorded }
        })
        .collect();
    for entries in &entries {
        send(loki, entries).await;
    }
    let once = ask_all(loki, &project, &all[..ONCE]).await;
    // A stored copy and one in memory, which Loki's counting functions count double.
    flush(loki).await;
    for entries in &entries {
        send(loki, entries).await;
    }
    let twice = ask_all(loki, &project, &all).await;
    assert!(once.keys().eq(twice.keys()));
    println!("| page | panel | equal to the truth, of runs sent once | sent twice |\n| --- | --- | --- | --- |");
    for ((page, key), count) in &once {
        println!("| {page} | {key} | {count} | {} |", twice[&(*page, key.clone())]);
    }
}
