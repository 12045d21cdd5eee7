//! Test runs that clients of `listen` order: a queue on disk, and a `testwire batch` for each run.
//!
//! Only commands that the settings name are run, on files below a configured directory or, where that is allowed, on files
//! that were sent along. An order is a file, written whole or not at all, before the client is answered. A run is marked as
//! started before its batch is, and the batch holds a lock for as long as it lives, so that a daemon that starts again knows
//! what waits, what is running and what was lost: nothing runs twice.
//!
//! ```text
//! testruns/queue.lock    flock(2), held while a daemon has the queue
//! testruns/last          the last id that was given
//! testruns/runs/ID.json  an order and what became of it
//! testruns/runs/ID.lock  flock(2), held by the batch while it lives; holds its process id
//! testruns/runs/ID.log   what the batch itself printed
//! testruns/files/ID/     what was sent along
//! batch/RUN/             what the batch says of the run: journal and output
//! ```

mod launch;
mod names;
mod order;
mod queue;
mod record;
mod results;
mod store;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use self::launch::{Account, Launch};
pub use self::order::{Files, Order, Refused};
pub use self::queue::{Listed, Queue};
pub use self::record::{Record, State};

/// What may be run, and what it may cost.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Directory of the test files, absolute and without links.
    pub root: PathBuf,
    /// Commands by name; `{}` stands for a test file.
    pub commands: BTreeMap<String, String>,
    /// The command of orders that name none.
    pub command: Option<String>,
    /// Whether files may be sent along.
    pub uploads: bool,
    /// Most files of a run.
    pub max_files: usize,
    /// Most bytes that are sent along.
    pub max_upload: u64,
    /// Longest run.
    pub max_time: Duration,
    /// Runs at the same time.
    pub max_running: usize,
    /// Runs that wait.
    pub max_queued: usize,
    /// Ended runs that are remembered.
    pub max_kept: usize,
}

#[cfg(test)]
mod tests;
