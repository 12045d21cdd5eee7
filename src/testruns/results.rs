//! What a batch left of a run, and TestRunner's text of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use serde::Deserialize;

use super::launch::Launch;
use super::record::{Record, State};

/// Longest journal that is read, in bytes: 10,000 files have one of 5 MB.
const MOST_JOURNAL: u64 = 64 << 20;

/// A line of the journal.
#[derive(Debug, Deserialize)]
struct Line {
    /// `None`: it is about the run.
    file: Option<String>,
    state: State,
    code: Option<i32>,
    signal: Option<i32>,
    #[serde(default)]
    timed_out: bool,
}

/// What the journal of a batch says: the last line about the run, and about each file.
#[derive(Debug, Default)]
struct Journal {
    run: Option<State>,
    files: BTreeMap<String, Line>,
}

impl Journal {
    /// The journal as far as it is written; a last line that is cut does not count.
    fn read(launch: &Launch, run_id: &str) -> Self {
        let mut bytes = Vec::new();
        if let Ok(file) = launch.kept(run_id, "journal.ndjson") {
            // What was read before an error counts.
            file.take(MOST_JOURNAL).read_to_end(&mut bytes).ok();
        }
        let text = String::from_utf8_lossy(&bytes);
        let mut journal = Self::default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            match line.file.clone() {
                None => journal.run = Some(line.state),
                Some(file) => drop(journal.files.insert(file, line)),
            }
        }
        journal
    }
}

/// How the run ended; `None` if it does not say.
pub(super) fn outcome(launch: &Launch, run_id: &str) -> Option<State> {
    Journal::read(launch, run_id).run.filter(|state| state.is_over())
}

/// The text of all files that have ended, each with at most a fair part of `most` bytes of its output.
pub(super) fn text(record: &Record, launch: &Launch, most: u64) -> String {
    let journal = Journal::read(launch, &record.run_id);
    let part = most / record.files.len().max(1) as u64;
    let mut out = String::new();
    if record.state.is_over() && record.reason.is_empty() && journal.files.is_empty() {
        return format!("What its files printed is kept here no longer; it is in Loki: run_id {}\n", record.run_id);
    }
    for (index, file) in record.files.iter().enumerate() {
        let Some(line) = journal.files.get(file).filter(|line| line.state.is_over()) else { continue };
        let result = match line.state {
            State::Passed => "SUCCESS",
            State::Aborted => "ABORTED",
            _ => "FAIL",
        };
        let why = match (line.signal, line.code) {
            _ if line.timed_out => " (it took too long)".to_owned(),
            (Some(signal), _) => format!(" (signal {signal})"),
            (None, Some(code)) if code != 0 => format!(" (exit code {code})"),
            _ => String::new(),
        };
        let output = launch.kept(&record.run_id, &format!("output/{index}.log"));
        let output = output.and_then(|file| tail(file, part)).unwrap_or_default();
        let stream = &record.run_id;
        let cut = if output.1 { format!("(all of it is in Loki: run_id {stream})\n…") } else { String::new() };
        write!(out, "\nTested: {file}\nResult: {result}{why}\nStdout: {cut}{}\nStderr:  in Stdout\n", output.0)
            .expect("a String takes all");
        out.push_str("========================================================================\n\n");
    }
    if !record.reason.is_empty() {
        writeln!(out, "\nAborted: {}", record.reason).expect("a String takes all");
    }
    out
}

/// The last `most` bytes of a file, and whether there are more.
pub(super) fn tail(mut file: File, most: u64) -> io::Result<(String, bool)> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), length > most))
}
