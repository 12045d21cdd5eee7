//! What is typed of logs to follow.

use std::path::PathBuf;

use clap::Args;

use super::Refusal;
use crate::config::{Begin, Name, Place, TailSource, Typed};

/// `testwire tail`.
#[derive(Debug, Args)]
pub(super) struct TailArgs {
    /// Files, directories and patterns such as 'logs/*.log'
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Name of the log, for the label source [default: the first file's name without its ending]
    #[arg(long, value_name = "NAME")]
    source: Option<Name>,
    /// Where files are begun that testwire does not know yet [default: start]
    #[arg(long, value_name = "WHERE")]
    from: Option<Begin>,
    /// Read gzipped generations of the logs too, if they were packed before they were read to their end
    #[arg(long)]
    compressed: bool,
    #[command(flatten)]
    further: Further,
    #[command(flatten)]
    pub(super) typed: Typed,
}

impl TailArgs {
    /// The logs; none if none were typed.
    pub(super) fn tails(&self, place: &Place) -> Result<Vec<TailSource>, Refusal> {
        let typed = TailSource::typed(&self.files, self.source.clone(), self.from.unwrap_or_default(), place);
        let mut tails = typed.map_err(|error| Refusal::Settings(error.into()))?;
        tails.iter_mut().for_each(|tail| tail.compressed = self.compressed);
        tails.extend(self.further.tails(place)?);
        Ok(tails)
    }
}

/// Logs that a file names.
#[derive(Debug, Args)]
pub(super) struct Further {
    /// Follow what this file says besides: [[tail]] of testwire, source_log_tails of RealtimeResults
    #[arg(long, value_name = "FILE")]
    tails_from: Option<PathBuf>,
}

impl Further {
    pub(super) fn tails(&self, place: &Place) -> Result<Vec<TailSource>, Refusal> {
        let tails = self.tails_from.as_ref().map(|path| TailSource::of_file(&place.cwd.join(path))).transpose();
        tails.map(Option::unwrap_or_default).map_err(|error| Refusal::Settings(error.into()))
    }
}
