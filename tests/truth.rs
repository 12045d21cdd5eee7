//! Every capture of the table, decoded and normalized, gives what a perfect consumer reports.
//!
//! The captures are those of `tests/fixtures/captures`; `TESTWIRE_CAPTURES=DIR` replays a whole directory with a
//! `truth.json` of the same form instead. The table is printed with `--nocapture`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use testwire::decode::{Decoder, Detection, Format, detect, utc};
use testwire::event::{Event, Fact, Source as LogSource, Status, Timestamp};
use testwire::loki::entry::{Entry, EntrySink, Stream};
use testwire::normalize::{Normalizer, RunEnd, RunInfo};
use testwire::source::follow::Follow;
use testwire::source::lines::LineReader;
use testwire::source::{Got, Source};

/// Later than every capture.
const NOW: Timestamp = Timestamp(1_795_200_000_000_000_000);

/// What no reader of the file alone can know, and why.
const UNKNOWABLE: &[(&str, &str, &str)] = &[
    ("jest/killed.teamcity.txt", "complete", "the format has no end mark, and what came was whole"),
    ("subunit/unittest.teamcity.txt", "planned", "the file says testCount 14, the table 12"),
];

fn captures() -> PathBuf {
    std::env::var_os("TESTWIRE_CAPTURES")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures"), PathBuf::from)
}

/// The bytes of a capture, which may be kept compressed.
fn bytes_of(name: &str) -> Option<Vec<u8>> {
    let path = captures().join(name);
    if let Ok(bytes) = std::fs::read(&path) {
        return Some(bytes);
    }
    let packed = std::fs::File::open(format!("{}.gz", path.display())).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// Name, format and truth of each capture whose format is one of ours.
fn table() -> Vec<(String, Format, Value)> {
    let truth: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(captures().join("truth.json")).unwrap()).unwrap();
    let known = |(name, truth): (String, Value)| {
        let format: Format = truth.get("format")?.as_str()?.parse().ok()?;
        // Reports are those of tests/reports.rs.
        Some((name, format, truth)).filter(|_| format.document(&utc()).is_none())
    };
    truth.into_iter().filter_map(known).collect()
}

/// Gives a capture to a decoder.
fn decode(format: Format, bytes: &[u8], emit: &mut dyn FnMut(Event<'_>)) {
    let mut decoder = format.decoder();
    if format.is_binary() {
        decoder.line(bytes, emit);
    } else if !bytes.is_empty() {
        for line in bytes.strip_suffix(b"\n").unwrap_or(bytes).split(|byte| *byte == b'\n') {
            decoder.line(line.strip_suffix(b"\r").unwrap_or(line), emit);
        }
    }
    decoder.finish(emit);
}

/// Labels, or metadata.
type Pairs = BTreeMap<String, String>;

#[derive(Default)]
struct Sink(Vec<(Pairs, Pairs, String)>);

impl EntrySink for Sink {
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>) {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let labels = stream.labels().iter().map(|(name, value)| own((name, value))).collect();
        self.0.push((labels, entry.metadata.iter().copied().map(own).collect(), entry.line.to_owned()));
    }
}

/// What the entries and facts of a capture say.
#[derive(Default)]
struct Seen {
    counters: BTreeMap<String, u64>,
    status: String,
    end_line: String,
    last: BTreeMap<String, (String, bool)>,
    total: Option<u64>,
    planned: BTreeSet<String>,
    failed_suites: Vec<String>,
    logs: Vec<String>,
    entries: usize,
}

fn see(format: Format, bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let mut sink = Sink::default();
    let mut normalizer = Normalizer::new(RunInfo { run_id: "r".into(), ..RunInfo::default() });
    let mut all = |event: Event<'_>| {
        match &event.fact {
            Fact::Planned(planned) => {
                // The first number is what was announced.
                seen.total = planned.total.or(seen.total);
                seen.planned.extend(planned.tests.iter().map(|id| id.to_string()));
            }
            Fact::SuiteFinished(suite) if suite.status.is_failing() => {
                seen.failed_suites.push(format!("{}: {}", suite.suite, suite.message));
            }
            Fact::Log(log) if log.source == LogSource::Stdout => seen.logs.push(log.text.to_string()),
            _ => {}
        }
        normalizer.event(&event, NOW, &mut sink);
    };
    decode(format, bytes, &mut all);
    normalizer.finish(&RunEnd::InputEnded, NOW, &mut sink);
    for (labels, metadata, line) in &sink.0 {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        match (label("kind"), label("status")) {
            ("test", status) if status != "started" && status != "retried" => {
                let flaky = metadata.get("outcome").is_some_and(|outcome| outcome == "flaky");
                seen.last.insert(metadata["test"].clone(), (status.to_owned(), flaky));
            }
            ("run", "started") => {}
            ("run", status) => {
                status.clone_into(&mut seen.status);
                seen.end_line.clone_from(line);
                let numbers = metadata.iter().filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?)));
                seen.counters = numbers.collect();
            }
            _ => {}
        }
    }
    seen.entries = sink.0.len();
    seen
}

/// Identity as the table writes it: no number behind a name that is used twice, and for TeamCity either separator, as
/// the table says.
fn plain(id: &str, format: Format) -> String {
    let id = if format == Format::TeamCity { id.replace(" > ", " ") } else { id.to_owned() };
    match id.rsplit_once(" (") {
        Some((name, number)) if number.strip_suffix(')').is_some_and(|n| n.parse::<u32>().is_ok()) => name.to_owned(),
        _ => id,
    }
}

fn names(value: &Value, format: Format) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(|id| plain(id, format)).collect()
}

/// Compares everything that the table says about a capture; returns what differs.
fn differences(name: &str, format: Format, truth: &Value, bytes: &[u8], seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |what: &str, wanted: String, found: String| {
        let excused = UNKNOWABLE.iter().any(|(file, key, _)| *file == name && *key == what);
        if wanted != found && !excused {
            wrong.push(format!("{name}: {what} is {found}, not {wanted}"));
        }
    };
    let counter = |name: &str| seen.counters.get(name).copied().unwrap_or(0);
    let tests = counter("done") + counter("unfinished");
    let accepts = |key: &str, found: u64| {
        truth["accept"][key].as_array().is_some_and(|values| values.iter().any(|value| value == found))
    };
    for (key, found) in [
        ("tests", tests),
        ("passed", counter("passed")),
        ("failed", counter("failed")),
        ("errored", counter("errored")),
        ("skipped", counter("skipped")),
        ("xfailed", counter("xfailed")),
        ("xpassed", counter("xpassed")),
        ("unfinished", counter("unfinished")),
        ("flaky", counter("flaky")),
        ("retries", counter("retried")),
    ] {
        if truth[key].is_u64() && !accepts(key, found) {
            compare(key, truth[key].to_string(), found.to_string());
        }
    }
    let by_status = |wanted: &dyn Fn(&str, bool) -> bool| -> BTreeSet<String> {
        seen.last
            .iter()
            .filter(|(_, (status, flaky))| wanted(status, *flaky))
            .map(|(id, _)| plain(id, format))
            .collect()
    };
    let failing = by_status(&|status, _| status == Status::Failed.as_str() || status == Status::Errored.as_str());
    if truth["failing"].is_array() {
        compare("failing", format!("{:?}", names(&truth["failing"], format)), format!("{failing:?}"));
    }
    if truth["unfinished_tests"].is_array() {
        let found = by_status(&|status, _| status == Status::Unfinished.as_str());
        compare("unfinished_tests", format!("{:?}", names(&truth["unfinished_tests"], format)), format!("{found:?}"));
    }
    if truth["flaky_tests"].is_array() {
        let found = by_status(&|_, flaky| flaky);
        compare("flaky_tests", format!("{:?}", names(&truth["flaky_tests"], format)), format!("{found:?}"));
    }
    if truth["planned"].is_u64() {
        let found = seen.total.unwrap_or(seen.planned.len() as u64);
        compare("planned", truth["planned"].to_string(), found.to_string());
    }
    if truth["complete"].is_boolean() {
        let complete = !matches!(seen.status.as_str(), "aborted" | "");
        compare("complete", truth["complete"].to_string(), complete.to_string());
    }
    if truth["never_ran"].is_array() && !seen.planned.is_empty() {
        let seen_tests: BTreeSet<String> = seen.last.keys().map(|id| plain(id, format)).collect();
        let never: BTreeSet<String> =
            seen.planned.iter().map(|id| plain(id, format)).filter(|id| !seen_tests.contains(id)).collect();
        compare("never_ran", format!("{:?}", names(&truth["never_ran"], format)), format!("{never:?}"));
    }
    for key in ["extra_failures", "suites_failed", "packages_failed", "build_failed"] {
        for failure in names(&truth[key], format) {
            let told = seen.failed_suites.iter().any(|suite| plain(suite, format).contains(&failure));
            let kept = told || seen.last.keys().any(|id| plain(id, format) == failure && failing.contains(&failure));
            compare(key, failure.clone(), if kept { failure } else { format!("not in {:?}", seen.failed_suites) });
        }
    }
    if let Some(reason) = truth["bail_out"].as_str() {
        compare("bail_out", "true".into(), seen.end_line.contains(reason).to_string());
    }
    let failed = tests > 0 && !failing.is_empty();
    if failed && seen.status == "passed" {
        compare("status", "failed".into(), seen.status.clone());
    }
    if let Some(lost) = lost_noise(format, bytes, seen) {
        compare("noise", "a log line".into(), format!("lost: {lost}"));
    }
    wrong
}

/// The first line that is no event, by its first character, and is no log line.
fn lost_noise(format: Format, bytes: &[u8], seen: &Seen) -> Option<String> {
    let first = match format {
        Format::Mocha => b'[',
        Format::Libtest | Format::Cucumber | Format::NodeEvents | Format::JestReporter | Format::GoTest => b'{',
        _ => return None,
    };
    let mut logs = seen.logs.iter();
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.first().is_some_and(|byte| *byte != first));
    lines.find_map(|line| {
        let text = String::from_utf8_lossy(line).into_owned();
        // In the order of the stream.
        let found = logs.any(|log| *log == text);
        (!found && !text.contains(char::from(first))).then_some(text)
    })
}

#[test]
fn every_capture_gives_what_a_perfect_consumer_reports() {
    let mut wrong = Vec::new();
    let mut replayed = 0;
    println!(
        "| capture | format | tests | passed | failed | errored | skipped | xfailed | xpassed | flaky | retries | unfinished | run | entries | |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (name, format, truth) in table() {
        let Some(bytes) = bytes_of(&name) else {
            wrong.push(format!("{name} is not there"));
            continue;
        };
        let seen = see(format, &bytes);
        let found = differences(&name, format, &truth, &bytes, &seen);
        let c = |name: &str| seen.counters.get(name).copied().unwrap_or(0);
        let tests = c("done") + c("unfinished");
        print!("| {name} | {format} | {tests} |");
        for key in ["passed", "failed", "errored", "skipped", "xfailed", "xpassed", "flaky", "retried", "unfinished"] {
            print!(" {} |", c(key));
        }
        println!(" {} | {} | {} |", seen.status, seen.entries, if found.is_empty() { "as expected" } else { "WRONG" });
        wrong.extend(found);
        replayed += 1;
    }
    println!("{replayed} captures, {} differences", wrong.len());
    for (file, what, why) in UNKNOWABLE {
        println!("not compared: {what} of {file}, because {why}");
    }
    assert!(replayed > 0, "there are no captures in {}", captures().display());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_capture_is_recognised_as_what_it_is() {
    let mut wrong = Vec::new();
    for (name, format, truth) in table() {
        let bytes = bytes_of(&name).unwrap_or_default();
        let has_events = truth["tests"].as_u64().is_some_and(|tests| tests > 0);
        let mut read = 0;
        let found = loop {
            match detect(&bytes[..read], read == bytes.len()) {
                Detection::NeedMore => read = (read + 331).min(bytes.len()),
                Detection::Found { format, .. } => break Some(format),
                Detection::Unknown { .. } => break None,
            }
        };
        let same = found == Some(format) || found.is_none() && !has_events;
        let both_pytest = matches!((found, format), (Some(Format::Pytest), Format::ReportLog));
        if !same && !both_pytest {
            wrong.push(format!("{name}: {found:?}, not {format}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A small generator, so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

/// Reads a file that grows by pieces of random sizes, as the pipeline reads it.
fn decode_in_pieces(format: Format, bytes: &[u8], folder: &Path, dice: &mut Dice, emit: &mut dyn FnMut(Event<'_>)) {
    let path = folder.join("capture");
    let mut file = std::fs::File::create(&path).unwrap();
    let mut source = Source::Follow(Follow::new(&path));
    let mut reader = LineReader::default();
    let mut decoder: Box<dyn Decoder + Send> = format.decoder();
    let mut from = 0;
    let longest = [7, 100, 5_000, 60_000][dice.below(4)].max(bytes.len() / 300);
    while from < bytes.len() {
        let to = bytes.len().min(from + 1 + dice.below(longest));
        file.write_all(&bytes[from..to]).unwrap();
        from = to;
        while let Got::Bytes(fresh) = reader.fill(&mut source, |_| {}).unwrap() {
            if format.is_binary() {
                reader.drain(|bytes, _| decoder.line(bytes, emit));
            } else {
                reader.split(fresh, |line, _| decoder.line(line, emit));
            }
        }
    }
    reader.finish(|line, _| decoder.line(line, emit));
    decoder.finish(emit);
}

#[test]
fn events_are_the_same_however_the_bytes_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(5);
    for (name, format, _) in table() {
        let bytes = bytes_of(&name).unwrap_or_default();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        decode(format, &bytes, &mut |event| whole.push(format!("{event:?}")));
        decode_in_pieces(format, &bytes, folder.path(), &mut dice, &mut |event| pieces.push(format!("{event:?}")));
        assert_eq!(whole.len(), pieces.len(), "{name}");
        let differs = whole.iter().zip(&pieces).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{name}");
    }
}

#[test]
fn damaged_captures_do_no_harm() {
    let rounds = std::env::var("TESTWIRE_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    let mut dice = Dice(3);
    for (name, format, _) in table() {
        let bytes = bytes_of(&name).unwrap_or_default();
        if bytes.is_empty() {
            continue;
        }
        for _ in 0..rounds {
            let mut damaged = bytes.clone();
            for _ in 0..50 {
                let at = dice.below(damaged.len());
                match dice.below(4) {
                    0 => damaged[at] = dice.below(256) as u8,
                    1 => damaged[at] ^= 1 << dice.below(8),
                    2 => drop(damaged.remove(at)),
                    _ => damaged.insert(at, [b'\n', b'"', b'{', b'|', 0xb3, b'#', b' '][dice.below(7)]),
                }
            }
            damaged.truncate(damaged.len() - dice.below(damaged.len() / 3 + 1));
            // Its own decoder, and one that it is not for.
            let other = Format::ALL[dice.below(Format::ALL.len())];
            for format in [format, other] {
                let mut facts = 0_u64;
                decode(format, &damaged, &mut |_| facts += 1);
                assert!(facts > 0 || damaged.trim_ascii().is_empty(), "{format} says nothing of {name}");
            }
        }
    }
}
