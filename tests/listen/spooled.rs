//! What was answered is in the spool, whatever happens to Loki and to the daemon.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::fake_loki::{Answer, FakeLoki};

/// An address at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A whole run of `count` tests.
fn run_of(count: usize) -> String {
    let tests =
        (0..count).map(|n| format!("{{\"event\":\"test_finished\",\"test\":\"t{n}\",\"status\":\"passed\"}}\n"));
    let begin = "{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"mine\"}\n".to_owned();
    std::iter::once(begin).chain(tests).chain(["{\"event\":\"run_finished\"}\n".to_owned()]).collect()
}

/// A daemon that ships to this Loki, with this state directory.
fn shipping(url: &str, state: &str) -> Daemon {
    Daemon::start(&["--output", "loki", "--loki-url", url, "--state-dir", state, "--drain-timeout", "5s"])
}

/// Numbers of the tests that are stored, each as often as it is.
fn passed(loki: &FakeLoki) -> Vec<usize> {
    let stored = loki.pushes().into_iter().filter(|push| push.labels.contains("status=\"passed\""));
    let entries = stored.filter(|push| push.labels.contains("kind=\"test\"")).flat_map(|push| push.entries);
    let names = entries.flat_map(|entry| entry.metadata).filter(|(name, _)| name == "test").map(|(_, value)| value);
    let mut numbers: Vec<usize> = names.map(|name| name.strip_prefix('t').unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_in_loki_when_the_daemon_has_ended() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    let ended = tokio::task::spawn_blocking(move || {
        let daemon = shipping(&url, &path);
        assert_eq!(daemon.post("/v1/events", run_of(50)).status, 204);
        daemon.stop()
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(passed(&loki), (0..50).collect::<Vec<_>>());
    let spools = std::fs::read_dir(state.path().join("spool")).unwrap().count();
    assert_eq!(spools, 0, "an empty spool is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_had_answered_is_delivered_by_the_next() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().to_str().unwrap().to_owned();
    let first = path.clone();
    let killed = tokio::task::spawn_blocking(move || {
        let daemon = shipping(NOWHERE, &first);
        let reply = daemon.post("/v1/events", run_of(200));
        // SIGKILL.
        drop(daemon);
        reply.status
    });
    assert_eq!(killed.await.unwrap(), 204);
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let url = loki.url.clone();
    let ended = tokio::task::spawn_blocking(move || shipping(&url, &path).stop()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("of 1 earlier process delivered, 0 refused, 0 wait still"), "{}", ended.err);
    assert_eq!(passed(&loki), (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_loki_does_not_take_are_left_for_the_next_start() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let loki = FakeLoki::start(move |_| if is_up.load(SeqCst) { Answer::stored() } else { Answer::status(503, "no") });
    let loki = loki.await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    let again = (url.clone(), path.clone());
    let ended = tokio::task::spawn_blocking(move || {
        let arguments = ["--output", "loki", "--loki-url", &url, "--state-dir", &path, "--drain-timeout", "1s"];
        let daemon = Daemon::start(&arguments);
        assert_eq!(daemon.post("/v1/events", run_of(20)).status, 204);
        daemon.stop()
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.err);
    assert!(ended.err.contains("entries wait in the spool for Loki at"), "{}", ended.err);
    up.store(true, SeqCst);
    let refused = passed(&loki).len();
    let ended = tokio::task::spawn_blocking(move || shipping(&again.0, &again.1).stop()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(passed(&loki).len() - refused, 20);
}

#[test]
fn a_stream_that_never_ends_does_not_hold_up_the_end() {
    let daemon = Daemon::start(&[]);
    let mut stream = daemon.connect();
    write!(stream, "POST /v1/events?run_id=r1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let line = "{\"event\":\"test_started\",\"test\":\"t\"}\n";
    write!(stream, "{:x}\r\n{line}\r\n", line.len()).unwrap();
    daemon.wait_for(1, "\"kind\":\"test\"");
    let begun = Instant::now();
    let ended = daemon.stop();
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(ended.find(&[("kind", "run"), ("status", "aborted")]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_and_what_was_answered_before_is_delivered() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().to_str().unwrap().to_owned();
    let first = path.clone();
    let filled = tokio::task::spawn_blocking(move || {
        let arguments = ["--output", "loki", "--loki-url", NOWHERE, "--state-dir", &first];
        let daemon = Daemon::start(&[&arguments[..], &["--spool-max", "16MiB", "--drain-timeout", "1s"]].concat());
        let text = "x".repeat(1000);
        let mut taken = 0;
        loop {
            let lines = (0..500).map(|n| format!("{{\"event\":\"log\",\"text\":\"{taken}-{n} {text}\"}}\n"));
            let reply = daemon.post("/v1/events", lines.collect::<String>());
            if reply.status == 503 {
                assert!(reply.header("retry-after").is_some(), "{reply:?}");
                break;
            }
            assert_eq!(reply.status, 204, "{reply:?}");
            taken += 1;
            assert!(taken < 100, "it has no limit");
        }
        assert_eq!((daemon.get("/ready").status, daemon.get("/healthz").status), (503, 200));
        (taken, daemon.stop())
    });
    let (taken, ended) = filled.await.unwrap();
    assert_eq!(ended.code, Some(5), "{}", ended.err);
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let url = loki.url.clone();
    let ended = tokio::task::spawn_blocking(move || shipping(&url, &path).stop()).await.unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let logs = loki.pushes().into_iter().filter(|push| push.labels.contains("kind=\"log\""));
    let lines: std::collections::HashSet<String> = logs.flat_map(|push| push.entries).map(|entry| entry.line).collect();
    let complete = |body: usize| lines.iter().filter(|line| line.starts_with(&format!("{body}-"))).count() == 500;
    assert!((0..taken).all(complete), "{} of {taken} bodies", (0..taken).filter(|body| complete(*body)).count());
    // Of the body that was refused, the lines before that may have been taken.
    assert!(lines.len() <= (taken + 1) * 500, "{}", lines.len());
}
