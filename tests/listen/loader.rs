//! pytest-rt and nose2rt.

use crate::daemon::{Daemon, counts, text};
use crate::replay::{recorded, replay};

#[test]
fn a_pytest_run_counts_as_pytest_counts() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "pytestrt_basic", 200, "");
    let state = daemon.directory.path().join("state/attachments");
    let kept: Vec<_> = walk(&state);
    assert_eq!(kept.len(), 1, "two equal pictures are one file: {kept:?}");
    let ended = daemon.stop();
    let end = ended.end();
    assert_eq!(counts(end), "failed 8/3/0/2/0 of 14");
    assert_eq!(text(end, "xfailed"), "1");
    assert_eq!(text(end, "run_id"), "2f2bb967-021f-4dd4-ad94-d7f7ca63a429");
    assert_eq!((end["labels"]["env"].as_str(), text(end, "attr_git")), (Some("STAGE"), "dev-branch"));
    let failed = ended.find(&[("kind", "test"), ("status", "failed")]);
    let messages: Vec<&str> = failed.iter().map(|entry| text(entry, "message")).collect();
    assert_eq!(messages[1..], ["[XPASS(strict)] strict", "RuntimeError: setup broke"], "{messages:?}");
    assert!(messages[0].starts_with("AssertionError: boom"), "{messages:?}");
    assert!(failed[0]["line"].as_str().unwrap().contains("captured before failure é"), "{}", failed[0]["line"]);
    let skipped = ended.find(&[("kind", "test"), ("status", "skipped")]);
    assert_eq!(skipped.iter().map(|entry| text(entry, "message")).collect::<Vec<_>>(), ["not today", "runtime skip"]);
    assert_eq!(text(skipped[0], "suite"), "test_sample.py");
    let picture = ended.find(&[("kind", "log")]);
    assert_eq!(picture.len(), 1);
    assert_eq!(text(picture[0], "test"), "test_sample.py::TestClass::test_screens");
    assert!(picture[0]["line"].as_str().unwrap().ends_with(kept[0].to_str().unwrap()));
    assert_eq!(text(end, "entries"), ended.entries.len().to_string());
}

#[test]
fn workers_under_a_custom_id_are_one_run_and_the_id_can_be_used_again() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "pytestrt_xdist", 200, "");
    for request in recorded("pytestrt_xdist") {
        // A minute later; the uuids are the same in every run.
        assert_eq!(request.with("1795167088.", "1795167148.").send(&daemon).status, 200);
    }
    let ended = daemon.stop();
    let ends = ended.ends();
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["abc123-20261120T093128Z", "abc123-20261120T093228Z"]);
    for end in ends.values() {
        assert_eq!(counts(end), "failed 3/1/0/0/0 of 4");
        let run = ended.find(&[("run_id", text(end, "run_id"))]);
        assert_eq!(text(end, "entries"), run.len().to_string());
        assert_eq!(run.iter().filter(|entry| entry["labels"]["kind"] == "test").count(), 8);
    }
    assert_eq!(ended.find(&[("worker", "e1bd7f1b"), ("kind", "test")]).len(), 8);
}

#[test]
fn a_run_with_a_custom_id_and_one_process_ends_with_it() {
    let daemon = Daemon::start(&[]);
    let [start, first, end] = ["startTestRun", "stopTestItem", "stopTestRun"].map(|kind| {
        let of_kind = |r: &crate::replay::Recorded| String::from_utf8_lossy(&r.body).contains(kind);
        recorded("pytestrt_xdist").into_iter().find(of_kind).unwrap()
    });
    // pytest -x: three tests never ran.
    for request in [start, first, end] {
        request.send(&daemon);
    }
    daemon.wait_for_ends(1);
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "passed 1/0/0/0/0 of 4");
    assert!(ended.end()["line"].as_str().unwrap().contains("never ran: 3"));
}

#[test]
fn a_test_that_one_job_starts_again_was_repeated_and_one_that_another_job_starts_is_lost() {
    let daemon = Daemon::start(&[]);
    let post = |what: &str, job: &str, test: &str, more: &str| {
        let body = format!(
            r#"{{"fw": "2", "type": "{what}", "job_id": "{job}", "custom_id": "c", "uuid": "{test}", {more} "msg": ""}}"#
        );
        assert_eq!(daemon.post("/loader", body).status, 200);
    };
    for job in ["gw0", "gw1"] {
        let tests = r#""tests": [{"nodeid": "a.py::t", "uuid": "1"}, {"nodeid": "a.py::u", "uuid": "2"}],"#;
        post("startTestRun", job, "", tests);
    }
    // What pytest-rerunfailures makes of a flaky test.
    post("startTestItem", "gw0", "1", "");
    post("startTestItem", "gw0", "1", "");
    post("stopTestItem", "gw0", "1", r#""status": "passed","#);
    // A worker died; the other one runs its test.
    post("startTestItem", "gw0", "2", "");
    post("startTestItem", "gw1", "2", "");
    post("stopTestItem", "gw1", "2", r#""status": "passed","#);
    for job in ["gw0", "gw1", "controller"] {
        post("stopTestRun", job, "", "");
    }
    let ended = daemon.stop();
    let end = ended.end();
    assert_eq!((counts(end).as_str(), text(end, "flaky")), ("passed 2/0/0/0/0 of 2", "1"));
    assert_eq!(ended.find(&[("test", "a.py::t"), ("status", "retried")]).len(), 1);
    assert_eq!(ended.find(&[("test", "a.py::t"), ("outcome", "flaky"), ("attempt", "2")]).len(), 1);
    assert_eq!(ended.find(&[("test", "a.py::u"), ("status", "unfinished")]).len(), 1);
}

#[test]
fn a_nose2_run_counts_as_nose2_counts() {
    let daemon = Daemon::start(&["--loader-path", "/testgr/in/"]);
    for request in recorded("nose2rt_basic") {
        let body = String::from_utf8(request.body.clone()).unwrap();
        let reply = daemon.post("/testgr/in", body);
        assert_eq!((reply.status, reply.body.as_str(), reply.header("content-length")), (200, "", Some("0")));
    }
    let ended = daemon.stop();
    let end = ended.end();
    // The failed subtest has no status on the wire; nose2 counts it as a failure.
    assert_eq!(counts(end), "failed 2/2/1/2/0 of 8");
    assert_eq!((text(end, "xfailed"), end["labels"]["runner"].as_str()), ("1", Some("nose2")));
    let failed = ended.find(&[("kind", "test"), ("test", "test_n2.TestA.test_fail"), ("status", "failed")])[0];
    assert_eq!(text(failed, "message"), "AssertionError('1 != 2 : boom')");
    assert!(failed["line"].as_str().unwrap().contains("self.assertEqual(1, 2, \"boom\")"));
}

#[test]
fn a_run_without_tests_is_a_run() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "pytestrt_empty", 200, "");
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "passed 0/0/0/0/0 of 0");
}

#[test]
fn messages_of_old_clients_and_of_runs_whose_beginning_was_lost_are_understood() {
    let daemon = Daemon::start(&[]);
    let post = |body: &str| assert_eq!(daemon.post("/loader", body).status, 200, "{body}");
    post(
        r#"{"fw": "1", "type": "startTestRun", "job_id": "old", "tests": [{"test_a": "m.T.test_a"}, {"test_b": "m.T.test_b"}], "startTime": "1795167148.6"}"#,
    );
    post(r#"{"fw": "1", "type": "startTestItem", "job_id": "old", "test": "m.T.test_a", "startTime": "1795167149"}"#);
    post(
        r#"{"fw": "1", "type": "stopTest", "job_id": "old", "test": "m.T.test_a", "status": "failed", "msg": ["X", "boom", "tb"], "stopTime": "1795167149.5"}"#,
    );
    post(
        r#"{"fw": "1", "type": "stopTestItem", "job_id": "old", "test": "m.T.test_b", "status": "passed", "msg": "", "stopTime": "1795167150.123456789"}"#,
    );
    post(r#"{"fw": "1", "type": "stopTestRun", "job_id": "old", "stopTime": "1795167151"}"#);
    post(
        r#"{"fw": "2", "type": "stopTestItem", "job_id": "lost", "uuid": "6cd5", "custom_id": null, "status": "passed", "msg": "", "stopTime": "soon"}"#,
    );
    post(r#"{"fw": "2", "type": "stopTestRun", "job_id": "lost", "custom_id": null}"#);
    post(r#"{"fw": "2", "type": "stopTestRun", "job_id": "nobody", "custom_id": null}"#);
    let ended = daemon.stop();
    let ends = ended.ends();
    assert_eq!(ends.keys().collect::<Vec<_>>(), ["lost", "old"]);
    assert_eq!(counts(ends["old"]), "failed 1/1/0/0/0 of 2");
    assert_eq!(counts(ends["lost"]), "passed 1/0/0/0/0 of 1");
    assert_eq!(ended.find(&[("run_id", "lost"), ("kind", "note")]).len(), 1);
}

#[test]
fn what_is_no_message_is_refused_and_hurts_nobody() {
    let daemon = Daemon::start(&[]);
    for body in ["", "[]", "{}", r#"{"fw": "3", "type": "startTestRun"}"#, r#"{"fw": "2", "type": "x"}"#] {
        assert_eq!(daemon.post("/loader", body).status, 400, "{body}");
    }
    for body in [
        r#"{"fw": 2, "type": "startTestRun", "tests": {"a": 1}, "custom_data": [1], "env": {}, "startTime": true}"#,
        r#"{"fw": "2", "type": "startTestRun", "tests": [null, 1, {}, {"nodeid": null}], "custom_data": "{", "job_id": 7}"#,
        r#"{"fw": "2", "type": "stopTestItem", "uuid": "../../etc/passwd", "status": "passed", "screens": [{"name": "../x", "image": "Li4="}, "%%"]}"#,
        r#"{"fw": "2", "type": "stopTestItem", "uuid": "\ud800\u0000", "status": "failed", "msg": "\ud83d"}"#,
        r#"{"fw": "2", "type": "stopTestRun"}"#,
    ] {
        assert_eq!(daemon.post("/loader", body).status, 200, "{body}");
    }
    let state = daemon.directory.path().join("state");
    let mut kept = walk(&state);
    // Where runs have ended meanwhile, their results are there, too.
    kept.retain(|path| !path.starts_with(state.join("history")));
    assert!(kept.iter().all(|path| path.starts_with(state.join("attachments"))), "{kept:?}");
    assert!(!daemon.stop().err.contains("panicked"));
}

/// The files below a directory.
fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path) } else { vec![path] }
        })
        .collect()
}
