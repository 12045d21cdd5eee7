//! `POST /v1/events`.

use std::io::Write as _;

use crate::daemon::{Daemon, counts, read_reply, text};

const RUN: &str = "\
{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"my-runner\"}\r\n\
{\"event\":\"planned\",\"tests\":[\"a\",\"b\"]}\n\
{\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"passed\"}\n\
{\"event\":\"test_finished\",\"test\":\"b\",\"status\":\"failed\",\"message\":\"no\"}\n\
{\"event\":\"run_finished\"}";

#[test]
fn a_body_without_a_run_id_is_a_whole_run() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.post("/v1/events", RUN).status, 204);
    assert_eq!(daemon.post("/v1/events/", RUN).status, 204);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0));
    let ends = ended.ends();
    assert_eq!(ends.len(), 2, "{}", ended.err);
    for end in ends.values() {
        assert_eq!(counts(end), "failed 1/1/0/0/0 of 2");
        assert_eq!(end["labels"]["runner"], "my-runner");
        assert_eq!(end["labels"]["service_name"], "shop");
        assert_eq!(text(end, "shard"), "", "a run of one process has no shard");
    }
}

#[test]
fn processes_that_name_the_same_run_are_one_run_with_one_set_of_counters() {
    let daemon = Daemon::start(&[]);
    let path = "/v1/events?run_id=nightly-7&env=ci&project=till";
    for (worker, tests) in [("w1", ["a", "b"]), ("w2", ["c", "d"])] {
        daemon.post(path, "{\"testwire\":1,\"event\":\"run_started\",\"runner\":\"my-runner\"}\n");
        daemon.post(path, "{\"event\":\"planned\",\"tests\":[\"a\",\"b\",\"c\",\"d\"]}");
        for test in tests {
            let line = format!(
                "{{\"event\":\"test_finished\",\"test\":\"{test}\",\"status\":\"passed\",\"worker\":\"{worker}\"}}"
            );
            assert_eq!(daemon.post(path, line).status, 204);
        }
    }
    // The first process's end is not the run's.
    daemon.post(path, "{\"event\":\"run_finished\"}");
    daemon.post(path, "{\"event\":\"log\",\"text\":\"still here\"}");
    daemon.post(path, "{\"event\":\"run_finished\"}");
    daemon.wait_for_ends(1);
    let ended = daemon.stop();
    let end = ended.end();
    assert_eq!(counts(end), "passed 4/0/0/0/0 of 4");
    assert_eq!(text(end, "run_id"), "nightly-7");
    assert_eq!(end["labels"]["env"], "ci");
    assert_eq!(end["labels"]["service_name"], "till");
    assert_ne!(text(end, "shard"), "", "other testwire processes may have parts of it");
    assert!(text(end, "elapsed_ms").parse::<u64>().unwrap() < 3000, "waiting is no part of the run: {end}");
    let entries = ended.find(&[("run_id", "nightly-7")]).len();
    assert_eq!(text(end, "entries"), entries.to_string());
}

#[test]
fn a_run_whose_process_announced_itself_and_never_ended_is_aborted_and_names_what_never_ran() {
    let daemon = Daemon::start(&["--run-timeout", "5s"]);
    daemon.post("/v1/events?run_id=r", "{\"event\":\"run_started\"}\n{\"event\":\"planned\",\"tests\":[\"a\",\"b\"]}");
    daemon.post("/v1/events?run_id=r", "{\"event\":\"test_started\",\"test\":\"a\"}");
    daemon.wait_for_ends(1);
    // Its name may be used again.
    daemon.post("/v1/events?run_id=r", RUN);
    let ended = daemon.stop();
    let aborted: Vec<_> = ended.find(&[("kind", "run"), ("status", "aborted"), ("run_id", "r")]);
    assert!(aborted[0]["line"].as_str().unwrap().contains("never ran: 1\n  b"), "{aborted:?}");
    assert_eq!(counts(aborted[0]), "aborted 0/0/0/0/1 of 2");
    let shards: std::collections::BTreeSet<_> =
        ended.find(&[("run_id", "r")]).iter().map(|e| text(e, "shard")).collect();
    assert_eq!(shards.len(), 2, "entries are numbered anew under a name of their own: {shards:?}");
}

#[test]
fn a_part_of_a_run_that_was_announced_and_never_reported_is_named_at_the_end() {
    let daemon = Daemon::start(&["--run-timeout", "5s"]);
    for (shard, test) in [("a", "t1"), ("b", "t2")] {
        let body = RUN.replace("\"test\":\"", &format!("\"test\":\"{test}"));
        assert_eq!(daemon.post(&format!("/v1/events?run_id=r&shards=a,b,c&shard={shard}"), body).status, 204);
        assert_eq!(daemon.post(&format!("/v1/events?run_id=n&shards=2&shard={shard}"), RUN).status, 204);
    }
    daemon.wait_for_ends(2);
    let ended = daemon.stop();
    let ends = ended.ends();
    let line = |run: &str| ends[run]["line"].as_str().unwrap();
    assert!(line("r").contains("1 of 3 shards never reported: c"), "{}", line("r"));
    assert_eq!(ends["r"]["labels"]["status"], "aborted");
    assert_eq!(text(ends["r"], "done"), "4", "one set of counters: {}", ends["r"]);
    assert_eq!(ended.find(&[("kind", "note"), ("run_id", "r"), ("level", "error")]).len(), 1);
    assert!(!line("n").contains("never reported"), "{}", line("n"));
}

#[test]
fn lines_of_a_writer_that_were_taken_are_passed_over_when_they_come_again() {
    let daemon = Daemon::start(&[]);
    let lines: Vec<&str> = RUN.split_inclusive('\n').collect();
    let post = |line: usize, body: &str| {
        assert_eq!(daemon.post(&format!("/v1/events?run_id=r&writer=w&line={line}"), body).status, 204);
    };
    post(1, &lines[..2].concat());
    post(1, &lines[..3].concat());
    post(2, &lines[1..].concat());
    post(1, RUN);
    // Another writer's lines are others.
    let log = "{\"event\":\"log\",\"text\":\"other\"}";
    assert_eq!(daemon.post("/v1/events?run_id=r&writer=v&line=1", log).status, 204);
    let ended = daemon.stop();
    assert_eq!((text(ended.end(), "passed"), text(ended.end(), "failed")), ("1", "1"));
    assert_eq!(text(ended.end(), "retried"), "0");
    assert_eq!(ended.find(&[("kind", "test"), ("status", "passed")]).len(), 1);
    assert_eq!(ended.find(&[("kind", "log")]).iter().filter(|log| log["line"] == "other").count(), 1);
}

#[test]
fn a_stream_is_taken_line_by_line_while_it_comes_and_one_that_breaks_ends_its_run() {
    let daemon = Daemon::start(&[]);
    let mut stream = daemon.connect();
    write!(stream, "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .unwrap();
    let lines: Vec<&str> = RUN.lines().collect();
    for line in &lines[..3] {
        // Chunks do not end where lines do.
        let (a, b) = line.split_at(line.len() / 2);
        write!(stream, "{:x}\r\n{a}\r\n{:x}\r\n{b}\n\r\n", a.len(), b.len() + 1).unwrap();
    }
    let waited = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !daemon.get("/metrics").body.contains("testwire_http_body_bytes_total 0\n")
    });
    assert!(waited);
    std::thread::sleep(std::time::Duration::from_millis(300));
    stream.shutdown(std::net::Shutdown::Both).unwrap();
    let mut whole = daemon.connect();
    write!(whole, "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        .unwrap();
    write!(whole, "{:x}\r\n{RUN}\r\n0\r\n\r\n", RUN.len()).unwrap();
    assert_eq!(read_reply(&mut whole).status, 204);
    let ended = daemon.stop();
    let mut all: Vec<String> = ended.ends().values().map(|end| counts(end)).collect();
    all.sort();
    assert_eq!(all, ["aborted 1/0/0/0/0 of 2", "failed 1/1/0/0/0 of 2"]);
}

#[test]
fn lines_that_are_no_events_are_kept_and_remarked_on() {
    let daemon = Daemon::start(&[]);
    let reply =
        daemon.post("/v1/events", b"\x00\xff not an event\n{\"event\":\"log\",\"text\":\"\xed\xa0\x80\"}\n[[[[\n");
    assert_eq!(reply.status, 204);
    let ended = daemon.stop();
    assert_eq!(ended.find(&[("kind", "log")]).len(), 3);
    assert_eq!(ended.find(&[("kind", "note")]).len(), 2);
}
