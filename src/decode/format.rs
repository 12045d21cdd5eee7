//! The formats, by name and decoder.

use std::fmt;
use std::str::FromStr;

use super::Decoder;
use super::bodies::{Bodies, Client};
use super::cargo::Cargo;
use super::ctest::Ctest;
use super::cucumber::Cucumber;
use super::cucumber_json::CucumberJson;
use super::document::{ByLine, Document};
use super::gotest::GoTest;
use super::gtest::Gtest;
use super::gtest_json::GtestJson;
use super::gtest_stream::GtestStream;
use super::jest::Jest;
use super::jest_reporter::JestReporter;
use super::junit::{Junit, Live};
use super::libtest::Libtest;
use super::mocha::Mocha;
use super::mocha_json::MochaJson;
use super::node_events::NodeEvents;
use super::playwright::Playwright;
use super::pytest::Pytest;
use super::robot::Robot;
use super::robot_json::RobotJson;
use super::robot_xml::RobotXml;
use super::split::JsonReport;
use super::subunit::Subunit;
use super::tap::Tap;
use super::teamcity::TeamCity;
use super::testwire::Testwire;
use super::wall::{Zone, utc};

/// An input format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// testwire's own events, see `docs/events.md`.
    Testwire,
    /// testwire's Robot Framework listener.
    Robot,
    /// testwire's pytest plugin.
    Pytest,
    /// pytest-reportlog.
    ReportLog,
    /// `go test -json`, `go tool test2json`.
    GoTest,
    /// What `cargo test` prints.
    Cargo,
    /// JSON of Rust's test harness and of nextest.
    Libtest,
    /// TAP 12 to 14.
    Tap,
    /// TeamCity service messages.
    TeamCity,
    /// Cucumber messages.
    Cucumber,
    /// Cucumber's JSON report.
    #[value(name = "cucumber-json")]
    CucumberJson,
    /// subunit v2.
    Subunit,
    /// mocha's json-stream reporter.
    Mocha,
    /// What a GoogleTest program prints.
    Gtest,
    /// What `ctest` prints.
    Ctest,
    /// GoogleTest's stream protocol.
    #[value(name = "gtest-stream")]
    GtestStream,
    /// Events of node:test, one a line.
    #[value(name = "node-events")]
    NodeEvents,
    /// Calls of a jest reporter, one a line.
    #[value(name = "jest-reporter")]
    JestReporter,
    /// JUnit XML, whoever writes it.
    Junit,
    /// Robot Framework's output.xml.
    #[value(name = "robot-xml")]
    RobotXml,
    /// Robot Framework's output.json.
    #[value(name = "robot-json")]
    RobotJson,
    /// `jest --json`.
    #[value(name = "jest")]
    Jest,
    /// Vitest's `json` reporter.
    #[value(name = "vitest")]
    Vitest,
    /// Playwright's `json` reporter.
    #[value(name = "playwright")]
    Playwright,
    /// mocha's `json` reporter.
    #[value(name = "mocha-json")]
    MochaJson,
    /// GoogleTest's JSON.
    #[value(name = "gtest-json")]
    GtestJson,
    /// Bodies of pytest-rt and nose2rt, one a line.
    #[value(name = "pytest-rt")]
    PytestRt,
    /// Bodies of System Test Progress Tracking, one a line.
    Stpt,
    /// Uploads to WebKit's results database.
    ResultsDb,
}

impl Format {
    /// Every format there is.
    pub const ALL: &[Self] = &[
        Self::Testwire,
        Self::Robot,
        Self::Pytest,
        Self::ReportLog,
        Self::GoTest,
        Self::Cargo,
        Self::Libtest,
        Self::Tap,
        Self::TeamCity,
        Self::Cucumber,
        Self::CucumberJson,
        Self::Subunit,
        Self::Mocha,
        Self::Gtest,
        Self::Ctest,
        Self::GtestStream,
        Self::NodeEvents,
        Self::JestReporter,
        Self::Junit,
        Self::RobotXml,
        Self::RobotJson,
        Self::Jest,
        Self::Vitest,
        Self::Playwright,
        Self::MochaJson,
        Self::GtestJson,
        Self::PytestRt,
        Self::Stpt,
        Self::ResultsDb,
    ];

    /// What it is called on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Testwire => "testwire",
            Self::Robot => "robot",
            Self::Pytest => "pytest",
            Self::ReportLog => "reportlog",
            Self::GoTest => "gotest",
            Self::Cargo => "cargo",
            Self::Libtest => "libtest",
            Self::Tap => "tap",
            Self::TeamCity => "teamcity",
            Self::Cucumber => "cucumber",
            Self::CucumberJson => "cucumber-json",
            Self::Subunit => "subunit",
            Self::Mocha => "mocha",
            Self::Gtest => "gtest",
            Self::Ctest => "ctest",
            Self::GtestStream => "gtest-stream",
            Self::NodeEvents => "node-events",
            Self::JestReporter => "jest-reporter",
            Self::Junit => "junit",
            Self::RobotXml => "robot-xml",
            Self::RobotJson => "robot-json",
            Self::Jest => "jest",
            Self::Vitest => "vitest",
            Self::Playwright => "playwright",
            Self::MochaJson => "mocha-json",
            Self::GtestJson => "gtest-json",
            Self::PytestRt => "pytest-rt",
            Self::Stpt => "stpt",
            Self::ResultsDb => "resultsdb",
        }
    }

    /// A state machine for an input in this format; `zone` reads times that name none.
    pub fn decoder_in(self, zone: &Zone) -> Box<dyn Decoder + Send> {
        match self.machine(zone) {
            Machine::Document(document) => Box::new(ByLine(document)),
            Machine::Lines(decoder) => decoder,
        }
    }

    /// A state machine for what a runner writes while it runs into a file of its own; a report is not the only one there, and
    /// there may be none.
    pub fn event_file_decoder(self, zone: &Zone) -> Box<dyn Decoder + Send> {
        match self {
            Self::Junit => Box::new(Live::new(zone)),
            _ => self.decoder_in(zone),
        }
    }

    /// A state machine for a report that is one document; `None` for formats that consist of lines.
    pub fn document(self, zone: &Zone) -> Option<Box<dyn Document + Send>> {
        match self.machine(zone) {
            Machine::Document(document) => Some(document),
            Machine::Lines(_) => None,
        }
    }

    /// A state machine where times name their zones, or are in UTC.
    pub fn decoder(self) -> Box<dyn Decoder + Send> {
        self.decoder_in(&utc())
    }

    fn machine(self, zone: &Zone) -> Machine {
        let zone = Zone::clone(zone);
        match self {
            Self::Testwire => Machine::lines(Testwire::default()),
            Self::Robot => Machine::lines(Robot::default()),
            Self::Pytest | Self::ReportLog => Machine::lines(Pytest::default()),
            Self::GoTest => Machine::lines(GoTest::default()),
            Self::Cargo => Machine::lines(Cargo::default()),
            Self::Libtest => Machine::lines(Libtest::default()),
            Self::Tap => Machine::lines(Tap::default()),
            Self::TeamCity => Machine::lines(TeamCity::new(zone)),
            Self::Cucumber => Machine::lines(Cucumber::default()),
            Self::CucumberJson => Machine::lines(CucumberJson::default()),
            Self::Subunit => Machine::lines(Subunit::default()),
            Self::Mocha => Machine::lines(Mocha::default()),
            Self::Gtest => Machine::lines(Gtest::default()),
            Self::Ctest => Machine::lines(Ctest::default()),
            Self::GtestStream => Machine::lines(GtestStream::default()),
            Self::NodeEvents => Machine::lines(NodeEvents::default()),
            Self::JestReporter => Machine::lines(JestReporter::default()),
            Self::Junit => Machine::document(Junit::new(zone)),
            Self::RobotXml => Machine::document(RobotXml::new(zone)),
            Self::RobotJson => Machine::document(JsonReport::new(RobotJson::new(zone))),
            Self::Jest => Machine::document(JsonReport::new(Jest::<false>::default())),
            Self::Vitest => Machine::document(JsonReport::new(Jest::<true>::default())),
            Self::Playwright => Machine::document(JsonReport::new(Playwright::default())),
            Self::MochaJson => Machine::document(JsonReport::new(MochaJson::default())),
            Self::GtestJson => Machine::document(JsonReport::new(GtestJson::new(zone))),
            Self::PytestRt => Machine::lines(Bodies::new(Client::Loader, zone)),
            Self::Stpt => Machine::lines(Bodies::new(Client::Stpt, zone)),
            Self::ResultsDb => Machine::lines(Bodies::new(Client::ResultsDb, zone)),
        }
    }

    /// True for a format that is no text: its decoder is to be given the bytes as they come, cut anywhere, instead of
    /// lines.
    pub fn is_binary(self) -> bool {
        self == Self::Subunit
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// No format is called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{0}`; there are {known}", known = known_names())]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|format| format.as_str() == text);
        found.copied().ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

fn known_names() -> String {
    Format::ALL.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", ")
}

/// A state machine for what a format consists of.
enum Machine {
    Lines(Box<dyn Decoder + Send>),
    Document(Box<dyn Document + Send>),
}

impl Machine {
    fn lines(decoder: impl Decoder + Send + 'static) -> Self {
        Self::Lines(Box::new(decoder))
    }

    fn document(document: impl Document + Send + 'static) -> Self {
        Self::Document(Box::new(document))
    }
}
