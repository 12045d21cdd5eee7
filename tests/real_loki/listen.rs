//! `testwire listen` before a real Loki: killed at random while runners on "other machines" send to it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::binary::{Scratch, run, start, until};
use crate::loki::Loki;
use crate::query::{now, unique_project};

/// 60 tests in some 3 seconds, 6 of which fail.
const TESTS: &str = "
import time
import pytest
@pytest.mark.parametrize('n', range(60))
def test_it(n):
    time.sleep(0.05)
    print('line of', n)
    assert n % 10 != 3
";

#[tokio::test]
async fn pytest_sends_to_a_daemon_that_is_killed_at_random_and_nothing_is_missing_or_doubled() {
    let loki = Loki::get();
    let (scratch, project) = (Scratch::new(), unique_project("remote"));
    scratch.add("test_it.py", TESTS);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let daemon = || {
        let common = ["--project", &project, "--loki-url", loki.url(), "--listen", &address, "--quiet"];
        let started = start(&mut scratch.testwire(["listen"].iter().chain(&common)));
        until("the daemon listens", || std::net::TcpStream::connect(&address).ok());
        started
    };
    let mut listening = daemon();
    let listeners = concat!(env!("CARGO_MANIFEST_DIR"), "/listeners");
    let mut runners: Vec<_> = [("plain", "0"), ("xdist", "2")]
        .map(|(run_id, workers)| {
            let mut pytest = Scratch::with_runners(scratch.command("pytest"));
            pytest.args(["-p", "testwire_pytest", "-p", "no:cacheprovider", "-n", workers]);
            pytest.env("PYTHONPATH", listeners).env("PYTHONDONTWRITEBYTECODE", "1");
            pytest.env("TESTWIRE_URL", format!("http://{address}")).env("TESTWIRE_RUN_ID", run_id);
            pytest.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into();
    let (mut kills, mut restart) = (0, Duration::ZERO);
    while runners.iter_mut().any(|runner| runner.try_wait().unwrap().is_none()) {
        // On a slow machine it must live long enough between two kills to take something.
        std::thread::sleep(restart * 2 + Duration::from_millis(50 + now().unsigned_abs() % 400));
        listening.signal("KILL");
        listening.wait();
        let begun = Instant::now();
        listening = daemon();
        restart = begun.elapsed();
        kills += 1;
    }
    for runner in runners {
        let done = runner.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(1), "{}", String::from_utf8_lossy(&done.stdout));
        assert_eq!(String::from_utf8_lossy(&done.stderr), "", "everything was sent");
    }
    eprintln!("{kills} kills");
    assert!(kills > 2, "{kills}");
    // Longer than the daemon waits for another process of a run.
    std::thread::sleep(Duration::from_secs(6));
    listening.signal("TERM");
    let ended = listening.wait();
    assert_eq!(ended.code, 0, "{}", ended.err());
    for run_id in ["plain", "xdist"] {
        let audit = run(&mut scratch.testwire(["audit", "--project", &project, "--loki-url", loki.url(), run_id]), b"");
        assert!(
            audit.code == 0 && audit.out().contains(" 0 missing, 0 doubled"),
            "{run_id}: {}{}",
            audit.out(),
            audit.err()
        );
        let end = format!("{{service_name=\"{project}\", kind=\"run\", status=\"failed\"}} | run_id=\"{run_id}\"");
        let end = loki.query_range(&end, now() - 900_000_000_000, now() + 1_000_000_000, usize::MAX).await;
        assert_eq!(end.len(), 1, "{run_id}: {end:?}");
        let of = |name| end[0].number(name);
        assert_eq!((of("passed"), of("failed"), of("planned"), of("retried")), (54, 6, 60, 0), "{run_id}");
    }
}
