//! What a batch of test files is asked to be.

use std::time::Duration;

use super::Name;

/// `testwire batch` as it was typed, beside the settings.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The files.
    pub files: Vec<String>,
    /// Files at a time; `None`: as many as there are processors.
    pub workers: Option<usize>,
    /// Who asks for the run, if it is not who runs testwire.
    pub user: Option<Name>,
    /// How often a file that failed is run again.
    pub retry: u32,
    /// How long a file may take.
    pub timeout: Option<Duration>,
    /// Bytes of memory of each process.
    pub memory: Option<u64>,
    /// Stop at the first failure.
    pub fail_fast: bool,
    /// The command of each file; `None`: by its kind.
    pub command: Option<String>,
    /// Go on with the batch of this run id.
    pub resume: bool,
}
