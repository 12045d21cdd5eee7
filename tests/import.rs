//! `testwire import`: reports, and refused entries.

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

const SLIP: &str = "java/surefire4_rerun.SlipTest.xml";
const NEXTEST: &str = "rust/nextest_crashy.junit.xml";

fn capture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures").join(name)
}

fn texts(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_import_makes_the_same_entries_to_the_byte_wherever_it_is_done() {
    let mut all = Vec::new();
    for folder in ["a", "b"] {
        let loki = FakeLoki::start(|_| Answer::stored()).await;
        let scratch = Scratch::new();
        let place = scratch.work().join(folder);
        fs::create_dir(&place).unwrap();
        fs::copy(capture(NEXTEST), place.join("report.xml")).unwrap();
        let url = format!("--loki-url={}", loki.url);
        let arguments = ["import", &url, "--project=shop", place.to_str().unwrap()];
        let done = testwire(&scratch, &arguments, b"").await;
        assert_eq!(done.code, 0, "{}", done.err());
        assert!(done.err().contains("entries in Loki"), "{}", done.err());
        let pushes = loki.pushes().into_iter();
        let mut entries: Vec<String> =
            pushes.flat_map(|push| push.entries.into_iter().map(move |e| format!("{} {e:?}", push.labels))).collect();
        entries.sort();
        assert!(entries.len() > 20 && entries.iter().all(|entry| entry.contains("late=")), "{entries:?}");
        all.push(entries);
    }
    assert_eq!(all[0], all[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_of_a_folder_are_one_run_however_they_are_packed_and_a_bad_one_stops_no_other() {
    let scratch = Scratch::new();
    let place = scratch.work().join("reports");
    fs::create_dir_all(place.join("deep")).unwrap();
    let slip = fs::read(capture(SLIP)).unwrap();
    fs::write(place.join("deep/TEST-Slip.xml"), &slip).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(
        &mut packed,
        b"<testsuite name='T' time='1'><testcase classname='T' name='t'/></testsuite>",
    )
    .unwrap();
    fs::write(place.join("deep/TEST-T.xml.gz"), packed.finish().unwrap()).unwrap();
    fs::write(place.join("notes.txt"), "nothing").unwrap();
    let cut = place.join("cut.xml");
    fs::write(&cut, "<testsuite name='C'>\n<testcase name='one'/>\n<testcase name='two'><failure>no").unwrap();
    let named = scratch.work().join("named.txt");
    fs::write(&named, "nothing").unwrap();
    let mut arguments = vec!["import".to_owned(), "--output=ndjson".into(), "--explain".into()];
    arguments.extend(texts(&[place.clone(), named.clone()]));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = testwire(&scratch, &arguments, b"").await;
    let (out, err) = (done.out(), done.err());
    assert_eq!(done.code, 4, "{err}");
    assert!(
        err.contains(&format!("{}:3: the report ends within <failure>; what came before is kept", cut.display())),
        "{err}"
    );
    assert!(
        err.contains(&format!("{}: this is no report", named.display())) && !err.contains("notes.txt: this"),
        "{err}"
    );
    assert!(err.contains("TEST-Slip.xml: junit: Line 2 begins a report with <testsuite>."), "{err}");
    let runs: std::collections::BTreeSet<&str> =
        out.lines().filter_map(|line| line.split("\"run_id\":\"").nth(1)?.split('"').next()).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    let ends: Vec<&str> =
        out.lines().filter(|line| line.contains("\"kind\":\"run\"") && !line.contains("\"started\"")).collect();
    assert!(ends.iter().any(|end| end.contains("\"passed\":\"4\"") && end.contains("\"flaky\":\"2\"")), "{ends:?}");
    assert!(ends.iter().any(|end| end.contains("\"status\":\"aborted\"")), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_without_a_zone_take_the_configured_one() {
    let scratch = Scratch::new();
    let file = scratch.work().join("local.xml");
    let text = "<testsuite name='C' timestamp='2026-11-20T13:00:00'><testcase name='one' time='1,000.5'/></testsuite>";
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let done = testwire(&scratch, &["import", "--output=ndjson", "--timezone=Europe/Berlin", &file], b"").await;
    assert_eq!(done.code, 0, "{}", done.err());
    let test = done.out().lines().find(|line| line.contains("PASS")).unwrap_or_default().to_owned();
    // 12:00:00 UTC and 1000.5 s.
    assert!(test.contains("\"timestamp\":\"1795177000500"), "{test}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watched_reports_are_shipped_as_they_appear_as_one_run() {
    let scratch = Scratch::new();
    let place = scratch.work().join("reports");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("old.xml"), "<testsuite name='old'><testcase name='old'/></testsuite>").unwrap();
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let url = format!("--loki-url={}", loki.url);
    let mut command = scratch.testwire(["import", &url, "--project=shop", "--watch", place.to_str().unwrap()]);
    let spool = scratch.state().join("spool");
    tokio::task::spawn_blocking(move || {
        let started = binary::start(&mut command);
        let passed = r#"{env="local", kind="test", runner="junit", service_name="shop", status="passed"}"#;
        // The spool is made once the directory was looked at.
        binary::until("it watches", || spool.exists().then_some(()));
        for (number, name) in [(1, "one"), (2, "two")] {
            let text = format!("<testsuite name='{name}'><testcase name='t'/></testsuite>");
            fs::write(place.join(format!("{name}.xml")), text).unwrap();
            binary::until("the report is in Loki", || (loki.stored(passed).len() == number).then_some(()));
        }
        started.signal("INT");
        let done = started.wait();
        assert_eq!(done.code, 0, "{}", done.err());
        let ended = r#"{env="local", kind="run", runner="junit", service_name="shop", status="passed"}"#;
        assert_eq!(loki.stored(ended).len(), 1, "{}", done.err());
    })
    .await
    .unwrap();
}
