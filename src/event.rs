//! What decoders say: facts about runs, suites, tests, steps and lines, as plain data.
//!
//! An [`Event`] borrows from the input wherever it can, because output lines are most of a stream and
//! are only passed on.

use std::borrow::Cow;
use std::time::Duration;

use crate::names;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From seconds with a fraction, as pytest and others write; `None` outside the years 1678 to 2261.
    pub fn from_secs_f64(seconds: f64) -> Option<Self> {
        let nanos = seconds * 1e9;
        (nanos.is_finite() && nanos.abs() < i64::MAX as f64).then_some(Self(nanos as i64))
    }

    /// Time from `earlier` to this one; zero where the clock went back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Result of one attempt of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Status {
    /// Ended well.
    Passed,
    /// An assertion did not hold.
    Failed,
    /// Set-up, teardown or the test itself broke.
    Errored,
    /// Not run on purpose.
    Skipped,
    /// Failed as expected.
    Xfailed,
    /// Passed although a failure was expected.
    Xpassed,
    /// Failed, and the runner says that it will try again.
    Retried,
    /// Started and never ended.
    Unfinished,
}

impl Status {
    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => names::status::PASSED,
            Self::Failed => names::status::FAILED,
            Self::Errored => names::status::ERRORED,
            Self::Skipped => names::status::SKIPPED,
            Self::Xfailed => names::status::XFAILED,
            Self::Xpassed => names::status::XPASSED,
            Self::Retried => names::status::RETRIED,
            Self::Unfinished => names::status::UNFINISHED,
        }
    }

    /// True for results that make a run fail.
    pub fn is_failing(self) -> bool {
        match self {
            Self::Failed | Self::Errored => true,
            Self::Passed | Self::Skipped | Self::Xfailed | Self::Xpassed | Self::Retried | Self::Unfinished => false,
        }
    }
}

/// Result of a whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RunStatus {
    /// Nothing failed.
    Passed,
    /// A test, a suite or the runner itself failed.
    Failed,
    /// The runner was stopped or died before its end.
    Aborted,
}

impl RunStatus {
    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => names::status::PASSED,
            Self::Failed => names::status::FAILED,
            Self::Aborted => names::status::ABORTED,
        }
    }
}

/// Severity of a log line, in Loki's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// Normal.
    Info,
    /// Odd.
    Warn,
    /// Wrong.
    Error,
    /// The end.
    Fatal,
}

impl Level {
    /// The value of the metadata `level`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// Which test: its identity and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRef<'a> {
    /// Whole identity within project and runner, the same in every run (Robot full name, pytest node id, Go package
    /// + `.` + test, …).
    pub id: Cow<'a, str>,
    /// Group that the runner reports it under; empty if none.
    pub suite: Cow<'a, str>,
    /// Worker, process or thread; empty if the runner has but one or does not say.
    pub worker: Cow<'a, str>,
}

/// Ids that a test has of which the test `id` of `suite` is a part, the innermost first. Runners name a part by its whole,
/// a separator and its own name (`pkg.TestAll/case_1`, `all > case 1`).
pub fn wholes<'i>(id: &'i str, suite: &str) -> impl Iterator<Item = &'i str> {
    let suite = if id.starts_with(suite) { suite.len() } else { 0 };
    let mut whole = id;
    std::iter::from_fn(move || {
        let name = whole.get(suite..)?;
        let end = name.rfind('/').max(name.rfind(" > "))?;
        whole = whole.split_at(suite + end).0;
        Some(whole)
    })
}

/// One decoded fact and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// When it happened by the runner's own clock; `None` where the runner does not say (the time of reading counts).
    pub time: Option<Timestamp>,
    /// What happened.
    pub fact: Fact<'a>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'a> {
    /// A runner process began; a second one within a run (another worker) is not a second run.
    RunStarted(RunStarted<'a>),
    /// More is known about what will run.
    Planned(Planned<'a>),
    /// A runner process ended by itself.
    RunFinished(RunFinished<'a>),
    /// A suite began.
    SuiteStarted(SuiteStarted<'a>),
    /// A suite ended.
    SuiteFinished(SuiteFinished<'a>),
    /// An attempt of a test began.
    TestStarted(TestStarted<'a>),
    /// A test that has begun waits for its turn, and does not run (`t.Parallel()`).
    TestPaused(TestRef<'a>),
    /// It runs on.
    TestResumed(TestRef<'a>),
    /// An attempt of a test ended; without a start before it, it counts as started at time − duration.
    TestFinished(TestFinished<'a>),
    /// The result of a test that had ended changed afterwards (Robot: the parent suite's teardown failed).
    TestCorrected(TestFinished<'a>),
    /// A step (Robot keyword, Cucumber step) ended.
    StepFinished(StepFinished<'a>),
    /// A line, or several that belong together, of output or log.
    Log(LogLine<'a>),
    /// A remark about the input, for a person: `line 17 is not an event: …`.
    Note(Note<'a>),
}

/// Start of a runner process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunStarted<'a> {
    /// Runner and version for people: `pytest 9.2.0`; empty if unknown.
    pub title: Cow<'a, str>,
    /// Facts about the run, shown as `attr_<name>`; names are made to match `[a-z][a-z0-9_]*`.
    pub attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// An announcement of tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Planned<'a> {
    /// Number of tests of the whole run as known now; replaces an earlier number. `None`: the names below are added.
    pub total: Option<u64>,
    /// Ids of tests that will run. Naming a test twice counts once.
    pub tests: Vec<Cow<'a, str>>,
}

/// End of a runner process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFinished<'a> {
    /// The runner's own verdict; `None`: it follows from what the tests and suites did.
    pub status: Option<RunStatus>,
    /// What the runner says about it; empty if nothing.
    pub message: Cow<'a, str>,
}

/// Start of a suite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SuiteStarted<'a> {
    /// Whole name.
    pub suite: Cow<'a, str>,
    /// Worker; empty if not said.
    pub worker: Cow<'a, str>,
}

/// End of a suite.
#[derive(Clone, Debug, PartialEq)]
pub struct SuiteFinished<'a> {
    /// Whole name.
    pub suite: Cow<'a, str>,
    /// Worker; empty if not said.
    pub worker: Cow<'a, str>,
    /// Its result. A failed suite makes the run fail even when no test did (build failure, suite set-up).
    pub status: Status,
    /// How long it took, if known.
    pub duration: Option<Duration>,
    /// Why it failed, beyond its tests; empty if nothing to say.
    pub message: Cow<'a, str>,
}

/// Start of an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestStarted<'a> {
    /// Which test.
    pub test: TestRef<'a>,
    /// Number of the attempt from 1 if the runner counts; else it is one more than the attempts seen.
    pub attempt: Option<u32>,
    /// True if a further execution was asked for (`go test -count=2`), so that it is not a retry.
    pub repeat: bool,
    /// Tags, marks, labels of the test.
    pub tags: Vec<Cow<'a, str>>,
}

/// End of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct TestFinished<'a> {
    /// Which test.
    pub test: TestRef<'a>,
    /// Number of the attempt from 1 if the runner counts.
    pub attempt: Option<u32>,
    /// Result of this attempt.
    pub status: Status,
    /// How long it took, if known; else the time since its start.
    pub duration: Option<Duration>,
    /// Failure or skip message, whole; the first line is what a table shows. Empty if none.
    pub message: Cow<'a, str>,
    /// Further text for below the message (trace back); empty if none.
    pub details: Cow<'a, str>,
    /// Tags, marks, labels of the test; those given at its start are kept.
    pub tags: Vec<Cow<'a, str>>,
}

impl<'a> TestFinished<'a> {
    /// A result with nothing more to say about it.
    pub fn new(test: TestRef<'a>, status: Status) -> Self {
        Self {
            test,
            attempt: None,
            status,
            duration: None,
            message: Cow::Borrowed(""),
            details: Cow::Borrowed(""),
            tags: Vec::new(),
        }
    }
}

/// End of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepFinished<'a> {
    /// The test it belongs to; `None` in suite set-up and teardown.
    pub test: Option<TestRef<'a>>,
    /// The suite it belongs to; empty if none.
    pub suite: Cow<'a, str>,
    /// What was done, for a person: keyword and arguments.
    pub name: Cow<'a, str>,
    /// Its result; `None` for steps that were not run.
    pub status: Option<Status>,
    /// How long it took, if known.
    pub duration: Option<Duration>,
    /// Failure message; empty if none.
    pub message: Cow<'a, str>,
    /// How deep it is nested, from 0.
    pub depth: u32,
}

/// Where a line comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source<'a> {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The runner's own messages.
    Runner,
    /// A configured log.
    Named(Cow<'a, str>),
}

impl Source<'_> {
    /// The value of the label `source`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stdout => names::source::STDOUT,
            Self::Stderr => names::source::STDERR,
            Self::Runner => names::source::RUNNER,
            Self::Named(name) => name,
        }
    }
}

/// A line of output or log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine<'a> {
    /// The test that wrote it, where the runner knows.
    pub test: Option<TestRef<'a>>,
    /// Where it comes from.
    pub source: Source<'a>,
    /// Severity, if the line has one of its own; else `info`.
    pub level: Option<Level>,
    /// The text without its last line end, otherwise unchanged.
    pub text: Cow<'a, str>,
}

/// A remark.
#[derive(Clone, Debug, PartialEq)]
pub struct Note<'a> {
    /// Severity.
    pub level: Level,
    /// The remark.
    pub text: Cow<'a, str>,
}
