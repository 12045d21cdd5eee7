//! What goes wrong between testwire and Loki, with the real ones.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response};

use crate::binary::{Done, Scratch, run, start};
use crate::loki::Loki;
use crate::query::{Row, now, unique_project};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// How long Loki may take to show what it was sent; flushing takes it longest.
const SOON: Duration = Duration::from_secs(90);

/// `testwire pipe` for testwire's own format.
fn pipe(scratch: &Scratch, loki: &str, project: &str, run_id: &str) -> std::process::Command {
    scratch.testwire([
        "pipe",
        "--format=testwire",
        "--drain-timeout=80s",
        &format!("--loki-url={loki}"),
        &format!("--project={project}"),
        &format!("--run-id={run_id}"),
        "--shard=a",
    ])
}

fn at(time: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(time).to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// The end of a test that passed at this time.
fn passed(number: usize, time: i64) -> String {
    format!(
        "{{\"event\":\"test_finished\",\"test\":\"t{number:05}\",\"status\":\"passed\",\"duration_ms\":0,\"time\":\"{}\"}}\n",
        at(time)
    )
}

/// The number before this text.
fn number_before(text: &str, what: &str) -> u64 {
    let (before, _) = text.split_once(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
    before.rsplit(' ').find(|word| !word.is_empty()).unwrap().parse().unwrap()
}

/// Entries of a run as Loki has them, from `start` on, oldest first.
async fn rows(loki: &Loki, project: &str, run_id: &str, start: i64) -> Vec<Row> {
    let expr = format!("{{service_name=\"{project}\"}} | run_id=\"{run_id}\"");
    loki.query_range(&expr, start, now() + HOUR, usize::MAX).await
}

/// What is wrong with a run that should be in Loki as a whole and once: by the number that its end tells, and by the
/// sequence in the timestamps.
fn fault(rows: &[Row], missing: u64) -> Option<String> {
    let Some(end) = rows.iter().find(|row| row.get("kind") == "run" && row.get("status") != "started") else {
        return Some(format!("the run's end is not among {} entries", rows.len()));
    };
    let entries = end.number("entries");
    if rows.len() as u64 != entries - missing {
        return Some(format!("{} entries, and {entries} without {missing} were expected", rows.len()));
    }
    let mut left: Vec<i64> = (1..=entries as i64).map(|seq| seq % 1000).collect();
    let mut found: Vec<i64> = rows.iter().map(|row| row.time.rem_euclid(1000)).collect();
    left.sort_unstable();
    found.sort_unstable();
    (missing == 0 && left != found).then(|| "the sequence has holes".into())
}

/// Waits until the whole run is in Loki, but for entries that are missing for a reason.
async fn whole(loki: &Loki, project: &str, run_id: &str, start: i64, missing: u64) -> Vec<Row> {
    let last = Mutex::new(String::new());
    let what = || format!("{run_id}: {}", last.lock().unwrap());
    let begun = std::time::Instant::now();
    loop {
        let rows = rows(loki, project, run_id, start).await;
        match fault(&rows, missing) {
            None => return rows,
            Some(fault) => *last.lock().unwrap() = fault,
        }
        assert!(begun.elapsed() < SOON, "{}", what());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The ends of tests are there once each and in the order in which they were written.
fn assert_tests_in_order(rows: &[Row], count: usize) {
    let tests: Vec<&str> = rows
        .iter()
        .filter(|row| row.get("status") == "passed")
        .filter_map(|row| row.labels.get("test"))
        .map(String::as_str)
        .collect();
    let expected: Vec<String> = (0..count).map(|number| format!("t{number:05}")).collect();
    assert_eq!(tests.len(), count);
    assert!(tests.iter().zip(&expected).all(|(found, expected)| found == expected), "the order is lost");
}

/// Lines of `rejected/`.
fn rejected(scratch: &Scratch) -> Vec<serde_json::Value> {
    let Ok(files) = fs::read_dir(scratch.state().join("rejected")) else { return Vec::new() };
    let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    texts.flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()).collect()
}

fn assert_accepted(done: &Done, scratch: &Scratch) {
    assert_eq!((done.code, rejected(scratch).len()), (0, 0), "{}", done.err());
}

#[tokio::test]
async fn a_stock_loki_takes_a_backlog_of_5_hours_and_an_import_6_days_old_beside_newer_entries() {
    let (loki, project, scratch) = (Loki::stock(), unique_project("late"), Scratch::new());
    // Another process has pushed what is new to the very same streams, so the backlog is hours behind it.
    let newer: String = (0..10).map(|number| passed(number, now())).collect();
    assert_accepted(&run(&mut pipe(&scratch, loki.url(), &project, "newer"), newer.as_bytes()), &scratch);
    // The pipe stayed closed for 5 hours, or the events are of last week: 500 tests over 5 hours.
    let start = now();
    for (run_id, begin) in [("backlog", start - 5 * HOUR), ("import", start - 6 * DAY)] {
        let events: String = (0..500).map(|number| passed(number, begin + number as i64 * 36 * SECOND)).collect();
        let done = run(&mut pipe(&scratch, loki.url(), &project, run_id), events.as_bytes());
        assert_accepted(&done, &scratch);
    }
    // A stock Loki in one process does not look into its memory for what is older than 2 h 41 min.
    let flushed = loki.client().post(format!("{}/flush", loki.url())).send().await.unwrap();
    assert_eq!(flushed.status(), 204);
    for (run_id, begin) in [("backlog", start - 5 * HOUR), ("import", start - 6 * DAY)] {
        let rows = whole(loki, &project, run_id, begin - HOUR, 0).await;
        assert_tests_in_order(&rows, 500);
        for row in &rows {
            let hour = at(row.time).get(..13).unwrap().to_owned();
            let late = row.get("late");
            // The last half hour of the backlog is not late; a minute of it depends on when it was offered.
            match start - row.time {
                age if age > HOUR / 2 => assert_eq!(late, hour, "{row:?}"),
                age if age < HOUR / 2 - 60 * SECOND => assert_eq!(late, "", "{row:?}"),
                _ => assert!(late.is_empty() || late == hour, "{row:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_too_far_behind_its_stream_is_offered_once_more_as_late_and_then_refused() {
    // The window is half of the age: 6 minutes. Retrying what it cannot take, Loki would answer 400 for ever.
    let loki = Loki::own(&["-ingester.max-chunk-age=12m", "-ingester.chunks-idle-period=1h"], "");
    let (project, scratch, start) = (unique_project("behind"), Scratch::new(), now());
    // Within one hour of the clock, or the two old ones would not share a stream.
    let base = start.div_euclid(HOUR) * HOUR;
    let (older, old) = if start - base > 25 * 60 * SECOND {
        (base, base + 10 * 60 * SECOND)
    } else {
        (base - 20 * 60 * SECOND, base - 10 * 60 * SECOND)
    };
    for (run_id, time, code) in [("new", start, 0), ("old", old, 0), ("older", older, 6)] {
        let done = run(&mut pipe(&scratch, loki.url(), &project, run_id), passed(0, time).as_bytes());
        assert_eq!(done.code, code, "{run_id}: {}", done.err());
    }
    let old_rows = whole(&loki, &project, "old", old - HOUR, 0).await;
    let end = old_rows.iter().find(|row| row.get("status") == "passed" && row.get("kind") == "test").unwrap();
    assert_eq!(end.get("late"), at(old).get(..13).unwrap());
    let rejected = rejected(&scratch);
    assert!(!rejected.is_empty());
    for line in &rejected {
        assert_eq!((&line["reason"], &line["status"]), (&"too_far_behind".into(), &400.into()), "{line}");
        assert_eq!(line["metadata"]["run_id"], "older", "{line}");
        assert!(line["labels"]["late"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn loki_is_killed_and_started_again_within_a_run_and_nothing_is_missing() {
    const TESTS: usize = 20_000;
    let mut loki = Loki::own(&[], "");
    let (project, scratch, begin) = (unique_project("killed-loki"), Scratch::new(), now());
    let mut started = start(&mut pipe(&scratch, loki.url(), &project, "run"));
    let mut stdin = started.stdin.take().unwrap();
    // 5 seconds; the pipe is not full in between, so the killing falls into its middle.
    let feeder = std::thread::spawn(move || {
        for number in 0..TESTS {
            stdin.write_all(passed(number, now()).as_bytes()).unwrap();
            if number % 100 == 99 {
                std::thread::sleep(Duration::from_millis(25));
            }
        }
    });
    std::thread::sleep(Duration::from_millis(1500));
    loki.kill();
    std::thread::sleep(Duration::from_millis(1500));
    loki.start_again();
    feeder.join().unwrap();
    let done = tokio::task::spawn_blocking(move || started.wait()).await.unwrap();
    assert_accepted(&done, &scratch);
    let rows = whole(&loki, &project, "run", begin - SECOND, 0).await;
    assert_tests_in_order(&rows, TESTS);
}

#[tokio::test]
async fn a_clock_that_jumps_back_loses_nothing() {
    let (loki, project, scratch, start) = (Loki::get(), unique_project("clock"), Scratch::new(), now());
    // Forward by minutes, back by 20 minutes and by 3 hours, and on.
    let jumps = [0, 300, -1200, -10_800, -10_000, 0, 8];
    let events: String = (0..700)
        .map(|number| passed(number, start - 10 * SECOND + jumps[number / 100] * SECOND + number as i64 * 1000))
        .collect();
    let done = run(&mut pipe(&scratch, loki.url(), &project, "run"), events.as_bytes());
    assert_accepted(&done, &scratch);
    let rows = whole(loki, &project, "run", start - 4 * HOUR, 0).await;
    let tests: HashSet<&str> =
        rows.iter().filter(|row| row.get("status") == "passed").map(|row| row.get("test")).collect();
    assert_eq!(tests.len(), 700 + 1, "and the run's end, which names none");
}

#[tokio::test]
async fn three_entries_of_10000_that_loki_refuses_are_kept_aside_and_told_by_the_exit_code() {
    const TESTS: usize = 9_997;
    // The tenant's own limits are below those that /config shows, so testwire cannot know them.
    let loki = Loki::own(&[], "max_line_size: 100KB, max_label_value_length: 30");
    let (project, scratch, start) = (unique_project("bad"), Scratch::new(), now());
    let mut events = String::new();
    let log = |source: &str, text: &str, time: i64| {
        let time = at(time);
        format!("{{\"event\":\"log\",\"source\":\"{source}\",\"text\":\"{text}\",\"time\":\"{time}\"}}\n")
    };
    for number in 0..TESTS {
        match number {
            2_000 => events.push_str(&log("app", &"x".repeat(150_000), start)),
            5_000 => events.push_str(&log("app", "from last year", start - 365 * DAY)),
            8_000 => events.push_str(&log(&"s".repeat(32), "of a stream that Loki refuses", start)),
            _ => {}
        }
        events.push_str(&log("app", &format!("line {number:05}"), start + number as i64 * 1000));
    }
    let done = run(&mut pipe(&scratch, loki.url(), &project, "run"), events.as_bytes());
    assert_eq!(done.code, 6, "{}", done.err());
    assert!(done.err().contains("refused 3 entries"), "{}", done.err());
    let mut reasons: Vec<_> =
        rejected(&scratch).iter().map(|line| line["reason"].as_str().unwrap().to_owned()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["greater_than_max_sample_age", "label_value_too_long", "line_too_long"]);
    let rows = whole(&loki, &project, "run", start - 2 * HOUR, 3).await;
    let lines: Vec<_> = rows.iter().filter(|row| row.get("source") == "app").map(|row| row.line.as_str()).collect();
    let expected: Vec<_> = (0..TESTS).map(|number| format!("line {number:05}")).collect();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn entries_are_made_to_fit_what_loki_says_of_its_limits() {
    let limits = [
        "-distributor.max-line-size=10KB",
        "-validation.max-length-label-value=25",
        "-limits.max-structured-metadata-size=2KB",
        "-limits.max-structured-metadata-entries-count=20",
    ];
    let loki = Loki::own(&limits, "");
    let (project, scratch, start) = (unique_project("limits"), Scratch::new(), now());
    assert!(project.len() > 25);
    let (long, id) = ("0123456789".repeat(5_000), "i".repeat(3_000));
    let mut events = format!("{{\"event\":\"log\",\"source\":\"{}\",\"text\":\"{long}\"}}\n", "s".repeat(30));
    writeln!(
        events,
        "{{\"event\":\"test_finished\",\"test\":\"{id}\",\"suite\":\"{id}\",\"status\":\"failed\",\"message\":\"{id}\",\"tags\":[\"{id}\"]}}"
    )
    .unwrap();
    let done = run(pipe(&scratch, loki.url(), &project, "run").arg("--no-fail"), events.as_bytes());
    assert_accepted(&done, &scratch);
    let rows = whole(&loki, project.get(..25).unwrap(), "run", start - SECOND, 0).await;
    let text: String = rows.iter().filter(|row| row.get("kind") == "log").map(|row| row.line.as_str()).collect();
    assert_eq!(text, long, "in pieces, and nothing is cut");
    let end = rows.iter().find(|row| row.get("status") == "failed" && row.get("kind") == "test").unwrap();
    assert!(!end.get("test").is_empty() && end.get("test").len() < id.len(), "{end:?}");
    assert_eq!(end.get("level"), "error");
}

/// How often Loki has dealt a push out to several streams.
async fn sharded(loki: &Loki) -> f64 {
    let text = loki.client().get(format!("{}/metrics", loki.url())).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with("loki_stream_sharding_count ")).unwrap_or("x 0");
    line.split_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_stream_that_could_go_faster_is_never_sharded_by_loki() {
    const LINES: usize = 16_000;
    let loki = Loki::own(&[], "");
    let (project, scratch, start) = (unique_project("fast"), Scratch::new(), now());
    let (padding, mut events) = ("x".repeat(700), String::new());
    // 12 MB at once.
    for number in 0..LINES {
        let time = at(start - 60 * SECOND + number as i64 * 1000);
        writeln!(
            events,
            "{{\"event\":\"log\",\"source\":\"app\",\"text\":\"{number:05} {padding}\",\"time\":\"{time}\"}}"
        )
        .unwrap();
    }
    let begun = std::time::Instant::now();
    let done = run(&mut pipe(&scratch, loki.url(), &project, "run"), events.as_bytes());
    assert_accepted(&done, &scratch);
    println!("12 MB of one stream took {:?}", begun.elapsed());
    let rows = whole(&loki, &project, "run", start - HOUR, 0).await;
    assert!(rows.len() > LINES);
    assert_eq!(sharded(&loki).await, 0.0);
}

/// A way to `target` on which 3 of 10 pushes fail: half of them before Loki sees them, the other half after it has stored
/// them. Gives its URL, and the number of failures.
async fn lossy(target: String) -> (String, &'static AtomicUsize) {
    static FAILED: AtomicUsize = AtomicUsize::new(0);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let forward = async move |path: String, headers: HeaderMap, body: Bytes| {
        let dice = if path.ends_with("/push") { fastrand::u32(0..20) } else { 20 };
        let answer = |status: u16, text: String| Response::builder().status(status).body(Body::from(text)).unwrap();
        let failure = if dice % 2 == 0 { 500 } else { 429 };
        if dice < 6 {
            FAILED.fetch_add(1, Relaxed);
        }
        if dice < 3 {
            return answer(failure, "not seen".into());
        }
        let kind = headers.get("content-type").cloned();
        let mut request = client.post(format!("{target}{path}")).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let response = request.send().await.unwrap();
        let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
        if dice < 6 { answer(failure, "stored all the same".into()) } else { answer(status, text) }
    };
    let router = Router::new().fallback(async move |uri: axum::http::Uri, headers: HeaderMap, body: Bytes| {
        forward(uri.path().to_owned(), headers, body).await
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, &FAILED)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_run_of_20000_tests_over_a_way_that_fails_3_of_10_pushes_nothing_is_missing() {
    const TESTS: usize = 20_000;
    let (loki, project, scratch, begin) = (Loki::get(), unique_project("lossy"), Scratch::new(), now());
    let (url, failed) = lossy(loki.url().to_owned()).await;
    let mut events = String::new();
    for number in 0..TESTS {
        // A line of usual length, so that there are pushes enough.
        write!(
            events,
            "{}",
            passed(number, begin + number as i64 * 1000).replace("\"event\"", "\"message\":\"m\",\"event\"")
        )
        .unwrap();
    }
    let mut command = pipe(&scratch, &url, &project, "run");
    let done = tokio::task::spawn_blocking(move || {
        let mut started = start(&mut command);
        let mut stdin = started.stdin.take().unwrap();
        for piece in events.as_bytes().chunks(64 * 1024) {
            stdin.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        }
        drop(stdin);
        started.wait()
    });
    assert_accepted(&done.await.unwrap(), &scratch);
    let rows = whole(loki, &project, "run", begin - SECOND, 0).await;
    assert_tests_in_order(&rows, TESTS);
    println!("{} pushes failed", failed.load(Relaxed));
    assert!(failed.load(Relaxed) >= 5, "{} pushes failed", failed.load(Relaxed));
}

#[tokio::test]
async fn a_full_spool_neither_holds_a_command_up_nor_loses_what_was_in_it_nor_the_end_of_the_run() {
    const LINES: usize = 80_000;
    let (loki, project, scratch, begin) = (Loki::get(), unique_project("full"), Scratch::new(), now());
    let script = format!("yes $(printf 'y%.0s' $(seq 300)) | head -n {LINES}; exit 3");
    let done = run(
        &mut scratch.testwire([
            "run",
            // Nobody listens there.
            "--loki-url=http://127.0.0.1:9",
            "--spool-max=16MiB",
            "--drain-timeout=1s",
            &format!("--project={project}"),
            "--run-id=run",
            "--shard=a",
            "--",
            "sh",
            "-c",
            &script,
        ]),
        &[],
    );
    assert_eq!((done.code, done.out().len()), (3, LINES * 301), "{}", done.err());
    let lost = number_before(&done.err(), "entries found no room in the spool");
    let kept = number_before(&done.err(), "entries wait in the spool");
    assert!(lost > 0 && kept > 30_000 && done.err().contains("they are not kept"), "{}", done.err());
    let flushed = run(&mut scratch.testwire(["flush", &format!("--loki-url={}", loki.url())]), &[]);
    assert_eq!(flushed.code, 0, "{}", flushed.err());
    let rows = whole(loki, &project, "run", begin - SECOND, lost).await;
    assert_eq!(rows.len() as u64, kept);
    let end = rows.iter().find(|row| row.get("kind") == "run" && row.get("status") == "failed").unwrap();
    assert_eq!(end.get("exit_code"), "3");
}
