//! The formats, and which one an input is in.

use super::Decoder;
use super::gotest::GoTest;
use super::pytest::Pytest;
use super::robot::Robot;

/// An input format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// `go test -json`, `go tool test2json`.
    GoTest,
    /// Our own Robot Framework listener.
    Robot,
    /// Our own pytest plugin.
    Pytest,
    /// pytest-reportlog.
    ReportLog,
}

impl Format {
    /// A state machine for an input in this format.
    pub fn decoder(self) -> Box<dyn Decoder + Send> {
        match self {
            Self::GoTest => Box::new(GoTest::default()),
            Self::Robot => Box::new(Robot::default()),
            Self::Pytest | Self::ReportLog => Box::new(Pytest::default()),
        }
    }
}
pub enum Detection { NeedMore, Found { format: Format, reason: String }, Unknown { reason: String } }
pub fn detect(head: &[u8], _eof: bool) -> Detection { if head.starts_with(b"{\"Time\"") { Detection::Found { format: Format::GoTest, reason: String::new() } } else { Detection::Unknown { reason: String::new() } } }
impl Format { pub fn runner(self) -> &'static str { match self { Self::GoTest => "gotest", Self::Robot => "robot", _ => "pytest" } } }
