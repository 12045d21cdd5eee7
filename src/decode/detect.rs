//! Which format an input is in.

use memchr::memchr_iter;

use super::bodies::{self, Client};
use super::format::Format;
use super::{
    ctest, cucumber, cucumber_json, gotest, gtest, gtest_stream, jest_reporter, libtest, mocha, node_events, object,
    pytest, robot, subunit, tap, teamcity, testwire,
};

/// Bytes of an input that are looked at.
pub const DETECT_LIMIT: usize = 64 * 1024;

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
    Seen::default().detect(head, eof)
}

/// The beginning of an input that comes line by line.
#[derive(Debug, Default)]
pub struct Detector {
    head: Vec<u8>,
    seen: Seen,
}

impl Detector {
    /// Takes the next line, without its end.
    pub fn line(&mut self, line: &[u8]) {
        self.head.extend_from_slice(line);
        self.head.push(b'\n');
    }

    /// As [`detect`] for the lines so far; those that were looked at are not looked at again.
    pub fn detect(&mut self, eof: bool) -> Detection {
        self.seen.detect(&self.head, eof)
    }

    /// The lines so far, which are forgotten.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self).head
    }
}

/// How much of an input was looked at.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes of whole lines.
    bytes: usize,
    lines: usize,
    /// With so many bytes the whole is looked at again for what is no line.
    due: usize,
}

impl Seen {
    fn detect(&mut self, head: &[u8], eof: bool) -> Detection {
        let complete = eof || head.len() >= DETECT_LIMIT;
        // Each time twice as much, so that many short lines cost no more than a few readings of the whole.
        let due = complete || head.len() >= self.due;
        if due && let Some(found) = packet(head) {
            return found;
        }
        let from = self.bytes;
        for end in memchr_iter(b'\n', head.get(from..).unwrap_or_default()).map(|at| from + at) {
            self.lines += 1;
            let line = head.get(self.bytes..end).unwrap_or_default();
            self.bytes = end + 1;
            if let Some(found) = whole_line(line, self.lines) {
                return found;
            }
        }
        let last = head.get(self.bytes..).unwrap_or_default();
        let number = self.lines + 1;
        if complete && let Some(found) = whole_line(last, number).or_else(|| long_line(last, number)) {
            return found;
        }
        if due && let Some(found) = json_document(head) {
            return found;
        }
        if due {
            self.due = head.len() * 2;
        }
        if !complete {
            return Detection::NeedMore;
        }
        let text = String::from_utf8_lossy(head);
        cucumber_report(&text).or_else(|| upload(&text)).unwrap_or_else(|| unknown(&text, head.len()))
    }
}

fn packet(head: &[u8]) -> Option<Detection> {
    let at = subunit::first_packet(head)?;
    let reason = format!("Byte {at} begins a packet of subunit v2.");
    Some(Detection::Found { format: Format::Subunit, reason })
}

fn unknown(text: &str, bytes: usize) -> Detection {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let reason = match first {
        None => "The input is empty.".to_owned(),
        Some(first) => {
            let shown: String = first.chars().take(80).collect();
            let dots = if shown.len() < first.len() { "…" } else { "" };
            format!(
                "No line of the first {bytes} bytes is an event of a known format; the input begins with `{shown}{dots}`."
            )
        }
    };
    Detection::Unknown { reason }
}

/// A line that is an event of exactly one format.
fn whole_line(line: &[u8], number: usize) -> Option<Detection> {
    let text = String::from_utf8_lossy(line);
    if let Some(found) = document(&text, number) {
        return Some(found);
    }
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
    } else if object::find_event(&text, "\"type\"", libtest::is_event).is_some() {
        (Format::Libtest, "is an event of libtest or nextest")
    } else if object::find_event(&text, "\"test:", node_events::is_event).is_some() {
        (Format::NodeEvents, "is an event of node:test")
    } else if object::find_event(&text, "\"event\"", jest_reporter::is_event).is_some() {
        (Format::JestReporter, "is a call of a jest reporter")
    } else if object::find_event(&text, "{\"", cucumber::is_event).is_some() {
        (Format::Cucumber, "is an envelope of Cucumber messages")
    } else if let Some(client) = bodies::client_of(&text) {
        match client {
            Client::Loader => (Format::PytestRt, "is a body of pytest-rt or nose2rt"),
            Client::Stpt => (Format::Stpt, "is a body of System Test Progress Tracking"),
            Client::ResultsDb => (Format::ResultsDb, "is an upload to WebKit's results database"),
        }
    } else if mocha::has_event(&text) {
        (Format::Mocha, "is an event of mocha's json-stream")
    } else if teamcity::has_message(&text) {
        (Format::TeamCity, "has a TeamCity service message")
    } else if gtest::announces(&text) {
        (Format::Gtest, "is of a GoogleTest program")
    } else if ctest::announces(&text) {
        (Format::Ctest, "is of ctest")
    } else if gtest_stream::is_event(&text) {
        (Format::GtestStream, "is of GoogleTest's stream protocol")
    } else if let Some(what) = tap::announces(&text) {
        (Format::Tap, what)
    } else {
        return None;
    };
    Some(Detection::Found { format, reason: format!("Line {number} {what}.") })
}

/// The format of which a line, anywhere in what a command prints for people, is an event; `None` for other lines, and for
/// reports, which are documents. A TAP test point alone is too little: commands print `ok 1` for other reasons.
pub fn stream_format(line: &[u8]) -> Option<Format> {
    // Cheap first: nearly every line of nearly every command is none.
    let likely = |byte: &u8| matches!(byte, b'{' | b'[' | b'#' | b'T' | b'1' | b'e' | b'\x1b');
    if !line.iter().find(|byte| !byte.is_ascii_whitespace()).is_some_and(likely)
        && memchr::memmem::find(line, b"##team").is_none()
    {
        return None;
    }
    let Some(Detection::Found { format, .. }) = whole_line(line, 0) else { return None };
    let is_report = matches!(format, Format::Junit | Format::RobotXml);
    let is_point = format == Format::Tap && !(line.starts_with(b"TAP version ") || line.starts_with(b"1.."));
    (!is_report && !is_point).then_some(format)
}

/// The binary format that bytes, which come next in an input, begin with or contain; `None` if they are text, as far as
/// they go. A packet may be cut at their end only if it begins them.
pub fn binary_format(bytes: &[u8]) -> Option<Format> {
    (subunit::may_begin(bytes) || subunit::first_packet(bytes).is_some()).then_some(Format::Subunit)
}

/// A report over many lines, by its beginning.
fn cucumber_report(text: &str) -> Option<Detection> {
    cucumber_json::may_begin(text).then(|| Detection::Found {
        format: Format::CucumberJson,
        reason: "The input begins as Cucumber's JSON report does.".to_owned(),
    })
}

/// An upload to the results database over many lines: its keys come in any order.
fn upload(text: &str) -> Option<Detection> {
    let has = |key: &str| text.contains(key);
    let is_one = text.trim_start().starts_with('{')
        && has("\"configuration\"")
        && (has("\"test_results\"") || has("\"commits\""));
    is_one.then(|| Detection::Found {
        format: Format::ResultsDb,
        reason: "The input begins as an upload to WebKit's results database does.".to_owned(),
    })
}

/// A line with the beginning of a report that is one document.
fn document(line: &str, number: usize) -> Option<Detection> {
    // UTF-16: what matters here is ASCII.
    let wide = line.contains('\0').then(|| line.replace('\0', ""));
    let line = wide.as_deref().unwrap_or(line).trim_start_matches(['\u{feff}', '\u{fffd}']).trim_start();
    let roots = [("<testsuites", Format::Junit), ("<testsuite", Format::Junit), ("<robot ", Format::RobotXml)];
    let (at, root, format) = roots.iter().find_map(|(root, format)| Some((line.find(root)?, root, *format)))?;
    let (before, tag) = line.split_at(at);
    let tag = tag.split('>').next().unwrap_or_default();
    let own = before.is_empty() || before.contains("<?xml") || before.ends_with("-->");
    // Behind output of the program it must look like one.
    let likely =
        own || (!before.starts_with('{') && tag.contains("=\"") && (tag.contains("tests=") || tag.contains("name=")));
    likely.then(|| Detection::Found { format, reason: format!("Line {number} begins a report with {root}>.") })
}

/// A report that is one JSON document, known by its first key, wherever it begins.
fn json_document(head: &[u8]) -> Option<Detection> {
    // The first key, what must be further on, and the format.
    const BEGINNINGS: [(&str, &str, Format); 8] = [
        ("numFailedTestSuites", "", Format::Jest),
        ("numTotalTestSuites", "", Format::Vitest),
        ("generator", "\"suite\"", Format::RobotJson),
        ("config", "\"rootDir\"", Format::Playwright),
        ("suites", "\"specs\"", Format::Playwright),
        ("stats", "\"passes\"", Format::MochaJson),
        ("tests", "\"testsuites\"", Format::GtestJson),
        ("tests", "\"disabled\"", Format::GtestJson),
    ];
    memchr_iter(b'{', head).take(1024).find_map(|at| {
        let rest = head.get(at + 1..)?.trim_ascii_start().strip_prefix(b"\"")?;
        let (key, _, format) = BEGINNINGS.iter().find(|(key, more, _)| {
            let after = rest.strip_prefix(key.as_bytes()).filter(|after| after.starts_with(b"\""));
            after.is_some_and(|after| memchr::memmem::find(after, more.as_bytes()).is_some())
        })?;
        let line = 1 + memchr_iter(b'\n', head.get(..at)?).count();
        let reason = format!("Line {line} begins a JSON document with the key `{key}`, as {format} has it.");
        Some(Detection::Found { format: *format, reason })
    })
}

/// A line that is longer than what is looked at (a listener that names all tests first) is judged by its beginning.
fn long_line(line: &[u8], number: usize) -> Option<Detection> {
    let beginnings: &[(&str, Format)] = &[
        ("{\"testwire\":", Format::Testwire),
        ("{\"event\":\"start_suite\",\"pid\":", Format::Robot),
        ("{\"event\": \"start_suite\", ", Format::Robot),
        ("{\"$report_type\":\"", Format::Pytest),
        ("{\"Time\":\"", Format::GoTest),
        ("{\"fw\": \"", Format::PytestRt),
        ("{\"machine_name\": \"", Format::Stpt),
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
        let Detection::Unknown { reason } = detect(b"\n\nTIP version 13\n", true) else { panic!("found a format") };
        assert!(reason.contains("`TIP version 13`"), "{reason}");
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
        assert_eq!(
            error,
            "unknown format `tapp`; there are testwire, robot, pytest, reportlog, gotest, cargo, libtest, tap, teamcity, cucumber, \
             cucumber-json, subunit, mocha, gtest, ctest, gtest-stream, node-events, jest-reporter, junit, robot-xml, robot-json, jest, \
             vitest, playwright, mocha-json, gtest-json, pytest-rt, stpt, resultsdb"
        );
    }
}
