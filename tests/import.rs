//! `testwire import` of refused entries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/binary.rs"]
mod binary;
#[expect(dead_code, reason = "other tests use the rest")]
#[path = "common/fake_loki.rs"]
mod fake_loki;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use binary::{Done, Scratch, run};
use fake_loki::{Answer, Entry, FakeLoki};

/// A Loki that refuses lines with `bad` in them until it is mended.
async fn refusing() -> (FakeLoki, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let loki = FakeLoki::start(move |push| {
        let bad = |i: &usize| push.entries[*i].line.contains("bad");
        match (0..push.entries.len()).filter(bad).collect::<Vec<_>>() {
            bad if bad.is_empty() || is_mended.load(SeqCst) => Answer::stored(),
            bad => Answer::refuse("max entry size '10' bytes exceeded for stream '{}'", bad),
        }
    })
    .await;
    (loki, mended)
}

async fn testwire(scratch: &Scratch, arguments: &[&str], input: &'static [u8]) -> Done {
    let mut command = scratch.testwire(arguments);
    tokio::task::spawn_blocking(move || run(&mut command, input)).await.unwrap()
}

/// Names of files in `rejected/`.
fn rejected(scratch: &Scratch) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(scratch.state().join("rejected")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn bad(loki: &FakeLoki, labels: &str) -> Vec<Entry> {
    loki.stored(labels).into_iter().filter(|entry| entry.line.contains("bad")).collect()
}

const INPUT: &[u8] = b"{\"testwire\":1,\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"failed\",\"message\":\"bad \\\"one\\\"\\nand more \\u00e9\"}\n\
{\"event\":\"log\",\"text\":\"bad log\",\"test\":\"a\",\"level\":\"warn\"}\n{\"event\":\"log\",\"text\":\"good\"}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_arrives_unchanged_after_the_cause_is_mended() {
    let (loki, mended) = refusing().await;
    let scratch = Scratch::new();
    let url = format!("--loki-url={}", loki.url);
    let done = testwire(&scratch, &["pipe", &url, "--project=shop", "--run-id=r1", "--no-fail"], INPUT).await;
    assert_eq!(done.code, 6, "{}", done.err());
    let refused: Vec<_> =
        loki.pushes().into_iter().flat_map(|push| push.entries).filter(|e| e.line.contains("bad")).collect();
    let [file] = &rejected(&scratch)[..] else { panic!("one file") };
    let file = file.display().to_string();
    let lines = fs::read_to_string(&file).unwrap().lines().count();

    // Not mended yet: refused again, and kept again.
    let done = testwire(&scratch, &["import", &url, &file], b"").await;
    assert_eq!(done.code, 6, "{}", done.err());
    assert!(done.err().contains(&format!("refused {lines} of them again")), "{}", done.err());
    let names: Vec<_> = rejected(&scratch).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, [file.clone(), format!("{file}.sent")]);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), lines);

    mended.store(true, SeqCst);
    let done = testwire(&scratch, &["import", &url, &file], b"").await;
    assert_eq!(done.code, 0, "{}", done.err());
    assert!(done.err().contains(&format!("{lines} of {lines} entries in Loki")), "{}", done.err());
    let names: Vec<_> = rejected(&scratch).iter().map(|path| path.display().to_string()).collect();
    assert_eq!(names, [format!("{file}.sent"), format!("{file}.sent.2")]);
    let test = r#"{env="local", kind="test", runner="custom", service_name="shop", status="failed"}"#;
    let log = r#"{env="local", kind="log", runner="custom", service_name="shop", source="stdout"}"#;
    for labels in [test, log] {
        let [entry] = &bad(&loki, labels)[..] else { panic!("{labels}: {:?}", loki.stored(labels)) };
        assert!(refused.contains(entry), "{entry:?} is not one of {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_are_refused_with_their_line_and_nothing_is_sent() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let scratch = Scratch::new();
    let url = format!("--loki-url={}", loki.url);
    let good = scratch.work().join("good.ndjson");
    let entry = r#"{"labels":{"kind":"log"},"timestamp":"1","line":"x","metadata":{}}"#;
    fs::write(&good, format!("{entry}\n\n{entry}\n")).unwrap();
    let report = scratch.work().join("junit.xml");
    fs::write(&report, format!("{entry}\n<testsuite/>\n")).unwrap();
    let arguments = ["import", &url, good.to_str().unwrap(), report.to_str().unwrap()];
    let done = testwire(&scratch, &arguments, b"").await;
    assert_eq!(done.code, 4, "{}", done.err());
    assert!(done.err().contains(&format!("{}:2: this is no entry of testwire", report.display())), "{}", done.err());
    assert!(done.err().contains("hint: import takes files that testwire keeps in rejected/"), "{}", done.err());
    assert!(good.exists() && report.exists() && loki.pushes().is_empty());
    let done = testwire(&scratch, &["import", &url, "/no/such/file"], b"").await;
    assert_eq!((done.code, done.err().contains("cannot read /no/such/file")), (4, true), "{}", done.err());
    assert_eq!(testwire(&scratch, &["import"], b"").await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_loki_the_entries_wait_in_the_spool_and_flush_sends_them() {
    let scratch = Scratch::new();
    let file = scratch.work().join("kept.ndjson");
    let now = chrono::Utc::now().timestamp_nanos_opt().unwrap();
    let line = |i: i64| {
        format!(
            "{{\"labels\":{{\"kind\":\"log\"}},\"timestamp\":\"{}\",\"line\":\"{i}\",\"metadata\":{{}}}}\n",
            now + i
        )
    };
    fs::write(&file, (0..1200).map(line).collect::<String>()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("--loki-url=http://{free}");
    let done = testwire(&scratch, &["import", &url, "--drain-timeout=1s", file.to_str().unwrap()], b"").await;
    assert_eq!(done.code, 5, "{}", done.err());
    assert!(!file.exists());
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let done = testwire(&scratch, &["flush", &format!("--loki-url={}", loki.url)], b"").await;
    assert_eq!(done.code, 0, "{}{}", done.out(), done.err());
    let lines: Vec<String> = loki.stored("{kind=\"log\"}").into_iter().map(|entry| entry.line).collect();
    assert_eq!(lines, (0..1200).map(|i| i.to_string()).collect::<Vec<_>>());
}
