//! Reports of real runners, and what a perfect reader says of each: `tests/fixtures/captures/truth-reports.json`.
//!
//! With `TESTWIRE_CAPTURES=DIR` the files below DIR and its `truth.json` are read instead.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use testwire::decode::{Detection, Format, detect, utc};
use testwire::event::{Event, Fact, RunStatus, Status, Timestamp};
use testwire::loki::entry::{Entry, EntrySink, Stream};
use testwire::normalize::{Counters, Normalizer, RunEnd, RunInfo};

const FORMATS: &[&str] =
    &["junit", "robot-xml", "robot-json", "jest", "vitest", "playwright", "mocha-json", "gtest-json"];

/// Ten minutes before any capture was made.
const BEFORE: Timestamp = Timestamp(1_795_000_000_000_000_000);

fn captures() -> (PathBuf, Map<String, Value>) {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    let folder = std::env::var_os("TESTWIRE_CAPTURES").map_or_else(own, PathBuf::from);
    let truth = [folder.join("truth.json"), folder.join("truth-reports.json")];
    let truth = truth.iter().rev().find_map(|path| fs::read_to_string(path).ok()).unwrap();
    (folder, serde_json::from_str(&truth).unwrap())
}

fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    if let Ok(bytes) = fs::read(folder.join(name)) {
        return Some(bytes);
    }
    let packed = fs::read(folder.join(format!("{name}.gz"))).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

struct Nowhere;

impl EntrySink for Nowhere {
    fn entry(&mut self, _: &Arc<Stream>, _: &Entry<'_>) {}
}

/// What became of a report.
struct Seen {
    counters: Counters,
    status: Option<RunStatus>,
    broken: Option<String>,
    /// Last status of each test.
    tests: BTreeMap<String, Status>,
    /// Suites that failed by themselves.
    suites: Vec<String>,
    facts: Vec<String>,
}

/// Reads a report in pieces of this size.
fn decode(format: Format, bytes: &[u8], size: usize) -> Seen {
    let mut document = format.document(&utc()).expect("a report");
    let mut normalizer = Normalizer::new(RunInfo { run_id: "r".into(), ..RunInfo::default() });
    let (mut tests, mut suites, mut facts) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut emit = |event: Event<'_>| {
        match &event.fact {
            Fact::TestFinished(end) | Fact::TestCorrected(end) => {
                tests.insert(end.test.id.to_string(), end.status);
            }
            Fact::SuiteFinished(end) if end.status.is_failing() && !end.message.is_empty() => {
                suites.push(end.suite.to_string());
            }
            _ => {}
        }
        let mut fact = format!("{:?} {:?}", event.time, event.fact);
        let end = fact.char_indices().nth(400).map_or(fact.len(), |(at, _)| at);
        fact.truncate(end);
        facts.push(fact);
        normalizer.event(&event, BEFORE, &mut Nowhere);
    };
    for part in bytes.chunks(size) {
        document.bytes(part, &mut emit);
    }
    document.finish(&mut emit);
    let broken = document.broken().map(ToString::to_string);
    let status = normalizer.finish(&RunEnd::InputEnded, BEFORE, &mut Nowhere);
    let counters = normalizer.progress(BEFORE).counters;
    Seen { counters, status, broken, tests, suites, facts }
}

/// The numbers of a report that differ from the truth.
fn differences(truth: &Value, seen: &Seen) -> String {
    let c = &seen.counters;
    let mut out = String::new();
    let found = [
        ("tests", c.done() + c.unfinished),
        ("passed", c.passed),
        ("failed", c.failed),
        ("errored", c.errored),
        ("skipped", c.skipped),
        ("xfailed", c.xfailed),
        ("xpassed", c.xpassed),
        ("unfinished", c.unfinished),
        ("flaky", c.flaky),
        ("retries", c.retried),
    ];
    for (name, number) in found {
        let expected = truth[name].as_u64().unwrap();
        let accepted =
            truth["accept"][name].as_array().is_some_and(|list| list.iter().any(|n| n.as_u64() == Some(number)));
        if number != expected && !accepted {
            write!(out, " {name}={number} instead of {expected}").unwrap();
        }
    }
    let failing = seen.tests.iter().filter(|(_, status)| status.is_failing());
    let mut failing: Vec<&str> = failing.map(|(id, _)| plain(id, truth["format"] == "junit")).collect();
    failing.sort_unstable();
    if truth.get("failing_count").is_none() {
        let mut expected: Vec<&str> =
            truth["failing"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        expected.sort_unstable();
        if failing != expected {
            write!(out, "\n  failing {failing:?}\n  instead {expected:?}").unwrap();
        }
    }
    let complete = seen.broken.is_none() && seen.status != Some(RunStatus::Aborted);
    if complete != truth["complete"].as_bool().unwrap() {
        write!(out, " complete={complete} ({:?}, {:?})", seen.broken, seen.status).unwrap();
    }
    let extra = truth["extra_failures"].as_array().map_or(0, Vec::len);
    if seen.suites.len() < extra && tells_suites(truth) {
        write!(out, " failed suites {:?} instead of {}", seen.suites, truth["extra_failures"]).unwrap();
    }
    out
}

/// The name without what tells apart tests of one name.
fn plain(id: &str, hosts: bool) -> &str {
    let id = if hosts { id.split_once("] ").filter(|_| id.starts_with('[')).map_or(id, |(_, id)| id) } else { id };
    let number = |rest: &str| rest.strip_suffix(')').is_some_and(|n| n.parse::<u32>().is_ok());
    id.rsplit_once(" (").filter(|(_, rest)| number(rest)).map_or(id, |(id, _)| id)
}

/// gtest writes nothing of a failed test suite into its reports, vitest nothing of errors outside of files and suites.
fn tells_suites(truth: &Value) -> bool {
    !matches!(truth["format"].as_str(), Some("gtest-json" | "junit" | "vitest"))
}

#[test]
fn every_report_says_what_is_true() {
    let (folder, truth) = captures();
    let (mut wrong, mut table, mut files) = (String::new(), String::new(), 0);
    for (name, truth) in truth.iter().filter(|(_, t)| FORMATS.contains(&t["format"].as_str().unwrap())) {
        let Some(bytes) = read(&folder, name) else { continue };
        let format: Format = truth["format"].as_str().unwrap().parse().unwrap();
        files += 1;
        let seen = decode(format, &bytes, 64 * 1024);
        if bytes.len() < 300_000 {
            assert_eq!(decode(format, &bytes, 1009).facts, seen.facts, "{name} depends on how it is cut");
        }
        if truth["tests"].is_null() {
            continue;
        }
        let c = seen.counters;
        writeln!(table, "{name}: {} tests {c:?}", c.done() + c.unfinished).unwrap();
        let differences = differences(truth, &seen);
        if name == "gtest/repeat3.json" {
            // Its list names one failure, the file itself two (`"failures": 2`).
            assert_eq!((c.passed, c.failed), (1, 2), "{name}");
            continue;
        }
        if !differences.is_empty() {
            writeln!(wrong, "{name}:{differences}").unwrap();
        }
    }
    println!("{table}{files} files");
    assert!(files > 0);
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_report_is_recognised_by_its_first_bytes() {
    let (folder, truth) = captures();
    for (name, truth) in truth.iter().filter(|(_, t)| FORMATS.contains(&t["format"].as_str().unwrap())) {
        let Some(bytes) = read(&folder, name).filter(|bytes| !bytes.is_empty()) else { continue };
        let head = &bytes[..bytes.len().min(64 * 1024)];
        match detect(head, head.len() == bytes.len()) {
            // Broken ones may begin as something else does.
            Detection::Found { .. } if truth["tests"].is_null() => {}
            Detection::Found { format, .. } => assert_eq!(Some(format.as_str()), truth["format"].as_str(), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Reports as they are, damaged at random places: nothing panics, and what is wrong is said or harmless.
#[test]
fn damaged_reports_never_panic() {
    let (folder, truth) = captures();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    for (name, truth) in truth.iter().filter(|(_, t)| FORMATS.contains(&t["format"].as_str().unwrap())) {
        let Some(mut bytes) = read(&folder, name).filter(|bytes| !bytes.is_empty()) else { continue };
        bytes.truncate(30_000);
        let format: Format = truth["format"].as_str().unwrap().parse().unwrap();
        for _ in 0..12 {
            let mut damaged = bytes.clone();
            for _ in 0..=next(8) {
                let at = next(damaged.len());
                match next(4) {
                    0 => damaged[at] = next(256) as u8,
                    1 => damaged[at] = b"<>&\"\\{}[],:]"[next(12)],
                    2 => damaged.truncate(at.max(1)),
                    _ => {
                        let end = (at + next(200)).min(damaged.len());
                        let piece = damaged[at..end].to_vec();
                        let to = next(damaged.len());
                        damaged.splice(to..to, piece);
                    }
                }
            }
            let size = 1 + next(9000);
            assert_eq!(decode(format, &damaged, size).facts, decode(format, &damaged, damaged.len()).facts, "{name}");
        }
    }
}
