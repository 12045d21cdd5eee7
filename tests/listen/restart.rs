//! Runs go on over restarts and deaths of the daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::daemon::Daemon;
use crate::fake_loki::{Answer, Entry, FakeLoki};
use crate::replay::recorded;

/// Time, line and metadata: what Loki tells entries apart by.
type Whole = (i64, String, Vec<(String, String)>);

fn shipping(url: &str, state: &str, timeout: &str) -> Daemon {
    Daemon::start(&[
        "--loki-url",
        url,
        "--state-dir",
        state,
        "--drain-timeout",
        "5s",
        "--output",
        "loki",
        "--run-timeout",
        timeout,
    ])
}

fn get<'e>(entry: &'e Entry, name: &str) -> &'e str {
    entry.metadata.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
}

/// The end of each run, after a look at the numbers of its entries: none is missing, none is there twice.
fn ends(loki: &FakeLoki) -> BTreeMap<String, Entry> {
    let mut runs: BTreeMap<(String, String), BTreeSet<Whole>> = BTreeMap::new();
    for entry in loki.pushes().into_iter().filter(|push| push.path.ends_with("/push")).flat_map(|push| push.entries) {
        if !get(&entry, "run_id").is_empty() {
            let key = (get(&entry, "run_id").to_owned(), get(&entry, "shard").to_owned());
            runs.entry(key).or_default().insert((entry.time, entry.line, entry.metadata));
        }
    }
    let mut found = BTreeMap::new();
    for ((run, shard), entries) in runs {
        let named =
            |(time, line, metadata): &Whole| Entry { time: *time, line: line.clone(), metadata: metadata.clone() };
        let mut ends: Vec<Entry> =
            entries.iter().map(named).filter(|entry| !get(entry, "entries").is_empty()).collect();
        assert_eq!(ends.len(), 1, "{run} {shard} has no one end: {ends:?}");
        let end = ends.remove(0);
        let mut residues: Vec<i64> = entries.iter().map(|(time, ..)| time.rem_euclid(1000)).collect();
        residues.sort_unstable();
        let count: i64 = get(&end, "entries").parse().unwrap();
        let mut expected: Vec<i64> = (1..=count).map(|number| number % 1000).collect();
        expected.sort_unstable();
        assert_eq!(residues, expected, "{run} {shard}: {count} entries were written");
        assert!(found.insert(run.clone(), end).is_none(), "{run} has two parts");
    }
    found
}

fn counts(end: &Entry) -> String {
    let of = |name| get(end, name);
    format!(
        "{} {}/{}/{}/{}/{} of {}",
        end.line.split(' ').next().unwrap_or_default(),
        of("passed"),
        of("failed"),
        of("errored"),
        of("skipped"),
        of("unfinished"),
        of("planned")
    )
}

fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_goes_on_as_if_the_daemon_had_never_been_killed_or_restarted() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    blocking(move || {
        let mut daemon = shipping(&url, &path, "10m");
        let mut clients: Vec<_> = ["pytestrt_basic", "pytestrt_xdist", "stpt_vtm", "realtime_listener_050_rtrobot"]
            .map(|name| recorded(name).into_iter())
            .into();
        let mut sent = 0;
        loop {
            let mut is_over = true;
            for requests in &mut clients {
                for request in requests.by_ref().take(2) {
                    is_over = false;
                    let status = request.send(&daemon).status;
                    assert!((200..300).contains(&status), "{status}");
                    let number = sent;
                    sent += 1;
                    let line = format!("{{\"event\":\"test_finished\",\"test\":\"t{number}\",\"status\":\"passed\"}}");
                    assert_eq!(daemon.post("/v1/events?run_id=own", line).status, 204);
                    if sent % 9 == 0 {
                        match sent % 2 {
                            // SIGKILL.
                            0 => drop(daemon),
                            _ => assert_eq!(daemon.stop().code, Some(0)),
                        }
                        daemon = shipping(&url, &path, "10m");
                    }
                }
            }
            if is_over {
                break;
            }
        }
        assert!(sent > 90, "{sent}");
        let body = "{\"event\":\"run_started\"}\n{\"event\":\"run_finished\"}\n";
        assert_eq!(daemon.post("/v1/events?run_id=own", body).status, 204);
        // Longer than the hub waits for another process of a run.
        std::thread::sleep(Duration::from_secs(6));
        assert_eq!(daemon.stop().code, Some(0));
    })
    .await
    .unwrap();
    let ends = ends(&loki);
    let found: BTreeMap<&str, String> = ends.iter().map(|(run, end)| (run.as_str(), counts(end))).collect();
    assert_eq!(found["2f2bb967-021f-4dd4-ad94-d7f7ca63a429"], "FAILED 8/3/0/2/0 of 14");
    assert_eq!(found["abc123-20261120T093128Z"], "FAILED 3/1/0/0/0 of 4");
    assert_eq!(found["20261120T093154.780741Z-machine--1"], "FAILED 6/1/2/0/0 of 9");
    let robot = found.iter().find(|(run, _)| run.starts_with("20261120T093230Z-")).map(|(_, counts)| counts.as_str());
    assert_eq!(robot, Some("FAILED 5/1/0/2/0 of 8"));
    assert!(found["own"].starts_with("PASSED "), "{}", found["own"]);
    assert_eq!(found.len(), 5, "{found:?}");
}

/// A client that sends each line again until it is answered.
fn insist(address: &Mutex<String>, path: &str, body: &str) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody answers");
        let to = address.lock().unwrap().clone();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = std::net::TcpStream::connect(to).and_then(|mut stream| {
            std::io::Write::write_all(&mut stream, request.as_bytes())?;
            stream.set_read_timeout(Some(Duration::from_secs(15)))?;
            let mut reply = String::new();
            std::io::Read::read_to_string(&mut stream, &mut reply)?;
            Ok(reply)
        });
        match reply {
            Ok(reply) if reply.starts_with("HTTP/1.1 204") => return,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_at_any_moment_under_load_loses_and_doubles_nothing() {
    const WRITERS: usize = 6;
    const TESTS: usize = 150;
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    blocking(move || {
        let mut daemon = Some(shipping(&url, &path, "10m"));
        let address = Arc::new(Mutex::new(daemon.as_ref().unwrap().address.clone()));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let address = Arc::clone(&address);
                std::thread::spawn(move || {
                    // Two writers a run.
                    let path = format!("/v1/events?run_id=run{}&writer=w{writer}", writer / 2);
                    let mut line = 1;
                    let mut send = |text: &str| {
                        insist(&address, &format!("{path}&line={line}"), text);
                        line += text.lines().count();
                    };
                    send("{\"event\":\"run_started\"}\n");
                    for number in 0..TESTS {
                        let test = format!("\"test\":\"w{writer}.t{number}\"");
                        send(&format!("{{\"event\":\"test_started\",{test}}}\n"));
                        let status = if number % 10 == 3 { "failed" } else { "passed" };
                        send(&format!("{{\"event\":\"test_finished\",{test},\"status\":\"{status}\"}}\n{{\"event\":\"log\",\"text\":\"x\"}}"));
                    }
                    send("{\"event\":\"run_finished\"}\n");
                })
            })
            .collect();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut kills = 0;
        while writers.iter().any(|writer| !writer.is_finished()) {
            std::thread::sleep(Duration::from_millis(random.u64(1..250)));
            // SIGKILL.
            drop(daemon.take());
            kills += 1;
            let next = shipping(&url, &path, "10m");
            next.address.clone_into(&mut address.lock().unwrap());
            daemon = Some(next);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        println!("{kills} kills");
        std::thread::sleep(Duration::from_secs(6));
        let ended = daemon.unwrap().stop();
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        assert!(kills > 3, "{kills}");
    })
    .await
    .unwrap();
    let ends = ends(&loki);
    for run in ["run0", "run1", "run2"] {
        let (failed, all) = (TESTS / 10 * 2, TESTS * 2);
        assert_eq!(counts(&ends[run]), format!("FAILED {}/{failed}/0/0/0 of {all}", all - failed));
        assert_eq!(get(&ends[run], "retried"), "0");
    }
    assert_eq!(ends.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_daemon_that_never_comes_back_wait_for_their_timeout_and_are_ended_by_anyone_after_it() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    let said = blocking(move || {
        let daemon = shipping(&url, &path, "4s");
        let body = "{\"event\":\"planned\",\"tests\":[\"a\",\"b\"]}\n{\"event\":\"test_started\",\"test\":\"a\"}";
        assert_eq!(daemon.post("/v1/events?run_id=r", body).status, 204);
        drop(daemon);
        let killed = Instant::now();
        let flush = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
            command.args(["flush", "--loki-url", &url, "--state-dir", &path]).env_clear().env("HOME", &path);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let first = flush();
        std::thread::sleep(Duration::from_millis(4200).saturating_sub(killed.elapsed()));
        (first, flush(), flush())
    });
    let (first, second, third) = said.await.unwrap();
    assert!(first.contains("delivered") && first.contains("1 runs of a stopped"), "{first}");
    assert!(second.contains("delivered") && !second.contains("of a stopped"), "{second}");
    assert_eq!(third, "nothing waits\n");
    let ends = ends(&loki);
    assert_eq!(counts(&ends["r"]), "ABORTED 0/0/0/0/1 of 2");
    assert!(ends["r"].line.contains("never ran: 1\n  b"), "{}", ends["r"].line);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_known_is_known_after_a_restart() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let path = state.path().to_str().unwrap().to_owned();
    let mut entries = Vec::new();
    for _ in 0..2 {
        let (url, path) = (loki.url.clone(), path.clone());
        blocking(move || {
            let daemon = shipping(&url, &path, "10m");
            // The first one is a whole upload.
            recorded("resultsdb_uploads").remove(0).send(&daemon);
            assert_eq!(daemon.stop().code, Some(0));
        })
        .await
        .unwrap();
        entries.push(loki.stored_total());
    }
    assert!(entries[0] > 5, "{entries:?}");
    assert_eq!(entries[0], entries[1], "the second daemon wrote nothing");
}

/// The value of `change` on the ends of a test, run by run.
fn changes(loki: &FakeLoki, test: &str) -> Vec<(String, String)> {
    let entries = loki.pushes().into_iter().flat_map(|push| push.entries);
    let found: BTreeSet<(i64, String, String)> = entries
        .filter(|entry| get(entry, "test") == test && entry.line.starts_with("FAIL"))
        .map(|entry| (entry.time, get(&entry, "run_id").to_owned(), get(&entry, "change").to_owned()))
        .collect();
    found.into_iter().map(|(_, run, change)| (run, change)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn results_from_before_a_kill_or_a_restart_are_in_the_history_when_the_run_has_ended() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let state = tempfile::tempdir().unwrap();
    let (url, path) = (loki.url.clone(), state.path().to_str().unwrap().to_owned());
    blocking(move || {
        let fails = |test: &str| format!("{{\"event\":\"test_finished\",\"test\":\"{test}\",\"status\":\"failed\"}}\n");
        let begins = "{\"event\":\"run_started\"}\n";
        let post = |daemon: &Daemon, run: &str, body: &str| {
            assert_eq!(daemon.post(&format!("/v1/events?run_id={run}"), body).status, 204);
        };
        let daemon = shipping(&url, &path, "3s");
        post(&daemon, "first", &format!("{begins}{}", fails("killed")));
        drop(daemon);
        let daemon = shipping(&url, &path, "3s");
        post(&daemon, "first", &fails("restarted"));
        assert_eq!(daemon.stop().code, Some(0));
        // It ends without another event.
        let daemon = shipping(&url, &path, "3s");
        let begun = Instant::now();
        let is_history = |file: std::io::Result<std::fs::DirEntry>| {
            file.unwrap().path().extension().is_some_and(|name| name == "history")
        };
        while !std::fs::read_dir(format!("{path}/history")).is_ok_and(|mut files| files.any(is_history)) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the run does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
        post(&daemon, "second", &format!("{begins}{}{}{}", fails("killed"), fails("restarted"), fails("other")));
        assert_eq!(daemon.stop().code, Some(0));
    })
    .await
    .unwrap();
    let second = |test| {
        changes(&loki, test)
            .into_iter()
            .filter(|(run, _)| run == "second")
            .map(|(_, change)| change)
            .collect::<Vec<_>>()
    };
    assert_eq!(second("killed"), ["still_failing"]);
    assert_eq!(second("restarted"), ["still_failing"]);
    assert_eq!(second("other"), ["new_failure"]);
}
