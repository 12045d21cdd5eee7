//! The formats, and which one an input is in.

use std::fmt;
use std::str::FromStr;

use memchr::memchr_iter;

use super::cargo::Cargo;
use super::gotest::{self, GoTest};
use super::pytest::{self, Pytest};
use super::robot::{self, Robot};
use super::testwire::{self, Testwire};
use super::{Decoder, object};

/// Bytes of an input that are looked at.
pub const DETECT_LIMIT: usize = 64 * 1024;

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
}

impl Format {
    /// Every format there is.
    pub const ALL: &[Self] = &[Self::Testwire, Self::Robot, Self::Pytest, Self::ReportLog, Self::GoTest, Self::Cargo];

    /// What it is called on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Testwire => "testwire",
            Self::Robot => "robot",
            Self::Pytest => "pytest",
            Self::ReportLog => "reportlog",
            Self::GoTest => "gotest",
            Self::Cargo => "cargo",
        }
    }

    /// A state machine for an input in this format.
    pub fn decoder(self) -> Box<dyn Decoder + Send> {
        match self {
            Self::Testwire => Box::new(Testwire::default()),
            Self::Robot => Box::new(Robot::default()),
            Self::Pytest | Self::ReportLog => Box::new(Pytest::default()),
            Self::GoTest => Box::new(GoTest::default()),
            Self::Cargo => Box::new(Cargo::default()),
        }
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

/// What the beginning of an input says about its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detection {
    /// It is this one.
    Found {
        /// Which.
        format: Format,
        /// Why, as one sentence.
        reason: String,
    },
    /// Not enough was read to know; at most [`DETECT_LIMIT`] bytes are asked for.
    NeedMore,
    /// It is none that is known.
    Unknown {
        /// What was found instead, as one sentence.
        reason: String,
    },
}

/// Looks for the first event of a known format in `head`, the first bytes of an input; lines before it are allowed,
/// as builds and test programs print them. `eof`: there is no more than `head`.
pub fn detect(head: &[u8], eof: bool) -> Detection {
    let complete = eof || head.len() >= DETECT_LIMIT;
    let mut from = 0;
    let mut number = 0;
    for end in memchr_iter(b'\n', head) {
        number += 1;
        if let Some(found) = whole_line(head.get(from..end).unwrap_or_default(), number) {
            return found;
        }
        from = end + 1;
    }
    if !complete {
        return Detection::NeedMore;
    }
    let last = head.get(from..).unwrap_or_default();
    if let Some(found) = whole_line(last, number + 1).or_else(|| long_line(last, number + 1)) {
        return found;
    }
    let text = String::from_utf8_lossy(head);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let reason = match first {
        None => "The input is empty.".to_owned(),
        Some(first) => {
            let shown: String = first.chars().take(80).collect();
            let dots = if shown.len() < first.len() { "…" } else { "" };
            format!(
                "No line of the first {} bytes is an event of a known format; the input begins with `{shown}{dots}`.",
                head.len()
            )
        }
    };
    Detection::Unknown { reason }
}

/// A line that is an event of exactly one format.
fn whole_line(line: &[u8], number: usize) -> Option<Detection> {
    let text = String::from_utf8_lossy(line);
    let (format, what) = if object::find_event(&text, "\"testwire\"", testwire::announces).is_some() {
        (Format::Testwire, "names the version of testwire's own format")
    } else if let Some((_, plugin)) = object::find_event(&text, "\"$report_type\"", pytest::is_report) {
        if plugin {
            (Format::Pytest, "is of testwire's pytest plugin")
        } else {
            (Format::ReportLog, "is of pytest-reportlog")
        }
    } else if object::find_event(&text, "\"event\"", robot::is_event).is_some() {
        (Format::Robot, "is of a Robot Framework listener")
    } else if object::find_event(&text, "\"event\"", testwire::is_event).is_some() {
        (Format::Testwire, "is an event of testwire's own format")
    } else if object::find_event(&text, "\"Action\"", gotest::is_event).is_some() {
        (Format::GoTest, "is an event of go test -json")
    } else {
        return None;
    };
    Some(Detection::Found { format, reason: format!("Line {number} {what}.") })
}

/// A line that is longer than what is looked at (a listener that names all tests first) is judged by its beginning.
fn long_line(line: &[u8], number: usize) -> Option<Detection> {
    let beginnings: &[(&str, Format)] = &[
        ("{\"testwire\":", Format::Testwire),
        ("{\"event\":\"start_suite\",\"pid\":", Format::Robot),
        ("{\"event\": \"start_suite\", ", Format::Robot),
        ("{\"$report_type\":\"", Format::Pytest),
        ("{\"Time\":\"", Format::GoTest),
    ];
    let (beginning, format) = beginnings.iter().find(|(beginning, _)| line.starts_with(beginning.as_bytes()))?;
    Some(Detection::Found { format: *format, reason: format!("Line {number} is long and begins with `{beginning}`.") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(text: &str) -> Option<Format> {
        match detect(text.as_bytes(), true) {
            Detection::Found { format, .. } => Some(format),
            _ => None,
        }
    }

    #[test]
    fn every_capture_is_recognised_from_its_first_bytes_and_never_as_another() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
        for (name, format) in [
            ("go", Format::GoTest),
            ("robot", Format::Robot),
            ("pytest", Format::ReportLog),
            ("testwire", Format::Testwire),
        ] {
            for file in std::fs::read_dir(format!("{folder}{name}")).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_none_or(|end| end != "jsonl") {
                    continue;
                }
                let expected = if path.to_string_lossy().contains("plugin") { Format::Pytest } else { format };
                let bytes = std::fs::read(&path).unwrap();
                let mut read = 0;
                let found = loop {
                    match detect(&bytes[..read], read == bytes.len()) {
                        Detection::NeedMore => read = (read + 97).min(bytes.len()),
                        Detection::Found { format, .. } => break Some(format),
                        Detection::Unknown { .. } => break None,
                    }
                };
                assert_eq!(found, Some(expected), "{}", path.display());
                assert!(read < 8_192, "{} took {read} bytes", path.display());
            }
        }
    }

    #[test]
    fn lines_before_the_first_event_do_not_matter() {
        let event = "{\"Time\":\"2026-11-20T09:40:53Z\",\"Action\":\"start\",\"Package\":\"p\"}";
        let noise = "go: downloading x\r\n{\"event\":\"listening\",\"port\":80}\n{\"Action\":\"start\"}\n\u{1b}[31m{\n";
        assert_eq!(format_of(&format!("{noise}{event}")), Some(Format::GoTest));
        assert_eq!(
            format_of("tests/a.py .{\"pytest_version\": \"9\", \"$report_type\": \"SessionStart\"}"),
            Some(Format::ReportLog)
        );
        assert_eq!(format_of("{\"event\":\"test_started\",\"test\":\"a\"}"), Some(Format::Testwire));
        assert_eq!(format_of("{\"testwire\":9,\"event\":\"born\"}"), Some(Format::Testwire));
        assert_eq!(format_of("{\"event\":\"log\",\"text\":\"of some program\"}"), None);
    }

    #[test]
    fn a_first_line_longer_than_the_limit_is_known_by_its_beginning() {
        let names = "\"Suite.A test\",".repeat(10_000);
        let line = format!("{{\"event\":\"start_suite\",\"pid\":7,\"all_tests\":[{names}");
        let head = &line.as_bytes()[..DETECT_LIMIT];
        assert!(matches!(detect(head, false), Detection::Found { format: Format::Robot, .. }));
        assert_eq!(detect(&head[..1_000], false), Detection::NeedMore);
    }

    #[test]
    fn what_is_unknown_says_what_it_begins_with() {
        assert_eq!(detect(b"", false), Detection::NeedMore);
        assert_eq!(detect(b"", true), Detection::Unknown { reason: "The input is empty.".to_owned() });
        let Detection::Unknown { reason } = detect(b"\n\nTAP version 13\n", true) else { panic!("found a format") };
        assert!(reason.contains("`TAP version 13`"), "{reason}");
        let long = [b'x'; DETECT_LIMIT];
        assert!(matches!(detect(&long, false), Detection::Unknown { .. }));
        assert!(matches!(detect(&[0xff; 10], true), Detection::Unknown { .. }));
    }

    #[test]
    fn names_are_read_back_and_are_those_of_the_command_line() {
        use clap::ValueEnum;
        assert_eq!(Format::ALL, Format::value_variants());
        for format in Format::ALL {
            assert_eq!(format.as_str().parse(), Ok(*format));
            assert_eq!(format.to_possible_value().unwrap().get_name(), format.to_string());
        }
        let error = "tapp".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "unknown format `tapp`; there are testwire, robot, pytest, reportlog, gotest, cargo");
    }
}
