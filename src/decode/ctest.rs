//! What `ctest` prints → events (`cmCTestRunTest::EndTest` and `StartTest` in CMake), live: a line when a test starts and one
//! when it ends. With `-V` its output stands behind its number. With `--repeat` a test starts and ends several times, and one
//! of its ends only counts it (`n/total`).

use std::collections::{HashMap, HashSet};

use super::cargo::without_colours;
use super::output::{output, run_finished, run_started, seconds, test_ref};
use super::{Decoder, Emit, stdout_line};
use crate::event::{Event, Fact, Planned, RunStatus, Source, Status, TestFinished, TestStarted};

/// State of the format.
#[derive(Debug, Default)]
pub(super) struct Ctest {
    /// Names by number.
    names: HashMap<u64, String>,
    /// Numbers of those that passed: with `--repeat until-fail` they run again, which is no retry.
    passed: HashSet<u64>,
    planned: u64,
    /// It has begun and not summed up.
    runs: bool,
}

/// A line of ctest's own.
#[derive(Debug, PartialEq)]
enum Line<'a> {
    Project,
    /// The first line of the sum, or what stands in its place.
    Sum,
    Start(u64, &'a str),
    End {
        number: u64,
        /// `None` where it ends another run of a test that is counted elsewhere.
        total: Option<u64>,
        name: &'a str,
        result: &'a str,
        seconds: Option<f64>,
    },
    /// Output of a test.
    Output(u64, &'a str),
}

fn parse(text: &str) -> Option<Line<'_>> {
    if text.starts_with("Test project ") {
        return Some(Line::Project);
    }
    if text.contains("% tests passed, ") || text == "No tests were found!!!" {
        return Some(Line::Sum);
    }
    let trimmed = text.trim_start();
    if let Some(rest) = trimmed.strip_prefix("Start ") {
        let (number, name) = rest.trim_start().split_once(": ")?;
        return Some(Line::Start(number.parse().ok()?, name));
    }
    let (first, rest) = trimmed.split_once([' ', ':'])?;
    if let Some((_, total)) = first.split_once('/') {
        return end(Some(total.parse().ok()?), rest);
    }
    if first == "Test" {
        return end(None, trimmed);
    }
    let output = text.strip_prefix(first)?.strip_prefix(':')?;
    Some(Line::Output(first.parse().ok()?, output.strip_prefix(' ').unwrap_or(output)))
}

/// `Test  #3: crashes ....***Exception: SegFault  0.01 sec`
fn end(total: Option<u64>, text: &str) -> Option<Line<'_>> {
    let (number, rest) = text.strip_prefix("Test ")?.trim_start().strip_prefix('#')?.split_once(": ")?;
    // The time is the last thing; the result begins behind dots, with stars if it is not `Passed`.
    let (rest, time) = rest.strip_suffix(" sec")?.rsplit_once(' ')?;
    let rest = rest.trim_end();
    let (name, result) = match rest.split_once("***") {
        Some((name, result)) => (name, result),
        None => (rest.strip_suffix("Passed")?, "Passed"),
    };
    let name = name.trim_end().trim_end_matches('.').trim_end();
    let number = number.parse().ok()?;
    Some(Line::End { number, total, name, result: result.trim_end(), seconds: time.parse().ok() })
}

/// What the word behind the dots means; what could not be started counts as failed for ctest.
fn status(result: &str) -> Status {
    match result {
        "Passed" => Status::Passed,
        "Skipped" | "Not Run (Disabled)" => Status::Skipped,
        _ => Status::Failed,
    }
}

/// Tells whether a line is the first of a ctest.
pub(super) fn announces(text: &str) -> bool {
    parse(text) == Some(Line::Project)
}

impl Decoder for Ctest {
    fn line(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let raw = String::from_utf8_lossy(bytes);
        let text = without_colours(&raw);
        match parse(&text) {
            Some(Line::Project) => {
                self.runs = true;
                run_started("CTest", None, emit);
            }
            Some(Line::Sum) if self.runs => {
                self.runs = false;
                stdout_line(bytes, emit);
                run_finished(None, "", None, emit);
            }
            Some(Line::Start(number, name)) => {
                self.names.insert(number, name.to_owned());
                let repeat = self.passed.contains(&number);
                let started = TestStarted { test: test_ref(name, ""), repeat, ..TestStarted::default() };
                emit(Event { time: None, fact: Fact::TestStarted(started) });
            }
            Some(Line::End { number, total, name, result, seconds: time })
                if total.is_some() || self.names.contains_key(&number) =>
            {
                self.plan(total, emit);
                // A name that is long has its dots cut, one that ends in dots has too many: as it was at the start.
                let name = self.names.get(&number).map_or(name, String::as_str);
                let status = status(result);
                let mut finished = TestFinished::new(test_ref(name, ""), status);
                finished.duration = seconds(time);
                if status == Status::Passed {
                    self.passed.insert(number);
                } else {
                    self.passed.remove(&number);
                    finished.message = result.into();
                }
                emit(Event { time: None, fact: Fact::TestFinished(finished) });
            }
            Some(Line::Output(number, text)) if self.names.contains_key(&number) => {
                let test = self.names.get(&number).map(|name| test_ref(name, ""));
                output(test.as_ref(), &Source::Stdout, if text.is_empty() { "\n" } else { text }, None, emit);
            }
            _ => stdout_line(bytes, emit),
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if !self.runs {
            return;
        }
        if self.names.is_empty() {
            // That there are no tests it says on standard error.
            return run_finished(None, "no test was started", None, emit);
        }
        run_finished(Some(RunStatus::Aborted), "ctest ended before it summed up", None, emit);
    }

    fn runner(&self) -> &str {
        "ctest"
    }
}

impl Ctest {
    fn plan(&mut self, total: Option<u64>, emit: &mut Emit<'_>) {
        if let Some(total) = total.filter(|total| *total != self.planned) {
            self.planned = total;
            let planned = Planned { total: Some(total), tests: Vec::new() };
            emit(Event { time: None, fact: Fact::Planned(planned) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_its_own_are_told_from_output() {
        assert_eq!(parse("      Start  8: fixture_setup"), Some(Line::Start(8, "fixture_setup")));
        let end =
            |number, name, result, time| Some(Line::End { number, total: Some(10), name, result, seconds: Some(time) });
        assert_eq!(
            parse(" 4/10 Test  #3: crashes ..........................***Exception: SegFault  0.50 sec"),
            end(3, "crashes", "Exception: SegFault", 0.5)
        );
        assert_eq!(parse("10/10 Test #10: a b ...   Passed    1.00 sec"), end(10, "a b", "Passed", 1.0));
        assert_eq!(
            parse(" 8/10 Test  #7: disabled ....***Not Run (Disabled)   0.00 sec"),
            end(7, "disabled", "Not Run (Disabled)", 0.0)
        );
        assert_eq!(
            parse("    Test  #3: crashes ....***Exception: SegFault  0.01 sec"),
            Some(Line::End {
                number: 3,
                total: None,
                name: "crashes",
                result: "Exception: SegFault",
                seconds: Some(0.01)
            })
        );
        assert_eq!(parse("No tests were found!!!"), Some(Line::Sum));
        assert_eq!(parse("3: [ RUN      ] A.b"), Some(Line::Output(3, "[ RUN      ] A.b")));
        for text in ["Total Test time (real) =   1.01 sec", "\t  2 - fails (Failed)", "", "x: y", "1/2 of it: 3 sec"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
