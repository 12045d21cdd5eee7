//! A node:test reporter that writes each event as `{"type":"test:…","data":{…}}` → events.
//!
//! The events are those of <https://nodejs.org/api/test.html#class-testsstream>. `test:dequeue` and `test:complete` are live;
//! `test:start`, `test:pass` and `test:fail` are held back by node in the order of files, so they only say what the others
//! did not: the result of a file that is a test itself, because it has none or died. Versions without `test:complete`
//! are read by them alone. There are no times.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::text;
use super::object::find_event;
use super::occurrences::Occurrences;
use super::output::{milliseconds, output, run_finished, run_started, test_ref};
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{Event, Fact, Source, Status, SuiteFinished, TestFinished, TestStarted};

/// Between the names of nested tests.
const BETWEEN: &str = " > ";
/// Deeper nesting is taken as this deep.
const DEEPEST: usize = 128;

/// State of the format.
#[derive(Default)]
pub(super) struct NodeEvents {
    began: bool,
    /// Places of live events.
    live: Places,
    /// Places of the events that are held back.
    held: Places,
    /// A test that was begun, until it is clear that it has no subtests before it is told.
    begun: Option<Begun>,
    /// Tests under way, by file, line and name.
    open: HashMap<String, String, foldhash::fast::RandomState>,
    /// Events of `test:complete`, which come again as pass or fail, and how many of them.
    completed: HashMap<String, u32, foldhash::fast::RandomState>,
    names: Occurrences,
    ended: bool,
}

/// By file: names of the tests around the next one, by nesting.
#[derive(Default)]
struct Places(HashMap<String, Vec<String>, foldhash::fast::RandomState>);

impl Places {
    /// Notes where a test stands; returns its path.
    fn path(&mut self, data: &Data<'_>) -> String {
        let nesting = data.nesting.min(DEEPEST);
        if !self.0.contains_key(data.file.as_ref()) {
            self.0.insert(data.file.to_string(), Vec::new());
        }
        let Some(around) = self.0.get_mut(data.file.as_ref()) else { return String::new() };
        around.resize(nesting, String::new());
        around.push(data.name.to_string());
        let names: Vec<&str> = around.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        names.join(BETWEEN)
    }
}

struct Begun {
    file: String,
    nesting: usize,
    key: String,
    path: String,
}

impl Decoder for NodeEvents {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        match find_event(&text, "\"test:", parse) {
            Some((before, line)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                if !self.began {
                    self.began = true;
                    run_started("node:test", None, emit);
                }
                self.event(&line, emit);
            }
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.tell_begun(emit);
        if self.ended {
            run_finished(None, "", None, emit);
        }
    }

    fn runner(&self) -> &str {
        "node"
    }
}

impl NodeEvents {
    fn event(&mut self, line: &Line<'_>, emit: &mut Emit<'_>) {
        let data = &line.data;
        let nested = |begun: &Begun| data.nesting > begun.nesting && data.file == begun.file;
        // It has tests inside: whether it is one itself, its end says.
        self.begun.take_if(|begun| nested(begun));
        if !matches!(line.kind, Kind::Enqueue) {
            self.tell_begun(emit);
        }
        match line.kind {
            Kind::Dequeue => {
                self.dequeue(data);
                // Newer versions say at once that it is no suite.
                if data.kind == "test" {
                    self.tell_begun(emit);
                }
            }
            Kind::Complete => self.end(data, true, emit),
            Kind::Pass | Kind::Fail => self.end(data, false, emit),
            Kind::Stdout => output(None, &Source::Stdout, &data.message, None, emit),
            Kind::Stderr => output(None, &Source::Stderr, &data.message, None, emit),
            Kind::Diagnostic => {
                output(None, &Source::Runner, &data.message, None, emit);
                // The totals come last of all.
                self.ended |= data.nesting == 0 && data.message.starts_with("duration_ms ");
            }
            Kind::Plan => self.ended |= data.nesting == 0 && data.file.is_empty(),
            Kind::Summary => self.ended = true,
            Kind::Start => {
                self.held.path(data);
            }
            Kind::Enqueue | Kind::Coverage | Kind::Other => {}
        }
    }

    fn dequeue(&mut self, data: &Data<'_>) {
        let path = self.live.path(data);
        if !data.is_file() && data.kind != "suite" {
            let key = data.key();
            self.begun = Some(Begun { file: data.file.to_string(), nesting: data.nesting, key, path });
        }
    }

    fn tell_begun(&mut self, emit: &mut Emit<'_>) {
        let Some(begun) = self.begun.take() else { return };
        let id = self.names.next(&begun.path).into_owned();
        let test = test_ref(&id, suite_of(&begun.path));
        let started = TestStarted { test, attempt: None, repeat: false, tags: Vec::new() };
        emit(Event { time: None, fact: Fact::TestStarted(started) });
        self.open.insert(begun.key, id);
    }

    /// Takes one event of this key off those that were told live.
    fn was_completed(&mut self, key: &str) -> bool {
        match self.completed.get_mut(key) {
            Some(count) if *count > 1 => {
                *count -= 1;
                true
            }
            Some(_) => self.completed.remove(key).is_some(),
            None => false,
        }
    }

    fn end(&mut self, data: &Data<'_>, live: bool, emit: &mut Emit<'_>) {
        // A file's own event; it is a test only if it comes as pass or fail.
        if live && data.is_file() {
            return;
        }
        let key = data.key();
        if !live && self.was_completed(&key) {
            return;
        }
        let path = if live { self.live.path(data) } else { self.held.path(data) };
        if live {
            *self.completed.entry(key.clone()).or_default() += 1;
        }
        let error = data.error();
        if data.details.as_ref().is_some_and(|details| details.kind == "suite") {
            if let Some(id) = self.open.remove(&key) {
                let mut finished = TestFinished::new(test_ref(&id, suite_of(&path)), Status::Skipped);
                finished.message = Cow::Borrowed("a suite, which was taken for a test when it began");
                emit(Event { time: None, fact: Fact::TestFinished(finished) });
            }
            let finished = SuiteFinished {
                suite: Cow::Borrowed(&path),
                worker: Cow::Borrowed(""),
                status: if data.passed() { Status::Passed } else { Status::Failed },
                duration: milliseconds(data.details.as_ref().and_then(|details| details.duration_ms)),
                message: error.message.into(),
            };
            return emit(Event { time: None, fact: Fact::SuiteFinished(finished) });
        }
        let id = match self.open.remove(&key) {
            Some(id) => id,
            None => self.names.next(&path).into_owned(),
        };
        let status = match (data.passed(), Mark::of(data.skip), Mark::of(data.todo)) {
            (_, Mark::Set(_), _) => Status::Skipped,
            (true, _, Mark::Set(_)) => Status::Xpassed,
            (false, _, Mark::Set(_)) => Status::Xfailed,
            (true, ..) => Status::Passed,
            (false, ..) => Status::Failed,
        };
        let mut finished = TestFinished::new(test_ref(&id, suite_of(&path)), status);
        finished.duration = milliseconds(data.details.as_ref().and_then(|details| details.duration_ms));
        let reason = match (Mark::of(data.skip), Mark::of(data.todo)) {
            (Mark::Set(reason), _) | (_, Mark::Set(reason)) => reason,
            _ => String::new(),
        };
        finished.message = if reason.is_empty() { error.message.into() } else { reason.into() };
        finished.details = error.stack.into();
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }
}

fn suite_of(path: &str) -> &str {
    path.rsplit_once(BETWEEN).map_or("", |(suite, _)| suite)
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Kind {
    #[serde(rename = "test:enqueue")]
    Enqueue,
    #[serde(rename = "test:dequeue")]
    Dequeue,
    #[serde(rename = "test:start")]
    Start,
    #[serde(rename = "test:complete")]
    Complete,
    #[serde(rename = "test:pass")]
    Pass,
    #[serde(rename = "test:fail")]
    Fail,
    #[serde(rename = "test:plan")]
    Plan,
    #[serde(rename = "test:diagnostic")]
    Diagnostic,
    #[serde(rename = "test:stdout")]
    Stdout,
    #[serde(rename = "test:stderr")]
    Stderr,
    #[serde(rename = "test:summary")]
    Summary,
    #[serde(rename = "test:coverage")]
    Coverage,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    file: Cow<'a, str>,
    #[serde(default)]
    nesting: usize,
    line: Option<u64>,
    column: Option<u64>,
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    details: Option<Details<'a>>,
    #[serde(borrow)]
    skip: Option<&'a RawValue>,
    #[serde(borrow)]
    todo: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    message: Cow<'a, str>,
    #[serde(default, skip)]
    failed: bool,
}

#[derive(Deserialize)]
struct Details<'a> {
    duration_ms: Option<f64>,
    #[serde(borrow, default, rename = "type", deserialize_with = "text")]
    kind: Cow<'a, str>,
    passed: Option<bool>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// What a thrown value says.
#[derive(Default, Deserialize)]
struct Thrown {
    #[serde(default)]
    message: String,
    #[serde(default)]
    stack: String,
}

#[derive(Deserialize)]
struct WithCause<'a> {
    #[serde(borrow)]
    cause: Option<&'a RawValue>,
}

/// `skip` and `todo` are true, or the reason.
enum Mark {
    Unset,
    Set(String),
}

impl Mark {
    fn of(raw: Option<&RawValue>) -> Self {
        match raw.map(RawValue::get) {
            None | Some("false" | "null") => Self::Unset,
            Some(text) => Self::Set(serde_json::from_str(text).unwrap_or_default()),
        }
    }
}

impl Data<'_> {
    /// True for the event of a whole file, which node runs as a test around those in it.
    fn is_file(&self) -> bool {
        self.nesting == 0 && !self.file.is_empty() && self.name == self.file
    }

    fn passed(&self) -> bool {
        let told = self.details.as_ref().and_then(|details| details.passed);
        told.unwrap_or(!self.failed)
    }

    fn key(&self) -> String {
        let place = (self.line.unwrap_or(0), self.column.unwrap_or(0), self.nesting);
        format!("{}:{place:?}:{}", self.file, self.name)
    }

    /// Message and stack: those of the cause, which is what the test threw, if it has any.
    fn error(&self) -> Thrown {
        let Some(raw) = self.details.as_ref().and_then(|details| details.error) else { return Thrown::default() };
        let own: Thrown = serde_json::from_str(raw.get()).unwrap_or_default();
        let cause = serde_json::from_str::<WithCause<'_>>(raw.get()).ok().and_then(|error| error.cause);
        let Some(cause) = cause else { return own };
        if let Ok(message) = serde_json::from_str::<String>(cause.get()) {
            return Thrown { message, stack: String::new() };
        }
        match serde_json::from_str::<Thrown>(cause.get()) {
            Ok(thrown) if !thrown.message.is_empty() || !thrown.stack.is_empty() => thrown,
            _ => own,
        }
    }
}

fn parse(text: &str) -> Option<Line<'_>> {
    let mut line: Line<'_> = serde_json::from_str(text).ok()?;
    line.data.failed = line.kind == Kind::Fail;
    let complete = match line.kind {
        Kind::Enqueue | Kind::Dequeue | Kind::Start | Kind::Complete | Kind::Pass | Kind::Fail => {
            !line.data.name.is_empty()
        }
        Kind::Stdout | Kind::Stderr | Kind::Diagnostic | Kind::Plan | Kind::Summary | Kind::Coverage => true,
        Kind::Other => text.contains("\"test:"),
    };
    complete.then_some(line)
}

/// Tells whether a JSON object is an event of this format.
pub(super) fn is_event(text: &str) -> Option<()> {
    parse(text).filter(|line| line.kind != Kind::Other).map(|_| ())
}
