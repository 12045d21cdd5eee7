//! WebKit's results database.

use std::fmt::Write as _;

use serde_json::Value;

use crate::daemon::{Daemon, counts, text};
use crate::replay::recorded;

/// An upload of a minute ago: the times of one that is older than a week are not believed.
fn upload() -> String {
    static SHIFT: std::sync::LazyLock<i64> =
        std::sync::LazyLock::new(|| chrono::Utc::now().timestamp() - RECORDED_END - 60);
    let shifted = |text: String, time: i64| text.replace(&time.to_string(), &(time + *SHIFT).to_string());
    shifted(shifted(recorded_upload(), RECORDED_BEGIN), RECORDED_END)
}

/// When the recorded run of layout tests began and ended.
const RECORDED_BEGIN: i64 = 1_795_167_363;
const RECORDED_END: i64 = 1_795_167_484;

fn recorded_upload() -> String {
    let of_layout_tests = |r: &crate::replay::Recorded| {
        r.path() == "/api/upload" && String::from_utf8_lossy(&r.body).contains("css-charset.html")
    };
    String::from_utf8(recorded("resultsdb_uploads").into_iter().find(of_layout_tests).unwrap().body).unwrap()
}

#[test]
fn an_upload_counts_as_the_database_counts_and_its_answer_is_the_databases() {
    let daemon = Daemon::start(&[]);
    let reply = daemon.post("//api/upload", upload());
    assert_eq!(reply.status, 200);
    let answer: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(answer["status"], "ok");
    let processors = answer["processing"].as_object().unwrap();
    assert_eq!(processors.len(), 5);
    assert!(processors.values().all(|processor| processor["status"] == "ok"));
    let ended = daemon.stop();
    let end = ended.end();
    // The database: 6 run, 4 failed of which 2 unexpectedly, 1 flaky, 3 skipped.
    assert_eq!(counts(end), "failed 2/1/1/0/0 of 6");
    assert_eq!((text(end, "xfailed"), text(end, "flaky"), text(end, "attr_tests_skipped")), ("2", "1", "3"));
    let unexpected = ended.find(&[("kind", "test"), ("tags", ",CRASH,unexpected,")]);
    assert_eq!(text(unexpected[0], "test"), "http/tests/crash.html");
    let expected = ended.find(&[("test", "fast/canvas/b.html?variant=1#x"), ("status", "xfailed")]);
    assert_eq!((text(expected[0], "message"), text(expected[0], "duration_ms")), ("IMAGE TEXT (expected FAIL)", "9"));
    let known = ended.find(&[("kind", "test"), ("known", "true")]);
    assert!(
        known.iter().all(|entry| entry["labels"]["status"] == "xfailed"),
        "what was expected is known, and no more"
    );
    assert_eq!((known.len(), text(end, "known")), (2, "2"));
    assert_eq!((text(end, "commit"), text(end, "branch")), ("75eaef1c9242f92a8d7694e8ccd310f69cf9683b", "main"));
    assert_eq!(
        (text(end, "attr_platform"), text(end, "attr_version_name"), text(end, "host")),
        ("mac", "Sonoma", "bot198")
    );
    assert_eq!(text(end, "build_url"), "https://build.webkit.org/#/builders/1/builds/5285");
    assert!(
        ended.entries.iter().all(|entry| !entry.to_string().contains("sekret")),
        "the key of the client is no fact"
    );
    assert_eq!(text(end, "entries"), ended.entries.len().to_string());
}

#[test]
fn the_same_upload_again_adds_nothing_and_another_process_makes_the_same_entries_of_it() {
    let once = |times: usize| {
        let daemon = Daemon::start(&[]);
        for _ in 0..times {
            assert_eq!(daemon.post("/api/upload", upload()).status, 200);
        }
        daemon.stop().entries
    };
    let (one, two) = (once(1), once(2));
    assert_eq!(one, two, "Loki drops entries that are equal in time, line and metadata");
}

#[test]
fn another_document_under_the_same_key_is_told_later_than_the_one_before() {
    let daemon = Daemon::start(&[]);
    daemon.post("/api/upload", upload());
    daemon.post("/api/upload", upload().replace("\"actual\": \"TEXT\"", "\"actual\": \"CRASH\""));
    let ended = daemon.stop();
    let mut ends = ended.find(&[("kind", "run")]);
    ends.retain(|entry| entry["labels"]["status"] != "started");
    ends.sort_by_key(|entry| entry["timestamp"].as_str().unwrap().parse::<u64>().unwrap());
    assert_eq!(
        ends.iter().map(|end| counts(end)).collect::<Vec<_>>(),
        ["failed 2/1/1/0/0 of 6", "failed 2/0/2/0/0 of 6"]
    );
    assert_eq!(text(ends[0], "run_id"), text(ends[1], "run_id"));
}

#[test]
fn fifty_thousand_results_are_taken_at_once_and_others_are_answered_meanwhile() {
    let mut results = String::new();
    for suite in 0..500 {
        write!(results, "{}\"dir{suite}\": {{", if suite > 0 { ", " } else { "" }).unwrap();
        for test in 0..100 {
            let actual = if test == 7 { "\"actual\": \"TEXT\", \"log\": \"--- expected\\n+++ actual\", " } else { "" };
            write!(results, "{}\"test{test}.html\": {{{actual}\"time\": {test}}}", if test > 0 { ", " } else { "" })
                .unwrap();
        }
        results.push('}');
    }
    let document: Value = serde_json::from_str(&upload()).unwrap();
    let old = serde_json::to_string(&document["test_results"]["results"]).unwrap();
    let body = serde_json::to_string(&document).unwrap().replace(&old, &format!("{{{results}}}"));
    let daemon = Daemon::start(&[]);
    let answered = std::thread::scope(|scope| {
        let upload = scope.spawn(|| daemon.post("/api/upload", &body));
        let mut answered = 0;
        while !upload.is_finished() {
            assert_eq!(daemon.post("/log", "{\"event_type\": \"x\", \"message\": \"y\"}").status, 200);
            answered += 1;
        }
        assert_eq!(upload.join().unwrap().status, 200);
        answered
    });
    // The last may have been asked when the upload had just ended.
    assert!(answered > 3, "{answered} others were answered while it was dealt with");
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "failed 49500/500/0/0/0 of 50000");
}

#[test]
fn an_ews_upload_names_every_test_that_it_stored() {
    let daemon = Daemon::start(&[]);
    let body = r#"{"suite": "layout-tests", "flaky_type": null, "configuration": "{\"platform\": \"mac\", \"version\": \"14.5\", \"is_simulator\": false, \"architecture\": \"arm64\"}",
        "commits": [{"repository_id": "webkit", "hash": "75ea", "branch": "main", "timestamp": 1795166884}], "timestamp": 1795167363,
        "test_results": {"results": {"fast/a.html": {"report": "REGRESSION", "expected": "PASS", "actual": "TEXT"}, "fast/b.html": {}}},
        "details": {"worker": "ews104", "build_url": "https://ews/1"}}"#;
    let reply = daemon.post("/api/upload/ews", body);
    assert_eq!((reply.status, reply.body.as_str()), (200, r#"{"status":"ok","tests":["fast/a.html","fast/b.html"]}"#));
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "failed 1/1/0/0/0 of 2");
    assert_eq!((text(ended.end(), "build_url"), text(ended.end(), "host")), ("https://ews/1", "ews104"));
}

#[test]
fn what_is_refused_is_refused_with_a_description_as_the_client_needs_it() {
    let daemon = Daemon::start(&["--max-body", "64KiB"]);
    let config = r#""configuration": {"platform": "mac", "version": 1, "is_simulator": false, "architecture": "x"}"#;
    for (body, status, description) in [
        ("[]".to_owned(), 400, "Expected uploaded data to be json"),
        (r#"{"suite": "x"}"#.to_owned(), 400, "Invalid configuration"),
        (
            r#"{"suite": "x", "configuration": {"platform": "mac"}}"#.to_owned(),
            400,
            "Cannot register a partial configuration",
        ),
        (format!("{{{config}}}"), 400, "No test suite specified"),
        (format!("{{\"suite\": \"x\", {config}}}"), 400, "No test results specified"),
        (
            format!("{{\"suite\": \"x\", {config}, \"test_results\": {{}}}}"),
            400,
            "Each test result must have at least 1 associated commit",
        ),
        ("x".repeat(70_000), 413, "the body, or a line of it, is too large; see --max-body"),
    ] {
        let reply = daemon.post("/api/upload", &body);
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!((reply.status, answer["description"].as_str()), (status, Some(description)), "{}", reply.body);
    }
    let odd = format!(
        "{{\"suite\": 7, {config}, \"commits\": [{{\"timestamp\": \"x\"}}], \"test_results\": {{\"results\": {{\"a\": {{\"b\": {{}}, \"actual\": \"FAIL\"}}, \"c\": 7}}, \"run_stats\": [], \"details\": 1}}, \"timestamp\": true}}"
    );
    assert_eq!(daemon.post("/api/upload", odd).status, 200);
    let ended = daemon.stop();
    assert_eq!(counts(ended.end()), "failed 1/1/0/0/0 of 2", "a place with results and places below it is both");
}

#[test]
fn an_archive_is_kept_under_the_name_of_its_run() {
    let daemon = Daemon::start(&[]);
    // The recorded archive names the recorded time.
    daemon.post("/api/upload", recorded_upload());
    let archive = recorded("resultsdb_uploads").into_iter().find(|r| r.path() == "/api/upload/archive").unwrap();
    let reply = archive.send(&daemon);
    assert_eq!((reply.status, reply.body.as_str()), (200, "{\"status\":\"ok\"}"));
    let cut = |length: usize| {
        let headers = [("Content-Type", "multipart/form-data; boundary=fc316bdd66fd22383179934aa7e618d8")];
        daemon.request("POST", "/api/upload/archive", &headers, &archive.body[..length]).status
    };
    for length in [0, 10, 500, archive.body.len() - 40] {
        assert_eq!(cut(length), 400, "{length} bytes");
    }
    assert_eq!(daemon.post("/api/upload/archive", "x").status, 400);
    let directory = daemon.directory.path().join("state/attachments/archives");
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "no half file is left: {files:?}");
    let zip = std::fs::read(&files[0]).unwrap();
    let (begin, end) = (memchr::memmem::find(&archive.body, b"PK\x03\x04").unwrap(), archive.body.len() - 40);
    assert!(zip == archive.body[begin..end], "{} bytes", zip.len());
    let ended = daemon.stop();
    let run_id = text(ended.end(), "run_id").to_owned();
    assert_eq!(files[0].file_name().unwrap().to_str(), Some(format!("{run_id}.zip").as_str()));
    let said = ended.find(&[("kind", "log"), ("source", "archive")]);
    assert!(said[0]["line"].as_str().unwrap().contains(&run_id));
}

/// The uploader takes 413 for an archive that is too large, and goes on; any other refusal makes it fail.
#[test]
fn an_archive_that_cannot_be_kept_does_not_make_the_uploader_fail() {
    let daemon = Daemon::start(&[]);
    let state = daemon.directory.path().join("state");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("attachments"), "a file is in the way").unwrap();
    let archive = recorded("resultsdb_uploads").into_iter().find(|r| r.path() == "/api/upload/archive").unwrap();
    let reply = archive.send(&daemon);
    assert_eq!(reply.status, 413);
    assert!(reply.body.contains("\"description\":\"the archive cannot be kept\""), "{reply:?}");
    let ended = daemon.stop();
    assert!(ended.err.contains("an archive cannot be kept"), "{}", ended.err);
}
