//! Application logs beside tests: the dashboard's query for a failed test gives that test's lines, and no others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use testwire::decode::Format;
use testwire::decode::applog::{Assembler, Record, Rules};
use testwire::event::Timestamp;
use testwire::normalize::{Hints, Normalizer, RunInfo, Window};
use testwire::pipeline::beside::Beside;
use testwire::pipeline::output::{Output as _, ToNdjson};

use crate::binary::{Scratch, run};
use crate::dashboards::{self, Range};
use crate::loki::Loki;
use crate::query::{now, unique_project, wait_for};

const SOON: Duration = Duration::from_secs(30);

/// Lines of one log: the name of the test that wrote each, and the line.
type Truth = BTreeMap<String, Vec<String>>;

/// A shop that writes two logs, each line with the test that made it do so, which is for the truth only.
const SHOP: &str = r#"
import datetime, json, os, threading

def write(file, text):
    with open(os.path.join(os.environ["LOGS"], file), "a") as log:
        log.write(text + "\n")

def pay(test, worker="main"):
    time = datetime.datetime.now(datetime.timezone.utc)
    write("shop.log", f"{time:%Y-%m-%d %H:%M:%S},{time.microsecond // 1000:03} [{worker}] ERROR cannot pay by={test}\n"
          f"Traceback (most recent call last):\n  File \"shop.py\", line 1\nCreditError: by={test}")
    write("audit.log", json.dumps({"ts": time.timestamp(), "worker": worker, "level": "info", "by": test}))

class Shop:
    ROBOT_LIBRARY_SCOPE = "GLOBAL"
    def pay_for(self, test):
        pay(test)
"#;

const PYTEST: &str = r#"
import os, time, pytest, shop

@pytest.mark.parametrize("item", [f"item[{n}].*" for n in range(12)])
def test_pay(request, item):
    worker = os.environ["PYTEST_XDIST_WORKER"]
    for _ in range(3):
        time.sleep(0.02)
        shop.pay(request.node.nodeid, worker)
    time.sleep(0.02)
    assert len(item) % 2
"#;

const ROBOT: &str = "*** Settings ***
Library    shop.Shop

*** Test Cases ***
Pay By Card
    Two Payments
    Fail    no credit

Pay By Bill
    Two Payments

Pay (All) [Twice]
    Two Payments
    Two Payments
    Fail    no credit left

*** Keywords ***
Two Payments
    Sleep    20ms
    Pay For    ${SUITE NAME}.${TEST NAME}
    Sleep    20ms
    Pay For    ${SUITE NAME}.${TEST NAME}
    Sleep    20ms
";

/// Runs a command in a project with the shop; gives the events.
fn events(scratch: &Scratch, program: &str, arguments: &[&str]) -> Vec<u8> {
    scratch.add("shop.py", SHOP);
    let listeners = Path::new(env!("CARGO_MANIFEST_DIR")).join("listeners");
    let file = scratch.work().join("events.jsonl");
    let mut command = Scratch::with_runners(scratch.command(program));
    command.args(arguments).env("LOGS", scratch.work()).env("TESTWIRE_EVENTS", &file);
    command.env("PYTHONPATH", std::env::join_paths([listeners, scratch.work()]).unwrap());
    let done = run(&mut command, b"");
    std::fs::read(&file).unwrap_or_else(|e| panic!("{e}\n{}{}", done.out(), done.err()))
}

/// Puts events and logs into Loki as a run with its application logs, and returns which lines each test wrote.
async fn record(loki: &Loki, project: &str, scratch: &Scratch, format: Format, events: &[u8], rules: &Rules) -> Truth {
    let mut decoder = format.decoder();
    let runner = decoder.runner().to_owned();
    let info =
        RunInfo { run_id: "r1".into(), project: project.into(), env: "local".into(), runner, ..RunInfo::default() };
    let mut normalizer = Normalizer::new(info);
    let beside = Beside::one("r1", normalizer.running());
    let mut ndjson = Vec::new();
    {
        let mut output = ToNdjson::new(&mut ndjson);
        for line in events.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            decoder.line(line, &mut |event| normalizer.event(&event, Timestamp(now()), &mut output));
        }
        output.flush(&mut || unreachable!("it keeps no marks")).unwrap();
    }
    for entry in ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let entry: serde_json::Value = serde_json::from_slice(entry).unwrap();
        let pairs = |name: &str| {
            let pairs = entry[name].as_object().unwrap().iter();
            pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect::<Vec<_>>()
        };
        if entry["labels"]["kind"] == "test" {
            let time = entry["timestamp"].as_str().unwrap().parse().unwrap();
            push(loki, &pairs("labels"), time, entry["line"].as_str().unwrap(), &pairs("metadata")).await;
        }
    }
    let mut truth = Truth::new();
    for source in ["shop", "audit"] {
        for (time, text, metadata) in records(&scratch.work().join(format!("{source}.log")), rules, &beside) {
            let labels =
                [("service_name", project), ("env", "local"), ("runner", "app"), ("kind", "log"), ("source", source)];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            push(loki, &labels, time, &text, &metadata).await;
            truth.entry(writer(&text)).or_default().push(text);
        }
    }
    truth
}

/// The test that wrote a record.
fn writer(text: &str) -> String {
    let behind = text.rsplit_once("by").unwrap().1;
    behind.trim_start_matches(['=', '"', ':', ' ']).trim_end_matches(['}', '"']).to_owned()
}

/// Runs a command under testwire, which follows the logs beside it, and returns which lines each test wrote.
fn follow(loki: &Loki, project: &str, scratch: &Scratch, tails: &[&str], command: &[&str], rules: &Rules) -> Truth {
    scratch.add("shop.py", SHOP);
    let options = ["run", "--loki-url", loki.url(), "--project", project, "--quiet"];
    let arguments = options.iter().chain(tails).chain(&["--"]).chain(command);
    let mut testwire = Scratch::with_runners(scratch.testwire(arguments));
    testwire.env("LOGS", scratch.work()).env("PYTHONPATH", scratch.work());
    let done = run(&mut testwire, b"");
    assert!(done.code != 0 && done.code < 100, "{}{}", done.out(), done.err());
    let mut truth = Truth::new();
    for source in ["shop", "audit"] {
        for (_, text, _) in records(&scratch.work().join(format!("{source}.log")), rules, &Beside::default()) {
            truth.entry(writer(&text)).or_default().push(text);
        }
    }
    truth
}

async fn push(loki: &Loki, labels: &[(String, String)], time: i64, line: &str, metadata: &[(String, String)]) {
    let borrow = |pairs: &'_ [(String, String)]| pairs.to_vec();
    let (labels, metadata) = (borrow(labels), borrow(metadata));
    let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    loki.push(&labels, time, line, &metadata).await;
}

/// Time, text and metadata of a record.
type Told = (i64, String, Vec<(String, String)>);

/// Time, text and metadata of each record of a log.
fn records(log: &Path, rules: &Rules, beside: &Beside) -> Vec<Told> {
    let mut found = Vec::new();
    let read_at = Timestamp(now());
    let mut out = |record: Record<'_>| {
        let hint = |wanted: &str| record.fields.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        let hints = Hints { worker: hint("worker"), ..Hints::default() };
        let belongs = beside.find(Window::new(record.time, record.resolution, read_at), hints);
        let metadata = belongs.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // As everywhere, the last digits of the time keep equal lines apart.
        let time = record.time.unwrap().0 / 1000 * 1000 + found.len() as i64;
        found.push((time, record.text.clone().into_owned(), metadata));
    };
    let mut assembler = Assembler::new(rules);
    for (number, line) in std::fs::read(log).unwrap().split_inclusive(|byte| *byte == b'\n').enumerate() {
        let range = number as u64..number as u64 + 1;
        assembler.line(line.strip_suffix(b"\n").unwrap_or(line), range, read_at, &mut out);
    }
    assembler.flush(&mut out);
    found
}

/// Follows the links of each failure that the page `live` shows, and compares the lines that its log pane has then.
async fn assert_dashboard(loki: &Loki, project: &str, truth: &Truth, failures: usize) {
    let dashboard = dashboards::load("live");
    let queries = dashboards::queries(&dashboard);
    let query = |title: &str| queries.iter().find(|query| query.title == title).unwrap();
    let mut vars = dashboards::defaults(&dashboard);
    vars.insert("project".to_owned(), project.to_owned());
    let end = now() / 1_000_000 + 1_000;
    let range = Range { from_ms: end - 600_000, to_ms: end, step_s: 20 };
    let expr = query("Failures as they come").fill(&vars, range).unwrap();
    let rows = wait_for("the failures", SOON, || async {
        let rows = loki.query_range(&expr, range.from_ms * 1_000_000, end * 1_000_000, 1000).await;
        (rows.len() == failures).then_some(rows)
    })
    .await;
    for row in rows {
        let (test, pattern) = (row.get("test"), row.get("test_pattern"));
        let mut vars = vars.clone();
        vars.insert("test".to_owned(), pattern.to_owned());
        let range = Range {
            from_ms: row.get("from_ms").parse().unwrap(),
            to_ms: row.get("to_ms").parse().unwrap(),
            step_s: 20,
        };
        let expr = query("Log").fill(&vars, range).unwrap();
        let lines = loki.query_range(&expr, range.from_ms * 1_000_000, range.to_ms * 1_000_000, 1000).await;
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        let expected = truth.get(test).unwrap_or_else(|| panic!("{test} is not among {:?}", truth.keys()));
        // A run's own output is there too.
        let of_logs = lines.into_iter().filter(|row| matches!(row.get("source"), "shop" | "audit"));
        let lines = sorted(of_logs.map(|row| row.line).collect());
        assert_eq!(lines, sorted(expected.clone()), "{test}\n{expr}");
        println!("{test}: its {} records and no others", lines.len());
    }
}

#[tokio::test]
async fn the_dashboard_gives_a_failed_robot_test_the_lines_of_two_logs_that_it_caused() {
    let loki = Loki::get();
    let (project, scratch) = (unique_project("beside-robot"), Scratch::new());
    scratch.add("till.robot", ROBOT);
    let listener = ["--listener", "testwire_robot.Listener", "--listener", "testwire_robot.Keywords"];
    let none = ["--output", "NONE", "--log", "NONE", "--report", "NONE", "till.robot"];
    let events = events(&scratch, "robot", &[&listener[..], &none[..]].concat());
    let truth = record(loki, &project, &scratch, Format::Robot, &events, &Rules::default()).await;
    assert_eq!(truth.values().map(Vec::len).collect::<Vec<_>>(), [8, 4, 4]);
    assert_dashboard(loki, &project, &truth, 2).await;
}

#[tokio::test]
async fn the_dashboard_gives_failed_tests_of_parallel_workers_their_own_lines() {
    let loki = Loki::get();
    let (project, scratch) = (unique_project("beside-pytest"), Scratch::new());
    scratch.add("test_shop.py", PYTEST);
    let events = events(&scratch, "pytest", &["-p", "testwire_pytest", "-p", "no:cacheprovider", "-n", "3"]);
    let worker = regex::bytes::Regex::new(r"\b(gw\d+)\b").unwrap();
    let rules = Rules { worker: Some(worker), ..Rules::default() };
    let truth = record(loki, &project, &scratch, Format::Pytest, &events, &rules).await;
    assert_eq!(truth.values().map(Vec::len).collect::<Vec<_>>(), [6; 12]);
    assert_dashboard(loki, &project, &truth, 2).await;
}

#[tokio::test]
async fn a_robot_test_that_fails_has_its_lines_of_two_logs_that_were_followed_while_it_ran() {
    let loki = Loki::get();
    let (project, scratch) = (unique_project("live-robot"), Scratch::new());
    scratch.add("till.robot", ROBOT);
    let robot = ["robot", "--output", "NONE", "--log", "NONE", "--report", "NONE", "till.robot"];
    let tails = ["--tail", "shop.log", "--tail", "audit.log"];
    let truth = follow(loki, &project, &scratch, &tails, &robot, &Rules::default());
    assert_eq!(truth.values().map(Vec::len).collect::<Vec<_>>(), [8, 4, 4]);
    assert_dashboard(loki, &project, &truth, 2).await;
}

#[tokio::test]
async fn tests_of_parallel_workers_that_fail_have_their_lines_of_two_logs_that_were_followed_while_they_ran() {
    let loki = Loki::get();
    let (project, scratch) = (unique_project("live-pytest"), Scratch::new());
    scratch.add("test_shop.py", PYTEST);
    let tail = |name: &str| format!("[[tail]]\npath = \"{name}.log\"\nworker = '\\b(gw\\d+)\\b'\n");
    scratch.add("logs.toml", &(tail("shop") + &tail("audit")));
    let worker = regex::bytes::Regex::new(r"\b(gw\d+)\b").unwrap();
    let rules = Rules { worker: Some(worker), ..Rules::default() };
    let pytest = ["pytest", "-p", "no:cacheprovider", "-n", "3"];
    let truth = follow(loki, &project, &scratch, &["--tails-from", "logs.toml"], &pytest, &rules);
    assert_eq!(truth.values().map(Vec::len).collect::<Vec<_>>(), [6; 12]);
    assert_dashboard(loki, &project, &truth, 2).await;
}
