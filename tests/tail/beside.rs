//! Logs beside a run.

use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

#[test]
fn lines_that_are_written_while_a_command_runs_carry_its_run_and_the_others_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("app.log");
    std::fs::write(&log, "before\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
    command.current_dir(directory.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.args(["run", "--output", "ndjson", "--run-id", "r7", "--project", "shop", "--state-dir", "state"]);
    command.args(["--tail", "app.log", "--quiet", "--", "sh", "-c", "echo during >> app.log; printf half >> app.log"]);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines: Vec<&Value> = entries.iter().filter(|entry| entry["labels"]["runner"] == "app").collect();
    let texts: Vec<&str> = lines.iter().map(|entry| entry["line"].as_str().unwrap()).collect();
    assert_eq!(texts, ["during", "half"], "{text}");
    for line in lines {
        assert_eq!(line["metadata"]["run_id"], "r7");
        assert_eq!(line["labels"]["source"], "app");
    }
}

#[test]
fn a_daemon_follows_the_logs_of_its_settings() {
    let directory = tempfile::tempdir().unwrap();
    let settings = "[[tail]]\nname = \"shop\"\npath = \"logs\"\nmetadata = { rack = \"7\" }\n";
    std::fs::write(directory.path().join("testwire.toml"), settings).unwrap();
    std::fs::create_dir(directory.path().join("logs")).unwrap();
    let out = directory.path().join("out");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
    command.current_dir(directory.path()).env_clear().stdout(std::fs::File::create(&out).unwrap());
    command.args(["listen", "--listen", "127.0.0.1:0", "--output", "ndjson", "--state-dir", "state", "--quiet"]);
    let mut daemon = command.spawn().unwrap();
    let mut log = std::fs::File::create(directory.path().join("logs/one.log")).unwrap();
    writeln!(log, "2026-11-20T10:00:00Z ERROR it broke").unwrap();
    let begun = std::time::Instant::now();
    let line = loop {
        let text = std::fs::read_to_string(&out).unwrap();
        if let Some(line) = text.lines().find(|line| line.contains("it broke")) {
            break serde_json::from_str::<Value>(line).unwrap();
        }
        assert!(begun.elapsed().as_secs() < 60, "{text}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!((&line["labels"]["source"], &line["metadata"]["rack"]), (&"shop".into(), &"7".into()));
    assert_eq!(
        (&line["metadata"]["level"], &line["line"]),
        (&"error".into(), &"2026-11-20T10:00:00Z ERROR it broke".into())
    );
    assert!(line["metadata"]["file"].as_str().unwrap().ends_with("logs/one.log"));
}
