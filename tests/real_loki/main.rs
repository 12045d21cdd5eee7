//! Tests against a real Loki. They are one program, so that they share one Loki; see `loki.rs` for where it comes from.

// Clippy knows helpers of tests, which may unwrap, by `cfg(test)`.
#[cfg(test)]
mod alerts;
#[cfg(test)]
mod batch;
#[cfg(test)]
mod beside;
#[cfg(test)]
#[path = "../common/binary.rs"]
mod binary;
#[cfg(test)]
mod clients;
#[cfg(test)]
#[path = "../common/panels.rs"]
mod dashboards;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod health;
#[cfg(test)]
mod history;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod loki;
#[cfg(test)]
mod panels;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod projects;
#[cfg(test)]
mod query;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod runners;
#[cfg(test)]
mod runs;
#[cfg(test)]
mod sample_runs;
#[cfg(test)]
mod testruns;
#[cfg(test)]
#[path = "../common/twenty_runs.rs"]
mod twenty_runs;
#[cfg(test)]
mod unchanging;
#[cfg(test)]
mod unusual;
