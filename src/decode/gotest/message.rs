//! Which of a test's lines says why it failed.

use crate::event::Status;

/// Words that a failing check usually has; they tell `t.Errorf` from `t.Logf`, which print alike.
const FAILURE_WORDS: &[&str] =
    &["want", "expect", "got", "fail", "error", "mismatch", "not equal", "differ", "panic", "should", "invalid"];

/// True for a line with which Go frames a test's output (`=== RUN   TestX`, `--- PASS: TestX (0.00s)`). A test can
/// print such lines itself; only those with its own name are taken for Go's.
pub(super) fn is_framing(text: &str, name: &str) -> bool {
    if let Some(rest) = text.strip_prefix("=== ") {
        // RUN, PAUSE, CONT, NAME, ATTR, each padded to six columns.
        let framed = rest.split_at_checked(6).map(|(verb, rest)| (verb.trim_end(), rest));
        return framed.is_some_and(|(verb, rest)| {
            matches!(verb, "RUN" | "PAUSE" | "CONT" | "NAME" | "ATTR")
                && rest
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || verb == "ATTR" && rest.starts_with(' '))
        });
    }
    let Some(rest) = text.trim_start_matches(' ').strip_prefix("--- ") else { return false };
    let result = rest.split_at_checked(6);
    result.is_some_and(|(verb, rest)| {
        matches!(verb, "PASS: " | "FAIL: " | "SKIP: ")
            && rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(" (") && rest.ends_with("s)"))
    })
}

/// True for the lines with which Go sums a package up.
pub(super) fn is_summary(text: &str) -> bool {
    matches!(text, "PASS" | "FAIL")
        || ["ok  \t", "FAIL\t", "?   \t", "\t", "exit status ", "coverage: "]
            .iter()
            .any(|start| text.starts_with(start) && (*start != "\t" || text.contains("coverage: ")))
}

/// Message (one line) and details of a test with this output.
pub(super) fn split(output: &str, status: Status) -> (String, String) {
    let lines: Vec<&str> = output.lines().collect();
    let Some(at) = telling_line(&lines, status) else { return (String::new(), String::new()) };
    let line = lines[at].trim();
    let message = match testify(&lines[at..]) {
        Some(error) => format!("{line} {error}"),
        None => line.to_owned(),
    };
    let details = match (at, lines.len()) {
        (0, 1) => String::new(),
        // The line is the first: what follows reads on from it.
        (0, _) => lines[1..].join("\n"),
        _ => output.trim_end_matches('\n').to_owned(),
    };
    (message, details)
}

/// Index of the line that a table should show.
fn telling_line(lines: &[&str], status: Status) -> Option<usize> {
    let panic = lines.iter().position(|line| line.starts_with("panic: ") || line.starts_with("fatal error: "));
    if panic.is_some() {
        return panic;
    }
    let located: Vec<usize> = (0..lines.len()).filter(|at| is_located(lines[*at])).collect();
    if status == Status::Failed {
        let has_word = |at: &usize| {
            let line = lines[*at].to_lowercase();
            let text = line.split_once(".go:").map_or("", |(_, text)| text);
            FAILURE_WORDS.iter().any(|word| text.contains(word)) || testify(&lines[*at..]).is_some()
        };
        if let Some(at) = located.iter().copied().find(has_word) {
            return Some(at);
        }
    }
    // t.Fatal, t.Skip and a hanging call come last.
    located.last().copied().or_else(|| lines.iter().position(|line| !line.trim().is_empty()))
}

/// True for `    file.go:12: text`, as `t.Log`, `t.Error` and their kin print.
fn is_located(line: &str) -> bool {
    let Some((file, rest)) = line.strip_prefix("    ").and_then(|line| line.split_once(".go:")) else { return false };
    let number = rest.split(':').next().unwrap_or_default();
    !file.starts_with(' ') && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// testify prints its location line empty and the error below, as `Error:      \tNot equal:` and continuation lines.
fn testify(lines: &[&str]) -> Option<String> {
    let (first, rest) = lines.split_first()?;
    if !first.trim_end().ends_with(':') || !rest.first()?.trim_start().starts_with("Error Trace:") {
        return None;
    }
    let labels = ["Error Trace:", "Test:", "Messages:", "Diff:"];
    let error = rest
        .iter()
        .map(|line| line.trim())
        .skip_while(|line| !line.starts_with("Error:"))
        .take_while(|line| !line.is_empty() && !labels.iter().any(|label| line.starts_with(label)))
        .map(|line| line.strip_prefix("Error:").unwrap_or(line).trim())
        .collect::<Vec<_>>()
        .join(" ");
    (!error.is_empty()).then_some(error)
}

/// Message of a package whose build failed: which build, then what the compiler said.
pub(super) fn of_build(failed_build: &str, output: &str) -> String {
    let errors: Vec<&str> = output.lines().filter(|line| !line.starts_with("# ")).collect();
    match errors.split_first() {
        Some((first, [])) => format!("build of {failed_build} failed: {first}"),
        Some((first, more)) => format!("build of {failed_build} failed: {first}\n{}", more.join("\n")),
        None => format!("build of {failed_build} failed"),
    }
}

/// Message of a package that failed although no test of it did: `TestMain`'s words, or Go's `[build failed]`.
pub(super) fn of_package(output: &str) -> String {
    let output = output.trim_end_matches('\n');
    let summary = output.lines().last().filter(|line| is_summary(line));
    match (summary, output.lines().find(|line| line.starts_with("panic: "))) {
        (_, Some(panic)) => panic.to_owned(),
        (Some(summary), None) => summary.trim_start_matches("FAIL\t").to_owned(),
        (None, None) => output.to_owned(),
    }
}
