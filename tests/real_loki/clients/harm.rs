//! A client is never hurt: whatever becomes of Loki and of testwire, pytest does what it does without either.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::{Listening, SOON, audit, client, ends, only_run, shown};
use crate::binary::{Done, Scratch, run, start, until};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::{now, unique_project, wait_for};

fn bare(scratch: &Scratch) -> Done {
    let done = run(&mut client(scratch, "pytest", ["-q"]), b"");
    assert_eq!(done.code, Truth::of("pytest").exit_code, "{}", done.out());
    done
}

/// The status and text of an answer.
fn ask(address: &str, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}")), answer)
}

/// Messages of pytest-rt that were answered with 200.
fn taken(daemon: &Listening<'_>) -> u64 {
    let (_, metrics) = ask(&daemon.address, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("testwire_http_requests_total{endpoint=\"loader\",code=\"2xx\"} "));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pytest_does_not_notice_that_loki_is_down_and_nothing_is_lost() {
    let (loki, project, scratch) = (Loki::get(), unique_project("down"), Scratch::with_project("pytest"));
    let bare = bare(&scratch);
    let daemon = Listening::start(&scratch, "http://127.0.0.1:1", &project);
    let rtu = format!("--rtu={}", daemon.url("/loader"));
    let with = run(&mut client(&scratch, "pytest", ["-q", "--rt", &rtu]), b"");
    assert_eq!(shown(&with), shown(&bare));
    daemon.kill();
    let flush = run(&mut scratch.testwire(["flush", "--loki-url", loki.url(), "--drain-timeout", "20s"]), b"");
    assert_eq!(flush.code, 0, "{}", flush.err());
    let recorded = only_run(&scratch, loki, &project).await;
    assert_eq!(recorded.end().number("done"), Truth::of("pytest").tests);
}

#[tokio::test(flavor = "multi_thread")]
async fn pytest_goes_on_when_testwire_is_killed_and_what_was_answered_is_in_loki() {
    let (loki, project, scratch) = (Loki::get(), unique_project("killed"), Scratch::with_project("pytest"));
    let bare = bare(&scratch);
    // What it kept is known by the address that it is given.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let daemon = Listening::start_at(&scratch, loki.url(), &project, &address);
    let rtu = format!("--rtu={}", daemon.url("/loader"));
    let pytest = start(&mut client(&scratch, "pytest", ["-q", "--rt", &rtu]));
    let before = until("a part of the tests has run", || Some(taken(&daemon)).filter(|taken| *taken >= 80));
    daemon.kill();
    let daemon = Listening::start_at(&scratch, loki.url(), &project, &address);
    let with = pytest.wait();
    let after = taken(&daemon);
    // The client prints what it could not send, into the middle of pytest's dots and captured output.
    let said = |done: &Done| {
        let (code, out, err) = shown(done);
        let results = out.lines().skip_while(|line| !line.contains("short test summary info"));
        (code, results.map(str::to_owned).collect::<Vec<_>>(), err)
    };
    assert_eq!(said(&with), said(&bare));
    assert!(after > 0, "it was back before the end");
    daemon.stop();
    let expr = format!("{{service_name=\"{project}\", kind=\"test\"}}");
    // Each message is an entry at least; but for the start and the end of the whole.
    let rows = wait_for("what was answered", SOON, || async {
        let rows = loki.query_range(&expr, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
        (rows.len() as u64 >= before + after - 2).then_some(rows)
    })
    .await;
    // Messages of the second half have nothing but numbers, which the first process was told the names of.
    assert!(
        rows.iter().all(|row| row.get("test").contains("::")),
        "{:?}",
        rows.iter().find(|row| !row.get("test").contains("::"))
    );
    let ends = ends(loki, &project, 1).await;
    assert_eq!((ends.len(), ends[0].number("planned")), (1, Truth::of("pytest").tests), "it is one run");
    audit(&scratch, loki, &project, ends[0].get("run_id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pytest_does_not_notice_that_others_keep_testwire_busy() {
    let (loki, project, scratch) = (Loki::get(), unique_project("busy"), Scratch::with_project("pytest"));
    let bare = bare(&scratch);
    let daemon = Listening::start(&scratch, loki.url(), &project);
    let rtu = format!("--rtu={}", daemon.url("/loader"));
    let body = r#"{"event_type": "app_log", "message": "others are busy too", "source": "other"}"#;
    let request =
        format!("POST /log HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let with = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(ask(&daemon.address, &request).0, 200);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        let with = run(&mut client(&scratch, "pytest", ["-q", "--rt", &rtu]), b"");
        over.store(true, Relaxed);
        with
    });
    assert_eq!(shown(&with), shown(&bare));
    assert!(sent.load(Relaxed) > 1000, "{sent:?}");
    daemon.stop();
    let recorded = only_run(&scratch, loki, &project).await;
    assert_eq!(recorded.end().number("done"), Truth::of("pytest").tests);
}
