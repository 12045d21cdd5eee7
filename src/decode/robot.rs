//! Robot Framework listeners' JSON lines → events.
//!
//! Read are the lines of our own listener and of the simpler one that the captures were made with. Under pabot several
//! processes append to one file, each with all parent suites again, so all state is kept per process.

mod line;
mod process;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use self::line::{Kind, Line, level_of, message_of, status_of};
use self::process::{Process, with_occurrence};
use super::object::find_event;
use super::time::rfc3339;
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{
    Event, Fact, Level, LogLine, Note, Planned, RunFinished, RunStarted, Source, Status, StepFinished, SuiteFinished,
    SuiteStarted, TestFinished, TestRef, TestStarted, Timestamp,
};

/// State of the format.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Robot {
    processes: HashMap<u64, Process>,
    planned: u64,
}

impl Decoder for Robot {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(line);
        match find_event(&text, "\"event\"", line::parse) {
            Some((before, event)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.event(&event, emit);
            }
            None => stdout_line(line, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "robot"
    }
}

impl Robot {
    fn event(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let process = self.processes.entry(line.pid).or_default();
        let time = rfc3339(&line.ts);
        match line.event {
            Kind::StartSuite => {
                if line.id == "s1" || process.suites.is_empty() {
                    self.start_root(line, emit);
                }
                let process = self.processes.entry(line.pid).or_default();
                process.enter(&line.full_name);
                let suite = Cow::Borrowed(line.full_name.as_ref());
                let started = SuiteStarted { suite, worker: Cow::Borrowed(&process.worker) };
                emit(Event { time: rfc3339(&line.start_time).or(time), fact: Fact::SuiteStarted(started) });
            }
            Kind::EndSuite => end_suite(process, line, emit),
            Kind::StartTest => {
                process.start_test(&line.full_name, &line.name);
                let Some(test) = process.test_named(&line.full_name) else { return };
                let tags = borrowed(&line.tags);
                let started = TestStarted { test, attempt: None, repeat: false, tags };
                emit(Event { time: rfc3339(&line.start_time).or(time), fact: Fact::TestStarted(started) });
            }
            Kind::EndTest => end_test(process, line, emit),
            Kind::StartKeyword => process.push_keyword(&line.item, &line.name, &line.args),
            Kind::EndKeyword => end_keyword(process, line, emit),
            Kind::LogMessage | Kind::Message => log(process, line, emit),
            Kind::OutputFile | Kind::XunitFile => {
                if !line.path.is_empty() {
                    let text = format!("Output: {}", line.path).into();
                    let line = LogLine { test: None, source: Source::Runner, level: None, text };
                    emit(Event { time, fact: Fact::Log(line) });
                }
            }
            Kind::Dropped => {
                let text = format!("the Robot listener could not write {} events", line.count.unwrap_or(0));
                emit(Event { time, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
            }
            Kind::Close => {
                self.processes.remove(&line.pid);
                emit(Event { time, fact: Fact::RunFinished(RunFinished::default()) });
            }
        }
    }

    /// The first suite of a process's run. A process that was killed may have left its number to this one.
    fn start_root(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let time = rfc3339(&line.start_time).or_else(|| rfc3339(&line.ts));
        let process = self.processes.entry(line.pid).or_default();
        let announced = process.announced && process.suites.is_empty();
        *process = Process::of_worker(&line.worker);
        if !announced {
            let title = format!("Robot Framework {}", line.robot);
            let started = RunStarted { title: title.trim_end().into(), ..RunStarted::default() };
            emit(Event { time, fact: Fact::RunStarted(started) });
        }
        self.planned += line.total_tests.unwrap_or(0);
        let planned = match &line.all_tests {
            Some(names) => Planned { total: None, tests: ids(names) },
            None => Planned { total: Some(self.planned), tests: Vec::new() },
        };
        emit(Event { time, fact: Fact::Planned(planned) });
    }
}

/// Tells whether a JSON object is an event of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    line::parse(text).map(|_| ())
}

/// Ids of the tests with these full names, in running order.
fn ids(full_names: &[String]) -> Vec<Cow<'_, str>> {
    let mut seen: HashMap<&str, u32> = HashMap::with_capacity(full_names.len());
    let id = |name| {
        let count = seen.entry(name).or_default();
        *count += 1;
        if *count > 1 { Cow::Owned(with_occurrence(name, *count)) } else { Cow::Borrowed(name) }
    };
    full_names.iter().map(String::as_str).map(id).collect()
}

fn end_suite(process: &mut Process, line: &Line<'_>, emit: &mut Emit<'_>) {
    let time = end_time(line);
    let changed = process.leave(&line.full_name, &line.message, &line.corrected);
    for test in &changed {
        let mut finished = TestFinished::new(test.reference(&process.worker), test.status);
        finished.duration = test.duration;
        finished.message = message_of(test.message()).into();
        emit(Event { time, fact: Fact::TestCorrected(finished) });
    }
    let finished = SuiteFinished {
        suite: Cow::Borrowed(&line.full_name),
        worker: Cow::Borrowed(&process.worker),
        status: status_of(&line.status).unwrap_or(Status::Unfinished),
        duration: duration(line.elapsed),
        message: message_of(&line.message).into(),
    };
    emit(Event { time, fact: Fact::SuiteFinished(finished) });
}

fn end_test(process: &mut Process, line: &Line<'_>, emit: &mut Emit<'_>) {
    let status = status_of(&line.status).unwrap_or(Status::Unfinished);
    if process.test.as_ref().is_none_or(|test| test.full_name != line.full_name) {
        // Its start was lost; this makes up for it without telling of one.
        process.start_test(&line.full_name, &line.name);
    }
    let Some(test) = process.end_test(status, duration(line.elapsed), &line.message) else { return };
    let mut finished = TestFinished::new(test.reference(&process.worker), status);
    finished.duration = test.duration;
    finished.message = message_of(&line.message).into();
    finished.tags = borrowed(&line.tags);
    emit(Event { time: end_time(line), fact: Fact::TestFinished(finished) });
}

fn end_keyword(process: &mut Process, line: &Line<'_>, emit: &mut Emit<'_>) {
    let (name, depth) = process.pop_keyword(&line.item, &line.name);
    if name.is_empty() {
        return;
    }
    let step = StepFinished {
        test: place(process, line),
        suite: Cow::Borrowed(&line.suite),
        name: name.into(),
        status: status_of(&line.status),
        duration: duration(line.elapsed),
        message: message_of(&line.message).into(),
        depth,
    };
    emit(Event { time: rfc3339(&line.ts), fact: Fact::StepFinished(step) });
}

fn log(process: &mut Process, line: &Line<'_>, emit: &mut Emit<'_>) {
    let level = level_of(&line.level);
    let is_message = line.event == Kind::Message;
    if matches!(level, Level::Warn | Level::Error) && process.is_second_copy(is_message, &line.timestamp, &line.message)
    {
        return;
    }
    let test = match (&process.test, is_message) {
        (Some(test), true) => Some(test.reference(&process.worker)),
        _ => place(process, line),
    };
    let text = line.message.strip_suffix('\n').unwrap_or(&line.message);
    let entry = LogLine { test, source: Source::Runner, level: Some(level), text: Cow::Borrowed(text) };
    let time = rfc3339(&line.timestamp).or_else(|| rfc3339(&line.ts));
    emit(Event { time, fact: Fact::Log(entry) });
}

/// The test that a line names.
fn place<'r>(process: &'r Process, line: &'r Line<'_>) -> Option<TestRef<'r>> {
    if line.test.is_empty() {
        return None;
    }
    process.test_named(&line.test).or_else(|| {
        Some(TestRef {
            id: Cow::Borrowed(&line.test),
            suite: Cow::Borrowed(&line.suite),
            worker: Cow::Borrowed(&process.worker),
        })
    })
}

fn end_time(line: &Line<'_>) -> Option<Timestamp> {
    rfc3339(&line.end_time).or_else(|| rfc3339(&line.ts))
}

fn borrowed(texts: &[String]) -> Vec<Cow<'_, str>> {
    texts.iter().map(|text| Cow::Borrowed(text.as_str())).collect()
}

fn duration(seconds: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds?).ok()
}
