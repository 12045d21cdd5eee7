//! What a client orders, and why it is not done.

/// A run as a client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who wants it, as the client says.
    pub username: String,
    /// Name of the command; `None`: the usual one.
    pub command: Option<String>,
    /// On what.
    pub files: Files,
}

/// Test files of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Files {
    /// Below the root.
    Named(Vec<String>),
    /// Sent along: names and contents.
    Sent(Vec<(String, Vec<u8>)>),
}

/// Why an order is not taken. The texts go to the client and to the log.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nobody wants it.
    #[error("`username` is missing, or longer than 128 characters, or holds control characters")]
    Username,
    /// No file.
    #[error("there are no test files; name some in `files`, or send some as `files[]`")]
    NoFiles,
    /// More than a run may have.
    #[error("{0} test files are too many; a run may have {1}")]
    TooManyFiles(usize, usize),
    /// None of the settings.
    #[error("there is no command {0:?}; there are: {1}")]
    Command(String, String),
    /// Several commands, and none is the usual one.
    #[error("`command` must name one of these: {0}")]
    WhichCommand(String),
    /// It leads out of the root.
    #[error("the file {0:?} lies outside of the directory of tests")]
    Outside(String),
    /// No usable name of a file.
    #[error("{0:?} cannot be the name of a test file")]
    Name(String),
    /// Not there.
    #[error("there is no test file {0:?}")]
    Missing(String),
    /// Named twice.
    #[error("the file {0:?} is there twice")]
    Twice(String),
    /// Not allowed.
    #[error("files may not be sent along here; `uploads` of [testruns] allows it")]
    Uploads,
    /// Too much waits.
    #[error("{0} runs wait already; try again later")]
    Full(usize),
    /// The disk.
    #[error("the run cannot be kept: {0}")]
    Disk(#[from] std::io::Error),
}

impl Refused {
    /// Status of HTTP that says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Outside(_) | Self::Uploads => 403,
            Self::Full(_) => 503,
            Self::Disk(_) => 500,
            _ => 400,
        }
    }
}
