//! pytest-reportlog and our own pytest plugin → events.
//!
//! Both write one object a line with `$report_type`; the plugin adds what reportlog lacks (starts, the planned tests,
//! messages). A test is the reports of its phases set-up, call and teardown, told apart by node id and worker, because
//! xdist's workers interleave. Its attempt ends with the teardown report or with the report of a crashed worker.

mod report;
mod running;

pub(super) use self::running::suite_of;
use std::borrow::Cow;
use std::collections::HashMap;

use self::report::{Kind, Outcome, Report, When};
use self::running::{Running, Seen, duration};
use super::object::find_event;
use super::time::epoch_seconds;
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, Level, LogLine, Note, Planned, RunFinished, RunStarted, RunStatus, Source, Status, StepFinished,
    SuiteFinished, TestRef, TestStarted, Timestamp,
};

/// State of the format.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Pytest {
    open: HashMap<String, Running, foldhash::fast::RandomState>,
    /// Sections that earlier attempts of a test had; pytest repeats them in the next attempt's reports.
    earlier: HashMap<String, Seen, foldhash::fast::RandomState>,
    /// True for our plugin, which writes each section once.
    sections_once: bool,
    collection_errors: u64,
    started: u64,
}

impl Decoder for Pytest {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(line);
        match find_event(&text, "\"$report_type\"", report::parse) {
            Some((before, report)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.report(&report, emit);
            }
            None => stdout_line(line, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "pytest"
    }
}

impl Pytest {
    fn report(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        match report.kind {
            Kind::SessionStart => self.session_start(report, emit),
            Kind::Collected => {
                self.sections_once = true;
                let tests = report.nodeids.iter().map(|id| Cow::Borrowed(id.as_str())).collect();
                let planned = Planned { total: None, tests };
                emit(Event { time: epoch_seconds(report.time), fact: Fact::Planned(planned) });
            }
            Kind::CollectReport => self.collect_report(report, emit),
            Kind::TestStart => {
                self.sections_once = true;
                self.begin(report, epoch_seconds(report.time), emit);
            }
            Kind::TestReport => self.test_report(report, emit),
            Kind::SubTestReport | Kind::SubtestReport => self.subtest_report(report, emit),
            Kind::WarningMessage => warning(report, emit),
            Kind::Dropped => {
                let text = format!("the pytest plugin could not write {} events", report.count.unwrap_or(0));
                let note = Note { level: Level::Warn, text: text.into() };
                emit(Event { time: epoch_seconds(report.time), fact: Fact::Note(note) });
            }
            Kind::SessionFinish => self.session_finish(report, emit),
        }
    }

    fn session_start(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        let title = format!("pytest {}", report.pytest_version);
        let mut attributes = Vec::new();
        if !report.python.is_empty() {
            self.sections_once = true;
            attributes.push((Cow::Borrowed("python"), Cow::Borrowed(report.python.as_ref())));
        }
        let started = RunStarted { title: title.trim_end().into(), attributes };
        emit(Event { time: epoch_seconds(report.time), fact: Fact::RunStarted(started) });
    }

    /// A file that cannot be imported has no tests to fail, so it fails as a suite.
    fn collect_report(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        let status = match report.outcome {
            Outcome::Failed => Status::Failed,
            Outcome::Skipped => Status::Skipped,
            Outcome::Passed | Outcome::Rerun | Outcome::Other => return,
        };
        self.collection_errors += u64::from(status == Status::Failed);
        let (message, details) = report.failure();
        let message = if details.is_empty() || status == Status::Skipped { message } else { message + "\n" + &details };
        let finished = SuiteFinished {
            suite: Cow::Borrowed(&report.nodeid),
            worker: Cow::Borrowed(&report.worker_id),
            status,
            duration: None,
            message: message.into(),
        };
        emit(Event { time: epoch_seconds(report.time), fact: Fact::SuiteFinished(finished) });
    }

    /// Begins an attempt; one of the same test that is still open had no teardown report and ends here.
    fn begin(&mut self, report: &Report<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) -> String {
        let key = key(&report.nodeid, &report.worker_id);
        if let Some(before) = self.open.remove(&key) {
            self.end(key.clone(), before, time, emit);
        }
        let mut running = Running::new(&report.nodeid, &report.worker_id, self.started);
        self.started += 1;
        running.attempt = report.rerun.map(|before| before.saturating_add(1));
        running.seen = self.earlier.remove(&key).unwrap_or_default();
        running.tagged = !report.markers.is_empty();
        let started = TestStarted {
            test: running.reference(),
            attempt: running.attempt,
            repeat: false,
            tags: report.markers.iter().map(|name| Cow::Borrowed(name.as_str())).collect(),
        };
        emit(Event { time, fact: Fact::TestStarted(started) });
        self.open.insert(key.clone(), running);
        key
    }

    fn test_report(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        let mut key = key(&report.nodeid, &report.worker_id);
        if report.when == When::Crash && !self.open.contains_key(&key) {
            // The controller speaks for a dead worker and may not say for which.
            let found = self.open.iter().find(|(_, running)| running.is(&report.nodeid));
            key = found.map(|(key, _)| key.clone()).unwrap_or(key);
        }
        let is_new = match self.open.get(&key) {
            Some(running) => report.when == When::Setup && running.reported,
            None => report.when == When::Setup,
        };
        if is_new {
            key = self.begin(report, epoch_seconds(report.start), emit);
        }
        let number = &mut self.started;
        let running = self.open.entry(key.clone()).or_insert_with(|| {
            *number += 1;
            Running::new(&report.nodeid, &report.worker_id, *number)
        });
        running.add(report);
        running.sections(report, self.sections_once, emit);
        if matches!(report.when, When::Teardown | When::Crash)
            && let Some(running) = self.open.remove(&key)
        {
            self.end(key, running, epoch_seconds(report.stop), emit);
        }
    }

    fn end(&mut self, key: String, mut running: Running, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let status = running.status();
        emit(Event { time, fact: Fact::TestFinished(running.finished(status)) });
        if status == Status::Retried && !self.sections_once {
            self.earlier.insert(key, std::mem::take(&mut running.seen));
        }
    }

    fn subtest_report(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        let (message, details) = report.failure();
        let status = match report.outcome {
            Outcome::Passed => Status::Passed,
            Outcome::Skipped => Status::Skipped,
            Outcome::Failed | Outcome::Rerun | Outcome::Other => Status::Failed,
        };
        let name = report.subtest_name();
        if let Some(running) = self.open.get_mut(&key(&report.nodeid, &report.worker_id)) {
            running.sections(report, true, emit);
            if status == Status::Failed {
                running.subtest_failed(format!("{name} {message}"), details);
            }
        }
        let step = StepFinished {
            test: Some(reference(report)),
            suite: Cow::Borrowed(running::suite_of(&report.nodeid)),
            name: name.into(),
            status: Some(status),
            // unittest's subtests are reported without times.
            duration: if report.start > 0.0 { duration(report.duration) } else { None },
            message: message.into(),
            depth: 0,
        };
        emit(Event { time: epoch_seconds(report.stop), fact: Fact::StepFinished(step) });
    }

    fn session_finish(&mut self, report: &Report<'_>, emit: &mut Emit<'_>) {
        let time = epoch_seconds(report.time);
        let mut decided: Vec<String> = Vec::new();
        decided.extend(self.open.iter().filter(|(_, running)| running.is_decided()).map(|(key, _)| key.clone()));
        decided.sort_by_key(|key| self.open.get(key).map(|running| running.number));
        for key in decided {
            // Its teardown was cut off, but what it was about is known.
            if let Some(running) = self.open.remove(&key) {
                self.end(key, running, time, emit);
            }
        }
        let errors = std::mem::take(&mut self.collection_errors);
        let collection = match errors {
            0 => String::new(),
            1 => "1 error during collection".to_owned(),
            more => format!("{more} errors during collection"),
        };
        // Exit codes of pytest: https://docs.pytest.org/en/stable/reference/exit-codes.html
        let (status, words) = match report.exitstatus.unwrap_or(1) {
            0 => (RunStatus::Passed, ""),
            1 => (RunStatus::Failed, collection.as_str()),
            2 if errors > 0 => (RunStatus::Failed, collection.as_str()),
            2 => (RunStatus::Aborted, "interrupted"),
            3 => (RunStatus::Failed, "internal error"),
            4 => (RunStatus::Failed, "usage error"),
            5 => (RunStatus::Failed, "no tests were collected"),
            _ => (RunStatus::Failed, ""),
        };
        let message = if report.message.is_empty() { words } else { &report.message };
        let finished = RunFinished { status: Some(status), message: Cow::Borrowed(message) };
        emit(Event { time, fact: Fact::RunFinished(finished) });
    }
}

/// Tells whether a JSON object is a report, and then whether our plugin wrote it.
pub(super) fn is_report(text: &str) -> Option<bool> {
    let report = report::parse(text)?;
    Some(!report.python.is_empty() || matches!(report.kind, Kind::Collected | Kind::TestStart | Kind::Dropped))
}

fn key(nodeid: &str, worker: &str) -> String {
    if worker.is_empty() { nodeid.to_owned() } else { format!("{nodeid}\0{worker}") }
}

fn reference<'r>(report: &'r Report<'_>) -> TestRef<'r> {
    TestRef {
        id: Cow::Borrowed(&report.nodeid),
        suite: Cow::Borrowed(running::suite_of(&report.nodeid)),
        worker: Cow::Borrowed(&report.worker_id),
    }
}

fn warning(report: &Report<'_>, emit: &mut Emit<'_>) {
    let place = match (report.filename.as_ref(), report.lineno) {
        ("", _) => String::new(),
        (file, Some(line)) => format!("{file}:{line}: "),
        (file, None) => format!("{file}: "),
    };
    let category = if report.category.is_empty() { "Warning" } else { &report.category };
    let line = LogLine {
        test: report.nodeid.contains("::").then(|| reference(report)),
        source: Source::Runner,
        level: Some(Level::Warn),
        text: format!("{place}{category}: {}", report.message).into(),
    };
    emit(Event { time: epoch_seconds(report.time), fact: Fact::Log(line) });
}
