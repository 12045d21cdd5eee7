//! What a person may do wrong, and what may go wrong around testwire: the message is clear and the exit code the right one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/binary.rs"]
mod binary;
#[path = "common/fake_loki.rs"]
#[expect(dead_code, reason = "shared with tests that ask more of it")]
mod fake_loki;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{ChildStdin, Stdio};
use std::time::{Duration, Instant};

use binary::{Done, Scratch, kill, run, start_as_set, text_of, until};
use fake_loki::{Answer, FakeLoki};
use serde::Deserialize;

/// A run of two tests, one of which fails, in testwire's own format.
const EVENTS: &str = "\
{\"event\":\"run_started\",\"v\":1,\"runner\":\"demo\"}
{\"event\":\"test_finished\",\"test\":\"a\",\"status\":\"passed\",\"duration_ms\":1}
{\"event\":\"test_finished\",\"test\":\"b\",\"status\":\"failed\",\"message\":\"no\",\"duration_ms\":1}
{\"event\":\"run_finished\"}
";

/// An entry of `--output ndjson`; another field, or one less, is an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    labels: Labels,
    timestamp: String,
    seq: u64,
    line: String,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    service_name: String,
    env: String,
    runner: String,
    kind: String,
    status: Option<String>,
    source: Option<String>,
}

fn entries(done: &Done) -> Vec<Entry> {
    assert!(done.stdout.is_empty() || done.stdout.ends_with(b"\n"), "the last line is whole");
    let out = std::str::from_utf8(&done.stdout).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Runs testwire in a place of its own.
fn testwire(arguments: &[&str], input: impl AsRef<[u8]>) -> Done {
    run(&mut Scratch::new().testwire(arguments), input.as_ref())
}

/// Exit code, and that nothing is on standard output and each of these texts on standard error.
fn assert_fails(done: &Done, code: i32, texts: &[&str]) {
    assert_eq!((done.code, done.out().as_str()), (code, ""), "{}", done.err());
    for text in texts {
        assert!(done.err().contains(text), "{text:?} is not in: {}", done.err());
    }
}

/// An address at which nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";

#[test]
fn a_wrong_command_line_is_a_usage_error_that_says_what_would_be_right() {
    assert_fails(&testwire(&[], ""), 2, &["Usage: testwire <COMMAND>", "run ", "pipe "]);
    assert_fails(&testwire(&["run"], ""), 2, &["required arguments were not provided", "testwire run -- <CMD>"]);
    assert_fails(&testwire(&["run", "--"], ""), 2, &["required arguments were not provided"]);
    assert_fails(&testwire(&["run", "pytest"], ""), 2, &["put `--` before the test command: testwire run -- pytest"]);
    assert_fails(
        &testwire(&["pipe", "--format", "nope"], ""),
        2,
        &["invalid value 'nope'", "gotest", "pytest", "robot"],
    );
    assert_fails(&testwire(&["pipe", "--formt", "gotest"], ""), 2, &["--formt", "--format"]);
    assert_fails(&testwire(&["pip"], ""), 2, &["unrecognized subcommand 'pip'", "pipe"]);
    assert_fails(&testwire(&["pipe", "--linger", "fast"], ""), 2, &["--linger \"fast\""]);
}

#[test]
fn a_wrong_url_is_refused_before_anything_is_run() {
    for url in ["ftp://loki:3100", "127.0.0.1:3100", "http://", "loki"] {
        let scratch = Scratch::new();
        let done = run(&mut scratch.testwire(["run", "--loki-url", url, "--", "touch", "ran"]), b"");
        assert_fails(&done, 2, &["--loki-url", url, "http://"]);
        assert!(!scratch.work().join("ran").exists());
        let done = run(Scratch::new().testwire(["run", "--", "true"]).env("TESTWIRE_LOKI_URL", url), b"");
        assert_fails(&done, 3, &["TESTWIRE_LOKI_URL", url]);
    }
}

#[test]
fn a_command_that_cannot_be_run_ends_with_a_shell_s_code_and_a_hint() {
    let done = testwire(&["run", "--output", "none", "--", "no-such-command"], "");
    assert_fails(&done, 127, &["error: cannot run no-such-command: No such file", "hint: ", "sh -c"]);
    let scratch = Scratch::new();
    fs::write(scratch.work().join("text"), "no program").unwrap();
    for name in ["./text", "."] {
        let done = run(&mut scratch.testwire(["run", "--output", "none", "--", name]), b"");
        assert_fails(&done, 126, &["error: cannot run", name, "hint: it is a directory, or not executable (chmod +x)"]);
    }
}

#[test]
fn an_unknown_runner_is_a_plain_command() {
    let done = testwire(&["run", "--output", "ndjson", "--", "sh", "-c", "echo hello >&2; exit 9"], "");
    assert_eq!(done.code, 9);
    let entries = entries(&done);
    let log = entries.iter().find(|entry| entry.labels.kind == "log").unwrap();
    assert_eq!(
        (log.line.as_str(), log.labels.runner.as_str(), log.labels.source.as_deref()),
        ("hello", "plain", Some("stderr"))
    );
    let end = &entries[entries.len() - 1];
    assert_eq!((end.labels.status.as_deref(), end.metadata["exit_code"].as_str()), (Some("failed"), "9"));
}

#[test]
fn without_loki_run_ends_with_the_command_s_code_and_says_how_many_entries_wait() {
    for code in ["0", "3"] {
        let typed =
            ["run", "--loki-url", NOWHERE, "--drain-timeout", "300ms", "--", "sh", "-c", "echo out; exit $0", code];
        let done = testwire(&typed, "");
        assert_eq!((done.code.to_string().as_str(), done.out().as_str()), (code, "out\n"), "{}", done.err());
        assert!(done.err().contains("0 of 5 entries in Loki"), "{}", done.err());
        assert!(done.err().contains("5 entries") && done.err().contains(NOWHERE), "{}", done.err());
        assert!(done.err().contains("Connection refused"), "{}", done.err());
    }
}

#[test]
fn without_loki_pipe_ends_with_a_code_of_its_own() {
    let passed = EVENTS.replace("failed", "passed");
    let pipe = |more: &[&str], input: &str| {
        testwire(&[&["pipe", "--loki-url", NOWHERE, "--drain-timeout", "300ms"], more].concat(), input)
    };
    assert_fails(&pipe(&[], &passed), 5, &["entries", NOWHERE, "Connection refused"]);
    assert_fails(&pipe(&[], EVENTS), 1, &["entries", NOWHERE]);
    assert_fails(&pipe(&["--no-fail"], EVENTS), 5, &["entries", NOWHERE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loki_that_refuses_the_credentials_or_the_path_is_named_with_its_answer() {
    for (status, text) in [(401, "no org id"), (403, "forbidden"), (404, "404 page not found")] {
        let loki = FakeLoki::start(move |_| Answer::status(status, text)).await;
        let url = loki.url.clone();
        let done = tokio::task::spawn_blocking(move || {
            let passed = EVENTS.replace("failed", "passed");
            testwire(&["pipe", "--loki-url", &url, "--drain-timeout", "500ms"], passed)
        });
        assert_fails(&done.await.unwrap(), 5, &[&loki.url, &format!("Loki answered {status}: {text}")]);
        assert!(!loki.pushes().is_empty() && loki.stored_total() == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_loki_every_code_of_pipe_tells_what_happened() {
    let loki = FakeLoki::start(|push| match push.entries.iter().position(|entry| entry.line.contains("bad entry")) {
        Some(bad) => Answer::refuse("entry for stream has a bad label", vec![bad]),
        None => Answer::stored(),
    })
    .await;
    let passed = EVENTS.replace("failed", "passed");
    for (more, input, code) in [
        (None, passed.clone(), 0),
        (None, EVENTS.to_owned(), 1),
        (Some("--no-fail"), EVENTS.to_owned(), 0),
        (None, passed.replace("\"b\"", "\"bad entry\""), 6),
    ] {
        let url = loki.url.clone();
        let done = tokio::task::spawn_blocking(move || {
            let scratch = Scratch::new();
            let mut command = scratch.testwire(["pipe", "--loki-url", &url].into_iter().chain(more));
            (run(&mut command, input.as_bytes()), scratch)
        });
        let (done, scratch) = done.await.unwrap();
        assert_eq!((done.code, done.out().as_str()), (code, ""), "{}", done.err());
        if code == 6 {
            assert!(done.err().contains("refused") && done.err().contains("rejected"), "{}", done.err());
            let kept = fs::read_dir(scratch.state().join("rejected")).unwrap().map(|file| file.unwrap().path());
            let text: String = kept.map(|file| fs::read_to_string(file).unwrap()).collect();
            assert!(text.contains("bad entry"), "{text}");
        }
    }
}

#[test]
fn a_directory_on_stdin_cannot_be_read() {
    let scratch = Scratch::new();
    let mut command = scratch.testwire(["pipe", "--output", "ndjson"]);
    command.stdin(File::open(scratch.work()).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = start_as_set(&mut command).wait();
    assert_fails(&done, 4, &["error: cannot read standard input: is a directory", "hint: "]);
}

/// Runs a line of shell in which `$TW` is testwire.
fn shell(scratch: &Scratch, line: &str) -> Done {
    run(scratch.command("sh").args(["-c", line]).env("TW", env!("CARGO_BIN_EXE_testwire")), b"")
}

#[test]
fn nothing_on_stdin_or_no_stdin_at_all_is_no_run() {
    let scratch = Scratch::new();
    for line in [
        "$TW pipe --output ndjson </dev/null",
        "$TW pipe --output ndjson <&-",
        ": | $TW pipe --output ndjson",
        ": | $TW pipe --output ndjson --format gotest",
    ] {
        let done = shell(&scratch, line);
        assert_fails(&done, 0, &["testwire: no run was seen"]);
    }
    // The command has what testwire has.
    let done = shell(&scratch, "$TW run --output none -- cat <&-");
    assert_eq!(done.out(), "");
}

#[test]
fn closed_outputs_do_not_keep_testwire_from_its_work() {
    let scratch = Scratch::new();
    fs::write(scratch.work().join("events"), EVENTS).unwrap();
    assert_fails(&shell(&scratch, "$TW pipe --output none <events 2>&-"), 1, &[]);
    assert_fails(&shell(&scratch, "$TW run --output none -- sh -c 'exit 7' >&- 2>&-"), 7, &[]);
}

#[test]
fn a_broken_config_file_is_named_with_its_line() {
    for (text, line, texts) in [
        ("env = \"ci\"\nloki-ur = \"http://x\"\n", 2, &["unknown setting `loki-ur`", "did you mean `loki-url`?"][..]),
        ("\n\nenv = [\n", 3, &["hint: testwire.toml is TOML"]),
        ("loki-url = \"ftp://x\"\n", 1, &["loki-url", "ftp://x"]),
        ("linger = 50\n", 1, &["linger"]),
    ] {
        let scratch = Scratch::new();
        let file = scratch.work().join("testwire.toml");
        fs::write(&file, text).unwrap();
        let done = run(&mut scratch.testwire(["run", "--", "touch", "ran"]), b"");
        assert_fails(&done, 3, &[&[format!("testwire.toml:{line}").as_str()], texts].concat());
        assert!(!scratch.work().join("ran").exists());
    }
    let scratch = Scratch::new();
    let done = run(&mut scratch.testwire(["pipe", "--config-file", "missing.toml"]), b"");
    assert_fails(&done, 3, &["missing.toml", "No such file"]);
    let done = run(&mut scratch.testwire(["pipe", "--config-file", "."]), b"");
    assert_fails(&done, 3, &["directory"]);
}

#[test]
fn a_state_directory_that_cannot_be_written_is_a_failure_before_the_command() {
    let scratch = Scratch::new();
    fs::write(scratch.state(), "a file is in the way").unwrap();
    let done = run(&mut scratch.testwire(["run", "--", "touch", "ran"]), b"");
    assert_fails(&done, 7, &["error: ", &scratch.state().display().to_string()]);
    assert!(!scratch.work().join("ran").exists());
}

#[test]
fn a_reader_of_stdout_that_has_enough_ends_testwire_without_noise() {
    let scratch = Scratch::new();
    // Much more than a pipe holds.
    let mut events = EVENTS.to_owned();
    for number in 0..20_000 {
        events.push_str(&format!(
            "{{\"event\":\"test_finished\",\"test\":\"t{number}\",\"status\":\"passed\",\"duration_ms\":1}}\n"
        ));
    }
    fs::write(scratch.work().join("events"), &events).unwrap();
    for what in ["--output ndjson", "--output none --tee"] {
        let begun = Instant::now();
        let done = shell(&scratch, &format!("{{ $TW pipe {what} <events; echo $? >code; }} | head -1"));
        let code = text_of(&scratch.work().join("code"));
        assert_eq!(done.out().lines().count(), 1, "{what}");
        assert_eq!(code.trim(), "4", "{what}: {}", done.err());
        assert!(done.err().contains("Broken pipe") && !done.err().contains("panicked"), "{what}: {}", done.err());
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
    }
    // What wraps a command passes the broken pipe on to it.
    let done = shell(&scratch, "{ $TW run --output none -- yes; echo $? >code; } | head -1");
    assert_eq!(done.out(), "y\n");
    let bare = shell(&scratch, "{ yes; echo $? >bare; } | head -1");
    assert_eq!(bare.out(), "y\n");
    let codes = ["code", "bare"].map(|name| text_of(&scratch.work().join(name)));
    assert_eq!(codes[0], codes[1], "{}", done.err());
}

#[test]
fn bytes_that_are_no_text_are_kept_as_a_log_line_and_told() {
    let done = testwire(&["pipe", "--output", "ndjson"], b"\xff\xfe bad\r\nplain\n\n{\"a\":1}");
    assert_eq!(done.code, 0, "{}", done.err());
    assert!(done.err().contains("warning: the input's format was not recognised"), "{}", done.err());
    let entries = entries(&done);
    let logs: Vec<_> =
        entries.iter().filter(|entry| entry.labels.kind == "log").map(|entry| entry.line.as_str()).collect();
    assert_eq!(logs, ["\u{fffd}\u{fffd} bad", "plain", "", "{\"a\":1}"]);
    let note = entries.iter().find(|entry| entry.labels.kind == "note").unwrap();
    assert_eq!(note.metadata["level"], "warn");

    let mut input = EVENTS.as_bytes().to_vec();
    input.extend(b"\xff no event\n{\"event\":\"nonsense\"}\n");
    let done = testwire(&["pipe", "--output", "ndjson", "--no-fail"], input);
    assert_eq!(done.code, 0, "{}", done.err());
    let texts: Vec<_> = entries_of(&done, &["log", "note"]);
    assert!(texts.iter().any(|line| line.contains("\u{fffd} no event")), "{texts:?}");
    assert!(
        texts.iter().any(|line| line.starts_with("line 5 is not an event: ")),
        "the line's number is told: {texts:?}"
    );
}

/// Lines of the entries of these kinds.
fn entries_of(done: &Done, kinds: &[&str]) -> Vec<String> {
    let entries = entries(done).into_iter();
    entries.filter(|entry| kinds.contains(&entry.labels.kind.as_str())).map(|entry| entry.line).collect()
}

#[test]
fn ndjson_has_exactly_the_documented_fields_and_the_sequence_is_whole() {
    let done = testwire(&["pipe", "--output", "ndjson", "--project", "shop", "--env", "ci", "--run-id", "r1"], EVENTS);
    assert_eq!(done.code, 1, "{}", done.err());
    let entries = entries(&done);
    for (entry, seq) in entries.iter().zip(1..) {
        assert_eq!(entry.seq, seq);
        let time: i64 = entry.timestamp.parse().unwrap();
        assert_eq!(time % 1000, seq as i64 % 1000);
        let Labels { service_name, env, runner, kind, status, source } = &entry.labels;
        assert_eq!((service_name.as_str(), env.as_str(), runner.as_str()), ("shop", "ci", "demo"));
        assert_eq!(status.is_some(), ["run", "suite", "test"].contains(&kind.as_str()), "{entry:?}");
        assert_eq!(source.is_some(), kind == "log", "{entry:?}");
        assert_eq!(entry.metadata["run_id"], "r1");
        assert!(entry.metadata.values().all(|value| !value.is_empty()), "{entry:?}");
    }
    let end = &entries[entries.len() - 1];
    assert_eq!((end.labels.kind.as_str(), end.labels.status.as_deref()), ("run", Some("failed")));
    assert_eq!(end.metadata["entries"], entries.len().to_string());
}

/// `pipe` that has read the events and whose input stays open.
struct Piping {
    scratch: Scratch,
    process: binary::Started,
    stdin: ChildStdin,
}

impl Piping {
    fn start(loki_url: &str, more: &[&str]) -> Self {
        let scratch = Scratch::new();
        let (out, err) = (scratch.work().join("out"), scratch.work().join("err"));
        let mut command = scratch.testwire(["pipe", "--tee", "--loki-url", loki_url, "--drain-timeout", "60s"]);
        command.args(more).stdin(Stdio::piped());
        let mut process = start_as_set(command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()));
        let mut stdin = process.stdin.take().unwrap();
        stdin.write_all(EVENTS.as_bytes()).unwrap();
        until("the events are read", || (fs::read_to_string(&out).unwrap() == EVENTS).then_some(()));
        let piping = Self { scratch, process, stdin };
        piping.wait_until_it_says("watch it at");
        piping
    }

    fn says(&self) -> String {
        fs::read_to_string(self.scratch.work().join("err")).unwrap()
    }

    fn wait_until_it_says(&self, text: &str) {
        until(text, || self.says().contains(text).then_some(()));
    }

    /// Exit code, and what was said.
    fn end(self) -> (i32, String) {
        let Self { scratch, process, stdin } = self;
        let code = process.wait().code;
        drop(stdin);
        (code, fs::read_to_string(scratch.work().join("err")).unwrap())
    }
}

#[test]
fn ctrl_c_ends_the_run_of_a_pipe_and_a_second_one_the_wait_for_loki() {
    for (more, code) in [(&[][..], 1), (&["--no-fail"], 5)] {
        let begun = Instant::now();
        let piping = Piping::start(NOWHERE, more);
        piping.process.signal("INT");
        piping.wait_until_it_says("Ctrl-C: no longer");
        piping.process.signal("INT");
        let (ended, said) = piping.end();
        assert_eq!(ended, code, "{said}");
        assert!(said.contains("ABORTED 2 tests: 1 passed, 1 failed"), "{said}");
        assert!(said.contains("0 of 8 entries in Loki"), "{said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it did not wait for the whole drain timeout");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_once_ends_the_run_of_a_pipe_and_what_came_before_is_delivered() {
    let loki = FakeLoki::start(|_| Answer::stored()).await;
    let url = loki.url.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let piping = Piping::start(&url, &[]);
        piping.process.signal("INT");
        piping.end()
    });
    let (code, said) = ended.await.unwrap();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ABORTED 2 tests"), "{said}");
    let ends: Vec<_> = loki.pushes().into_iter().filter(|push| push.labels.contains("aborted")).collect();
    assert_eq!(ends.len(), 1);
    assert!(ends[0].entries[0].line.contains("stopped by SIGINT"), "{:?}", ends[0].entries);
    let entries = ends[0].entries[0].metadata.iter().find(|(name, _)| name == "entries").unwrap();
    assert_eq!(entries.1, loki.stored_total().to_string());
}

#[test]
fn ctrl_c_ends_the_wait_for_loki_after_a_command_and_its_code_stays() {
    let scratch = Scratch::new();
    let typed = ["run", "--loki-url", NOWHERE, "--drain-timeout", "60s", "--", "sh", "-c", "echo over; exit 4"];
    let mut command = scratch.testwire(typed);
    let file = scratch.work().join("stderr");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&file).unwrap());
    let started = start_as_set(&mut command);
    let begun = Instant::now();
    until("it waits for Loki", || fs::read_to_string(&file).unwrap().contains("Ctrl-C: no longer").then_some(()));
    started.signal("INT");
    assert_eq!(started.wait().code, 4);
    assert!(begun.elapsed() < Duration::from_secs(30), "it did not wait for the whole drain timeout");
}

#[test]
fn a_command_s_leftover_process_that_holds_its_output_does_not_hold_testwire() {
    let scratch = Scratch::new();
    let begun = Instant::now();
    let mut command =
        scratch.testwire(["run", "--output", "none", "--", "sh", "-c", "sleep 20 & echo $! >left; echo over"]);
    let done = run(&mut command, b"");
    assert_eq!((done.code, done.out().as_str()), (0, "over\n"));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    kill(text_of(&scratch.work().join("left")).trim().parse().unwrap(), "KILL");
}

#[test]
fn a_command_s_leftover_process_that_goes_on_writing_is_not_listened_to_for_ever() {
    let scratch = Scratch::new();
    let script = "sh -c 'echo $$ >left; while :; do echo again; sleep 0.1; done' & until test -s left; do sleep 0.1; done; exit 3";
    let done = run(&mut scratch.testwire(["run", "--output", "none", "--", "sh", "-c", script]), b"");
    kill(text_of(&scratch.work().join("left")).trim().parse().unwrap(), "KILL");
    assert_eq!(done.code, 3, "{}", done.err());
}

#[test]
fn a_file_of_settings_to_begin_with_is_written_once() {
    let scratch = Scratch::new();
    let done = run(&mut scratch.testwire(["init"]), b"");
    assert_eq!((done.code, done.err().as_str()), (0, ""));
    let text = fs::read_to_string(scratch.work().join("testwire.toml")).unwrap();
    assert!(text.contains("\n#loki-url = \"http://127.0.0.1:3100\"\n"), "{text}");
    fs::write(scratch.work().join("testwire.toml"), "env = \"mine\"\n").unwrap();
    assert_fails(
        &run(&mut scratch.testwire(["init"]), b""),
        2,
        &["cannot write testwire.toml", "testwire init other.toml"],
    );
    assert_eq!(fs::read_to_string(scratch.work().join("testwire.toml")).unwrap(), "env = \"mine\"\n");
}

#[test]
fn help_is_on_stdout_and_ends_well() {
    for typed in [&["--help"][..], &["run", "--help"], &["pipe", "-h"], &["--version"]] {
        let done = testwire(typed, "");
        assert_eq!((done.code, done.err().as_str()), (0, ""));
        assert!(!done.out().is_empty());
    }
}
