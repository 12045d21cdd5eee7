//! Settings of what is told beside earlier runs.

use super::{Kind, Preset, Setting};

const EARLIER_RUNS: &str = "Earlier runs";

/// Main branch.
pub const BASELINE_BRANCH: Setting = Setting {
    name: "baseline-branch",
    kind: Kind::One,
    value: "NAME",
    preset: Preset::Value("main"),
    group: EARLIER_RUNS,
    help: "Branch whose runs count where the own branch has none in Loki",
    more: "Only a machine without a history asks Loki; else its own earlier runs count, whatever their branch.",
};

/// Hung tests.
pub const HUNG_AFTER: Setting = Setting {
    name: "hung-after",
    kind: Kind::One,
    value: "TIME",
    preset: Preset::Value("5m"),
    group: EARLIER_RUNS,
    help: "After how long a running test counts as hung; from 1s",
    more: "A test that usually takes more than a tenth of that has ten times its usual duration.",
};

/// Known failures.
pub const KNOWN_FAILURES: Setting = Setting {
    name: "known-failures",
    kind: Kind::One,
    value: "FILE",
    preset: Preset::Unset,
    group: EARLIER_RUNS,
    help: "File of failures that are known: patterns, reasons, end dates",
    more: "TOML: tables [[known]] with `pattern` (a test's whole id, * stands for anything), `reason`, and `until`, the last \
           day on which it counts. Such failures are marked and counted apart, and fail the run as others do.",
};
