//! mocha's json-stream reporter → events.
//!
//! Each line is `[kind, object]`, as in mocha's `lib/reporters/json-stream.js`. Skipped tests have no event: only their
//! number is known, at the end. A failed hook is told as a failed test of a title such as `"before all" hook`, and counted
//! so, as mocha counts it. Tests of one name are legal.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use super::fields::text;
use super::occurrences::Occurrences;
use super::output::{earlier_attempts, milliseconds, run_finished, run_started, test_ref};
use super::time::rfc3339;
use super::{Decoder, Emit, stdout_line, stdout_text};
use crate::event::{Event, Fact, Planned, RunStatus, Status, TestFinished, TestStarted};

/// Skipped tests that are told one by one.
const MOST_SKIPPED: u64 = 100_000;

/// State of the format.
#[derive(Default)]
pub(super) struct Mocha {
    names: Occurrences,
    total: u64,
    began: bool,
}

impl Decoder for Mocha {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let text = String::from_utf8_lossy(bytes);
        match find(&text) {
            Some((before, event)) => {
                if !before.trim().is_empty() {
                    stdout_text(before, emit);
                }
                self.event(&event, emit);
            }
            None => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, _: &mut Emit<'_>) {}

    fn runner(&self) -> &str {
        "mocha"
    }
}

impl Mocha {
    fn event(&mut self, event: &Line<'_>, emit: &mut Emit<'_>) {
        if !self.began {
            self.began = true;
            run_started("mocha", None, emit);
        }
        let fields = &event.1;
        match event.0 {
            Kind::Start => {
                self.total = fields.total;
                let planned = Planned { total: Some(fields.total), tests: Vec::new() };
                emit(Event { time: None, fact: Fact::Planned(planned) });
            }
            Kind::Pass => self.test(fields, Status::Passed, emit),
            Kind::Fail => self.test(fields, Status::Failed, emit),
            Kind::End => self.end(fields, emit),
        }
    }

    fn test(&mut self, fields: &Fields<'_>, status: Status, emit: &mut Emit<'_>) {
        let id = self.names.next(&fields.full_title);
        let suite = fields.full_title.strip_suffix(fields.title.as_ref()).unwrap_or_default().trim_end();
        let test = test_ref(&id, suite);
        let attempt = fields.current_retry.saturating_add(1);
        if attempt > 1 {
            let started = TestStarted { test: test.clone(), attempt: Some(1), repeat: false, tags: Vec::new() };
            emit(Event { time: None, fact: Fact::TestStarted(started) });
            earlier_attempts(&test, attempt, None, emit);
        }
        let mut finished = TestFinished::new(test, status);
        finished.attempt = (attempt > 1).then_some(attempt);
        finished.duration = milliseconds(fields.duration);
        finished.message = Cow::Borrowed(&fields.err);
        finished.details = Cow::Borrowed(&fields.stack);
        emit(Event { time: None, fact: Fact::TestFinished(finished) });
    }

    fn end(&mut self, fields: &Fields<'_>, emit: &mut Emit<'_>) {
        let time = rfc3339(&fields.end);
        for number in 1..=fields.pending.min(MOST_SKIPPED) {
            let id = format!("(skipped test {number})");
            let mut finished = TestFinished::new(test_ref(&id, ""), Status::Skipped);
            finished.message = Cow::Borrowed("mocha's json-stream does not name skipped tests");
            emit(Event { time, fact: Fact::TestFinished(finished) });
        }
        let status = if fields.failures > 0 { RunStatus::Failed } else { RunStatus::Passed };
        let message = match self.total.saturating_sub(fields.tests) {
            0 => String::new(),
            1 => "1 test never ran: a hook failed, or the run was stopped".to_owned(),
            more => format!("{more} tests never ran: a hook failed, or the run was stopped"),
        };
        run_finished(Some(status), &message, time, emit);
    }
}

#[derive(Deserialize)]
struct Line<'a>(Kind, #[serde(borrow)] Fields<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Start,
    Pass,
    Fail,
    End,
}

/// Fields of all kinds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(default)]
    total: u64,
    #[serde(borrow, default, deserialize_with = "text")]
    title: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    full_title: Cow<'a, str>,
    /// Milliseconds.
    duration: Option<f64>,
    #[serde(default)]
    current_retry: u32,
    #[serde(borrow, default, deserialize_with = "text")]
    err: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    stack: Cow<'a, str>,
    #[serde(default)]
    tests: u64,
    #[serde(default)]
    pending: u64,
    #[serde(default)]
    failures: u64,
    #[serde(borrow, default, deserialize_with = "text")]
    end: Cow<'a, str>,
}

/// Finds the event that ends a line; output of a program may stand before it.
fn find(text: &str) -> Option<(&str, Line<'_>)> {
    memmem::find_iter(text.as_bytes(), "[\"").take(32).find_map(|at| {
        let (before, array) = text.split_at_checked(at)?;
        // Cheaper than an attempt to read all of it.
        if !["[\"start\"", "[\"pass\"", "[\"fail\"", "[\"end\""].iter().any(|begin| array.starts_with(begin)) {
            return None;
        }
        let line: Line<'_> = serde_json::from_str(array).ok()?;
        let complete = match line.0 {
            Kind::Start | Kind::End => true,
            Kind::Pass | Kind::Fail => !line.1.full_title.is_empty(),
        };
        complete.then_some((before, line))
    })
}

/// Tells whether a line has an event of this format.
pub(super) fn has_event(text: &str) -> bool {
    find(text).is_some_and(|(_, line)| line.0 != Kind::Start || text.contains("\"total\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_follow_output_on_its_line() {
        let (before, line) =
            find(r#"dots..["pass",{"title":"b","fullTitle":"a b","duration":1,"currentRetry":0}]"#).unwrap();
        assert_eq!((before, line.0, line.1.full_title.as_ref()), ("dots..", Kind::Pass, "a b"));
        assert!(find(r#"["pass",{}]"#).is_none());
        assert!(find(r#"["pass",{"fullTitle":"a"}] tail"#).is_none());
        assert!(find(r#"["begin",{"total":1}]"#).is_none());
        assert!(has_event(r#"["start",{"total":1}]"#) && !has_event(r#"["start",{}]"#));
    }
}
