//! What is typed of a batch.

use std::num::NonZeroUsize;

use clap::Args;

use super::typed::BatchTyped;
use crate::config::value::{Bytes, Period};
use crate::config::{self, Name};

/// `testwire batch`, but for the settings.
#[derive(Clone, Debug, Args)]
pub(super) struct BatchArgs {
    /// Files that run at a time [default: the number of processors]
    #[arg(long, short = 'w', value_name = "N")]
    pub(super) workers: Option<NonZeroUsize>,
    /// Who asks for the run [default: who runs testwire]; Loki's user is --loki-user here
    #[arg(long = "user", id = "asker", value_name = "NAME")]
    pub(super) asker: Option<Name>,
    /// Run a file that failed again, up to so often
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) retry: u32,
    /// End a file that takes longer, as in 90s or 10m; it has failed then
    #[arg(long, value_name = "TIME")]
    pub(super) timeout: Option<Period>,
    /// Memory that each process of a file may use, as in 2GiB
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<Bytes>,
    /// Stop when a file has failed
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Command for each file; {} is the file, {dir} a directory of its own [default: by the kind of file]
    #[arg(long, value_name = "CMD")]
    pub(super) command: Option<String>,
    /// Go on with the batch of this --run-id whose testwire is gone: what has finished is not run again
    #[arg(long, conflicts_with = "files")]
    pub(super) resume: bool,
    #[command(flatten)]
    pub(super) typed: BatchTyped,
    /// Test files
    #[arg(value_name = "FILE", required_unless_present = "resume")]
    pub(super) files: Vec<String>,
}

impl BatchArgs {
    /// What was typed, without the settings.
    pub(super) fn batch(self) -> config::Batch {
        config::Batch {
            files: self.files,
            workers: self.workers.map(usize::from),
            user: self.asker,
            retry: self.retry,
            timeout: self.timeout.map(|timeout| timeout.0).filter(|timeout| !timeout.is_zero()),
            memory: self.memory.map(|memory| memory.0).filter(|bytes| *bytes > 0),
            fail_fast: self.fail_fast,
            command: self.command,
            resume: self.resume,
        }
    }
}
