//! What several decoders say alike: output of a test, earlier attempts of which nothing is known, the run's frame.

use std::borrow::Cow;
use std::time::Duration;

use super::Emit;
use crate::event::{
    Event, Fact, LogLine, RunFinished, RunStarted, RunStatus, Source, Status, TestFinished, TestRef, TestStarted,
    Timestamp,
};

/// More attempts than this are not told one by one: no runner retries so often.
const MOST_ATTEMPTS: u32 = 1_000;

/// Passes on text that a test wrote, line by line.
pub(crate) fn output(
    test: Option<&TestRef<'_>>,
    source: &Source<'_>,
    text: &str,
    time: Option<Timestamp>,
    emit: &mut Emit<'_>,
) {
    if text.is_empty() {
        return;
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let text = Cow::Borrowed(line.strip_suffix('\r').unwrap_or(line));
        let line = LogLine { test: test.map(reborrow), source: source.clone(), level: None, text };
        emit(Event { time, fact: Fact::Log(line) });
    }
}

/// The same test, borrowed again.
pub(crate) fn reborrow<'r>(test: &'r TestRef<'_>) -> TestRef<'r> {
    TestRef { id: Cow::Borrowed(&test.id), suite: Cow::Borrowed(&test.suite), worker: Cow::Borrowed(&test.worker) }
}

/// A test that is known by its id and suite.
pub(crate) fn test_ref<'r>(id: &'r str, suite: &'r str) -> TestRef<'r> {
    TestRef { id: Cow::Borrowed(id), suite: Cow::Borrowed(suite), worker: Cow::Borrowed("") }
}

/// Tells of the attempts before `attempt` for runners that only give the number of the last one. The first of them
/// counts as started already, or starts here; after it `attempt` is under way.
pub(crate) fn earlier_attempts(test: &TestRef<'_>, attempt: u32, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    for number in 1..attempt.min(MOST_ATTEMPTS) {
        let mut finished = TestFinished::new(reborrow(test), Status::Retried);
        finished.attempt = Some(number);
        // Nothing is known of its length; else it would get the time of all attempts.
        finished.duration = Some(Duration::ZERO);
        finished.message = Cow::Borrowed("failed; the runner tells no more of this attempt");
        emit(Event { time, fact: Fact::TestFinished(finished) });
        let started = TestStarted { test: reborrow(test), attempt: Some(number + 1), repeat: false, tags: Vec::new() };
        emit(Event { time, fact: Fact::TestStarted(started) });
    }
}

/// The beginning of a run.
pub(crate) fn run_started(title: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    let started = RunStarted { title: Cow::Borrowed(title), ..RunStarted::default() };
    emit(Event { time, fact: Fact::RunStarted(started) });
}

/// The end of a run.
pub(crate) fn run_finished(status: Option<RunStatus>, message: &str, time: Option<Timestamp>, emit: &mut Emit<'_>) {
    emit(Event { time, fact: Fact::RunFinished(RunFinished { status, message: Cow::Borrowed(message) }) });
}

/// A duration in seconds; `None` for what is none.
pub(crate) fn seconds(seconds: Option<f64>) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds?).ok()
}

/// A duration in milliseconds; `None` for what is none.
pub(crate) fn milliseconds(millis: Option<f64>) -> Option<Duration> {
    seconds(millis.map(|millis| millis / 1e3))
}
