//! How long it takes from a test's end, or a line of a log, to its entry in the answer of a query, through everything: the
//! event file of a listener, a pipe or a log, testwire, and a real Loki.
//!
//! `cargo bench --bench latency` with `LOKI_URL` or `LOKI_BIN`, or a `loki` on the path. Each way has 1,000 events with 10 to
//! 30 ms between them. An entry's time is that of its event; the other end is when Loki's answer with the entry has come,
//! so that the time between two queries is in the figures too.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

#[expect(dead_code, reason = "a helper of tests, of which this uses a part")]
#[path = "../tests/common/binary.rs"]
mod binary;
#[expect(dead_code, reason = "a helper of tests, of which this uses a part")]
#[path = "../tests/real_loki/loki.rs"]
mod loki;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use loki::Loki;

/// Events of each way.
const EVENTS: usize = 1_000;
/// No event is waited for longer after the last was written.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far the queries look back; entries older than this were seen before.
const BACK: Duration = Duration::from_secs(5);

fn main() {
    // testwire takes a program of this name for pytest: it is this program once more.
    let own_name = std::env::args_os().next().unwrap();
    if std::path::Path::new(&own_name).file_name().is_some_and(|name| name == "pytest") {
        return write_as_listener();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{EVENTS} events a way, ms from event to queryable");
    runtime.block_on(warm_up());
    for way in ["event file", "pipe", "log"] {
        runtime.block_on(measure(way));
    }
}

fn now() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap()
}

/// Between two events: without a rhythm that could be in step with the linger of testwire.
fn pause() {
    std::thread::sleep(Duration::from_micros(fastrand::u64(10_000..30_000)));
}

/// As the pytest plugin does: one append for each event.
fn write_as_listener() {
    let path = std::env::var_os("TESTWIRE_EVENTS").expect("testwire names the file");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for number in 0..EVENTS {
        let stop = now() as f64 / 1e9;
        let report = |when: &str| {
            format!(
                "{{\"$report_type\":\"TestReport\",\"nodeid\":\"t.py::t{number}\",\"when\":\"{when}\",\"outcome\":\"passed\",\"duration\":0.0,\"start\":{stop},\"stop\":{stop}}}\n"
            )
        };
        file.write_all((report("call") + &report("teardown")).as_bytes()).unwrap();
        pause();
    }
}

/// The same in testwire's own format.
fn write_to_pipe(mut pipe: impl Write) {
    for number in 0..EVENTS {
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        let line = format!(
            "{{\"event\":\"test_finished\",\"test\":\"t{number}\",\"status\":\"passed\",\"time\":\"{time}\"}}\n"
        );
        pipe.write_all(line.as_bytes()).unwrap();
        pause();
    }
}

/// The same as lines of a log.
fn write_to_log(mut log: impl Write) {
    for number in 0..EVENTS {
        let time = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        log.write_all(format!("{time} INFO request {number} handled\n").as_bytes()).unwrap();
        pause();
    }
}

async fn measure(way: &str) {
    let loki = Loki::get();
    let scratch = tempfile::tempdir().unwrap();
    let project = format!("latency-{}", now());
    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
    let pytest = scratch.path().join("pytest");
    symlink(std::env::current_exe().unwrap(), &pytest).unwrap();
    let log = scratch.path().join("app.log");
    let (name, entries) = match way {
        "pipe" => ("pipe", r#"kind="test",status="passed""#),
        "log" => ("tail", r#"kind="log""#),
        _ => ("run", r#"kind="test",status="passed""#),
    };
    command.args([name, "--quiet", "--loki-url", loki.url(), "--project", &project]);
    command.arg("--state-dir").arg(scratch.path().join("state"));
    match way {
        "pipe" => command.stdin(Stdio::piped()),
        "log" => command.arg(&log),
        _ => command.arg("--").arg(pytest),
    };
    let log = (way == "log").then(|| OpenOptions::new().create(true).append(true).open(log).unwrap());
    let mut testwire = command.spawn().unwrap();
    let writer = testwire.stdin.take().map(|pipe| std::thread::spawn(|| write_to_pipe(pipe)));
    let writer = writer.or_else(|| log.map(|log| std::thread::spawn(|| write_to_log(log))));
    let seen = watch(loki, &format!("{{service_name=\"{project}\",{entries}}}")).await;
    if let Some(writer) = writer {
        writer.join().unwrap();
    }
    if way == "log" {
        // It follows until it is ended.
        testwire.kill().unwrap();
    }
    testwire.wait().unwrap();
    report(way, &seen);
}

/// A Loki that has just started needs up to 2 s until its first query is answered, which is not what is measured.
async fn warm_up() {
    let loki = Loki::get();
    let project = format!("warm-up-{}", now());
    let values = serde_json::json!([[now().to_string(), "here"]]);
    let body = serde_json::json!({"streams": [{"stream": {"service_name": project}, "values": values}]});
    let push =
        loki.client().post(format!("{}/loki/api/v1/push", loki.url())).header("Content-Type", "application/json");
    assert_eq!(push.body(body.to_string()).send().await.unwrap().status(), 204);
    let mut url = reqwest::Url::parse(&format!("{}/loki/api/v1/query_range", loki.url())).unwrap();
    url.query_pairs_mut().append_pair("query", &format!("{{service_name=\"{project}\"}}"));
    let begun = Instant::now();
    while !loki.client().get(url.clone()).send().await.unwrap().text().await.unwrap().contains("here") {
        assert!(begun.elapsed() < PATIENCE, "Loki does not show what it took");
    }
}

/// Asks again and again until every event was seen; nanoseconds from each event's time.
async fn watch(loki: &Loki, query: &str) -> Vec<i64> {
    let mut seen = BTreeMap::new();
    let mut last_news = Instant::now();
    while seen.len() < EVENTS && last_news.elapsed() < PATIENCE {
        let (start, end) = (now() - BACK.as_nanos() as i64, now() + 1_000_000_000);
        let mut url = reqwest::Url::parse(&format!("{}/loki/api/v1/query_range", loki.url())).unwrap();
        url.query_pairs_mut()
            .append_pair("query", query)
            .append_pair("start", &start.to_string())
            .append_pair("end", &end.to_string())
            .append_pair("limit", "1000");
        let answer = loki.client().get(url).send().await.unwrap().text().await.unwrap();
        let came = now();
        let answer: serde_json::Value = serde_json::from_str(&answer).expect(&answer);
        for stream in answer["data"]["result"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                let time: i64 = value[0].as_str().unwrap().parse().unwrap();
                seen.entry(time).or_insert_with(|| {
                    last_news = Instant::now();
                    came - time
                });
            }
        }
    }
    seen.into_values().collect()
}

fn report(way: &str, seen: &[i64]) {
    assert_eq!(seen.len(), EVENTS, "{way}: events that were seen");
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    let at = |share: f64| seen[((EVENTS as f64 * share) as usize).min(EVENTS - 1)] as f64 / 1e6;
    println!("{way:10}  p50 {:5.1}   p99 {:5.1}   max {:5.1}", at(0.50), at(0.99), at(1.0));
}
