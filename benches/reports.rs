//! How many bytes a second each reader of reports takes, over captures repeated in memory.

use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testwire::decode::{Format, utc};

/// Bytes of input for one measurement: far more than any cache of the reader's own.
const INPUT: usize = 16 * 1024 * 1024;
/// Bytes handed in at once, as import does.
const PIECE: usize = 256 * 1024;

const INPUTS: &[(Format, &str)] = &[
    (Format::Junit, "node/basic.junit.xml"),
    (Format::Junit, "pytest/xdist.junit.xml"),
    (Format::Junit, "rust/nextest_crashy.junit.xml"),
    (Format::RobotXml, "robot/basic.output.xml"),
    (Format::RobotJson, "robot/basic.output.json"),
    (Format::Jest, "jest/basic.json"),
    (Format::Playwright, "playwright/basic.json"),
];

fn capture(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/captures");
    std::fs::read(folder.join(name)).unwrap_or_else(|_| {
        let packed = std::fs::read(folder.join(format!("{name}.gz"))).expect("the fixture is part of the repository");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("it is whole");
        bytes
    })
}

fn readers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reports");
    for (format, name) in INPUTS {
        let capture = capture(name);
        let input = capture.repeat(INPUT.div_ceil(capture.len()));
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.sample_size(10);
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let mut reader = format.document(&utc()).expect("a report");
                let mut facts = 0_u64;
                let mut count = |event: testwire::event::Event<'_>| {
                    black_box(&event);
                    facts += 1;
                };
                for piece in input.chunks(PIECE) {
                    reader.bytes(black_box(piece), &mut count);
                }
                reader.finish(&mut count);
                facts
            });
        });
    }
    group.finish();
}

criterion_group!(benches, readers);
criterion_main!(benches);
