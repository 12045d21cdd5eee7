//! `testwire diff A B`: what changed between two runs in Loki.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::runs::{RunRow, TIMEOUT, find, quoted, unreadable};
use super::shipping::client;
use crate::config::Settings;
use crate::event::Timestamp;
use crate::exit::{Exit, Failure};
use crate::history::slot::Outcome;
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::{kind, label, meta};

/// Runs among which those that are asked for are looked for.
const MOST_RUNS: usize = 5000;
/// Events bring their own times, which may lie a little before or behind those of their run.
const MARGIN: i64 = 3_600 * 1_000_000_000;
/// A run without an end is taken to last no longer.
const LONGEST_RUN: i64 = 86_400 * 1_000_000_000;
/// A test is slower if it takes half as much again, and at least so much more.
const LEAST_SLOWDOWN_MS: f64 = 100.0;
/// Names of each sort that are shown on a terminal.
const SHOWN: usize = 50;

/// The result of a test.
#[derive(Clone, Debug)]
struct Ended {
    time: Timestamp,
    outcome: Outcome,
    millis: Option<f64>,
    message: String,
}

type Results = BTreeMap<String, Ended>;

/// All that is told; the shape of `--json`.
#[derive(Debug, Default, Serialize)]
struct Difference {
    a: RunRow,
    b: RunRow,
    newly_failing: Vec<Changed>,
    fixed: Vec<Changed>,
    slower: Vec<Changed>,
    /// Tests of A that have no result in B.
    missing: Vec<Changed>,
    /// Tests of B that have no result in A and do not fail.
    new: Vec<Changed>,
    still_failing: usize,
    tests_a: usize,
    tests_b: usize,
}

/// A test, before and after.
#[derive(Debug, Serialize)]
struct Changed {
    test: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    before: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    after: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// Compares two runs: the named ones, the named one with the one before it, or the last two that have ended.
///
/// # Errors
/// If Loki cannot be asked, or has no such runs.
pub async fn diff(settings: &Settings, named: &[String], days: u16, json: bool) -> Result<Exit, Failure> {
    let client = client(settings)?;
    let runs = find(&client, settings, days, MOST_RUNS).await.map_err(|e| unreadable(settings, &e))?;
    let (a, b) = choose(&runs, named).map_err(|what| {
        let hint = "`testwire runs` lists them; --project and --days say where to look";
        Failure::new(Exit::Undelivered, format!("{what}, project {}", settings.run.project)).hint(hint)
    })?;
    let before = results(&client, settings, a).await.map_err(|e| unreadable(settings, &e))?;
    let after = results(&client, settings, b).await.map_err(|e| unreadable(settings, &e))?;
    let difference = compare(a, b, &before, &after);
    if json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&difference).unwrap_or_default()));
    } else {
        super::print(&text(&difference, super::wants_colour()));
    }
    Ok(Exit::Ok)
}

/// The run before and the run after; `runs` are the newest first.
fn choose<'r>(runs: &'r [RunRow], named: &[String]) -> Result<(&'r RunRow, &'r RunRow), String> {
    let get = |id: &String| named_run(runs, id);
    if let [a, b] = named {
        return Ok((get(a)?, get(b)?));
    }
    let b = match named.first() {
        Some(id) => get(id)?,
        None => runs.iter().find(|run| !run.is_on()).ok_or("no run that has ended in Loki")?,
    };
    let is_alike = |run: &&RunRow| run.from < b.from && (&run.env, &run.runner) == (&b.env, &b.runner);
    let a = runs.iter().filter(is_alike).find(|run| !run.is_on());
    Ok((a.ok_or_else(|| format!("no run before {} with the same env and runner in Loki", b.run_id))?, b))
}

/// The run with this id, or the only one whose id begins or ends with it.
fn named_run<'r>(runs: &'r [RunRow], id: &str) -> Result<&'r RunRow, String> {
    if let Some(run) = runs.iter().find(|run| run.run_id == id) {
        return Ok(run);
    }
    let is_meant = |run: &&RunRow| run.run_id.starts_with(id) || run.run_id.ends_with(id);
    let meant: Vec<&RunRow> = runs.iter().filter(is_meant).collect();
    match meant[..] {
        [run] => Ok(run),
        [] => Err(format!("no run {id} in Loki")),
        [one, two, ..] => Err(format!("{id} may be run {} or {}", one.run_id, two.run_id)),
    }
}

/// The final result of each test of a run.
async fn results(client: &Client, settings: &Settings, run: &RunRow) -> Result<Results, QueryError> {
    let query = format!(
        "{{{}={}, {}=\"{}\", {}=~\"{}\"}} | {}={} | keep {}, {}, {}, {}, {} | line_format \"\"",
        label::SERVICE_NAME,
        quoted(settings.run.project.as_str()),
        label::KIND,
        kind::TEST,
        label::STATUS,
        Outcome::WORDS.join("|"),
        meta::RUN_ID,
        quoted(&run.run_id),
        label::STATUS,
        meta::TEST,
        meta::OUTCOME,
        meta::DURATION_MS,
        meta::MESSAGE,
    );
    let to = if run.is_on() { run.from + LONGEST_RUN } else { run.to };
    let mut results = Results::new();
    let take = |row: Row| take(&mut results, &row);
    client.query_range(&query, Timestamp(run.from - MARGIN), Timestamp(to + MARGIN), TIMEOUT, take).await?;
    Ok(results)
}

fn take(results: &mut Results, row: &Row) {
    let outcome =
        Outcome::of_words(row.get(label::STATUS).unwrap_or_default(), row.get(meta::OUTCOME).unwrap_or_default());
    let (Some(outcome), Some(test)) = (outcome, row.get(meta::TEST)) else { return };
    // Retries and corrections come later than what they replace.
    if results.get(test).is_none_or(|known| known.time <= row.time) {
        let millis = row.get(meta::DURATION_MS).and_then(|text| text.parse().ok());
        let message = row.get(meta::MESSAGE).unwrap_or_default().to_owned();
        results.insert(test.to_owned(), Ended { time: row.time, outcome, millis, message });
    }
}

fn compare(a: &RunRow, b: &RunRow, before: &Results, after: &Results) -> Difference {
    let mut difference =
        Difference { a: a.clone(), b: b.clone(), tests_a: before.len(), tests_b: after.len(), ..Difference::default() };
    let changed = |test: &String, old: Option<&Ended>, new: Option<&Ended>| Changed {
        test: test.clone(),
        before: old.map_or("", |result| result.outcome.as_str()),
        after: new.map_or("", |result| result.outcome.as_str()),
        before_ms: old.and_then(|result| result.millis),
        after_ms: new.and_then(|result| result.millis),
        message: new.map(|result| result.message.clone()).unwrap_or_default(),
    };
    for (test, new) in after {
        let old = before.get(test);
        let row = changed(test, old, Some(new));
        let was_good = old.and_then(|old| old.outcome.is_good());
        match (new.outcome.is_good(), was_good) {
            (Some(false), Some(false)) => difference.still_failing += 1,
            (Some(false), _) => difference.newly_failing.push(row),
            (Some(true), Some(false)) => difference.fixed.push(row),
            _ if old.is_none() => difference.new.push(row),
            (Some(true), Some(true)) if slowdown(&row).is_some() => difference.slower.push(row),
            _ => {}
        }
    }
    let missing = before.iter().filter(|(test, _)| !after.contains_key(*test));
    difference.missing = missing.map(|(test, old)| changed(test, Some(old), None)).collect();
    let by = |row: &Changed| slowdown(row).unwrap_or(0.0);
    difference.slower.sort_by(|x, y| by(y).total_cmp(&by(x)));
    difference
}

/// Milliseconds more than before, where that is worth a line.
fn slowdown(row: &Changed) -> Option<f64> {
    let (before, after) = (row.before_ms?, row.after_ms?);
    (after > before * 1.5 && after - before >= LEAST_SLOWDOWN_MS).then_some(after - before)
}

fn text(difference: &Difference, colour: bool) -> String {
    let Difference { a, b, .. } = difference;
    let mut text = String::new();
    for (name, run, tests) in [("A", a, difference.tests_a), ("B", b, difference.tests_b)] {
        let branch = if run.branch.is_empty() { String::new() } else { format!("  {}", run.branch) };
        writeln!(text, "{name}  {}  {}  {}  {tests} tests{branch}", run.run_id, run.started, run.status)
            .expect("a String takes all");
    }
    let sorts = [
        ("newly failing", "31", &difference.newly_failing),
        ("fixed", "32", &difference.fixed),
        ("slower", "33", &difference.slower),
        ("missing in B", "33", &difference.missing),
        ("new in B", "36", &difference.new),
    ];
    for (head, code, rows) in sorts.into_iter().filter(|(_, _, rows)| !rows.is_empty()) {
        let head = super::painted(&format!("{head}: {}", rows.len()), code, colour);
        writeln!(text, "\n{head}").expect("a String takes all");
        for row in rows.iter().take(SHOWN) {
            writeln!(text, "  {}", line(row)).expect("a String takes all");
        }
        if rows.len() > SHOWN {
            writeln!(text, "  and {} more; --json names all", rows.len() - SHOWN).expect("a String takes all");
        }
    }
    let same = sorts.iter().all(|(_, _, rows)| rows.is_empty());
    let note = if same { "nothing changed; " } else { "" };
    writeln!(text, "\n{note}{} still failing", difference.still_failing).expect("a String takes all");
    text
}

fn line(row: &Changed) -> String {
    let mut line = row.test.clone();
    if let Some(by) = slowdown(row).filter(|_| row.message.is_empty()) {
        let time = |ms: Option<f64>| Duration::from_secs_f64(ms.unwrap_or(0.0).max(0.0) / 1e3).as_secs_f64();
        write!(line, "  {:.2}s, was {:.2}s (+{:.2}s)", time(row.after_ms), time(row.before_ms), by / 1e3)
            .expect("a String takes all");
    }
    if !row.message.is_empty() {
        line.push_str("  ");
        line.extend(row.message.chars().filter(|c| !c.is_control()).take(120));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, from: i64, status: &str, runner: &str) -> RunRow {
        RunRow { run_id: id.into(), from, status: status.into(), runner: runner.into(), ..RunRow::default() }
    }

    #[test]
    fn the_last_two_ended_runs_of_the_same_kind_are_compared_unless_others_are_named() {
        let runs = [
            run("e", 9, "started", "go"),
            run("d", 8, "passed", "go"),
            run("c", 7, "failed", "pytest"),
            run("b", 6, "aborted", "go"),
            run("a", 5, "passed", "go"),
        ];
        let chosen = |named: &[&str]| {
            let named: Vec<String> = named.iter().map(|id| (*id).to_owned()).collect();
            choose(&runs, &named).map(|(a, b)| format!("{}{}", a.run_id, b.run_id))
        };
        assert_eq!(chosen(&[]).unwrap(), "bd");
        assert_eq!(chosen(&["b"]).unwrap(), "ab");
        assert_eq!(chosen(&["c", "a"]).unwrap(), "ca");
        let named = |id: &str| {
            let runs = ["20261120T09Z-k3j9x2", "20261120T10Z-a1b2c3"].map(|id| run(id, 1, "passed", "go"));
            named_run(&runs, id).map(|run| run.run_id.clone())
        };
        assert_eq!(named("k3j9x2").unwrap(), "20261120T09Z-k3j9x2");
        assert_eq!(named("20261120T10").unwrap(), "20261120T10Z-a1b2c3");
        assert!(named("20261120").unwrap_err().contains("may be run") && named("x").unwrap_err().contains("no run x"));
        assert!(chosen(&["c"]).is_err() && chosen(&["a", "x"]).is_err() && choose(&[], &[]).is_err());
    }

    fn results(rows: &[(&str, Outcome, f64)]) -> Results {
        let result = |(test, outcome, millis): &(&str, Outcome, f64)| {
            let message = if outcome.is_good() == Some(false) { "boom".to_owned() } else { String::new() };
            ((*test).to_owned(), Ended { time: Timestamp(1), outcome: *outcome, millis: Some(*millis), message })
        };
        rows.iter().map(result).collect()
    }

    #[test]
    fn what_fails_newly_is_fixed_slower_missing_or_new_is_told() {
        use Outcome::{Failed, Passed, Skipped};
        let before = results(&[
            ("a", Passed, 10.0),
            ("b", Failed, 10.0),
            ("c", Failed, 10.0),
            ("d", Passed, 1000.0),
            ("e", Passed, 10.0),
            ("f", Passed, 10.0),
            ("s", Skipped, 0.0),
        ]);
        let after = results(&[
            ("a", Failed, 10.0),
            ("b", Passed, 10.0),
            ("c", Failed, 10.0),
            ("d", Passed, 3000.0),
            ("f", Passed, 40.0),
            ("g", Passed, 10.0),
            ("h", Failed, 10.0),
            ("s", Skipped, 0.0),
        ]);
        let (a, b) = (run("A1", 1, "passed", "go"), run("B1", 2, "failed", "go"));
        let found = compare(&a, &b, &before, &after);
        let names = |rows: &[Changed]| rows.iter().map(|row| row.test.as_str()).collect::<Vec<_>>().join(" ");
        let sorts = [&found.newly_failing, &found.fixed, &found.slower, &found.missing, &found.new];
        assert_eq!(sorts.map(|rows| names(rows)), ["a h", "b", "d", "e", "g"]);
        assert_eq!(found.still_failing, 1);
        let text = text(&found, false);
        assert!(
            text.contains("newly failing: 2\n  a  boom") && text.contains("d  3.00s, was 1.00s (+2.00s)"),
            "{text}"
        );
        assert!(!text.contains('\x1b'));
        assert!(super::text(&found, true).contains("\x1b[31mnewly failing: 2\x1b[0m"));
    }
}
