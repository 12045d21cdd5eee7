//! testwire turns any test runner's events and logs into labelled Grafana Loki streams, live, and keeps what it has accepted
//! until Loki has it.
//!
//! # The data path
//!
//! ```text
//!  runner's output ── pipe ──┐
//!  listeners ── event file ──┤
//!  standard input ───────────┴─► source ─► decode ─► normalize ─► output ─► spool ─► ship ─► loki::push ─► Loki
//!                                  │  lines    events      entries    chunks    │     │
//!                                  └─► tee: the terminal, untouched             │     ├─► commit: out of the spool
//!                                                                               │     └─► rejected/: refused for good
//!                      one thread: the intake, a loop without locks ◄───────────┴──► tokio: batches, one stream each
//!                      (`pipeline::intake`)                            on disk        (`ship`)
//! ```
//!
//! `main` turns arguments into settings and a command's end into an exit code. Imports go one way: `main → commands →
//! pipeline → stages`. A stage knows [`event`] and the plain types of its neighbour: [`decode`] and [`normalize`] are pure,
//! with time as an argument; [`spool`] knows entries and no events; [`ship`] knows no sources. A test checks that.
//!
//! # The modules
//!
//! - [`cli`]: what was typed → an invocation with validated settings.
//! - [`config`]: flags, environment, file and defaults → [`config::Settings`]; the table of settings.
//! - [`commands`]: `run`, `pipe`, `demo`, `check`, `audit` and the others; what is shown on the terminal.
//! - [`pipeline`]: the intake, which is the loop over all inputs; outputs; the order of the shutdown.
//! - [`source`]: pipes and growing files → lines.
//! - [`decode`]: lines → events, one state machine for each format; which format it is.
//! - [`event`]: what happened, as plain data.
//! - [`normalize`]: events → entries; the run's state, counters, attempts, failure signatures.
//! - [`history`]: the last results of each test, on disk and from Loki; what a result means beside them.
//! - [`spool`]: the durable queue: segments, cursor, one writer.
//! - [`ship`]: spool → batches → pushes → commit; retries, bisection of refused batches, rejected entries.
//! - [`loki`]: entries, wire messages, one push and what its answer means, queries.
//! - [`testruns`]: test runs that clients of `listen` order: a queue on disk, and a `testwire batch` for each.
//! - [`names`]: every label, metadata name and status that leaves the process.
//! - [`exit`]: exit codes, and how a failure is put into words.
//!
//! # What is promised
//!
//! - An input is acknowledged only when its entries are in the spool; there they survive the death of testwire, and with
//!   `--fsync` that of the machine. [`spool::Queue::append`] is where that holds.
//! - An entry leaves the spool only when Loki answered its push with 204, or when it is kept in `rejected/` with Loki's answer.
//!   Everything else is tried again, without end. Nothing is dropped.
//! - A re-sent entry is identical to the byte, so queries see it once; each entry of a run has a number, so that a loss or a
//!   double shows.
//! - A wrapped command's output, signals and exit code are its own, whatever becomes of the delivery.

pub mod cli;
pub mod commands;
pub mod config;
pub mod decode;
pub mod event;
pub mod exit;
pub mod history;
pub mod loki;
pub mod names;
pub mod normalize;
pub mod pipeline;
pub mod ship;
pub mod source;
pub mod spool;
pub mod testruns;
