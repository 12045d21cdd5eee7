//! Every recording is replayed; and what the clients' own servers answer is what testwire answers, or it is said here why not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::daemon::{Daemon, Reply, counts};
use crate::replay::{directory, recorded};

/// Each recording and the runs in it.
const RECORDINGS: &[(&str, &[&str])] = &[
    ("nose2rt_basic", &["failed 2/2/1/2/0 of 8"]),
    ("pytestrt_basic", &["failed 8/3/0/2/0 of 14"]),
    ("pytestrt_empty", &["passed 0/0/0/0/0 of 0"]),
    ("pytestrt_noenv", &["passed 1/0/0/0/0 of 1"]),
    ("pytestrt_status500", &["passed 1/0/0/0/0 of 1"]),
    ("pytestrt_xdist", &["failed 3/1/0/0/0 of 4"]),
    ("realtime_listener_042_http500", &["passed 2/0/0/0/0 of 2"]),
    ("realtime_listener_042_la", &["passed 2/0/0/0/0 of 2"]),
    ("realtime_listener_042_lokisink", &["passed 2/0/0/0/0 of 2"]),
    ("realtime_listener_042_rf611", &["passed 2/0/0/0/0 of 2"]),
    ("realtime_listener_050_rtrobot", &["failed 5/1/0/2/0 of 8"]),
    ("realtime_metrics_050", &[]),
    ("realtime_tail_042_la", &[]),
    ("realtime_tail_042_utc", &[]),
    ("resultsdb_uploads", &["failed 1/0/1/0/0 of 2", "failed 2/1/1/0/0 of 6"]),
    ("stpt_vtm", &["failed 6/1/2/0/0 of 9"]),
];

/// What a client must be answered at a path.
fn is_right(path: &str, reply: &Reply) -> bool {
    let json = || serde_json::from_str::<Value>(&reply.body).unwrap_or_default();
    match path.trim_matches('/') {
        "loader" => (reply.status, reply.body.as_str()) == (200, ""),
        "event" | "event/log_message" | "log" | "metric" => {
            (reply.status, reply.body.as_str()) == (200, "{\"received\":true}")
        }
        "loki/api/v1/push" => (reply.status, reply.body.as_str()) == (204, ""),
        "api/upload" => reply.status == 200 && json()["status"] == "ok" && json()["processing"].is_object(),
        "api/upload/archive" => reply.status == 200 && json()["status"] == "ok",
        "tm_api/dry_run" => reply.status == 201 && json().is_object(),
        "tm_api/test_start" | "tm_api/test_stop" => reply.status == 202 && json().is_object(),
        _ => false,
    }
}

#[test]
fn every_recorded_request_is_answered_as_its_client_needs_it_and_counted_as_its_runner_counts() {
    let files = std::fs::read_dir(directory()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<String> = files.filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned())).collect();
    // TestRunner's hold orders, and are replayed in `testruns.rs`.
    let others = ["servers", "testrunner_form", "testrunner_server"];
    let known = RECORDINGS.iter().map(|(name, _)| *name).chain(others).map(str::to_owned);
    assert_eq!(there, known.collect(), "each recording says here what it holds");
    for (name, runs) in RECORDINGS {
        let daemon = Daemon::start(&[]);
        for request in recorded(name) {
            let reply = request.send(&daemon);
            assert!(is_right(request.path(), &reply), "{name}: {} {reply:?}", request.path());
        }
        let ended = daemon.stop();
        let mut counted: Vec<String> = ended.ends().values().map(|end| counts(end)).collect();
        counted.sort();
        assert_eq!(counted, *runs, "{name}");
    }
}

/// Where testwire answers otherwise than the client's own server: server, note, testwire's status, and why.
const OTHERWISE: &[(&str, &str, u16, &str)] = &[
    ("testgr", "GET", 405, "the usual word for it"),
    ("testgr", "json list", 400, "a fault of the client is none of the server"),
    ("testgr", "fw int 2", 200, "it is clear what is meant"),
    ("testgr", "legacy stopTest type", 200, "older clients send it"),
    ("testgr", "trailing slash", 200, "it is clear what is meant"),
    ("stpt", "start before dry run (unknown machine)", 202, "the plan may have been lost"),
    ("stpt", "start unknown file", 202, "it runs, planned or not"),
    ("stpt", "stop b status bogus", 202, "the test has ended; how is unknown"),
    ("stpt", "scenarios null", 201, "the client sends it for an empty list"),
    ("stpt", "no machine name", 400, "a fault of the client is none of the server"),
    ("stpt", "bad ts", 201, "a run whose time is wrong is still a run"),
    ("stpt", "no slash", 400, "as with a slash"),
    ("resultsdb", "unknown repo", 200, "testwire has no list of repositories"),
    ("resultsdb", "linux version string", 200, "it is the client's own default on Linux"),
    ("realtime 0.4.2", "list body", 400, "a fault of the client is none of the server"),
    ("realtime 0.4.2", "trailing slash", 200, "a redirected POST would become a GET"),
];

#[test]
fn answers_are_those_of_the_clients_own_servers_but_where_it_is_said_why_not() {
    let text = std::fs::read_to_string(directory().join("servers.jsonl")).unwrap();
    let daemon = Daemon::start(&[]);
    let (mut used, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let get = |name: &str| row[name].as_str().unwrap();
        let headers =
            row["headers"].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let (server, note) = (get("server"), get("note"));
        let reply = daemon.request(get("method"), get("path"), &headers.collect::<Vec<_>>(), get("body").as_bytes());
        let own = u16::try_from(row["status"].as_u64().unwrap()).unwrap();
        let otherwise = OTHERWISE.iter().position(|(of, at, ..)| (*of, *at) == (server, note));
        used.extend(otherwise);
        let expected = otherwise.map_or(own, |at| OTHERWISE[at].2);
        if reply.status != expected {
            wrong.push(format!("{server}: {note}: {} instead of {expected}: {}", reply.status, reply.body));
        }
        // Bodies that a client looks at.
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let (said, own_said) = (json(&reply.body), json(get("reply")));
        let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        match server {
            _ if expected != own || own >= 405 => {}
            "resultsdb" if own == 200 => assert_eq!(said["status"], own_said["status"], "{note}"),
            // It was read as a form there; and here a query names the project.
            "resultsdb" if ["bad json", "query not allowed"].contains(&note) => {}
            "resultsdb" => assert_eq!(said["description"], own_said["description"], "{note}"),
            "stpt" if own < 300 => assert_eq!(said["machine_name"], own_said["machine_name"], "{note}"),
            "stpt" => assert_eq!(names(&said), names(&own_said), "{note}"),
            // Its client looks at nothing, but another body than it announces would end pytest.
            "testgr" if own != 200 => {}
            _ => assert_eq!(reply.body, get("reply"), "{server}: {note}"),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(used.len(), OTHERWISE.len(), "each exception is one");
    assert!(!daemon.stop().err.contains("panicked"));
}
