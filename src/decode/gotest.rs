//! `go test -json` and `go tool test2json` → events.
//!
//! A package is a suite, `package.Test/sub` a test. What shaped this decoder, all seen in captures: packages
//! interleave; output comes in pieces of lines; benchmarks and the tests of a dying process have no end of their own, so
//! their package's end closes them; `-count=2` runs every name twice in one package session; a failed build has no
//! package of its own but is named by the packages that needed it.

mod line;
mod message;
mod open;
mod package;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use self::line::{Action, Line};
use self::open::{OpenTest, OpenTests};
use self::package::Package;
use super::excerpt::Excerpt;
use super::time::rfc3339;
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, Level, LogLine, RunFinished, RunStarted, RunStatus, Source, Status, SuiteFinished, SuiteStarted,
    TestFinished, TestRef, TestStarted, Timestamp,
};

/// A line that comes in pieces is passed on in parts of at most this size, so that memory stays bounded.
const LONGEST_JOINED: usize = 1024 * 1024;
/// Failed builds whose output is kept for the packages that they stop; further ones are only logged.
const BUILDS_KEPT: usize = 256;

/// State of the format.
#[derive(Default)]
pub(super) struct GoTest {
    began: bool,
    tests: OpenTests,
    packages: HashMap<String, Package, foldhash::fast::RandomState>,
    builds: HashMap<String, Excerpt, foldhash::fast::RandomState>,
    /// Why a package failed whose name test2json was not given.
    nameless_failure: Option<String>,
    /// Holds a line's output while its escapes are resolved.
    scratch: String,
}

impl Decoder for GoTest {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.any_line(line, &mut scratch, emit);
        self.scratch = scratch;
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.tests.for_each_piece(|test, piece| log(Some(test), piece, None, emit));
        for package in self.packages.values_mut() {
            package.flush_piece(None, emit);
        }
        // The stream has no end of its own: it was whole if every package that began has ended.
        if self.began && self.packages.is_empty() {
            let (status, message) = match self.nameless_failure.take() {
                Some(message) => (Some(RunStatus::Failed), message),
                None => (None, String::new()),
            };
            emit(Event { time: None, fact: Fact::RunFinished(RunFinished { status, message: message.into() }) });
        }
    }

    fn runner(&self) -> &str {
        "gotest"
    }
}

impl GoTest {
    fn any_line(&mut self, bytes: &[u8], scratch: &mut String, emit: &mut Emit<'_>) {
        if bytes.first() == Some(&b'{') && self.object(bytes, &[], scratch, emit) {
            return;
        }
        // What comes before an event may begin with a brace, too.
        let inside = bytes.get(1..).and_then(line::find_start).map(|at| at + 1);
        match inside.and_then(|at| bytes.split_at_checked(at)) {
            Some((before, object)) if self.object(object, before, scratch, emit) => {}
            _ => stdout_line(bytes, emit),
        }
    }

    /// Takes an event, and before it the text that it follows on its line; false if it is none.
    fn object(&mut self, object: &[u8], before: &[u8], scratch: &mut String, emit: &mut Emit<'_>) -> bool {
        let Ok(text) = str::from_utf8(object) else { return false };
        let end = |text| line::nameless_end(text).filter(|_| self.packages.contains_key(""));
        let Some(line) = line::scan(text, scratch).or_else(|| line::parse(text)).or_else(|| end(text)) else {
            return false;
        };
        if !before.is_empty() {
            stdout_line(before, emit);
        }
        self.event(&line, emit);
        true
    }

    fn event(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let time = rfc3339(&line.time);
        if !self.began {
            self.began = true;
            let started = RunStarted { title: Cow::Borrowed("go test"), ..RunStarted::default() };
            emit(Event { time, fact: Fact::RunStarted(started) });
        }
        match line.action {
            Action::BuildOutput => return self.build_output(line, emit),
            Action::BuildFail => return,
            _ => {}
        }
        if line.test.is_empty() {
            self.package_event(line, time, emit);
        } else {
            self.test_event(line, time, emit);
        }
    }

    fn test_event(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        match line.action {
            Action::Output => self.test_output(line, time, emit),
            Action::Run => self.test_started(line, time, emit),
            Action::Pass => self.test_finished(line, Status::Passed, time, emit),
            Action::Fail => self.test_finished(line, Status::Failed, time, emit),
            Action::Skip => self.test_finished(line, Status::Skipped, time, emit),
            // A benchmark that logs gets this event and prints its figures elsewhere.
            Action::Bench => self.test_finished(line, Status::Passed, time, emit),
            Action::Attr => {
                if let Some(test) = self.tests.find(&line.package, &line.test) {
                    test.add_tag(&line.key, &line.value);
                }
            }
            Action::Pause | Action::Cont => {
                if let Some(test) = self.tests.find(&line.package, &line.test) {
                    let test = test.reference();
                    let is_pause = line.action == Action::Pause;
                    let fact = if is_pause { Fact::TestPaused(test) } else { Fact::TestResumed(test) };
                    emit(Event { time, fact });
                }
            }
            Action::Start | Action::Artifacts | Action::BuildOutput | Action::BuildFail => {}
        }
    }

    fn test_started(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        if line.test.starts_with("Benchmark") {
            // Benchmarks run one after the other: the next one's start is the end of those before.
            self.close(&line.package, time, Some(&line.test), |_| Some(Status::Passed), emit);
        }
        if self.tests.find(&line.package, &line.test).is_some() {
            self.end(&line.package, &line.test, Status::Unfinished, None, time, emit);
        }
        let session = self.package(&line.package, time, emit);
        let repeat = session.has_ended(&line.test);
        let test = self.tests.open(&line.package, &line.test);
        emit(Event {
            time,
            fact: Fact::TestStarted(TestStarted { test: test.reference(), attempt: None, repeat, tags: Vec::new() }),
        });
    }

    fn test_output(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let Some(test) = self.tests.find(&line.package, &line.test) else {
            let id = test_id(&line.package, &line.test);
            let test = TestRef { id: id.into(), suite: Cow::Borrowed(&line.package), worker: Cow::Borrowed("") };
            return log(Some(test), &line.output, time, emit);
        };
        let framing = message::is_framing(&line.output, &line.test);
        if test.has_piece() {
            // Go tells its own lines from the rest of the test's by an event boundary, not by a line end.
            if framing {
                test.end_piece(|test, text| log(Some(test), text, time, emit));
            } else {
                test.add_piece(&line.output);
                if line.line_end || test.piece_len() > LONGEST_JOINED {
                    test.end_piece(|test, text| log(Some(test), text, time, emit));
                }
                return;
            }
        }
        if framing {
            return;
        }
        if line.line_end {
            test.add_line(&line.output);
            log(Some(test.reference()), &line.output, time, emit);
        } else {
            test.add_piece(&line.output);
        }
    }

    fn test_finished(&mut self, line: &Line<'_>, status: Status, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        let elapsed = duration(line.elapsed);
        let name = self.tests.name_without_procs(&line.package, &line.test);
        if self.tests.find(&line.package, name).is_some() {
            self.end(&line.package, name, status, elapsed, time, emit);
            return;
        }
        self.package(&line.package, time, emit).count(name, status);
        let id = test_id(&line.package, name);
        let test = TestRef { id: id.into(), suite: Cow::Borrowed(&line.package), worker: Cow::Borrowed("") };
        let finished = TestFinished { duration: elapsed, ..TestFinished::new(test, status) };
        emit(Event { time, fact: Fact::TestFinished(finished) });
    }

    /// Ends an open test; `None` for the duration means "since its start".
    fn end(
        &mut self,
        package: &str,
        name: &str,
        status: Status,
        duration: Option<Duration>,
        time: Option<Timestamp>,
        emit: &mut Emit<'_>,
    ) {
        if status == Status::Failed {
            self.tests.tell_parent(package, name);
        }
        let Some(mut test) = self.tests.take(package, name) else { return };
        test.end_piece(|test, text| log(Some(test), text, time, emit));
        let (message, details) = test.verdict(status);
        if let Some(session) = self.packages.get_mut(package) {
            session.count(name, status);
            if status == Status::Unfinished {
                session.blame(&message);
            }
        }
        let mut finished = TestFinished::new(test.reference(), status);
        finished.duration = duration;
        finished.message = message.into();
        finished.details = details.into();
        finished.tags = test.tags().iter().map(|tag| Cow::Borrowed(tag.as_str())).collect();
        emit(Event { time, fact: Fact::TestFinished(finished) });
        self.tests.recycle(test);
    }

    fn package_event(&mut self, line: &Line<'_>, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        match line.action {
            Action::Start => {
                self.close(&line.package, time, None, |_| Some(Status::Unfinished), emit);
                self.packages.remove(line.package.as_ref());
                self.package(&line.package, time, emit);
            }
            Action::Output => {
                let session = self.package(&line.package, time, emit);
                session.output(&line.output, line.line_end, time, emit);
            }
            Action::Pass => self.package_finished(line, Status::Passed, time, emit),
            Action::Fail => self.package_finished(line, Status::Failed, time, emit),
            Action::Skip => self.package_finished(line, Status::Skipped, time, emit),
            Action::Run
            | Action::Pause
            | Action::Cont
            | Action::Bench
            | Action::Attr
            | Action::Artifacts
            | Action::BuildOutput
            | Action::BuildFail => {}
        }
    }

    fn package_finished(&mut self, line: &Line<'_>, status: Status, time: Option<Timestamp>, emit: &mut Emit<'_>) {
        self.package(&line.package, time, emit);
        self.close(
            &line.package,
            time,
            None,
            |test| match status {
                _ if test.is_finished_benchmark() => Some(Status::Passed),
                Status::Passed if test.is_benchmark() => Some(Status::Passed),
                _ => Some(Status::Unfinished),
            },
            emit,
        );
        let Some(mut session) = self.packages.remove(line.package.as_ref()) else { return };
        session.flush_piece(time, emit);
        if line.package.is_empty() {
            // There is no suite to say so.
            self.nameless_failure =
                (status == Status::Failed).then(|| session.reason()).or(self.nameless_failure.take());
            return;
        }
        let build = self.builds.get(line.failed_build.as_ref()).map(Excerpt::text);
        let message = match status {
            Status::Failed if !line.failed_build.is_empty() => {
                message::of_build(&line.failed_build, build.as_deref().unwrap_or_default())
            }
            Status::Failed => session.reason(),
            _ => String::new(),
        };
        let finished = SuiteFinished {
            suite: Cow::Borrowed(&line.package),
            worker: Cow::Borrowed(""),
            status,
            duration: duration(line.elapsed),
            message: message.into(),
        };
        emit(Event { time, fact: Fact::SuiteFinished(finished) });
    }

    /// Ends the package's open tests for which `status` says how, children before parents; with `before`, only
    /// benchmarks, but not the parents of the benchmark of that name.
    fn close(
        &mut self,
        package: &str,
        time: Option<Timestamp>,
        before: Option<&str>,
        status: impl Fn(&OpenTest) -> Option<Status>,
        emit: &mut Emit<'_>,
    ) {
        for (name, status) in self.tests.to_close(package, before, status) {
            self.end(package, &name, status, None, time, emit);
        }
    }

    /// The package's session; begins it if this is the first that is heard of it.
    fn package(&mut self, name: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) -> &mut Package {
        if !self.packages.contains_key(name) {
            if !name.is_empty() {
                let started = SuiteStarted { suite: Cow::Borrowed(name), worker: Cow::Borrowed("") };
                emit(Event { time, fact: Fact::SuiteStarted(started) });
            }
            self.packages.insert(name.to_owned(), Package::default());
        }
        self.packages.get_mut(name).expect("it was there or has just been inserted")
    }

    fn build_output(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let fact = LogLine {
            test: None,
            source: Source::Runner,
            level: Some(Level::Error),
            text: Cow::Borrowed(&line.output),
        };
        emit(Event { time: None, fact: Fact::Log(fact) });
        let known = self.builds.contains_key(line.import_path.as_ref());
        if known || self.builds.len() < BUILDS_KEPT {
            self.builds.entry(line.import_path.clone().into_owned()).or_default().push_line(&line.output);
        }
    }
}

/// Tells whether a JSON object is an event of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    line::parse(text).map(|_| ())
}

fn log(test: Option<TestRef<'_>>, text: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let line = LogLine { test, source: Source::Stdout, level: None, text: Cow::Borrowed(text) };
    emit(Event { time, fact: Fact::Log(line) });
}

/// Identity of a test; the test's own name where test2json was given no package.
fn test_id(package: &str, name: &str) -> String {
    if package.is_empty() { name.to_owned() } else { format!("{package}.{name}") }
}

/// Go writes hundredths or thousandths of a second, with the noise of a float's last digit.
fn duration(seconds: Option<f64>) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(seconds?).ok()?;
    Some(Duration::from_micros(u64::try_from((seconds.as_nanos() + 500) / 1_000).ok()?))
}

#[cfg(test)]
mod tests;
