//! Which earlier runs Loki has of the same branch, else of the main branch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::memory::{self, Opening};
use super::past::KEPT;
use crate::event::Timestamp;
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::{kind, label, meta, status};

/// How far back runs are looked for, in days: what a stock Loki lets one ask for at once, but the last day first, because Loki
/// cuts a range into hours, and asks for each by itself.
const WINDOWS: [i64; 3] = [1, 7, 30];
const DAY: i64 = 86_400 * 1_000_000_000;
/// How long older runs may be looked for where newer ones were found.
const MORE_RUNS: Duration = Duration::from_millis(400);
/// Entries of runs that are looked at: starts and ends of shards and of other configurations are among them.
const RUN_ENTRIES: usize = 1000;
/// Events bring their own times, which may lie a little before or behind those of their run.
pub(super) const MARGIN: i64 = 60 * 1_000_000_000;
/// A run without an end is taken to last no longer.
const LONGEST_RUN: i64 = DAY / 4;
/// Tests that are asked for at once, as far as one can tell: half of what Loki gives in one answer.
const SLICE: u64 = 2500;
/// A run is cut into no more slices.
const MAX_SLICES: i64 = 64;

/// A run in Loki.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) from: i64,
    pub(super) to: Option<i64>,
    /// Tests that it had, as far as its ends say.
    pub(super) tests: u64,
    /// Its parts that ended and had tests.
    pub(super) shards: BTreeSet<String>,
}

impl Found {
    /// Its time in slices with about [`SLICE`] tests each.
    pub(super) fn slices(&self, now: i64) -> Vec<(Timestamp, Timestamp)> {
        let to = self.to.unwrap_or(self.from + LONGEST_RUN).min(now).max(self.from);
        let count = i64::try_from(self.tests / SLICE).unwrap_or(0).clamp(1, MAX_SLICES);
        let edge = |at: i64| match at {
            0 => self.from - MARGIN,
            at if at == count => to + MARGIN,
            at => self.from + (to - self.from) / count * at,
        };
        (0..count).map(|at| (Timestamp(edge(at)), Timestamp(edge(at + 1)))).collect()
    }
}

/// Labels of a run's streams, without the last brace.
pub(super) fn streams(run: &Opening) -> String {
    let key = &run.key;
    let pairs = [(label::SERVICE_NAME, &key.project), (label::ENV, &key.env), (label::RUNNER, &key.runner)];
    pairs.map(|(name, value)| format!("{name}={}", quoted(value))).join(", ")
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The newest runs of the same branch, else of the main one, or of any if the branch is not known; the newest first. The
/// second value is false if there may be more.
pub(super) async fn runs_of(
    client: &Client,
    run: &Opening,
    baseline: &str,
    now: i64,
    until: Instant,
) -> Result<(Vec<Found>, bool), QueryError> {
    let query = format!("{{{}, {}={}}}", streams(run), label::KIND, quoted(kind::RUN));
    let mut rows = Vec::new();
    let mut to = now + MARGIN;
    for days in WINDOWS {
        let from = now - days * DAY;
        // Where something was found, most of the time is left to its tests.
        let patience = if rows.is_empty() {
            until.saturating_duration_since(Instant::now())
        } else {
            until.saturating_duration_since(Instant::now()).min(MORE_RUNS)
        };
        match client.query_newest(&query, Timestamp(from), Timestamp(to), RUN_ENTRIES, patience).await {
            Ok(page) => rows.extend(page),
            // What the narrower windows gave counts.
            Err(_) if !rows.is_empty() => return Ok((chosen(&rows, run, baseline), false)),
            Err(error) => return Err(error),
        }
        if of_branch(&rows, run, &run.branch).len() >= KEPT {
            break;
        }
        to = from;
    }
    Ok((chosen(&rows, run, baseline), true))
}

fn chosen(rows: &[Row], run: &Opening, baseline: &str) -> Vec<Found> {
    let runs = of_branch(rows, run, &run.branch);
    if runs.is_empty() { of_branch(rows, run, baseline) } else { runs }
}

/// The runs of a branch, or all if it is empty, the newest first.
fn of_branch(rows: &[Row], run: &Opening, branch: &str) -> Vec<Found> {
    let mut runs: BTreeMap<String, Found> = BTreeMap::new();
    let is_alike = |row: &Row| run.key.configuration.is_empty() || configuration(row) == run.key.configuration;
    let is_of_branch = |row: &Row| branch.is_empty() || row.get(meta::BRANCH) == Some(branch);
    for row in rows.iter().filter(|row| is_alike(row) && is_of_branch(row)) {
        let Some(id) = row.get(meta::RUN_ID).filter(|id| *id != run.run_id) else { continue };
        let new = || Found { id: id.to_owned(), from: row.time.0, ..Found::default() };
        let found = runs.entry(id.to_owned()).or_insert_with(new);
        found.from = found.from.min(row.time.0);
        if !matches!(row.get(label::STATUS), Some(status::CREATED | status::STARTED)) {
            found.to = found.to.max(Some(row.time.0));
            // One of several shards, perhaps.
            let tests = row.get(meta::counter::DONE).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            found.tests += tests;
            if tests > 0 {
                found.shards.insert(row.get(meta::SHARD).unwrap_or_default().to_owned());
            }
        }
    }
    let mut runs: Vec<Found> = runs.into_values().collect();
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.from));
    runs.truncate(KEPT);
    runs
}

/// What must be equal of two runs of a results database: all that its configuration says.
fn configuration(row: &Row) -> String {
    let pairs = row.metadata.iter().chain(row.labels.iter());
    memory::configuration(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_of_a_run_cover_its_time_without_gaps_or_overlaps() {
        let found = |tests, to| Found { from: 1_000, to, tests, ..Found::default() };
        for (tests, to, count) in
            [(0, None, 1), (2_499, Some(9_000), 1), (50_000, Some(9_007), 20), (u64::MAX, None, 64)]
        {
            let slices = found(tests, to).slices(20_000);
            assert_eq!(slices.len(), count, "{tests} tests");
            assert_eq!(slices[0].0, Timestamp(1_000 - MARGIN));
            assert_eq!(slices[count - 1].1, Timestamp(to.unwrap_or(20_000) + MARGIN));
            assert!(slices.windows(2).all(|pair| pair[0].1 == pair[1].0), "{slices:?}");
            assert!(slices.iter().all(|(from, to)| from < to), "{slices:?}");
        }
    }
}
