//! A history from Loki, for a machine that has none: the last 20 runs of the same branch, else of the main branch.
//!
//! The run does not wait for it. First come the entries of runs, which are few, then the ends of tests, run by run, the newest
//! first; a large run is asked for in slices, some at a time, so that it is whole before the next one begins. What is not there
//! after [`BUDGET`] is done without.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::memory::Opening;
use super::past::{KEPT, Past, RUN_END, TestKeys, test_key};
use super::slot::{Outcome, Slot};
use crate::event::{Timestamp, wholes};
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::{kind, label, meta, status};

/// How long it may take.
const BUDGET: Duration = Duration::from_secs(2);
/// How far back runs are looked for, in days: what a stock Loki lets one ask for at once, but the last day first, because Loki
/// cuts a range into hours, and asks for each by itself.
const WINDOWS: [i64; 3] = [1, 7, 30];
const DAY: i64 = 86_400 * 1_000_000_000;
/// How long older runs may be looked for where newer ones were found.
const MORE_RUNS: Duration = Duration::from_millis(400);
/// Entries of runs that are looked at: starts and ends of shards and of other configurations are among them.
const RUN_ENTRIES: usize = 1000;
/// Events bring their own times, which may lie a little before or behind those of their run.
const MARGIN: i64 = 60 * 1_000_000_000;
/// A run without an end is taken to last no longer.
const LONGEST_RUN: i64 = DAY / 4;
/// Tests that are asked for at once, as far as one can tell: half of what Loki gives in one answer.
const SLICE: u64 = 2500;
/// A run is cut into no more slices.
const MAX_SLICES: i64 = 64;
/// Queries at a time: more of them would only wait within Loki.
const AT_A_TIME: usize = 3;

/// Asks Loki.
#[derive(Clone)]
pub struct Rebuilder {
    client: Client,
    runtime: Handle,
    baseline: String,
    has_warned: Arc<AtomicBool>,
}

/// What came of it.
#[derive(Debug)]
pub struct Rebuilt {
    /// The history.
    pub past: Past,
    /// Runs that it is of.
    pub runs: usize,
    /// Runs that there are, up to 20.
    pub found: usize,
}

impl Rebuilder {
    /// With `baseline` as the main branch; queries run on `runtime`.
    pub fn new(client: Client, runtime: Handle, baseline: String) -> Self {
        Self { client, runtime, baseline, has_warned: Arc::default() }
    }

    /// Begins in the background; `done` gets what there is. It is not called if Loki gives nothing.
    pub(super) fn start(&self, run: Opening, done: impl FnOnce(Past) + Send + 'static) {
        let Self { client, baseline, has_warned, .. } = self.clone();
        self.runtime.spawn(async move {
            let begun = Instant::now();
            let (text, is_odd) = match rebuild(&client, &run, &baseline, BUDGET).await {
                Ok(Rebuilt { past, runs, found }) => {
                    let (tests, took) = (past.len(), begun.elapsed());
                    if runs > 0 || found == 0 {
                        // It writes a file.
                        tokio::task::spawn_blocking(move || done(past)).await.ok();
                    }
                    let text = match runs {
                        0 if found > 0 => format!(
                            "none of {found} earlier runs came from Loki in {took:.1?}, so what changed is not told"
                        ),
                        _ if runs < found => format!(
                            "of {found} earlier runs Loki gave {runs} in {took:.1?}; what changed since is told by those"
                        ),
                        _ => format!("{tests} tests of {runs} earlier runs are known from Loki, after {took:.1?}"),
                    };
                    (text, runs < found)
                }
                Err(error) => {
                    let text = format!("nothing is known of earlier runs, so what changed is not told: {error}");
                    (text, is_news(&error, begun.elapsed()))
                }
            };
            // Once for each process: the next run will fare no better.
            if is_odd && !has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!("{text}");
            } else {
                tracing::info!("{text}");
            }
        });
    }
}

/// Whether a person should hear that Loki gave nothing. Where nobody listens, delivery says so; and who may only write is
/// told that by `check`.
fn is_news(error: &QueryError, took: Duration) -> bool {
    match error {
        QueryError::Connection(_) => took >= BUDGET,
        QueryError::Status { status, .. } => *status >= 500,
        _ => true,
    }
}

/// A run in Loki.
#[derive(Debug, Default)]
struct Found {
    id: String,
    from: i64,
    to: Option<i64>,
    /// Tests that it had, as far as its ends say.
    tests: u64,
}

impl Found {
    /// Its time in slices with about [`SLICE`] tests each.
    fn slices(&self, now: i64) -> Vec<(Timestamp, Timestamp)> {
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

/// The history of `run` as far as Loki gives it within `budget`.
///
/// # Errors
/// If Loki does not even say which runs there are.
pub async fn rebuild(client: &Client, run: &Opening, baseline: &str, budget: Duration) -> Result<Rebuilt, QueryError> {
    let until = Instant::now() + budget;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    let (runs, are_all) = runs_of(client, run, baseline, now, until).await?;
    let streams = streams(run);
    let slices: Vec<Vec<_>> = runs.iter().map(|found| found.slices(now)).collect();
    let mut asked = Vec::new();
    for (found, slices) in runs.iter().zip(&slices) {
        let (query, tag) = (query_of(&streams, &found.id), Slot::run_tag(&found.id));
        asked.extend(slices.iter().map(|slice| (query.clone(), tag, *slice)));
    }
    let queries = asked.into_iter().map(|(query, tag, slice)| {
        let client = client.clone();
        async move { tests_of(&client, &query, tag, slice, until).await }
    });
    let mut answers = some_at_a_time(queries, until).await.into_iter();
    let mut past = Past::default();
    // A run that is missing among others would make what is told of the next one wrong: only the newest in a row count.
    let whole = |slices: &Vec<_>| (0..slices.len()).map(|_| answers.next().flatten()).collect::<Option<Vec<_>>>();
    let newest: Vec<Vec<Results>> = slices.iter().map_while(whole).collect();
    for (found, results) in runs.iter().zip(&newest).rev() {
        for results in results {
            results.ends.iter().for_each(|(test, slot, signature)| past.insert(*test, *slot, *signature));
            past.mark_wholes(&results.wholes);
        }
        let last = results.iter().map(|results| results.last).max().filter(|last| last.0 > 0);
        if let (Some(to), Some(last)) = (found.to.map(Timestamp), last) {
            let slot = Slot::new(to, Slot::run_tag(&found.id), Outcome::Passed, Some(to.since(last)));
            past.insert(RUN_END, slot, 0);
        }
    }
    past.is_whole = are_all && newest.len() == runs.len();
    Ok(Rebuilt { past, runs: newest.len(), found: runs.len() })
}

/// Carries out futures, the first ones first; `None` for those that failed, or are not done in time.
async fn some_at_a_time<T, F, E>(futures: impl Iterator<Item = F>, until: Instant) -> Vec<Option<T>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut waiting = futures.enumerate();
    let mut under_way = JoinSet::new();
    let mut done = Vec::new();
    loop {
        while under_way.len() < AT_A_TIME {
            let Some((number, future)) = waiting.next() else { break };
            done.push(None);
            under_way.spawn(async move { (number, future.await.ok()) });
        }
        match tokio::time::timeout_at(until.into(), under_way.join_next()).await {
            Ok(Some(Ok((number, answer)))) => done[number] = answer,
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return done,
        }
    }
}

/// Labels of a run's streams, without the last brace.
fn streams(run: &Opening) -> String {
    let key = &run.key;
    let pairs = [(label::SERVICE_NAME, &key.project), (label::ENV, &key.env), (label::RUNNER, &key.runner)];
    pairs.map(|(name, value)| format!("{name}={}", quoted(value))).join(", ")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The newest runs of the same branch, else of the main one, or of any if the branch is not known; the newest first. The
/// second value is false if there may be more.
async fn runs_of(
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
        let patience = if rows.is_empty() { left(until) } else { left(until).min(MORE_RUNS) };
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
        if row.get(label::STATUS) != Some(status::STARTED) {
            found.to = found.to.max(Some(row.time.0));
            // One of several shards, perhaps.
            found.tests += row.get(meta::counter::DONE).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
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
    super::memory::configuration(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// What a run brought.
#[derive(Default)]
struct Results {
    /// Test, result and signature.
    ends: Vec<(u64, Slot, u64)>,
    /// Keys of what tests with parts would be called.
    wholes: TestKeys,
    /// Time of the last one.
    last: Timestamp,
}

/// Asks for the results of a run.
fn query_of(streams: &str, run_id: &str) -> String {
    let statuses = Outcome::WORDS.join("|");
    // What is not needed is left out by Loki: a page has a fifth of the bytes then.
    format!(
        "{{{streams}, {}={}, {}=~{}}} | {}={} | keep {}, {}, {}, {}, {} | line_format \"\"",
        label::KIND,
        quoted(kind::TEST),
        label::STATUS,
        quoted(&statuses),
        meta::RUN_ID,
        quoted(run_id),
        label::STATUS,
        meta::TEST,
        meta::OUTCOME,
        meta::DURATION_MS,
        meta::SIGNATURE,
    )
}

/// The results of run `tag` within a slice of its time.
async fn tests_of(
    client: &Client,
    query: &str,
    tag: u32,
    (from, to): (Timestamp, Timestamp),
    until: Instant,
) -> Result<Results, QueryError> {
    let mut results = Results::default();
    let take = |row: Row| {
        results.ends.extend(result(&row, tag));
        results.last = results.last.max(row.time);
        results.wholes.extend(wholes(row.get(meta::TEST).unwrap_or_default(), "").map(test_key));
    };
    client.query_range(query, from, to, left(until), take).await?;
    Ok(results)
}

/// Test, result and signature of the end entry of a test.
fn result(row: &Row, tag: u32) -> Option<(u64, Slot, u64)> {
    let outcome = Outcome::of_words(row.get(label::STATUS)?, row.get(meta::OUTCOME).unwrap_or_default())?;
    let millis = row.get(meta::DURATION_MS).and_then(|text| text.parse::<f64>().ok());
    let duration = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1e3).ok());
    let signature = row.get(meta::SIGNATURE).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    Some((test_key(row.get(meta::TEST)?), Slot::new(row.time, tag, outcome, duration), signature))
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slices_of_a_run_cover_its_time_without_gaps_or_overlaps() {
        let found = |tests, to| Found { id: String::new(), from: 1_000, to, tests };
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
