//! How many bytes a second each decoder takes, over captures repeated in memory.

use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use testwire::decode::Format;

/// Bytes of input for one measurement: far more than any cache of the decoder's own.
const INPUT: usize = 16 * 1024 * 1024;

const INPUTS: &[(Format, &str)] = &[
    (Format::GoTest, "go/all.jsonl"),
    (Format::Pytest, "pytest/plugin_sample.jsonl"),
    (Format::ReportLog, "pytest/basic.reportlog.jsonl"),
    (Format::Robot, "robot/listener_sample.jsonl"),
    (Format::Testwire, "testwire/example.jsonl"),
    (Format::Testwire, "testwire/maven.jsonl"),
    (Format::Libtest, "captures/rust/nextest.jsonl"),
    (Format::Tap, "captures/node/basic.tap"),
    (Format::TeamCity, "captures/mocha/basic_mocha11.teamcity.txt"),
    (Format::Cucumber, "captures/cucumber/failfast.ndjson"),
    (Format::CucumberJson, "captures/cucumber/basic.json"),
    (Format::Subunit, "captures/subunit/basic.subunit"),
    (Format::Mocha, "captures/mocha/basic.json-stream.txt"),
    (Format::GtestStream, "captures/gtest/basic.stream.txt"),
    (Format::NodeEvents, "captures/node/basic.events.jsonl.gz"),
    (Format::JestReporter, "captures/jest/basic.reporter.jsonl.gz"),
];

fn decoders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (format, file) in INPUTS {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
        let packed = std::fs::read(&path).expect("the fixture is part of the repository");
        let mut capture = Vec::new();
        match file.ends_with(".gz") {
            true => drop(GzDecoder::new(&packed[..]).read_to_end(&mut capture).expect("it is whole")),
            false => capture = packed,
        }
        // A document cannot be repeated: there is one.
        let repeats = if *format == Format::CucumberJson { 1 } else { INPUT.div_ceil(capture.len()) };
        let input = capture.repeat(repeats);
        let lines: Vec<&[u8]> = match format.is_binary() {
            true => input.chunks(64 * 1024).collect(),
            false => {
                input.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect()
            }
        };
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.sample_size(10);
        group.bench_function(*file, |bencher| {
            bencher.iter(|| {
                let mut decoder = format.decoder();
                let mut facts = 0_u64;
                for line in &lines {
                    decoder.line(black_box(line), &mut |event| {
                        black_box(&event);
                        facts += 1;
                    });
                }
                decoder.finish(&mut |_| facts += 1);
                facts
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoders);
criterion_main!(benches);
