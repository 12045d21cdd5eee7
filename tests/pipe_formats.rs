//! `testwire pipe` over a capture of each format, from standard input to entries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/binary.rs"]
#[expect(dead_code, reason = "shared with tests that ask more of it")]
mod binary;

use std::io::Read as _;

use binary::{Scratch, run};
use serde_json::Value;

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/captures/");

fn bytes_of(name: &str) -> Vec<u8> {
    let path = format!("{CAPTURES}{name}");
    std::fs::read(&path).unwrap_or_else(|_| {
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(format!("{path}.gz")).expect("the capture is there");
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("it is whole");
        bytes
    })
}

#[test]
fn every_format_goes_from_the_pipe_to_entries_named_and_recognised() {
    let truth: Value = serde_json::from_slice(&std::fs::read(format!("{CAPTURES}truth.json")).unwrap()).unwrap();
    for (format, runner, name) in [
        ("libtest", "nextest", "rust/nextest_retries.jsonl"),
        ("libtest", "cargo", "rust/libtest_unstable.jsonl"),
        ("tap", "tap", "node/basic.tap"),
        ("teamcity", "teamcity", "pytest/xdist.teamcity.txt"),
        ("cucumber", "cucumber", "cucumber/retry.ndjson"),
        ("cucumber-json", "cucumber", "cucumber/basic.json"),
        ("subunit", "subunit", "subunit/basic.subunit"),
        ("mocha", "mocha", "mocha/basic.json-stream.txt"),
        ("gtest-stream", "gtest", "gtest/basic.stream.txt"),
        ("node-events", "node", "node/basic.events.jsonl"),
        ("jest-reporter", "jest", "jest/basic.reporter.jsonl"),
    ] {
        let bytes = bytes_of(name);
        for arguments in [&["pipe", "--output", "ndjson", "--format", format][..], &["pipe", "--output", "ndjson"]] {
            let done = run(&mut Scratch::new().testwire(arguments), &bytes);
            assert_eq!(done.code, 1, "the run failed: {name}: {}", done.err());
            let out = done.out();
            let entries: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(entries.iter().all(|entry| entry["labels"]["runner"] == runner), "{name} with {arguments:?}");
            let end = entries.iter().rfind(|entry| entry["labels"]["kind"] == "run").unwrap();
            assert_eq!(end["labels"]["status"], "failed", "{name}");
            for (key, counter) in
                [("passed", "passed"), ("failed", "failed"), ("skipped", "skipped"), ("flaky", "flaky")]
            {
                let wanted = truth[name][key].to_string();
                let found = end["metadata"][counter].as_str().unwrap_or("0");
                assert_eq!(found, wanted, "{key} of {name} with {arguments:?}");
            }
            assert!(entries.iter().any(|entry| entry["labels"]["kind"] == "test"), "{name}");
        }
    }
}

/// The run's end as an entry, and how testwire ended.
fn end_of(arguments: &[&str], input: &[u8]) -> (Value, i32, String) {
    let done = run(&mut Scratch::new().testwire([&["pipe", "--output", "ndjson"], arguments].concat()), input);
    let out = done.out();
    let mut entries = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let end = entries.rfind(|entry| entry["labels"]["kind"] == "run").unwrap();
    (end, done.code, done.err())
}

#[test]
fn a_damaged_report_is_an_input_that_could_not_be_read() {
    for (name, cut) in [("pytest/xdist.junit.xml", 2_000), ("robot/basic.output.json", 20_000)] {
        let bytes = bytes_of(name);
        let (end, code, err) = end_of(&[], &bytes[..bytes.len().min(cut)]);
        assert_eq!((&end["labels"]["status"], code), (&"aborted".into(), 4), "{name}: {err}");
        assert!(err.contains("error: the report is damaged: line "), "{name}: {err}");
    }
    let (end, code, err) = end_of(&["--format", "junit"], b"Killed\n");
    assert_eq!((&end["labels"]["status"], code), (&"aborted".into(), 4), "{err}");
}

#[test]
fn an_input_without_any_event_of_its_format_is_no_success() {
    for format in ["gotest", "tap", "teamcity", "libtest", "testwire"] {
        let (end, code, err) = end_of(&["--format", format], b"sh: 1: runner: not found\n");
        assert_eq!((&end["labels"]["status"], code), (&"aborted".into(), 1), "{format}: {err}");
        let told = format!("the input has no event of the format {format}");
        assert!(err.contains(&told) && end["line"].as_str().unwrap().contains(&told), "{format}: {err}");
    }
}

/// The bodies of a recording of requests.
fn bodies(name: &str) -> Vec<String> {
    let path = format!("{}/tests/fixtures/clients/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    requests.map(|request| request["body_text"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_clients_posted_is_read_from_a_file_as_bodies_and_as_recorded_requests() {
    let upload: Value = serde_json::from_str(&bodies("resultsdb_uploads")[0]).unwrap();
    let many_lines = serde_json::to_string_pretty(&upload).unwrap();
    for (format, runner, name, counts, input) in [
        ("pytest-rt", "pytest", "pytestrt_basic", "failed 8/3/2 of 14", bodies("pytestrt_basic").join("\n")),
        ("pytest-rt", "pytest", "pytestrt_xdist", "failed 3/1/0 of 4", bodies("pytestrt_xdist").join("\n")),
        ("pytest-rt", "nose2", "nose2rt_basic", "failed 2/2/2 of 8", bodies("nose2rt_basic").join("\n")),
        ("stpt", "stpt", "stpt_vtm", "failed 6/1/0 of 9", bodies("stpt_vtm").join("\n")),
        ("resultsdb", "resultsdb", "", "failed 2/1/0 of 6", upload.to_string()),
        ("resultsdb", "resultsdb", "", "failed 2/1/0 of 6", many_lines),
    ] {
        let path = format!("{}/tests/fixtures/clients/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        let recorded = std::fs::read(path).unwrap_or_else(|_| input.clone().into_bytes());
        for input in [input.as_bytes(), &recorded] {
            for arguments in [&["--format", format][..], &[]] {
                let (end, code, err) = end_of(arguments, input);
                assert_eq!(code, 1, "{format} {name}: {err}");
                let of = |name: &str| end["metadata"][name].as_str().unwrap_or("0").to_owned();
                let status = end["labels"]["status"].as_str().unwrap();
                let found =
                    format!("{status} {}/{}/{} of {}", of("passed"), of("failed"), of("skipped"), of("planned"));
                assert_eq!(found, counts, "{format} {name} {arguments:?}");
                assert_eq!(end["labels"]["runner"], runner, "{format} {name}");
            }
        }
    }
}

#[test]
fn bodies_that_are_none_are_kept_as_lines_or_named() {
    let input = "noise\n{\"fw\": \"2\", \"type\": \"born\"}\n{\"fw\": \"2\", \"type\": \"startTestRun\", \"tests\": [], \"job_id\": \"j\"}\n";
    let done = run(&mut Scratch::new().testwire(["pipe", "--output=ndjson", "--format=pytest-rt"]), input.as_bytes());
    let entries: Vec<Value> = done.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line_of = |kind: &str, part: &str| {
        entries.iter().any(|entry| entry["labels"]["kind"] == kind && entry["line"].as_str().unwrap().contains(part))
    };
    assert!(line_of("log", "noise") && line_of("note", "line 2: "), "{}", done.out());
    let done = run(&mut Scratch::new().testwire(["pipe", "--output=ndjson", "--format=resultsdb"]), b"{\n 1\n");
    assert!(done.out().contains("\"line\":\" 1\""), "{}", done.out());
}

#[test]
fn times_of_teamcity_are_in_the_given_zone() {
    let input = "##teamcity[testStarted timestamp='2026-11-20T09:35:31.460' name='t']\n\
                 ##teamcity[testFinished timestamp='2026-11-20T09:35:32.460+0000' name='t']\n";
    let done =
        run(&mut Scratch::new().testwire(["pipe", "--output=ndjson", "--timezone=Asia/Tokyo"]), input.as_bytes());
    let entries: Vec<Value> = done.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let test = |status: &str| {
        let entry = entries.iter().find(|e| e["labels"]["kind"] == "test" && e["labels"]["status"] == status).unwrap();
        entry["timestamp"].as_str().unwrap().parse::<i64>().unwrap() / 1_000_000
    };
    assert_eq!(test("passed") - test("started"), 9 * 3_600_000 + 1_000);
}
