//! How many events a second each decoder takes, over captures repeated in memory.

use std::hint::black_box;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testwire::decode::Format;

/// Bytes of input for one measurement: far more than any cache of the decoder's own.
const INPUT: usize = 16 * 1024 * 1024;

const INPUTS: &[(Format, &str)] = &[
    (Format::GoTest, "go/all.jsonl"),
    (Format::Pytest, "pytest/plugin_sample.jsonl"),
    (Format::ReportLog, "pytest/basic.reportlog.jsonl"),
    (Format::Robot, "robot/listener_sample.jsonl"),
    (Format::Testwire, "testwire/example.jsonl"),
];

fn decoders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (format, file) in INPUTS {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
        let capture = std::fs::read(&path).expect("the fixture is part of the repository");
        let repeats = INPUT.div_ceil(capture.len());
        let input = capture.repeat(repeats);
        let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let lines: Vec<&[u8]> = lines.into_iter().map(|line| line.strip_suffix(b"\n").unwrap_or(line)).collect();
        group.throughput(Throughput::Elements(lines.len() as u64));
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
