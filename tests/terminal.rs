//! What a person sees on a terminal while a run is on, and that the terminal is left as it was.

use std::process::{Command, Output};

/// `testwire` as the shell command `line`, on a terminal of 20 rows and 60 columns that `script` (util-linux) makes.
#[cfg(test)]
fn on_a_terminal(line: &str) -> String {
    let state = tempfile::tempdir().unwrap();
    let command = format!("stty rows 20 cols 60; {line}");
    let Output { status, stdout, .. } = testwire_env(Command::new("script"), &state)
        .args(["-qec", &command, "/dev/null"])
        .output()
        .expect("script of util-linux is at hand");
    let text = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{text}");
    text
}

#[cfg(test)]
fn testwire_env(mut command: Command, state: &tempfile::TempDir) -> Command {
    command
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env("TESTWIRE", env!("CARGO_BIN_EXE_testwire"))
        .env("TESTWIRE_OUTPUT", "none")
        .env("TESTWIRE_STATE_DIR", state.path());
    command
}

/// Takes out what is written for the last row, and says what that was.
#[cfg(test)]
fn without_the_last_row(text: &str) -> (String, Vec<String>) {
    let (mut rest, mut shown) = (String::new(), Vec::new());
    let mut parts = text.split("\x1b7");
    rest.push_str(parts.next().unwrap());
    for part in parts {
        let (own, others) = part.split_once("\x1b8").expect("the cursor is put back");
        shown.push(own.to_owned());
        rest.push_str(others);
    }
    (rest, shown)
}

#[test]
fn the_line_is_in_the_last_row_and_the_command_s_output_is_not_touched() {
    let text = on_a_terminal(r#""$TESTWIRE" run -- sh -c 'echo one; sleep 0.5; printf "two "; sleep 0.5; echo three'"#);
    let (rest, shown) = without_the_last_row(&text);
    // Down and up again to make room, once.
    assert!(rest.contains("one\r\n"), "{text:?}");
    assert!(rest.contains("two three\r\n"), "{text:?}");
    assert_eq!(rest.matches('\x1b').count(), 2, "{rest:?}");
    assert_eq!(shown[0], "\x1b[1;19r");
    let lines = &shown[1..shown.len() - 1];
    assert!(lines.len() >= 4, "{shown:?}");
    for line in lines {
        assert!(line.starts_with("\x1b[1;19r\x1b[20;1H\x1b[?7l\x1b[7m no tests yet"), "{line:?}");
        assert!(line.ends_with("\x1b[0m\x1b[K\x1b[?7h"), "{line:?}");
    }
    // The region is the whole screen again, and the row is empty.
    assert_eq!(shown.last().unwrap(), "\x1b[r\x1b[20;1H\x1b[K");
    assert!(rest.ends_with("testwire: PASSED 0 tests in 1s\r\n"), "{rest:?}");
}

#[test]
fn the_terminal_is_left_clean_when_the_command_is_killed_and_when_there_is_none() {
    let text = on_a_terminal(r#""$TESTWIRE" run -- sh -c 'sleep 0.3; kill -9 $$' || true"#);
    assert_eq!(without_the_last_row(&text).1.last().unwrap(), "\x1b[r\x1b[20;1H\x1b[K");
    let text = on_a_terminal(r#""$TESTWIRE" run -- no-such-command || true"#);
    assert!(!text.contains("\x1b7"), "nothing was to be taken: {text:?}");
    assert!(text.contains("cannot run no-such-command"), "{text:?}");
}

#[test]
fn a_terminal_of_few_rows_or_none_at_all_or_a_quiet_testwire_gets_no_line() {
    for line in [
        r#"stty rows 4; "$TESTWIRE" run -- sleep 0.5"#,
        r#""$TESTWIRE" run --quiet -- sleep 0.5"#,
        r#""$TESTWIRE" run --progress never -- sleep 0.5"#,
        r#"TERM=dumb "$TESTWIRE" run -- sleep 0.5"#,
        r#""$TESTWIRE" run -- sleep 0.5 2>/dev/null"#,
    ] {
        let text = on_a_terminal(line);
        assert!(!text.contains('\x1b'), "{line}: {text:?}");
    }
}

#[test]
fn without_a_terminal_progress_is_plain_lines_and_only_if_it_is_asked_for() {
    for (when, lines) in [("always", 1), ("auto", 0)] {
        let state = tempfile::tempdir().unwrap();
        let mut command = testwire_env(Command::new(env!("CARGO_BIN_EXE_testwire")), &state);
        let done = command.args(["run", "--progress", when, "--", "sleep", "5.6"]).output().unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        assert_eq!(text.matches("testwire: no tests yet  ").count(), lines, "{text:?}");
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}
