//! testwire's own format → events. For people who write their own listener it is described in `docs/events.md`; this
//! file, `testwire/line.rs` and that page change together.

mod line;

use std::borrow::Cow;

use self::line::{Kind, LONGEST_LABEL, Line, VERSION, is_label};
use super::object::find_event;
use super::{Decoder, Emit, stdout_text};
use crate::event::{
    Event, Fact, Level, LogLine, Note, Planned, RunFinished, RunStarted, Source, Status, StepFinished, SuiteFinished,
    SuiteStarted, TestFinished, TestRef, TestStarted,
};

/// Bad lines that are each remarked on; the rest are counted, so that a program that prints a lot into the stream does
/// not double its volume.
const REMARKS: u64 = 100;
/// State of the format.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Testwire {
    lines: u64,
    bad: u64,
    events: u64,
    runner: String,
    /// Set while a newer version is announced; its lines are not understood.
    newer: bool,
}

impl Decoder for Testwire {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        self.lines += 1;
        let text = String::from_utf8_lossy(bytes);
        if text.trim().is_empty() {
            return;
        }
        if let Some((before, line)) = find_event(&text, "\"event\"", |text| line::parse(text).ok()) {
            if !before.trim().is_empty() {
                self.bad_line(before, "text before the event", emit);
            }
            self.checked(&line, &text, emit);
        } else if !self.newer_version(&text, emit) {
            let object = text.find('{').and_then(|at| text.get(at..)).unwrap_or(&text);
            let why = line::parse(object).err().unwrap_or_default();
            self.bad_line(&text, &why, emit);
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if self.bad > REMARKS {
            let text = format!("{} more lines are not events", self.bad - REMARKS);
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
        }
    }

    fn runner(&self) -> &str {
        if self.runner.is_empty() { "custom" } else { &self.runner }
    }
}

impl Testwire {
    fn bad_line(&mut self, text: &str, why: &str, emit: &mut Emit<'_>) {
        self.bad += 1;
        if self.bad <= REMARKS {
            let text = format!("line {} is not an event: {why}", self.lines);
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
        }
        stdout_text(text, emit);
    }

    /// A line of a newer version need not be an event as this version knows them.
    fn newer_version(&mut self, text: &str, emit: &mut Emit<'_>) -> bool {
        if let Some(version) = announces(text).filter(|version| *version > VERSION) {
            self.announce_newer(version, emit);
        }
        if self.newer {
            stdout_text(text, emit);
        }
        self.newer
    }

    fn announce_newer(&mut self, version: u64, emit: &mut Emit<'_>) {
        if !self.newer {
            let text = format!(
                "line {}: the events are of format version {version}, this testwire reads up to {VERSION}; \
                 they are kept as log lines, please update testwire",
                self.lines
            );
            emit(Event { time: None, fact: Fact::Note(Note { level: Level::Error, text: text.into() }) });
        }
        self.newer = true;
    }

    fn checked(&mut self, line: &Line<'_>, text: &str, emit: &mut Emit<'_>) {
        match line.testwire {
            Some(version) if version > VERSION => self.announce_newer(version, emit),
            Some(0) => return self.bad_line(text, "`testwire` is the version of the format, from 1", emit),
            Some(_) => self.newer = false,
            None => {}
        }
        if self.newer {
            return stdout_text(text, emit);
        }
        self.events += 1;
        if self.events == 1 && !line.runner.is_empty() {
            if is_label(&line.runner) {
                line.runner.as_ref().clone_into(&mut self.runner);
            } else {
                let text = format!(
                    "line {}: `runner` is not 1 to {LONGEST_LABEL} of a-z, 0-9, - and _; `custom` is used",
                    self.lines
                );
                emit(Event { time: None, fact: Fact::Note(Note { level: Level::Warn, text: text.into() }) });
            }
        }
        emit(Event { time: line.time, fact: fact(line) });
    }
}

/// Tells whether a runner may be called that.
pub(super) fn is_runner(text: &str) -> bool {
    is_label(text)
}

/// The version that a JSON object names.
pub(super) fn announces(text: &str) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Version {
        testwire: u64,
    }
    serde_json::from_str(text).map(|Version { testwire }| testwire).ok()
}

/// Tells whether a JSON object is an event of this format, beyond the two kinds that any program may print.
pub(super) fn is_event(text: &str) -> Option<()> {
    let line = line::parse(text).ok()?;
    (!matches!(line.event, Kind::Log | Kind::Note)).then_some(())
}

fn fact<'l>(line: &'l Line<'_>) -> Fact<'l> {
    let text = |text: &'l Cow<'_, str>| -> Cow<'l, str> { Cow::Borrowed(text) };
    match line.event {
        Kind::RunStarted => {
            let attributes = line.attributes.iter().flatten();
            let attributes =
                attributes.filter_map(|(name, value)| Some((Cow::Borrowed(name.as_str()), value.as_text()?)));
            Fact::RunStarted(RunStarted { title: text(&line.title), attributes: attributes.collect() })
        }
        Kind::Planned => Fact::Planned(Planned { total: line.total, tests: texts(line.tests.as_deref()) }),
        Kind::RunFinished => Fact::RunFinished(RunFinished { status: line.run_status(), message: text(&line.message) }),
        Kind::SuiteStarted => Fact::SuiteStarted(SuiteStarted { suite: text(&line.suite), worker: text(&line.worker) }),
        Kind::SuiteFinished => Fact::SuiteFinished(SuiteFinished {
            suite: text(&line.suite),
            worker: text(&line.worker),
            status: status(line),
            duration: line.duration_ms,
            message: text(&line.message),
        }),
        Kind::TestStarted => Fact::TestStarted(TestStarted {
            test: reference(line),
            attempt: line.attempt,
            repeat: line.repeat.unwrap_or(false),
            tags: texts(line.tags.as_deref()),
        }),
        Kind::TestFinished => Fact::TestFinished(finished(line)),
        Kind::TestCorrected => Fact::TestCorrected(finished(line)),
        Kind::StepFinished => Fact::StepFinished(StepFinished {
            test: (!line.test.is_empty()).then(|| reference(line)),
            suite: text(&line.suite),
            name: text(&line.name),
            status: line.test_status(),
            duration: line.duration_ms,
            message: text(&line.message),
            depth: line.depth.unwrap_or(0),
        }),
        Kind::Log => Fact::Log(LogLine {
            test: (!line.test.is_empty()).then(|| reference(line)),
            source: source(&line.source),
            level: line.level.map(Level::from),
            text: Cow::Borrowed(line.text.strip_suffix('\n').unwrap_or(&line.text)),
        }),
        Kind::Note => Fact::Note(Note { level: line.level.map_or(Level::Info, Level::from), text: text(&line.text) }),
    }
}

fn finished<'l>(line: &'l Line<'_>) -> TestFinished<'l> {
    TestFinished {
        attempt: line.attempt,
        duration: line.duration_ms,
        message: Cow::Borrowed(&line.message),
        details: Cow::Borrowed(&line.details),
        tags: texts(line.tags.as_deref()),
        ..TestFinished::new(reference(line), status(line))
    }
}

fn reference<'l>(line: &'l Line<'_>) -> TestRef<'l> {
    TestRef { id: Cow::Borrowed(&line.test), suite: Cow::Borrowed(&line.suite), worker: Cow::Borrowed(&line.worker) }
}

fn status(line: &Line<'_>) -> Status {
    line.test_status().expect("a line without it was refused")
}

fn source(name: &str) -> Source<'_> {
    match name {
        "" | "stdout" => Source::Stdout,
        "stderr" => Source::Stderr,
        "runner" => Source::Runner,
        name => Source::Named(Cow::Borrowed(name)),
    }
}

fn texts(texts: Option<&[String]>) -> Vec<Cow<'_, str>> {
    texts.unwrap_or_default().iter().map(|text| Cow::Borrowed(text.as_str())).collect()
}

#[cfg(test)]
mod tests;
