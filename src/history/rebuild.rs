//! A history from Loki, for a machine that has none: the last 20 runs of the same branch, else of the main branch.
//!
//! The run does not wait for it. First come the entries of runs, which are few, then what large runs wrote of all their results
//! at once ([`digest`]). Of others the ends of tests are read, run by run, the newest first; where there are many they are asked
//! for in slices, some at a time, so that a run is whole before the next one begins. What is not there after [`BUDGET`] is done
//! without.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::digest;
use super::earlier::{Found, MARGIN, quoted, runs_of, streams};
use super::memory::{Observed, Opening};
use super::past::{Past, RUN_END, TestKeys, test_key};
use super::slot::{Outcome, Slot};
use crate::event::{Timestamp, wholes};
use crate::loki::push::Client;
use crate::loki::query::{QueryError, Row};
use crate::names::{kind, label, meta};

/// How long it may take.
const BUDGET: Duration = Duration::from_secs(2);
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
    /// Results of a run before those, which was not read to its end.
    pub part: usize,
    /// Runs with tests that there are, up to 20.
    pub found: usize,
}

impl Rebuilt {
    /// What a person is told.
    fn words(&self, took: Duration) -> String {
        let Self { past, runs, part, found } = self;
        match (runs, part) {
            (0, 0) if *found > 0 => {
                format!("none of {found} earlier runs came from Loki in {took:.1?}, so what changed is not told")
            }
            (0, _) if *found > 0 => format!(
                "of {found} earlier runs only {part} results of the last came from Loki in {took:.1?}; what changed is told \
                 of those tests, and none is called new"
            ),
            (_, 0) if runs < found => {
                format!("of {found} earlier runs Loki gave {runs} in {took:.1?}; what changed since is told by those")
            }
            _ if runs < found => format!(
                "of {found} earlier runs Loki gave {runs}, and {part} results of the one before, in {took:.1?}; what changed \
                 since is told by those"
            ),
            _ => format!("{} tests of {runs} earlier runs are known from Loki, after {took:.1?}", past.len()),
        }
    }
}

impl Rebuilder {
    /// With `baseline` as the main branch; queries run on `runtime`.
    pub fn new(client: Client, runtime: Handle, baseline: String) -> Self {
        Self { client, runtime, baseline, has_warned: Arc::default() }
    }

    /// Begins in the background; `done` gets what there is, and whether it is worth to be kept. It is not called if Loki gives
    /// nothing.
    pub(super) fn start(&self, run: Opening, done: impl FnOnce(Past, bool) + Send + 'static) {
        let Self { client, baseline, has_warned, .. } = self.clone();
        self.runtime.spawn(async move {
            let begun = Instant::now();
            let (text, is_odd) = match rebuild(&client, &run, &baseline, BUDGET).await {
                Ok(rebuilt) => {
                    let told = (rebuilt.words(begun.elapsed()), rebuilt.runs < rebuilt.found);
                    let Rebuilt { past, runs, part, found } = rebuilt;
                    if runs > 0 || part > 0 || found == 0 {
                        // It writes a file. Who finds a part of a run there would take it for all.
                        tokio::task::spawn_blocking(move || done(past, runs > 0 || found == 0)).await.ok();
                    }
                    told
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
    let mut digests = Vec::new();
    for found in &runs {
        let (client, found, query) = (client.clone(), found.clone(), digest_query(&streams, &found.id));
        digests.push(async move { digest_of(&client, &query, &found, until).await });
    }
    let mut digests = some_at_a_time(digests.into_iter(), until).await.into_iter();
    let mut come: Vec<Vec<Option<Results>>> = runs.iter().map(|_| vec![digests.next().flatten().flatten()]).collect();
    let mut slices = Vec::new();
    let mut queries = Vec::new();
    for (found, come) in runs.iter().zip(&come) {
        slices.push(if matches!(come[..], [Some(_)]) { Vec::new() } else { found.slices(now) });
        let tag = Slot::run_tag(&found.id);
        for slice in slices.iter().next_back().into_iter().flatten().copied() {
            let (client, query) = (client.clone(), query_of(&streams, &found.id));
            queries.push(async move { tests_of(&client, &query, tag, slice, until).await });
        }
    }
    let mut answers = some_at_a_time(queries.into_iter(), until).await.into_iter();
    for (come, slices) in come.iter_mut().zip(&slices).filter(|(_, slices)| !slices.is_empty()) {
        *come = slices.iter().map(|_| answers.next().flatten()).collect();
    }
    Ok(gathered(&runs, &come, are_all))
}

/// A history of what came of each run, in pieces. A run that is missing among others would make what is told of the next one
/// wrong: only the newest in a row count, and of the one before them what there is.
fn gathered(runs: &[Found], come: &[Vec<Option<Results>>], are_all: bool) -> Rebuilt {
    let is_whole = |pieces: &&Vec<Option<Results>>| pieces.iter().all(Option::is_some);
    // It was killed before its first test, or is just beginning.
    let is_empty = |pieces: &[Option<Results>]| pieces.iter().flatten().all(|results| results.ends.is_empty());
    let whole = come.iter().take_while(is_whole).count();
    let mut past = Past::default();
    for (found, pieces) in runs.iter().zip(come).take(whole + 1).rev() {
        for results in pieces.iter().flatten() {
            results.ends.iter().for_each(|(test, slot, signature)| past.insert(*test, *slot, *signature));
            past.mark_wholes(&results.wholes);
        }
        let last = pieces.iter().flatten().map(|results| results.last).max().filter(|last| last.0 > 0);
        if let (true, Some(to), Some(last)) = (is_whole(&pieces), found.to.map(Timestamp), last) {
            let slot = Slot::new(to, Slot::run_tag(&found.id), Outcome::Passed, Some(to.since(last)));
            past.insert(RUN_END, slot, 0);
        }
    }
    past.settle();
    past.is_whole = are_all && whole == runs.len();
    let empty = come[..whole].iter().filter(|pieces| is_empty(pieces)).count();
    let part = come.get(whole).into_iter().flatten().flatten().map(|results| results.ends.len()).sum();
    Rebuilt { past, runs: whole - empty, part, found: runs.len() - empty }
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

/// What a run brought, or a slice of it.
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

/// Asks for what a run wrote of all its results.
fn digest_query(streams: &str, run_id: &str) -> String {
    // What is measured has a source; so this is a stream of its own.
    let (kind, run_id) = (quoted(kind::METRIC), quoted(run_id));
    format!(
        "{{{streams}, {}={kind}, {}=\"\"}} | {}={run_id} | keep {}, {}",
        label::KIND,
        label::SOURCE,
        meta::RUN_ID,
        meta::SHARD,
        meta::PART,
    )
}

/// All results of a run, if each of its parts wrote them.
async fn digest_of(client: &Client, query: &str, found: &Found, until: Instant) -> Result<Option<Results>, QueryError> {
    let Some(to) = found.to.filter(|_| found.tests >= digest::MIN_TESTS as u64) else { return Ok(None) };
    let mut lines: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
    let take = |row: Row| {
        let part = row.get(meta::PART).and_then(|part| part.split_once('/')?.0.parse().ok()).unwrap_or(1);
        lines.entry(row.get(meta::SHARD).unwrap_or_default().to_owned()).or_default().insert(part, row.line);
    };
    // Other parts of the run may have ended long before.
    let from = if found.shards.len() > 1 { found.from - MARGIN } else { to - MARGIN };
    client.query_range(query, Timestamp(from), Timestamp(to + MARGIN), left(until), take).await?;
    let mut results = Results::default();
    for shard in &found.shards {
        let line = lines.remove(shard).unwrap_or_default().into_values().collect::<String>();
        let Some(read) = digest::read(&line, Slot::run_tag(&found.id)) else { return Ok(None) };
        for Observed { test, slot, signature, has_parts } in read {
            results.ends.push((test, slot, signature));
            results.wholes.extend(has_parts.then_some(test));
        }
    }
    Ok(Some(results))
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

    /// What a run brought in which this test had this outcome.
    fn brought(test: u64, run: &Found, outcome: Outcome) -> Option<Results> {
        let slot = Slot::new(Timestamp(run.from), Slot::run_tag(&run.id), outcome, None);
        Some(Results { ends: vec![(test, slot, 0)], last: Timestamp(run.from), ..Results::default() })
    }

    fn run(id: &str, minute: i64) -> Found {
        let from = 1_795_200_000_000_000_000 + minute * 60_000_000_000;
        Found { id: id.into(), from, to: Some(from + 1), ..Found::default() }
    }

    #[test]
    fn of_the_first_run_that_is_not_whole_counts_what_there_is_and_of_older_ones_nothing() {
        let runs = [run("d", 4), run("c", 3), run("b", 2), run("a", 1)];
        let [d, c, b, a] = [0, 1, 2, 3].map(|at| &runs[at]);
        let killed_at_once = vec![Some(Results::default())];
        let come = [
            killed_at_once,
            vec![brought(1, c, Outcome::Passed)],
            vec![brought(2, b, Outcome::Failed), None],
            vec![brought(3, a, Outcome::Failed)],
        ];
        let rebuilt = gathered(&runs, &come, true);
        assert_eq!((rebuilt.runs, rebuilt.part, rebuilt.found), (1, 1, 3));
        let now = Slot::new(Timestamp(d.from + 1), 1, Outcome::Passed, None);
        let told = [1, 2, 3].map(|test| rebuilt.past.judge(test, now));
        assert_eq!(told.map(|told| told.previous), [Some(Outcome::Passed), Some(Outcome::Failed), None]);
        assert_eq!(told[2].change, None, "it is not known to be new");
        assert_eq!(
            rebuilt.words(Duration::from_secs(2)),
            "of 3 earlier runs Loki gave 1, and 1 results of the one before, in 2.0s; what changed since is told by those"
        );
        let rebuilt = gathered(&runs[2..], &come[2..], true);
        assert_eq!((rebuilt.runs, rebuilt.part, rebuilt.found), (0, 1, 2));
        assert!(rebuilt.words(Duration::from_secs(2)).contains("only 1 results of the last came"));
        let rebuilt = gathered(&runs[1..2], &come[1..2], true);
        assert_eq!((rebuilt.runs, rebuilt.found, rebuilt.past.is_whole), (1, 1, true));
    }
}
