//! Names that leave the process: labels, metadata, kinds and statuses.
//!
//! Dashboards, alerts and tests are checked against this module, so a name is written here once.
//! Metadata names match `[a-z][a-z0-9_]*`, because Loki rewrites others (`a.b` becomes `a_b`).

/// Labels: the only ones, all with few values.
pub mod label {
    /// The project.
    pub const SERVICE_NAME: &str = "service_name";
    /// Environment name, default `local`.
    pub const ENV: &str = "env";
    /// What ran the tests: `robot`, `pytest`, `gotest`, …; `app` for tailed logs.
    pub const RUNNER: &str = "runner";
    /// What the entry is; see [`super::kind`].
    pub const KIND: &str = "kind";
    /// Status; only on run, suite and test entries.
    pub const STATUS: &str = "status";
    /// Where a log line or metric comes from; only on log and metric entries.
    pub const SOURCE: &str = "source";
    /// Hour of the entry's own time, only on entries that were old when first offered.
    pub const LATE: &str = "late";

    /// Every label there is.
    pub const ALL: &[&str] = &[SERVICE_NAME, ENV, RUNNER, KIND, STATUS, SOURCE, LATE];
}

/// Values of the label `kind`.
pub mod kind {
    /// Start and end of a run.
    pub const RUN: &str = "run";
    /// Start and end of a suite.
    pub const SUITE: &str = "suite";
    /// Start and end of an attempt of a test.
    pub const TEST: &str = "test";
    /// End of a step of a test.
    pub const STEP: &str = "step";
    /// A line of output or of a log.
    pub const LOG: &str = "log";
    /// Cumulative counters of a run's shard.
    pub const PROGRESS: &str = "progress";
    /// A measured value.
    pub const METRIC: &str = "metric";
    /// A remark of testwire about its input or the run.
    pub const NOTE: &str = "note";

    /// Every kind there is.
    pub const ALL: &[&str] = &[RUN, SUITE, TEST, STEP, LOG, PROGRESS, METRIC, NOTE];
}

/// Values of the label `status`.
pub mod status {
    /// A run that is known and has not begun.
    pub const CREATED: &str = "created";
    /// Begun.
    pub const STARTED: &str = "started";
    /// Ended well.
    pub const PASSED: &str = "passed";
    /// An assertion did not hold.
    pub const FAILED: &str = "failed";
    /// A run without an end of its own.
    pub const ABORTED: &str = "aborted";
    /// Set-up, teardown or the test itself broke.
    pub const ERRORED: &str = "errored";
    /// Not run on purpose.
    pub const SKIPPED: &str = "skipped";
    /// Failed as expected.
    pub const XFAILED: &str = "xfailed";
    /// Passed although a failure was expected.
    pub const XPASSED: &str = "xpassed";
    /// A failed attempt that the runner will repeat.
    pub const RETRIED: &str = "retried";
    /// Started and never ended.
    pub const UNFINISHED: &str = "unfinished";

    /// Every status there is.
    pub const ALL: &[&str] =
        &[CREATED, STARTED, PASSED, FAILED, ABORTED, ERRORED, SKIPPED, XFAILED, XPASSED, RETRIED, UNFINISHED];
}

/// Values of the label `source` that testwire sets itself; tailed logs bring their configured names.
pub mod source {
    /// Standard output of the runner or of a test.
    pub const STDOUT: &str = "stdout";
    /// Standard error of the runner or of a test.
    pub const STDERR: &str = "stderr";
    /// The runner's own log messages.
    pub const RUNNER: &str = "runner";
    /// What testwire says of its own delivery.
    pub const TESTWIRE: &str = "testwire";
}

/// Values of the metadata `change`.
pub mod change {
    /// It fails, and did not before; also if it was never seen before.
    pub const NEW_FAILURE: &str = "new_failure";
    /// It fails, and did before.
    pub const STILL_FAILING: &str = "still_failing";
    /// It passes, and failed before.
    pub const FIXED: &str = "fixed";
    /// It was never seen before, and does not fail.
    pub const NEW_TEST: &str = "new_test";

    /// Every change there is.
    pub const ALL: &[&str] = &[NEW_FAILURE, STILL_FAILING, FIXED, NEW_TEST];
}

/// Names of structured metadata.
pub mod meta {
    /// One invocation of a runner.
    pub const RUN_ID: &str = "run_id";
    /// `error`, `warn`, `info`, or the log's own.
    pub const LEVEL: &str = "level";
    /// One of several testwire processes of a run.
    pub const SHARD: &str = "shard";
    /// Whole identity of the test within its project and runner.
    pub const TEST: &str = "test";
    /// Group that the runner reports the test under.
    pub const SUITE: &str = "suite";
    /// Number of the execution, from 1; only above 1.
    pub const ATTEMPT: &str = "attempt";
    /// Result over the attempts: `flaky`, where it differs from the status.
    pub const OUTCOME: &str = "outcome";
    /// Worker, process or thread that ran it.
    pub const WORKER: &str = "worker";
    /// Milliseconds, with fraction.
    pub const DURATION_MS: &str = "duration_ms";
    /// `,a,b,`: commas around every tag, so that `=~".*,a,.*"` finds one.
    pub const TAGS: &str = "tags";
    /// First line of the message, at most 1 KiB.
    pub const MESSAGE: &str = "message";
    /// 16 hex digits: same for failures that differ in numbers, paths and times only.
    pub const SIGNATURE: &str = "signature";
    /// Number of tests that were running on the host when the line was written.
    pub const TESTS_RUNNING: &str = "tests_running";
    /// Trace or request id that a log line names.
    pub const TRACE_ID: &str = "trace_id";
    /// `stderr` of a container; its standard output is not named.
    pub const STREAM: &str = "stream";
    /// File of a log, where its source has several.
    pub const FILE: &str = "file";
    /// Piece of a line that was too long for one entry: `2/3`.
    pub const PART: &str = "part";
    /// Machine.
    pub const HOST: &str = "host";
    /// Who started the run.
    pub const USER: &str = "user";
    /// Commit under test.
    pub const COMMIT: &str = "commit";
    /// Branch under test.
    pub const BRANCH: &str = "branch";
    /// Page of the CI build.
    pub const BUILD_URL: &str = "build_url";
    /// Prefix of what `--attr` gave.
    pub const ATTR_PREFIX: &str = "attr_";
    /// What the run ran on, of those attributes that say it, for people: `ios 17.2 release arm64`. On the end of the run,
    /// and on results that are not as they should be.
    pub const CONFIGURATION: &str = "configuration";
    /// How many entries the shard wrote, this one included.
    pub const ENTRIES: &str = "entries";
    /// The event's own time, where the entry's had to be moved into Loki's window.
    pub const EVENT_TIME: &str = "event_time";
    /// Value of a metric.
    pub const VALUE: &str = "value";
    /// Unit of a metric.
    pub const UNIT: &str = "unit";
    /// Exit code of the wrapped command.
    pub const EXIT_CODE: &str = "exit_code";

    /// Result of the same test before this one.
    pub const PREVIOUS: &str = "previous";
    /// What the result means beside the one before; see [`super::change`].
    pub const CHANGE: &str = "change";
    /// Milliseconds that the test usually takes.
    pub const EXPECTED_MS: &str = "expected_ms";
    /// Milliseconds more than it usually takes, where that is beyond its usual spread.
    pub const SLOWER_BY: &str = "slower_by";
    /// How often the test went from failing to passing or back among its last 20 results; only above 0.
    pub const FLAKY_SCORE: &str = "flaky_score";
    /// `true`: the test runs far longer than ever. `false`, on its end: not any more.
    pub const HUNG: &str = "hung";
    /// `true`: a failure that somebody knows of. On progress and run entries, how many there are.
    pub const KNOWN: &str = "known";

    /// Counters of progress and run-end entries.
    pub mod counter {
        /// Tests announced.
        pub const PLANNED: &str = "planned";
        /// Tests with a result.
        pub const DONE: &str = "done";
        /// Tests whose last attempt passed (flaky ones included).
        pub const PASSED: &str = "passed";
        /// Tests whose last attempt failed.
        pub const FAILED: &str = "failed";
        /// Tests whose last attempt broke.
        pub const ERRORED: &str = "errored";
        /// Tests not run on purpose.
        pub const SKIPPED: &str = "skipped";
        /// Tests that failed as expected.
        pub const XFAILED: &str = "xfailed";
        /// Tests that passed although a failure was expected.
        pub const XPASSED: &str = "xpassed";
        /// Tests that failed at least once and passed in the last attempt.
        pub const FLAKY: &str = "flaky";
        /// Attempts beyond the first.
        pub const RETRIED: &str = "retried";
        /// Tests that started and never ended.
        pub const UNFINISHED: &str = "unfinished";
        /// Tests that fail and did not before; on runs with a history only, like the three below.
        pub const NEW_FAILURES: &str = "new_failures";
        /// Tests that pass and failed before.
        pub const FIXED: &str = "fixed";
        /// Tests that fail and failed before.
        pub const STILL_FAILING: &str = "still_failing";
        /// Tests that were never seen before and do not fail.
        pub const NEW_TESTS: &str = "new_tests";
        /// Tests under way.
        pub const RUNNING: &str = "running";
        /// Milliseconds since the run's start.
        pub const ELAPSED_MS: &str = "elapsed_ms";
        /// Milliseconds to the expected end.
        pub const ETA_MS: &str = "eta_ms";
        /// The test that has been running longest.
        pub const OLDEST_TEST: &str = "oldest_test";
        /// Its worker.
        pub const OLDEST_WORKER: &str = "oldest_worker";
        /// How long it has been running, in milliseconds.
        pub const OLDEST_MS: &str = "oldest_ms";

        /// Every counter there is.
        pub const ALL: &[&str] = &[
            PLANNED,
            DONE,
            PASSED,
            FAILED,
            ERRORED,
            SKIPPED,
            XFAILED,
            XPASSED,
            FLAKY,
            RETRIED,
            UNFINISHED,
            NEW_FAILURES,
            FIXED,
            STILL_FAILING,
            NEW_TESTS,
            RUNNING,
            ELAPSED_MS,
            ETA_MS,
            OLDEST_TEST,
            OLDEST_WORKER,
            OLDEST_MS,
        ];
    }

    /// How a process delivers: on entries of kind `metric` whose source is [`super::source::TESTWIRE`]. Counts are
    /// since the start of the process.
    pub mod health {
        /// The process.
        pub const PROCESS: &str = "process";
        /// Entries in its spool.
        pub const WAITING: &str = "waiting";
        /// Their bytes.
        pub const WAITING_BYTES: &str = "waiting_bytes";
        /// How long the oldest of them has waited, to 10 s.
        pub const WAITING_MS: &str = "waiting_ms";
        /// Part of the spool's cap that they fill, 0 to 1.
        pub const SPOOL_USED: &str = "spool_used";
        /// Entries that Loki took.
        pub const PUSHED: &str = "pushed";
        /// Their bytes, before compression.
        pub const PUSHED_BYTES: &str = "pushed_bytes";
        /// Requests to Loki that were answered or given up.
        pub const PUSHES: &str = "pushes";
        /// Those of them that had to be tried again.
        pub const RETRIES: &str = "retries";
        /// Entries that Loki refused for good; they are kept in `rejected/`.
        pub const REJECTED: &str = "rejected";
        /// Entries that Loki took in each second since the entry before.
        pub const ENTRIES_PER_S: &str = "entries_per_s";
        /// Time within which Loki answered half of the pushes since the entry before.
        pub const ANSWER_MS: &str = "answer_ms";
        /// The same for 99 of 100.
        pub const ANSWER_SLOW_MS: &str = "answer_slow_ms";

        /// Every name there is.
        pub const ALL: &[&str] = &[
            PROCESS,
            WAITING,
            WAITING_BYTES,
            WAITING_MS,
            SPOOL_USED,
            PUSHED,
            PUSHED_BYTES,
            PUSHES,
            RETRIES,
            REJECTED,
            ENTRIES_PER_S,
            ANSWER_MS,
            ANSWER_SLOW_MS,
        ];
    }

    /// Every name there is, but those with [`ATTR_PREFIX`].
    pub const ALL: &[&str] = &[
        RUN_ID,
        LEVEL,
        SHARD,
        TEST,
        SUITE,
        ATTEMPT,
        OUTCOME,
        WORKER,
        DURATION_MS,
        TAGS,
        MESSAGE,
        SIGNATURE,
        TESTS_RUNNING,
        TRACE_ID,
        STREAM,
        FILE,
        PART,
        HOST,
        USER,
        COMMIT,
        BRANCH,
        BUILD_URL,
        CONFIGURATION,
        ENTRIES,
        EVENT_TIME,
        EXIT_CODE,
        PREVIOUS,
        CHANGE,
        EXPECTED_MS,
        SLOWER_BY,
        FLAKY_SCORE,
        HUNG,
        KNOWN,
        VALUE,
        UNIT,
    ];
}
