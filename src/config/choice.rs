//! Settings that take one of a few words.

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// The words of `T`, for the table of settings.
pub(super) fn words<T: ValueEnum>() -> Vec<PossibleValue> {
    T::value_variants().iter().filter_map(ValueEnum::to_possible_value).collect()
}

/// Where entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// To Loki
    Loki,
    /// To stdout, one JSON object a line
    Ndjson,
    /// Nowhere; for dry runs and measurements
    None,
}

/// When live progress is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// If stderr is a terminal
    Auto,
    /// Always; without a terminal as plain lines
    Always,
    /// Never
    Never,
}

/// How much testwire says about itself on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing
    Off,
    /// Data lost, or a person must act
    Error,
    /// Odd, nothing lost
    Warn,
    /// Starts, stops and summaries
    Info,
    /// Each push
    Debug,
    /// All there is
    Trace,
}

impl LogLevel {
    /// The filter for testwire's own log.
    pub fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}
