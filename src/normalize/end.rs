//! The end of a run: its verdict, its totals, and what never ran.

use std::fmt::Write as _;

use super::pairs::Pairs;
use super::text::push_duration;
use super::write::key;
use super::{Normalizer, configuration};
use crate::event::{Level, Note, RunStatus, Timestamp};
use crate::loki::entry::EntrySink;
use crate::names::{kind, meta};

/// Names that the end of a run lists of each sort.
const MAX_LISTED: usize = 100;

/// How the input of a run came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// The events ended (a pipe was closed, a file was read to its end).
    InputEnded,
    /// The wrapped command ended with this exit code.
    Exited(i32),
    /// The wrapped command was ended by this signal.
    Killed(i32),
    /// Nothing came for so long that the run is taken for dead.
    TimedOut,
    /// The run was stopped from outside: why.
    Stopped(String),
    /// The testwire process that followed the run is dead, and another one ends the run with what there is.
    Abandoned,
}

impl Normalizer {
    /// Ends the run: open tests become `unfinished`, the totals are written, and the last entry says how many
    /// entries there were. Nothing is written for a run that never began, or has ended.
    pub fn finish(&mut self, end: &RunEnd, now: Timestamp, out: &mut dyn EntrySink) -> Option<RunStatus> {
        if self.started.is_none() || self.ended {
            return None;
        }
        let now = self.clock(None, now);
        let status = self.run_status(end);
        let why = match end {
            RunEnd::InputEnded | RunEnd::Exited(_) => "the run ended without a result of this test".to_owned(),
            RunEnd::Killed(signal) => format!("the runner was killed by signal {signal}"),
            RunEnd::TimedOut => "nothing was heard of the run any more".to_owned(),
            RunEnd::Stopped(why) => why.clone(),
            RunEnd::Abandoned => "testwire ended before the run".to_owned(),
        };
        self.close_open(&why, now, out);
        self.close_parts(&why, now, out);
        self.complaints = self.changes.known.complaints(now);
        for complaint in self.complaints.clone() {
            self.note(&Note { level: Level::Warn, text: complaint.into() }, now, out);
        }
        self.look_ahead(now);
        self.write_progress(now, out);
        let is_over = self.replayed.is_none() && status != RunStatus::Aborted;
        if let Some(last) = self.pace.ended.filter(|_| is_over) {
            self.changes.note_end(now, now.since(last));
        }
        if let Some(results) = self.changes.digest() {
            self.write(key(kind::METRIC, ""), now, &results, Pairs::new("info"), out);
        }
        let line = self.end_line(status, end, now);
        let info = self.info.clone();
        let counts = self.counts();
        let elapsed = self.progress(now).elapsed.as_millis().to_string();
        let entries = (self.seq + super::text::pieces(&line, self.longest_line()).len() as u64).to_string();
        let code = if let RunEnd::Exited(code) = end { code.to_string() } else { String::new() };
        let level = match status {
            RunStatus::Passed => "info",
            RunStatus::Failed | RunStatus::Aborted => "error",
        };
        let configuration = configuration(&info.metadata);
        let mut pairs = Pairs::new(level);
        pairs.push(meta::HOST, &info.host);
        pairs.push(meta::CONFIGURATION, &configuration);
        for (name, value) in &info.metadata {
            pairs.push(name, value);
        }
        for (name, value) in &counts {
            pairs.push(name, value);
        }
        pairs.push(meta::counter::ELAPSED_MS, &elapsed);
        pairs.push(meta::EXIT_CODE, &code);
        pairs.push(meta::ENTRIES, &entries);
        self.write(key(kind::RUN, status.as_str()), now, &line, pairs, out);
        self.ended = true;
        self.changes.keep(true);
        Some(status)
    }

    fn run_status(&self, end: &RunEnd) -> RunStatus {
        let counters = &self.tests.counters;
        let failed =
            counters.failing() > 0 || self.verdict.suite_failed || self.verdict.worst == Some(RunStatus::Failed);
        // A runner that began and did not say that it ended, or tests and suites without an end: it died.
        let silent = self.verdict.finished < self.verdict.started;
        let open = counters.running > 0 || !self.open_suites.is_empty();
        let broken = open || silent || self.verdict.worst == Some(RunStatus::Aborted);
        match end {
            RunEnd::Killed(_) | RunEnd::TimedOut | RunEnd::Stopped(_) => RunStatus::Aborted,
            RunEnd::Abandoned if self.verdict.finished == 0 => RunStatus::Aborted,
            _ if broken => RunStatus::Aborted,
            RunEnd::Exited(code) if *code != 0 => RunStatus::Failed,
            _ if failed => RunStatus::Failed,
            RunEnd::Exited(_) | RunEnd::InputEnded | RunEnd::Abandoned => RunStatus::Passed,
        }
    }

    fn end_line(&self, status: RunStatus, end: &RunEnd, now: Timestamp) -> String {
        let mut line = format!("{} {}", status.as_str().to_uppercase(), self.tests.counters.summary());
        push_duration(&mut line, self.progress(now).elapsed);
        match end {
            RunEnd::Exited(code) if *code != 0 => write!(line, "\nexit code {code}").expect("a String takes all"),
            RunEnd::Killed(signal) => write!(line, "\nkilled by signal {signal}").expect("a String takes all"),
            RunEnd::Stopped(why) => write!(line, "\nstopped: {why}").expect("a String takes all"),
            RunEnd::TimedOut => line.push_str("\nnothing was heard of it any more"),
            RunEnd::Abandoned => line.push_str("\ntestwire ended before the run"),
            RunEnd::InputEnded | RunEnd::Exited(_) => {}
        }
        if !self.verdict.message.is_empty() {
            write!(line, "\n{}", self.verdict.message).expect("a String takes all");
        }
        let counters = &self.tests.counters;
        list(&mut line, "failing", counters.failing(), self.failing.iter().map(String::as_str));
        for (head, count, names) in self.changes.lists(counters) {
            list(&mut line, head, count, names);
        }
        list(
            &mut line,
            "failed suites",
            self.failed_suites.len() as u64,
            self.failed_suites.iter().map(String::as_str),
        );
        let (missing, names) = self.tests.never_ran();
        list(&mut line, "never ran", missing, names.into_iter());
        line
    }
}

/// A headed list of at most [`MAX_LISTED`] names, and how many more there are.
fn list<'a>(line: &mut String, head: &str, count: u64, names: impl Iterator<Item = &'a str>) {
    if count == 0 {
        return;
    }
    write!(line, "\n{head}: {count}").expect("a String takes all");
    let mut listed = 0;
    for name in names.take(MAX_LISTED) {
        listed += 1;
        write!(line, "\n  {}", super::text::prefix(name, 500)).expect("a String takes all");
    }
    if listed > 0 && count > listed {
        write!(line, "\n  and {} more", count - listed).expect("a String takes all");
    }
}
