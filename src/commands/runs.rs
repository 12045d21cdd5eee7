//! `testwire runs`: the runs in Loki, the newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::shipping::client;
use super::status_line::seconds;
use crate::config::Settings;
use crate::event::Timestamp;
use crate::exit::{Exit, Failure};
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::meta::counter;
use crate::names::{kind, label, meta, status};
use crate::pipeline::intake::now;

/// How long an answer may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// A day, in nanoseconds.
const DAY: i64 = 86_400 * 1_000_000_000;
/// Loki refuses a longer range by default (721 h).
const LONGEST: i64 = 30 * DAY;
/// Shards of a run that are looked for by name.
const MAX_SHARDS: usize = 1_000;
/// Entries of runs that are asked for at once.
const PAGE: usize = 5000;

/// A run as its own entries tell it, all shards together. The shape of `--json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RunRow {
    /// Its id.
    pub run_id: String,
    /// Label `env`.
    pub env: String,
    /// Label `runner`.
    pub runner: String,
    /// `started` while a shard of it has no end, else the worst of its shards.
    pub status: String,
    /// First and last entry of the run itself, RFC 3339.
    pub started: String,
    /// The same; empty while it is on.
    pub ended: String,
    /// Branch, if known.
    pub branch: String,
    /// Commit, if known.
    pub commit: String,
    /// Shards that were seen.
    pub shards: usize,
    /// Shards that never reported, where those that did are called `1/4` and the like.
    pub missing_shards: Vec<String>,
    /// Counters of its ends, summed up over its shards.
    pub counters: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(super) from: i64,
    #[serde(skip)]
    pub(super) to: i64,
}

impl RunRow {
    /// True if it has not ended, or not begun.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.status.as_str(), status::CREATED | status::STARTED)
    }
}

/// `kind="run"` entries of the project → runs, the newest first, at most `most`.
pub(super) async fn find(
    client: &Client,
    settings: &Settings,
    days: u16,
    most: usize,
) -> Result<Vec<RunRow>, QueryError> {
    let project = quoted(settings.run.project.as_str());
    let query = format!("{{{}={project}, {}=\"{}\"}}", label::SERVICE_NAME, label::KIND, kind::RUN);
    let (mut to, oldest) = (now().0 + DAY / 24, now().0 - i64::from(days) * DAY);
    let mut rows = Vec::new();
    let mut runs = Vec::new();
    while to > oldest && runs.len() <= most {
        let from = (to - LONGEST).max(oldest);
        let page = client.query_newest(&query, Timestamp(from), Timestamp(to), PAGE, TIMEOUT).await?;
        // A full page goes on before its oldest entry.
        to = if page.len() >= PAGE { page.first().map_or(from, |row| row.time.0) } else { from };
        rows.extend(page);
        runs = grouped(&rows);
    }
    runs.truncate(most);
    Ok(runs)
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn grouped(rows: &[Row]) -> Vec<RunRow> {
    // Of each shard the newest entry counts.
    let mut shards: BTreeMap<(&str, &str), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let Some(id) = row.get(meta::RUN_ID) else { continue };
        shards.entry((id, row.get(meta::SHARD).unwrap_or_default())).or_default().push(row);
    }
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut runs: BTreeMap<&str, RunRow> = BTreeMap::new();
    for ((id, shard), mut entries) in shards {
        names.entry(id).or_default().insert(shard);
        entries.sort_by_key(|row| row.time);
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { continue };
        let run =
            runs.entry(id).or_insert_with(|| RunRow { run_id: id.to_owned(), from: i64::MAX, ..RunRow::default() });
        run.shards += 1;
        run.from = run.from.min(first.time.0);
        run.to = run.to.max(last.time.0);
        for (own, name) in [
            (&mut run.env, label::ENV),
            (&mut run.runner, label::RUNNER),
            (&mut run.branch, meta::BRANCH),
            (&mut run.commit, meta::COMMIT),
        ] {
            if own.is_empty() {
                *own = last.get(name).unwrap_or_default().to_owned();
            }
        }
        let status = last.get(label::STATUS).unwrap_or_default();
        if rank(status) > rank(&run.status) {
            run.status = status.to_owned();
        }
        for name in counter::ALL.iter().chain(&[meta::KNOWN]) {
            if let Some(n) = last.get(name).and_then(|text| text.parse::<u64>().ok()) {
                let sum = run.counters.entry((*name).to_owned()).or_default();
                *sum = if *name == counter::ELAPSED_MS { n.max(*sum) } else { *sum + n };
            }
        }
    }
    let mut runs: Vec<RunRow> = runs.into_values().collect();
    for run in &mut runs {
        run.started = rfc3339(run.from);
        run.ended = if run.is_on() { String::new() } else { rfc3339(run.to) };
        run.missing_shards = names.get(run.run_id.as_str()).map(missing).unwrap_or_default();
    }
    runs.sort_by_key(|run| std::cmp::Reverse((run.from, run.run_id.clone())));
    runs
}

/// Shards that are not among these, as their names count them.
fn missing(names: &BTreeSet<&str>) -> Vec<String> {
    let counted = names.iter().filter_map(|name| name.split_once('/')?.1.parse::<usize>().ok());
    let all = counted.max().unwrap_or(0).min(MAX_SHARDS);
    (1..=all).map(|number| format!("{number}/{all}")).filter(|name| !names.contains(name.as_str())).collect()
}

/// What a run with shards of different status is.
fn rank(word: &str) -> u8 {
    match word {
        status::STARTED => 5,
        status::CREATED => 4,
        status::ABORTED => 3,
        status::FAILED => 2,
        status::PASSED => 1,
        _ => 0,
    }
}

fn rfc3339(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// Lists the runs of the configured project of the last `days`, the newest first, at most `most`.
///
/// # Errors
/// If Loki cannot be asked.
pub async fn runs(settings: &Settings, days: u16, most: usize, json: bool) -> Result<Exit, Failure> {
    let client = client(settings)?;
    let runs = find(&client, settings, days, most).await.map_err(|e| unreadable(settings, &e))?;
    if json {
        super::print(&format!("{}\n", serde_json::to_string_pretty(&runs).unwrap_or_default()));
    } else if runs.is_empty() {
        let project = &settings.run.project;
        super::print(&format!(
            "no run of project {project} within {days} days; --project and --days say where to look\n"
        ));
    } else {
        super::print(&table(&runs, super::wants_colour()));
    }
    Ok(Exit::Ok)
}

pub(super) fn unreadable(settings: &Settings, error: &QueryError) -> Failure {
    Failure::new(Exit::Undelivered, format!("cannot read runs from Loki at {}", settings.loki.url))
        .cause(error)
        .hint("--loki-url says where Loki is; `testwire check` says what is wrong with it")
}

fn table(runs: &[RunRow], colour: bool) -> String {
    let head = ["started", "status", "took", "done", "failing", "new", "fixed", "env", "runner", "branch", "run"];
    let count = |run: &RunRow, names: &[&str]| {
        let known: Vec<u64> = names.iter().filter_map(|name| run.counters.get(*name).copied()).collect();
        if known.is_empty() { "-".to_owned() } else { known.iter().sum::<u64>().to_string() }
    };
    let cells: Vec<[String; 11]> = runs
        .iter()
        .map(|run| {
            let took = run.counters.get(counter::ELAPSED_MS).map(|ms| seconds(Duration::from_millis(*ms)));
            [
                run.started.clone(),
                run.status.clone(),
                took.unwrap_or_else(|| "-".into()),
                count(run, &[counter::DONE]),
                count(run, &[counter::FAILED, counter::ERRORED]),
                count(run, &[counter::NEW_FAILURES]),
                count(run, &[counter::FIXED]),
                run.env.clone(),
                run.runner.clone(),
                if run.branch.is_empty() { "-".into() } else { run.branch.clone() },
                match run.missing_shards.as_slice() {
                    [] => run.run_id.clone(),
                    missing => format!("{} ({} never reported)", run.run_id, missing.join(", ")),
                },
            ]
        })
        .collect();
    let width = |column: usize| {
        cells.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 11] = std::array::from_fn(width);
    let line = |row: &[&str; 11]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = line(&head) + "\n";
    for row in &cells {
        let code = match row[1].as_str() {
            status::FAILED | status::ABORTED => "31",
            status::PASSED => "32",
            _ => "33",
        };
        let row = line(&std::array::from_fn(|column| row[column].as_str()));
        text.push_str(&super::painted(&row, code, colour));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn row(time: i64, pairs: &[(&str, &str)]) -> Row {
        let metadata = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Row { labels: Arc::default(), time: Timestamp(time), line: String::new(), metadata }
    }

    #[test]
    fn a_shard_that_never_reported_is_named() {
        let shard = |name| row(5, &[("run_id", "a"), ("shard", name), ("status", "passed")]);
        let runs = grouped(&[shard("1/3"), shard("3/3"), row(6, &[("run_id", "b"), ("status", "created")])]);
        let missing: Vec<_> = runs.iter().map(|run| (run.status.as_str(), run.missing_shards.join(" "))).collect();
        assert_eq!(missing, [("created", String::new()), ("passed", "2/3".to_owned())]);
        assert!(table(&runs, false).contains("a (2/3 never reported)"));
    }

    #[test]
    fn shards_of_a_run_are_one_row_with_summed_counters_and_the_worst_status() {
        let runs = grouped(&[
            row(5, &[("run_id", "a"), ("shard", "1"), ("status", "started"), ("branch", "main")]),
            row(6, &[("run_id", "a"), ("shard", "2"), ("status", "started")]),
            row(9, &[("run_id", "a"), ("shard", "1"), ("status", "passed"), ("done", "3"), ("elapsed_ms", "4")]),
            row(8, &[("run_id", "a"), ("shard", "2"), ("status", "failed"), ("done", "2"), ("elapsed_ms", "7")]),
            row(20, &[("run_id", "b"), ("status", "started")]),
        ]);
        let seen: Vec<_> = runs.iter().map(|run| (run.run_id.as_str(), run.status.as_str(), run.shards)).collect();
        assert_eq!(seen, [("b", "started", 1), ("a", "failed", 2)]);
        assert_eq!((runs[1].counters["done"], runs[1].counters["elapsed_ms"], runs[1].from, runs[1].to), (5, 7, 5, 9));
        let text = table(&runs, false);
        assert!(!text.contains('\x1b') && text.lines().count() == 3, "{text}");
        assert!(table(&runs, true).contains("\x1b[31m"));
    }
}
