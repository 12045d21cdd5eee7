//! Tests against a real Loki. They are one program, so that they share one Loki; see `loki.rs` for where it comes from.

// Clippy knows helpers of tests, which may unwrap, by `cfg(test)`.
#[cfg(test)]
mod harness;
#[cfg(test)]
mod loki;
#[cfg(test)]
mod query;
