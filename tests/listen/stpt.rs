//! System Test Progress Tracking.

use crate::daemon::{Daemon, counts, text};
use crate::replay::recorded;

fn send(daemon: &Daemon, machine: &str, path: &str, more: &str) -> u16 {
    let body = format!("{{\"machine_name\": \"{machine}\", \"file_path\": \"/p\", {more}}}");
    daemon.post(&format!("/tm_api/{path}/"), body).status
}

const PLAN: &str = r#""timestamp": "2026-11-20 09:31:54", "master_scenario": {"file_path": "/s", "file_name": "master.py", "script": null,
    "scenarios": [{"file_path": "/s", "file_name": "s1.py", "script": "", "tests": [
        {"file_path": "/p", "file_name": "a.py", "script": "print(1)"}, {"file_path": "/p", "file_name": "b.py", "script": ""}]},
        {"file_path": "/s", "file_name": "s2.py", "script": "", "tests": null}]}"#;

#[test]
fn the_virtual_machine_counts_as_it_reported_and_ends_with_its_last_test() {
    let daemon = Daemon::start(&[]);
    for request in recorded("stpt_vtm") {
        let reply = request.send(&daemon);
        let expected = if String::from_utf8_lossy(&request.body).contains("master_scenario") { 201 } else { 202 };
        assert_eq!(reply.status, expected, "{reply:?}");
        let echo: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert!(echo.is_object());
    }
    let ended = daemon.stop();
    let end = ended.end();
    // 3 warnings and 3 passes; the same file twice.
    assert_eq!(counts(end), "failed 6/1/2/0/0 of 9");
    assert_eq!((text(end, "host"), end["labels"]["runner"].as_str()), ("machine #1", Some("stpt")));
    assert_eq!(text(end, "run_id"), "20261120T093154.780741Z-machine--1");
    assert_eq!(ended.find(&[("kind", "test"), ("tags", ",warning,")]).len(), 3);
    let trunk = ended.find(&[("kind", "test"), ("suite", "scenario_03_feature_trunk.py"), ("status", "passed")]);
    let ids: Vec<&str> = trunk.iter().map(|entry| text(entry, "test").rsplit('/').next().unwrap()).collect();
    assert_eq!(ids, ["01_01_test_trunk.py", "01_01_test_trunk.py (2)"]);
    assert!(ended.find(&[("kind", "log"), ("source", "script")]).len() >= 9, "the scripts are kept");
    assert_eq!(text(end, "entries"), ended.entries.len().to_string());
}

#[test]
fn a_new_dry_run_ends_the_one_before_and_every_status_has_its_meaning() {
    let daemon = Daemon::start(&["--timezone", "Europe/Amsterdam"]);
    assert_eq!(send(&daemon, "M", "dry_run", PLAN), 201);
    assert_eq!(
        send(&daemon, "m", "test_start", r#""file_name": "a.py", "timestamp_start": "2026-11-20 09:31:55""#),
        202
    );
    let second = PLAN.replace("09:31:54", "09:40:00");
    assert_eq!(send(&daemon, "M", "dry_run", &second), 201);
    assert_eq!(
        send(
            &daemon,
            "M",
            "test_stop",
            r#""file_name": "a.py", "status": null, "timestamp_stop": "2026-11-20 09:41:00.5""#
        ),
        400
    );
    assert_eq!(
        send(
            &daemon,
            "M",
            "test_stop",
            r#""file_name": "b.py", "status": "cancelled", "timestamp_stop": "2026-11-20 09:41:01""#
        ),
        202
    );
    assert_eq!(
        send(&daemon, "lost", "test_start", r#""file_name": "c.py", "timestamp_start": "2026-11-20 09:41:01""#),
        202
    );
    assert_eq!(
        send(&daemon, "lost", "test_stop", r#""file_name": "c.py", "status": "exploded", "timestamp_stop": "x""#),
        202
    );
    for (path, body) in
        [("dry_run", "{}"), ("test_start", "[]"), ("test_stop", "{"), ("dry_run", "{\"machine_name\": \"x\"}")]
    {
        assert_eq!(daemon.post(&format!("/tm_api/{path}"), body).status, 400, "{path} {body}");
    }
    assert_eq!(daemon.get("/tm_api/dry_run/").status, 405);
    assert_eq!(daemon.post("/tm_api/test_exception/", "{}").status, 404);
    let ended = daemon.stop();
    let ends = ended.ends();
    assert_eq!(counts(ends["20261120T083154Z-M"]), "aborted 0/0/0/0/1 of 2", "its zone is the configured one");
    assert!(ends["20261120T083154Z-M"]["line"].as_str().unwrap().contains("never ran: 1\n  /p/b.py"));
    assert_eq!(counts(ends["20261120T084000Z-M"]), "aborted 0/0/0/0/2 of 2");
    assert_eq!(counts(ends["20261120T084101Z-lost"]), "aborted 0/0/0/0/1 of 1");
}
