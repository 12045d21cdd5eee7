//! What testwire shall do, as its other parts see it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Dashboards;
use crate::config::{Batch, Settings, TailSource};
use crate::decode::Format;

/// What testwire shall do.
#[derive(Debug)]
pub enum Invocation {
    /// Run a test command and ship what it does.
    Run {
        /// Settings.
        settings: Box<Settings>,
        /// The command and its arguments; not empty.
        command: Vec<OsString>,
        /// Run it as it is.
        no_inject: bool,
        /// Logs to follow meanwhile.
        tails: Vec<TailSource>,
    },
    /// Run many test files.
    Batch {
        /// Settings.
        settings: Box<Settings>,
        /// What else was typed.
        batch: Box<Batch>,
    },
    /// See to it that nothing of a batch outlives it; for testwire itself.
    BatchGuard {
        /// Marks the processes of the batch.
        mark: String,
    },
    /// Ship events from stdin.
    Pipe {
        /// Settings.
        settings: Box<Settings>,
        /// Format of stdin; `None`: found out from its first lines.
        format: Option<Format>,
        /// Copy stdin to stdout.
        tee: bool,
        /// End with 0 although the run failed.
        no_fail: bool,
        /// Say what stdin is taken for.
        explain: bool,
    },
    /// Take events over HTTP until stopped.
    Listen {
        /// Settings.
        settings: Box<Settings>,
        /// Only ask the daemon at the address whether it takes events.
        health: bool,
    },
    /// Follow log files until stopped.
    Tail {
        /// Settings.
        settings: Box<Settings>,
        /// What was typed; empty: what the file of settings says.
        tails: Vec<TailSource>,
    },
    /// Play a run.
    Demo {
        /// Settings.
        settings: Box<Settings>,
    },
    /// Hand out dashboards and alert rules.
    Dashboards(Dashboards),
    /// Check settings and Loki.
    Check {
        /// Settings.
        settings: Box<Settings>,
        /// Print every value and its origin, and look no further.
        config: bool,
    },
    /// Prove that a run is in Loki.
    Audit {
        /// Settings.
        settings: Box<Settings>,
        /// The run.
        run: String,
        /// How many days back to look.
        days: u16,
    },
    /// List the runs in Loki.
    Runs {
        /// Settings.
        settings: Box<Settings>,
        /// How many days back to look.
        days: u16,
        /// At most so many.
        most: u16,
        /// As JSON.
        json: bool,
    },
    /// Compare two runs in Loki.
    Diff {
        /// Settings.
        settings: Box<Settings>,
        /// Ids of the run before and the one after; of the latter alone, or of none.
        runs: Vec<String>,
        /// How many days back to look.
        days: u16,
        /// As JSON.
        json: bool,
    },
    /// Ship finished reports, or refused entries again.
    Import {
        /// Settings.
        settings: Box<Settings>,
        /// Files, patterns and directories; at least one.
        files: Vec<PathBuf>,
        /// Format of all of them; `None`: found out.
        format: Option<Format>,
        /// Ship what appears in this directory, until stopped.
        watch: Option<PathBuf>,
        /// Say what each file is taken for.
        explain: bool,
    },
    /// Deliver what dead processes left.
    Flush {
        /// Settings.
        settings: Box<Settings>,
    },
    /// Say what waits in the spool.
    Status {
        /// Settings.
        settings: Box<Settings>,
        /// As JSON.
        json: bool,
    },
    /// Write a file of settings to begin with.
    Init {
        /// This file.
        file: PathBuf,
    },
    /// Print a completion script.
    Completions {
        /// For this shell.
        shell: clap_complete::Shell,
    },
}
