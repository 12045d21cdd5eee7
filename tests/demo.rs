//! `testwire demo`, the command that people try first: without Loki, as lines, and stopped half way.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

#[cfg(test)]
fn demo(state: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
    command
        .arg("demo")
        .args(arguments)
        .current_dir(state.path())
        .env_clear()
        // Nothing listens there.
        .env("TESTWIRE_LOKI_URL", "http://127.0.0.1:9")
        .env("TESTWIRE_STATE_DIR", state.path().join("state"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[cfg(test)]
fn texts(done: &Output) -> (String, String) {
    (String::from_utf8(done.stdout.clone()).unwrap(), String::from_utf8(done.stderr.clone()).unwrap())
}

#[test]
fn it_needs_no_loki_and_says_what_would_be_seen() {
    let state = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let done = demo(&state, &[]).output().unwrap();
    let (out, err) = texts(&done);
    assert_eq!(done.status.code(), Some(0), "{err}");
    assert!((10..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(out, "");
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with("testwire: no Loki at http://127.0.0.1:9 (Connection refused"), "{err}");
    assert!(lines.last().unwrap().contains("docker compose up -d"), "{err}");
    for runner in ["robot", "pytest", "gotest"] {
        assert!(lines.iter().any(|line| line.starts_with(&format!("testwire: {runner:7} FAILED "))), "{runner}: {err}");
    }
    // Plain progress: a line every few seconds that counts all three.
    let progress: Vec<_> = lines.iter().filter(|line| line.contains("robot ") && line.contains('%')).collect();
    assert!((2..=5).contains(&progress.len()), "{err}");
    assert!(!err.contains('\x1b'), "{err:?}");
}

#[test]
fn as_lines_it_is_three_whole_runs_of_the_project_demo() {
    let state = tempfile::tempdir().unwrap();
    let done = demo(&state, &["--output", "ndjson", "--quiet"]).output().unwrap();
    let (out, err) = texts(&done);
    assert_eq!((done.status.code(), err.as_str()), (Some(0), ""));
    let mut ends = Vec::new();
    let mut sources = Vec::new();
    for line in out.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(entry["labels"]["service_name"], "demo");
        let labels = &entry["labels"];
        if labels["kind"] == "run" && labels["status"] == "failed" {
            let number = |name: &str| entry["metadata"][name].as_str().unwrap().parse::<u64>().unwrap();
            assert_eq!(number("planned"), number("done"), "{line}");
            ends.push((labels["runner"].as_str().unwrap().to_owned(), number("entries"), number("flaky")));
        }
        sources.extend(labels["source"].as_str().map(str::to_owned));
    }
    ends.sort();
    let runners: Vec<&str> = ends.iter().map(|(runner, ..)| runner.as_str()).collect();
    assert_eq!(runners, ["gotest", "pytest", "robot"]);
    assert_eq!(ends.iter().map(|(_, entries, _)| entries).sum::<u64>(), out.lines().count() as u64);
    assert_eq!(ends.iter().map(|(_, _, flaky)| flaky).sum::<u64>(), 1);
    for source in ["shop-api", "payments", "stock"] {
        assert!(sources.iter().any(|known| known == source), "{source}");
    }
}

#[test]
fn ctrl_c_ends_it_soon_and_the_runs_are_aborted() {
    let state = tempfile::tempdir().unwrap();
    let child = demo(&state, &["--output", "none"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    let done = child.wait_with_output().unwrap();
    let (_, err) = texts(&done);
    assert_eq!(done.status.code(), Some(130), "{err}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(err.matches(" ABORTED ").count(), 3, "{err}");
}
