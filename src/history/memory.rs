//! What a run asks of the history, and gives to it. Pure: who keeps it, and where, is not known here.

use std::sync::Arc;

use super::past::Past;
use super::slot::{Slot, fnv1a};
use crate::names::meta;

/// Runs with the same key have one history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// The project.
    pub project: String,
    /// The environment.
    pub env: String,
    /// The runner.
    pub runner: String,
    /// What else must be equal for results to be comparable (platform and version of a results database); mostly empty.
    pub configuration: String,
}

impl Key {
    /// Sixteen hex digits that stand for it.
    pub fn digest(&self) -> String {
        let parts = [&self.project, &self.env, &self.runner, &self.configuration];
        let text = parts.map(|part| format!("{}:{part}", part.len())).concat();
        format!("{:016x}", fnv1a(text.as_bytes()))
    }
}

/// What of a run's metadata says on what it ran, as the key of a history: all that was said of it, for a results database.
pub fn configuration<'a>(metadata: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = metadata.filter(|(name, _)| name.starts_with(meta::ATTR_PREFIX)).collect();
    pairs.sort_unstable();
    pairs.iter().map(|(name, value)| format!("{name}={value};")).collect()
}

/// A run that begins, as far as its history depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// What it shares a history by.
    pub key: Key,
    /// Its id.
    pub run_id: String,
    /// Its branch; empty if not known.
    pub branch: String,
    /// True if other processes, maybe on other machines, have parts of it, so that no machine knows all its tests.
    pub is_shard: bool,
}

/// What happened to a test in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its [`super::past::test_key`].
    pub test: u64,
    /// The result.
    pub slot: Slot,
    /// Signature of its failure; 0: none.
    pub signature: u64,
    /// True if other tests are parts of it.
    pub has_parts: bool,
}

/// Keeps the history of a run's tests.
pub trait Memory: Send {
    /// A run begins. What is known at once, if anything is.
    fn open(&mut self, run: &Opening) -> Option<Arc<Past>>;

    /// What became known since; each is given once. It takes the place of what was known before.
    fn arrived(&mut self) -> Option<Arc<Past>>;

    /// True while something may still arrive.
    fn awaits(&self) -> bool {
        false
    }

    /// Takes all results so far. It is called now and then, and with `is_end` when the run is over. Never fails: a run
    /// does not depend on its history.
    fn keep(&mut self, results: &mut dyn Iterator<Item = Observed>, is_end: bool);
}
