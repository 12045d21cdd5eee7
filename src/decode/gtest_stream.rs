//! GoogleTest's stream protocol (`--gtest_stream_result_to=host:port`) → events.
//!
//! The lines are those of `StreamingListener` in googletest's `gtest-internal-inl.h`: `event=…&key=value`, values with `%XX`
//! for `%`, `=`, `&` and line ends. A skipped test ends with `passed=0` there, so it cannot be told from a failed one.

use std::borrow::Cow;

use super::output::{milliseconds, output, run_finished, run_started, test_ref};
use super::{Decoder, Emit, stdout_line};
use crate::event::{
    Event, Fact, RunStatus, Source, Status, SuiteFinished, SuiteStarted, TestFinished, TestRef, TestStarted,
};

/// Text of failures that is kept of one test or suite.
const LONGEST_DETAILS: usize = 256 * 1024;

/// State of the format.
#[derive(Default)]
pub(super) struct GtestStream {
    began: bool,
    iteration: u64,
    suite: String,
    /// Id of the test under way.
    test: Option<String>,
    of_test: Parts,
    of_suite: Parts,
}

/// What assertions said.
#[derive(Default)]
struct Parts {
    message: String,
    details: String,
}

impl Parts {
    fn add(&mut self, part: &Fields<'_>) {
        let message = part.get("message");
        let text = message.strip_prefix("Failed\n").unwrap_or(&message);
        if self.message.is_empty() && self.details.is_empty() {
            text.clone_into(&mut self.message);
        }
        let file = part.get("file");
        if self.details.len() < LONGEST_DETAILS {
            if !file.is_empty() {
                self.details.push_str(&format!("{file}:{}\n", part.get("line")));
            }
            self.details.push_str(text);
            self.details.push('\n');
        }
    }
}

impl Decoder for GtestStream {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        if text.starts_with("gtest_streaming_protocol_version=") {
            return self.begin(emit);
        }
        match Fields::parse(&text) {
            Some((event, fields)) => self.event(event, &fields, emit),
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "gtest"
    }
}

impl GtestStream {
    fn begin(&mut self, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started("GoogleTest", None, emit);
        }
    }

    fn event(&mut self, event: Kind, fields: &Fields<'_>, emit: &mut Emit<'_>) {
        self.begin(emit);
        match event {
            Kind::TestProgramStart | Kind::TestIterationEnd => {}
            Kind::TestProgramEnd => {
                let status = if fields.passed() { RunStatus::Passed } else { RunStatus::Failed };
                run_finished(Some(status), "", None, emit);
            }
            Kind::TestIterationStart => self.iteration = fields.get("iteration").parse().unwrap_or(0),
            Kind::TestCaseStart => {
                self.suite = fields.get("name").into_owned();
                self.of_suite = Parts::default();
                let started = SuiteStarted { suite: Cow::Borrowed(&self.suite), worker: Cow::Borrowed("") };
                emit(Event { time: None, fact: Fact::SuiteStarted(started) });
            }
            Kind::TestCaseEnd => {
                let finished = SuiteFinished {
                    suite: Cow::Borrowed(&self.suite),
                    worker: Cow::Borrowed(""),
                    status: fields.status(),
                    duration: milliseconds(fields.millis()),
                    message: Cow::Borrowed(&self.of_suite.message),
                };
                emit(Event { time: None, fact: Fact::SuiteFinished(finished) });
                self.of_suite = Parts::default();
            }
            Kind::TestStart => {
                let id = format!("{}.{}", self.suite, fields.get("name"));
                let test = test_ref(&id, &self.suite);
                let repeat = self.iteration > 0;
                let started = TestStarted { test, attempt: None, repeat, tags: Vec::new() };
                emit(Event { time: None, fact: Fact::TestStarted(started) });
                self.test = Some(id);
                self.of_test = Parts::default();
            }
            Kind::TestPartResult => self.part(fields, emit),
            Kind::TestEnd => self.test_end(fields, emit),
        }
    }

    fn part(&mut self, fields: &Fields<'_>, emit: &mut Emit<'_>) {
        match &self.test {
            Some(_) => self.of_test.add(fields),
            None => {
                self.of_suite.add(fields);
                output(None, &Source::Runner, &fields.get("message"), None, emit);
            }
        }
    }

    fn test_end(&mut self, fields: &Fields<'_>, emit: &mut Emit<'_>) {
        let Some(id) = self.test.take() else { return };
        let test: TestRef<'_> = test_ref(&id, &self.suite);
        let parts = std::mem::take(&mut self.of_test);
        if fields.passed() {
            // SUCCEED() and the like.
            output(Some(&test), &Source::Runner, &parts.details, None, emit);
        }
        let mut finished = TestFinished::new(test, fields.status());
        finished.duration = milliseconds(fields.millis());
        if !fields.passed() {
            finished.message = Cow::Borrowed(&parts.message);
            finished.details = Cow::Borrowed(&parts.details);
        }
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "these are the protocol's names")]
enum Kind {
    TestProgramStart,
    TestProgramEnd,
    TestIterationStart,
    TestIterationEnd,
    TestCaseStart,
    TestCaseEnd,
    TestStart,
    TestPartResult,
    TestEnd,
}

/// What follows the event's name.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Option<(Kind, Self)> {
        let rest = text.strip_prefix("event=")?;
        let (name, fields) = rest.split_once('&').unwrap_or((rest, ""));
        let kind = match name {
            "TestProgramStart" => Kind::TestProgramStart,
            "TestProgramEnd" => Kind::TestProgramEnd,
            "TestIterationStart" => Kind::TestIterationStart,
            "TestIterationEnd" => Kind::TestIterationEnd,
            "TestCaseStart" | "TestSuiteStart" => Kind::TestCaseStart,
            "TestCaseEnd" | "TestSuiteEnd" => Kind::TestCaseEnd,
            "TestStart" => Kind::TestStart,
            "TestPartResult" => Kind::TestPartResult,
            "TestEnd" => Kind::TestEnd,
            _ => return None,
        };
        Some((kind, Self(fields)))
    }

    fn get(&self, key: &str) -> Cow<'a, str> {
        let value = self.0.split('&').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        decode(value.unwrap_or_default())
    }

    fn passed(&self) -> bool {
        self.get("passed") == "1"
    }

    fn status(&self) -> Status {
        if self.passed() { Status::Passed } else { Status::Failed }
    }

    fn millis(&self) -> Option<f64> {
        self.get("elapsed_time").strip_suffix("ms")?.parse().ok()
    }
}

/// Resolves `%0A` and the like.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(code) if *byte == b'%' => {
                plain.push(code);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// Tells whether a line is of this format, and could hardly be of another.
pub(super) fn is_event(text: &str) -> bool {
    text.starts_with("gtest_streaming_protocol_version=") || Fields::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded() {
        assert_eq!(decode("a%0Ab%25%3d%26"), "a\nb%=&");
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%e"), "%zz%e");
        let (kind, fields) = Fields::parse("event=TestEnd&passed=1&elapsed_time=12ms").unwrap();
        assert_eq!((kind, fields.passed(), fields.millis()), (Kind::TestEnd, true, Some(12.0)));
        assert!(Fields::parse("event=click&x=1").is_none());
    }
}
