//! Plain commands and `pipe` into the real Loki.

use std::process::Stdio;

use crate::binary::{Scratch, run, start_as_set};
use crate::loki::Loki;
use crate::projects::Truth;
use crate::query::unique_project;
use crate::recorded::Recorded;
use crate::sample_runs::sample_runs;

/// The bytes of a line as a line of a log entry: what is no UTF-8 is replaced.
fn texts(output: &[u8]) -> Vec<String> {
    let output = output.strip_suffix(b"\n").unwrap_or(output);
    output
        .split(|byte| *byte == b'\n')
        .map(|line| String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned())
        .collect()
}

#[tokio::test]
async fn every_line_of_a_plain_command_is_a_log_entry_and_every_byte_is_passed_through() {
    let (loki, project, scratch) = (Loki::get(), unique_project("plain"), Scratch::new());
    // Lines with CRLF, an empty one, no UTF-8, a NUL, a colour, one of 300 KB, one without an end; 1500 in a row.
    let script = r"printf 'one\r\n\n\377\376 \0 \033[31mred\033[0m\n'; head -c 300000 /dev/zero | tr '\0' x; echo;
        seq 1 1500; echo oops >&2; printf 'bad \200 byte\n' >&2; printf 'no end'; exit 3";
    let typed = ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "r", "--", "sh", "-c", script];
    let wrapped = run(&mut scratch.testwire(typed), b"");
    let bare = run(scratch.command("sh").args(["-c", script]), b"");
    assert_eq!((wrapped.code, bare.code), (3, 3));
    assert!(wrapped.stdout == bare.stdout, "standard output is passed through byte for byte");
    let own = wrapped.stderr.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"testwire: "));
    assert_eq!(own.collect::<Vec<_>>().concat(), bare.stderr);

    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    let end = recorded.end();
    assert_eq!((end.get("status"), end.get("exit_code"), end.get("runner")), ("failed", "3", "plain"));
    assert_eq!(end.number("planned"), 0);
    let mut logs: Vec<_> = recorded.of("log").collect();
    logs.sort_by_key(|row| row.time / 1000);
    let lines = |source: &str| -> Vec<&str> {
        let rows = logs.iter().filter(|row| row.get("source") == source && row.get("part").is_empty());
        rows.map(|row| row.line.as_str()).collect()
    };
    let mut expected = texts(&bare.stdout);
    expected.retain(|line| line.len() < 300_000);
    let (mut out, mut err, mut expected_err) = (lines("stdout"), lines("stderr"), texts(&bare.stderr));
    // Lines of one microsecond have no order but their sequence's, which starts anew after 1000.
    for list in [&mut out, &mut err] {
        list.sort_unstable();
    }
    expected.sort_unstable();
    expected_err.sort_unstable();
    assert_eq!(
        (out, err),
        (expected.iter().map(String::as_str).collect(), expected_err.iter().map(String::as_str).collect())
    );
    // The long one is in parts, none of which is cut.
    let mut parts: Vec<_> = recorded.rows.iter().filter(|row| !row.get("part").is_empty()).collect();
    parts.sort_by_key(|row| row.get("part"));
    assert_eq!(parts.iter().map(|row| row.get("part")).collect::<Vec<_>>(), ["1/2", "2/2"]);
    assert_eq!(parts.iter().map(|row| row.line.as_str()).collect::<String>(), "x".repeat(300_000));
}

#[tokio::test]
async fn a_plain_command_that_ends_well_has_passed() {
    let (loki, project, scratch) = (Loki::get(), unique_project("plain"), Scratch::new());
    let typed =
        ["run", "--loki-url", loki.url(), "--project", &project, "--run-id", "r", "--", "sh", "-c", "echo hello"];
    let wrapped = run(&mut scratch.testwire(typed), b"");
    assert_eq!((wrapped.code, wrapped.out().as_str()), (0, "hello\n"));
    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    assert_eq!((recorded.end().get("status"), recorded.end().get("exit_code")), ("passed", "0"));
    let log: Vec<_> = recorded.of("log").map(|row| (row.line.as_str(), row.get("source"), row.get("level"))).collect();
    assert_eq!(log, [("hello", "stdout", "info")]);
    let start = recorded.of("run").find(|row| row.get("status") == "started").unwrap();
    assert_eq!(start.line, "START run r: sh -c echo hello");
}

#[tokio::test]
async fn a_piped_go_run_is_in_loki_as_go_reports_it() {
    let (loki, project, scratch) = (Loki::get(), unique_project("pipe"), Scratch::new());
    let events = &sample_runs().go.bare.stdout;
    let typed = ["pipe", "--tee", "--loki-url", loki.url(), "--project", &project, "--run-id", "r"];
    let done = run(&mut scratch.testwire(typed), events);
    assert_eq!(done.code, 1, "the run failed: {}", done.err());
    assert!(&done.stdout == events, "--tee copies byte for byte");

    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    recorded.assert_counts_agree();
    let (end, truth) = (recorded.end(), Truth::of("go"));
    for (counter, count) in truth.counters() {
        assert_eq!(end.number(counter), count, "{counter}");
    }
    assert_eq!((end.get("status"), end.get("exit_code"), end.get("runner")), ("failed", "", "gotest"));
    assert_eq!(recorded.named(&["failed", "errored"]), truth.failing);
    for (test, attempts) in recorded.attempts() {
        let ms = sample_runs().go.bare_report[&test][0].1;
        assert!((attempts[0].duration.unwrap() - ms).abs() < 0.001, "{test}: {attempts:?}, go says {ms} ms");
    }
}

#[tokio::test]
async fn a_pipe_that_is_read_from_a_file_is_a_run_like_any_other() {
    let (loki, project, scratch) = (Loki::get(), unique_project("file"), Scratch::new());
    let file = scratch.work().join("events.json");
    std::fs::write(&file, &sample_runs().go.bare.stdout).unwrap();
    let typed = ["pipe", "--no-fail", "--loki-url", loki.url(), "--project", &project, "--run-id", "r"];
    let mut command = scratch.testwire(typed);
    command.stdin(std::fs::File::open(&file).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = start_as_set(&mut command).wait();
    assert_eq!((done.code, done.out().as_str()), (0, ""), "{}", done.err());
    let recorded = Recorded::read(loki, &project, "r").await;
    recorded.assert_whole(loki).await;
    assert_eq!(recorded.named(&["failed", "errored"]), Truth::of("go").failing);
}
