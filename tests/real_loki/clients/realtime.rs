//! The listener, tailer and metric scraper of robotframework-realtimeresults.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use super::{Listening, SOON, client, counts, installed, only_run, shown};
use crate::binary::{Done, Scratch, run, start, until};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::{now, unique_project, wait_for};

/// The configuration of all three, in the file that they look for.
fn configure(scratch: &Scratch, port: &str) {
    let config = serde_json::json!({
        "listener_sink_type": "http",
        "ingest_client_host": "127.0.0.1",
        "ingest_client_port": port,
        "enable_auto_services": false,
        "database_url": "sqlite:///results.db",
        "source_log_tails": [
            {"path": "shop.log", "label": "shop", "event_type": "app_log", "poll_interval": 0.1, "tz_info": "UTC"}
        ],
    });
    scratch.add("realtimeresults_config.json", &config.to_string());
}

/// With Robot Framework 6 in place of the one that is installed.
fn robot6(mut command: Command) -> Command {
    command.env("PYTHONPATH", installed().join("robot6"));
    command
}

const QUIET: [&str; 7] = ["--output", "NONE", "--log", "NONE", "--report", "NONE", "store"];

fn rt_robot(scratch: &Scratch) -> Command {
    client(scratch, "rt-robot", QUIET)
}

/// The same without its log of when it said what.
fn without_clock(done: &Done) -> (i32, String, String) {
    let (code, out, err) = shown(done);
    let line = |line: &str| {
        if line.contains("[rt-") { line.get(22..).unwrap_or_default().to_owned() } else { line.to_owned() }
    };
    let lines = |text: String| text.lines().map(line).collect::<Vec<_>>().join("\n");
    (code, lines(out), lines(err))
}

/// The run of the sample project with the client's own server and with testwire: the same to see, and all of it in Loki.
async fn is_as_with_its_own_server(name: &str, sends_starts: bool, make: fn(&Scratch) -> Command) {
    let (loki, project, scratch) = (Loki::get(), unique_project(name), Scratch::with_project("robot"));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = free.port().to_string();
    configure(&scratch, &port);
    let typed = ["-m", "uvicorn", "api.ingest.main:app", "--host", "127.0.0.1", "--port", &port];
    let server = start(&mut client(&scratch, "python", typed));
    until("the client's own server answers", || std::net::TcpStream::connect(free).ok());
    let own = run(&mut make(&scratch), b"");
    server.signal("TERM");
    server.wait();

    let daemon = Listening::start(&scratch, loki.url(), &project);
    configure(&scratch, daemon.port());
    let with = run(&mut make(&scratch), b"");
    assert_eq!(without_clock(&with), without_clock(&own));
    let said = with.out() + &with.err();
    assert_eq!(!said.contains("Calling method 'start_test' of listener"), sends_starts, "{said}");
    daemon.stop();
    let recorded = only_run(&scratch, loki, &project).await;
    let (end, truth) = (recorded.end(), Truth::of("robot"));
    let expected = format!("{}/{}/0/{}/0 of {}", truth.passed, truth.failed, truth.skipped, truth.tests);
    assert_eq!(counts(end), expected);
    assert_eq!((end.get("status"), end.get("runner")), ("failed", "robot"));
    assert_eq!(recorded.named(&["failed"]), truth.failing);
    assert_eq!(recorded.named(&["skipped"]), truth.skipped_tests);
    assert!(recorded.of("test").all(|row| !row.get("suite").is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn rt_robot_is_the_same_as_with_its_own_server_and_counts_as_robot_does() {
    is_as_with_its_own_server("rt-robot", true, rt_robot).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rt_robot_on_robot_6_which_sends_no_starts_is_counted_as_robot_counts() {
    is_as_with_its_own_server("rt-robot6", false, |scratch| robot6(rt_robot(scratch))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_alone_changes_nothing_that_robot_shows() {
    let (loki, project, scratch) = (Loki::get(), unique_project("rt-listener"), Scratch::with_project("robot"));
    let daemon = Listening::start(&scratch, loki.url(), &project);
    configure(&scratch, daemon.port());
    let bare = run(&mut client(&scratch, "robot", QUIET), b"");
    let mut typed = vec!["--listener", "producers.listener.listener.RealTimeResults:totaltests=120"];
    typed.extend(QUIET);
    let with = run(&mut client(&scratch, "robot", typed), b"");
    assert_eq!(bare.code, Truth::of("robot").exit_code);
    assert_eq!(shown(&with), shown(&bare));
    daemon.stop();
    only_run(&scratch, loki, &project).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_its_tailer_and_values_of_its_scraper_are_in_loki() {
    let (loki, project, scratch) = (Loki::get(), unique_project("rt-tail"), Scratch::new());
    let daemon = Listening::start(&scratch, loki.url(), &project);
    configure(&scratch, daemon.port());
    let path = scratch.work().join("shop.log");
    // It begins at the end of the file.
    fs::write(&path, "2026-01-01 00:00:00.000 INFO before its time\n").unwrap();
    let said = scratch.work().join("tailer.txt");
    let mut tailer = client(&scratch, "python", ["-m", "producers.log_producer.log_tails"]);
    let both = fs::File::create(&said).unwrap();
    tailer.stdout(both.try_clone().unwrap()).stderr(both).stdin(std::process::Stdio::null());
    let tailer = crate::binary::start_as_set(&mut tailer);
    let scraper = start(&mut client(&scratch, "python", ["-m", "producers.metrics.metric_scraper"]));
    until("the tailer has found its file", || {
        fs::read_to_string(&said).ok().filter(|text| text.contains("File found"))
    });
    let mut text = String::new();
    for n in 0..20 {
        let time = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.6f");
        let level = if n == 7 { "ERROR" } else { "INFO" };
        text.push_str(&format!("{time} {level} order {n} sold\n"));
        if n == 7 {
            text.push_str(
                "Traceback (most recent call last):\n  File \"shop.py\", line 1, in sell\nValueError: sold out\n",
            );
        }
    }
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let rows = |expr: String| async move {
        loki.query_range(&expr, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await
    };
    let logs = wait_for("20 lines of the tailer", SOON, || async {
        let found =
            rows(format!("{{service_name=\"{project}\", kind=\"log\", source=\"shop\", runner=\"app\"}}")).await;
        (found.len() >= 20).then_some(found)
    })
    .await;
    assert_eq!(logs.len(), 20);
    let broken = logs.iter().find(|row| row.line.contains("order 7 ")).unwrap();
    assert!(broken.line.contains("ValueError: sold out") && broken.get("level") == "error", "{broken:?}");
    for name in ["cpu_percent", "memory_percent"] {
        let values = wait_for("values of the scraper", SOON, || async {
            let found = rows(format!("{{service_name=\"{project}\", kind=\"metric\", source=\"{name}\"}}")).await;
            (!found.is_empty()).then_some(found)
        })
        .await;
        let value: f64 = values[0].get("value").parse().unwrap();
        assert!((0.0..=100.0).contains(&value) && values[0].get("unit") == "%", "{values:?}");
    }
    for process in [tailer, scraper] {
        // A signal that Python would handle may meet it where it ignores that.
        process.signal("KILL");
        process.wait();
    }
    let sent = fs::read_to_string(&said).unwrap();
    assert!(!sent.contains("Failed to send"), "{sent}");
    daemon.stop();
}
