//! The event file of Maven and Gradle → events: reports, as classes of tests end, and what the listener for the JUnit Platform
//! (`listeners/junit`) tells of each test as it happens. It tells all that the reports of its module say, but for what tests
//! print; only that is taken from those reports then.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::Junit;
use crate::decode::document::ByLine;
use crate::decode::testwire::Testwire;
use crate::decode::wall::Zone;
use crate::decode::{Broken, Decoder, Emit};
use crate::event::{Event, Fact};

/// Stands in a line of its own before a report.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReportHead {
    /// Directory of the module whose report it is.
    pub report_of: String,
    /// Lines that the report has.
    pub lines: usize,
}

/// First line of the listener, as far as it is needed here.
#[derive(Deserialize)]
struct Listener {
    /// Directory of the module whose tests it hears of.
    module: String,
}

/// State of the event file.
pub(in crate::decode) struct Live {
    reports: ByLine<Junit>,
    events: Testwire,
    /// Modules of which the listener tells.
    modules: BTreeSet<String>,
    /// The tests that it told of.
    tests: HashSet<u64, FixedState>,
    /// Lines of the report that are still to come.
    left: usize,
    /// The report is of such a module.
    is_told: bool,
}

impl Live {
    pub(in crate::decode) fn new(zone: &Zone) -> Self {
        Self {
            reports: ByLine(Junit::of_many(Zone::clone(zone))),
            events: Testwire::default(),
            modules: BTreeSet::new(),
            tests: HashSet::default(),
            left: 0,
            is_told: false,
        }
    }

    fn event(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        if line.starts_with(b"{\"report_of\"")
            && let Ok(ReportHead { report_of, lines }) = serde_json::from_slice(line)
        {
            self.is_told = self.modules.contains(&report_of);
            self.left = lines;
            return;
        }
        if line.starts_with(b"{\"testwire\"")
            && let Ok(Listener { module }) = serde_json::from_slice(line)
        {
            self.modules.insert(module);
        }
        let Self { events, tests, .. } = self;
        events.line(line, &mut |event| {
            if let Fact::TestStarted(started) = &event.fact {
                tests.insert(tests.hasher().hash_one(started.test.id.as_ref()));
            }
            emit(event);
        });
    }

    /// A report of what was told already says only what the tests printed.
    fn told(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        let Self { reports, tests, .. } = self;
        reports.line(line, &mut |Event { time, fact }| {
            if let Fact::Log(mut log) = fact {
                log.test = log.test.filter(|test| tests.contains(&tests.hasher().hash_one(test.id.as_ref())));
                emit(Event { time, fact: Fact::Log(log) });
            }
        });
    }
}

impl Decoder for Live {
    fn line(&mut self, line: &[u8], emit: &mut Emit<'_>) {
        if self.left == 0 && line.starts_with(b"{") {
            return self.event(line, emit);
        }
        if self.is_told && self.left > 0 {
            self.told(line, emit);
        } else {
            self.reports.line(line, emit);
        }
        self.left = self.left.saturating_sub(1);
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        self.events.finish(emit);
        self.reports.finish(emit);
    }

    fn runner(&self) -> &str {
        self.reports.runner()
    }

    fn broken(&self) -> Option<&Broken> {
        self.reports.broken()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::utc;

    fn facts(lines: &[&str]) -> Vec<String> {
        let (mut live, mut facts) = (Live::new(&utc()), Vec::new());
        let mut emit = |event: Event<'_>| {
            facts.push(match &event.fact {
                Fact::TestStarted(one) => format!("begin {}", one.test.id),
                Fact::TestFinished(one) => format!("{:?} {} #{}", one.status, one.test.id, one.attempt.unwrap_or(0)),
                Fact::Log(one) => format!("{}: {}", one.test.as_ref().map_or("-", |test| &test.id), one.text),
                other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
            });
        };
        for line in lines.iter().flat_map(|text| text.lines()) {
            live.line(line.as_bytes(), &mut emit);
        }
        live.finish(&mut emit);
        facts
    }

    const LISTENER: &str = concat!(
        r#"{"testwire":1,"event":"run_started","runner":"junit","module":"/a"}"#,
        "\n",
        r#"{"event":"test_started","test":"c::t","suite":"c","attempt":1}"#,
        "\n",
        r#"{"event":"test_finished","test":"c::t","suite":"c","attempt":1,"status":"failed"}"#,
    );
    const REPORT: &str = r#"<testsuite name="c">
<testcase classname="c" name="t"><failure/><system-out>out of t
{"event":"test_started","test":"printed"}</system-out></testcase>
<testcase classname="c" name="other"><system-out>of other</system-out></testcase></testsuite>"#;

    #[test]
    fn a_report_of_what_the_listener_told_says_only_what_tests_printed() {
        let head = r#"{"report_of":"/a","lines":4}"#;
        assert_eq!(
            facts(&[LISTENER, head, REPORT, r#"{"event":"test_started","test":"c::t","attempt":2}"#]),
            [
                "RunStarted",
                "begin c::t",
                "Failed c::t #1",
                "c::t: out of t",
                r#"c::t: {"event":"test_started","test":"printed"}"#,
                "-: of other",
                "begin c::t"
            ]
        );
    }

    #[test]
    fn a_report_of_another_module_says_all() {
        let of_b = facts(&[LISTENER, r#"{"report_of":"/b","lines":4}"#, REPORT]);
        let ends: Vec<_> =
            of_b.iter().filter(|fact| fact.starts_with("Failed") || fact.starts_with("Passed")).collect();
        assert_eq!(ends, ["Failed c::t #1", "Failed c::t #1", "Passed c::other #1"]);
        assert_eq!(of_b.last().map(String::as_str), Some("RunFinished"));
        assert_eq!(facts(&[REPORT]).last().map(String::as_str), Some("RunFinished"), "without a head too");
    }
}
