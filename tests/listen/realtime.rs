//! RealtimeResults.

use crate::daemon::{Daemon, counts, text};
use crate::replay::{recorded, replay};

const RECEIVED: &str = "{\"received\":true}";

#[test]
fn a_run_of_the_newest_client_counts_as_robot_counts() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "realtime_listener_050_rtrobot", 200, RECEIVED);
    let ended = daemon.stop();
    let end = ended.end();
    assert_eq!(counts(end), "failed 5/1/0/2/0 of 8");
    assert_eq!(end["labels"]["runner"], "robot");
    assert_eq!(ended.find(&[("kind", "log"), ("source", "runner")]).len(), 12);
    assert_eq!(ended.find(&[("kind", "suite")]).len(), 8);
    let dotted = ended.find(&[("kind", "test"), ("test", "Tests.Sub.Child.Name.With.Dots"), ("status", "passed")]);
    assert_eq!(text(dotted[0], "suite"), "Tests.Sub.Child", "{dotted:?}");
    let tagged = ended.find(&[("test", "Tests.Sample.Passing Test"), ("status", "passed")]);
    assert_eq!(text(tagged[0], "tags"), ",fast,id:42,smoke,");
    assert!(ended.find(&[("kind", "log"), ("test", "Tests.Sample.Failing Test"), ("level", "error")]).len() == 1);
    assert!(text(end, "run_id").starts_with("20261120T093230Z-"), "the run's own start: {end}");
    assert_eq!(text(end, "entries"), ended.entries.len().to_string());
}

#[test]
fn runs_without_start_events_are_inferred_and_tests_show_while_they_run() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "realtime_listener_042_rf611", 200, RECEIVED);
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "passed 2/0/0/0/0 of 2");
    assert_eq!(ended.find(&[("kind", "test"), ("status", "started")]).len(), 2);
    assert_eq!(ended.find(&[("kind", "log"), ("test", "Child.Name.With.Dots")]).len(), 1);
}

#[test]
fn the_old_loki_sink_is_rescued() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "realtime_listener_042_lokisink", 204, "");
    assert_eq!(
        daemon.post("/loki/api/v1/push", r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}"#).status,
        400
    );
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "passed 2/0/0/0/0 of 2");
}

#[test]
fn two_runs_at_once_are_kept_apart() {
    for (first, second) in [
        ("realtime_listener_050_rtrobot", "realtime_listener_042_la"),
        ("realtime_listener_042_rf611", "realtime_listener_050_rtrobot"),
        ("realtime_listener_050_rtrobot", "realtime_listener_050_rtrobot"),
    ] {
        let daemon = Daemon::start(&[]);
        let same = first == second;
        let mut sent = [recorded(first), recorded(second)].map(Vec::into_iter);
        // A second listener on the same suites begins a moment later.
        let shifted = |r: crate::replay::Recorded| if same { r.with("09:32:30.", "09:32:31.") } else { r };
        loop {
            let (a, b) = (sent[0].next(), sent[1].next().map(shifted));
            if a.is_none() && b.is_none() {
                break;
            }
            for request in a.into_iter().chain(b) {
                assert_eq!(request.send(&daemon).body, RECEIVED);
            }
        }
        let ended = daemon.stop();
        let mut all: Vec<String> = ended.ends().values().map(|end| counts(end)).collect();
        all.sort();
        let other = if same { "failed 5/1/0/2/0 of 8" } else { "passed 2/0/0/0/0 of 2" };
        assert_eq!(all, ["failed 5/1/0/2/0 of 8", other], "{first} and {second}");
    }
}

#[test]
fn the_fields_of_the_first_versions_are_understood() {
    let daemon = Daemon::start(&[]);
    let event = |kind: &str, more: &str| {
        let body = format!("{{\"event_type\": \"{kind}\", \"timestamp\": \"20250620 22:03:27.788524\", {more}}}");
        assert_eq!(daemon.post("/event", body).body, RECEIVED);
    };
    event("start_suite", r#""name": "Tests", "longname": "Tests", "totaltests": 1"#);
    let test = r#""testid": "Tests.A::20250620 22:03:27.788524", "name": "A", "longname": "Tests.A", "suite": "Tests", "tags": []"#;
    event("start_test", test);
    event("end_test", &format!("{test}, \"status\": \"PASS\", \"message\": \"\", \"elapsed\": 0.5"));
    event("end_suite", r#""name": "Tests", "longname": "Tests", "status": "PASS", "message": """#);
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "passed 1/0/0/0/0 of 1");
    let passed = ended.find(&[("kind", "test"), ("status", "passed")])[0];
    assert_eq!(text(passed, "duration_ms"), "500");
    assert!(
        passed["timestamp"].as_str().unwrap().starts_with("1750457007788524"),
        "its zone is the configured one: {passed}"
    );
}

#[test]
fn tailed_logs_and_metrics_are_entries_of_no_run() {
    let daemon = Daemon::start(&[]);
    replay(&daemon, "realtime_tail_042_utc", 200, RECEIVED);
    replay(&daemon, "realtime_metrics_050", 200, RECEIVED);
    let ended = daemon.stop();
    assert!(ended.ends().is_empty());
    let logs = ended.find(&[("kind", "log"), ("runner", "app")]);
    assert_eq!(logs.len(), 13);
    let old = logs.iter().find(|entry| entry["line"].as_str().unwrap().contains("Invalid login")).unwrap();
    assert_eq!(text(old, "level"), "error");
    assert_eq!(text(old, "event_time"), "2025-07-02T11:45:05.000000Z", "Loki takes no lines of last year: {old}");
    let metrics = ended.find(&[("kind", "metric"), ("source", "memory_percent")]);
    assert_eq!(metrics.len(), 2);
    assert_eq!((text(metrics[0], "value"), text(metrics[0], "unit"), text(metrics[0], "host")), ("7.1", "%", "vm"));
}

#[test]
fn what_the_clients_server_refuses_is_refused_in_its_words() {
    let daemon = Daemon::start(&[]);
    for (path, body, status, error) in [
        ("/event", "{", 400, "Invalid JSON"),
        ("/event", "[]", 400, "Invalid JSON"),
        ("/log", "{\"message\": \"x\"}", 400, "Missing event_type for /log"),
        ("/metric", "{\"event_type\": \"app_log\"}", 400, "Invalid event_type 'app_log' for /metric"),
        ("/event", "{\"event_type\": \"log_message\"}", 400, "Invalid event_type 'log_message' for /event"),
    ] {
        let reply = daemon.post(path, body);
        assert_eq!((reply.status, reply.body), (status, format!("{{\"error\":\"{error}\"}}")), "{path} {body}");
    }
    assert_eq!(daemon.get("/health").body, "{\"status\":\"ok\"}");
    assert_eq!(daemon.get("/event").status, 405);
    for body in [
        r#"{"event_type": "end_test", "longname": 7, "name": null, "status": [], "tags": {"a": 1}, "starttime": "yesterday"}"#,
        r#"{"event_type": "end_test", "longname": "A.\ud800\u0000", "name": "x", "status": "PASS", "starttime": "2026-11-20T09:32:30Z"}"#,
        r#"{"event_type": "start_suite"}"#,
        r#"{"event_type": "end_suite"}"#,
        r#"{"event_type": "test_step"}"#,
    ] {
        assert_eq!(daemon.post("/event", body).body, RECEIVED, "{body}");
    }
    assert!(!daemon.stop().err.contains("panicked"));
}
