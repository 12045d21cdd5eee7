//! An order and what became of it.

use serde::{Deserialize, Serialize};

/// How far a run is; the words are those of the label `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits.
    Created,
    /// Its batch was started.
    Started,
    /// Every file passed.
    Passed,
    /// One did not.
    Failed,
    /// It did not come to its end.
    Aborted,
}

impl State {
    /// True if nothing changes any more.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Created | Self::Started)
    }

    /// The word of TestRunner, whose `RUNNIG` is a slip.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Started => "RUNNING",
            Self::Passed => "SUCCESS",
            Self::Failed | Self::Aborted => "FAILED",
        }
    }

    /// The word of the label `status`.
    pub fn status(self) -> &'static str {
        use crate::names::status;
        match self {
            Self::Created => status::CREATED,
            Self::Started => status::STARTED,
            Self::Passed => status::PASSED,
            Self::Failed => status::FAILED,
            Self::Aborted => status::ABORTED,
        }
    }
}

/// A run that was ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts from 1.
    pub id: u64,
    /// Its id in Loki.
    pub run_id: String,
    /// Who wants it, as the client said.
    pub username: String,
    /// Name of the command.
    pub command: String,
    /// Test files, relative to the directory in which they run.
    pub files: Vec<String>,
    /// Whether they were sent along.
    pub sent: bool,
    /// When it was ordered: microseconds since the epoch.
    pub created: i64,
    /// When its batch was started.
    #[serde(default)]
    pub started: Option<i64>,
    /// When it was over.
    #[serde(default)]
    pub ended: Option<i64>,
    /// How far it is.
    pub state: State,
    /// Why it was aborted; else empty.
    #[serde(default)]
    pub reason: String,
    /// A client wants it gone. It is, for clients, and stays here until its batch has ended.
    #[serde(default)]
    pub cancelled: bool,
}
