//! A run as Loki has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::loki::Loki;
use crate::query::{Row, now, wait_for};

/// How long Loki may take to show all entries of a run that has ended.
const SOON: Duration = Duration::from_secs(30);
/// Runs of tests began no longer ago, in nanoseconds.
const BACK: i64 = 15 * 60 * 1_000_000_000;
/// Statuses that a test can end with, by the names of the counters.
const FINAL: [&str; 7] = ["passed", "failed", "errored", "skipped", "xfailed", "xpassed", "unfinished"];

/// All entries of a run, oldest first.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) rows: Vec<Row>,
}

/// An attempt of a test, from its end entry.
#[derive(Debug, PartialEq)]
pub(crate) struct Attempt {
    pub(crate) status: String,
    /// Milliseconds.
    pub(crate) duration: Option<f64>,
    pub(crate) flaky: bool,
}

impl Row {
    /// A label or metadata; empty if it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// A number in the metadata.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or_else(|_| panic!("{name} of {self:?}"))
    }
}

/// True for the end of a run.
fn is_end(row: &Row) -> bool {
    !matches!(row.get("status"), "created" | "started")
}

impl Recorded {
    /// Reads the run once it has ended: its end entry says how many entries there must be.
    pub(crate) async fn read(loki: &Loki, project: &str, run_id: &str) -> Self {
        Self::read_until(loki, project, run_id, "").await
    }

    /// The same for a run that ends with this status, if it is not empty: one that is gone on with ends twice.
    pub(crate) async fn read_until(loki: &Loki, project: &str, run_id: &str, status: &str) -> Self {
        let expr = format!("{{service_name=\"{project}\"}} | run_id=\"{run_id}\"");
        wait_for(&format!("all entries of {run_id} of {project}"), SOON, || async {
            let rows = loki.query_range(&expr, now() - BACK, now() + 1_000_000_000, usize::MAX).await;
            let recorded = Self { rows };
            let is_end = |row: &&Row| is_end(row) && (status.is_empty() || row.get("status") == status);
            let entries = recorded.of("run").find(is_end)?.number("entries");
            (recorded.rows.len() as u64 >= entries).then_some(recorded)
        })
        .await
    }

    /// Entries of this kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.get("kind") == kind)
    }

    /// The run's end.
    pub(crate) fn end(&self) -> &Row {
        let mut ends: Vec<_> = self.of("run").filter(|row| is_end(row)).collect();
        ends.sort_by_key(|row| row.number("entries"));
        let resumed = self.of("run").filter(|row| row.line.starts_with("RESUME ")).count();
        assert_eq!(ends.len(), resumed + 1, "one end, and one more each time that it goes on: {:?}", self.rows);
        ends.pop().expect("it is not empty")
    }

    /// Attempts of each test in the order of their ends.
    pub(crate) fn attempts(&self) -> BTreeMap<String, Vec<Attempt>> {
        let mut tests: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in self.of("test").filter(|row| row.get("status") != "started") {
            let duration = row.labels.get("duration_ms").map(|text| text.parse().unwrap());
            let attempt = Attempt { status: row.get("status").into(), duration, flaky: row.get("outcome") == "flaky" };
            tests.entry(row.get("test").to_owned()).or_default().push(attempt);
        }
        tests
    }

    /// Status of each test after its last attempt.
    pub(crate) fn statuses(&self) -> BTreeMap<String, String> {
        let last = |attempts: Vec<Attempt>| attempts.into_iter().next_back().expect("no list is empty").status;
        self.attempts().into_iter().map(|(test, attempts)| (test, last(attempts))).collect()
    }

    /// Names of the tests with one of these statuses after their last attempt.
    pub(crate) fn named(&self, statuses: &[&str]) -> BTreeSet<String> {
        let tests = self.statuses().into_iter();
        tests.filter(|(_, status)| statuses.contains(&status.as_str())).map(|(test, _)| test).collect()
    }

    /// Every entry that the run wrote is there, and none twice: their number, their sequence, and Loki's own count.
    pub(crate) async fn assert_whole(&self, loki: &Loki) {
        let end = self.end();
        let (project, run_id, entries) = (end.get("service_name"), end.get("run_id"), end.number("entries"));
        assert_eq!(self.rows.len() as u64, entries, "entries in Loki");
        let mut residues: Vec<u64> = self.rows.iter().map(|row| row.time.rem_euclid(1000) as u64).collect();
        let mut expected: Vec<u64> = (1..=entries).map(|seq| seq % 1000).collect();
        residues.sort_unstable();
        expected.sort_unstable();
        assert_eq!(residues, expected, "the sequence 1 to {entries}");
        let expr = format!("sum(count_over_time({{service_name=\"{project}\"}} | run_id=\"{run_id}\" [15m]))");
        // Loki's copies of the streams may be counted a moment apart.
        wait_for(&expr, SOON, || async {
            matches!(&loki.query(&expr).await[..], [(_, count)] if *count == entries as f64).then_some(())
        })
        .await;
    }

    /// The counters of the run's end are those of the last progress entry, and what the tests' entries add up to.
    pub(crate) fn assert_counts_agree(&self) {
        let (end, attempts) = (self.end(), self.attempts());
        let progress = self.of("progress").last().expect("a run has progress");
        for counter in FINAL.iter().chain(&["planned", "done", "flaky", "retried", "running"]) {
            assert_eq!(progress.number(counter), end.number(counter), "{counter} of the last progress and of the end");
        }
        for status in FINAL {
            assert_eq!(self.named(&[status]).len() as u64, end.number(status), "{status}");
        }
        let last = |flaky: fn(&Attempt) -> bool| {
            attempts.values().filter(|attempts| attempts.last().is_some_and(flaky)).count() as u64
        };
        assert_eq!(last(|attempt| attempt.flaky), end.number("flaky"), "flaky");
        let retried: usize = attempts.values().map(|attempts| attempts.len() - 1).sum();
        assert_eq!(retried as u64, end.number("retried"), "retried");
        assert_eq!(end.number("running"), 0);
        assert_eq!(end.number("done") + end.number("unfinished"), attempts.len() as u64, "tests that were seen");
    }

    /// Names below `never ran` in the text of the run's end, and their number.
    pub(crate) fn never_ran(&self) -> (u64, BTreeSet<String>) {
        let mut lines = self.end().line.lines().skip_while(|line| !line.starts_with("never ran: "));
        let Some(head) = lines.next() else { return (0, BTreeSet::new()) };
        let names = lines.map_while(|line| line.strip_prefix("  ")).filter(|name| !name.ends_with(" more"));
        (head.strip_prefix("never ran: ").unwrap().parse().unwrap(), names.map(str::to_owned).collect())
    }
}
