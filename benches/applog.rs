//! How fast log lines become records, in MB per second of processor time for each shape of line. The clock is the thread's
//! own, so that other work on the machine changes little.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testwire::decode::applog::{Assembler, Multiline, Redaction, Rules};
use testwire::event::Timestamp;

/// Bytes of input for one measurement: far more than any cache.
const INPUT: usize = 32 << 20;
const READ_AT: Timestamp = Timestamp(1_795_167_900_000_000_000);

/// Name, and the head of a line of about 200 bytes.
const SHAPES: &[(&str, &str)] = &[
    ("iso", "2026-11-20T09:40:53.123456Z INFO  shop.pay [worker-3] order=81732 "),
    ("log4j", "2026-11-20 09:40:53,123 [http-nio-8080-exec-7] WARN  com.shop.pay.PaymentService - "),
    ("no_level", "2026-11-20 09:40:53.123 order placed by a customer and sent to the warehouse for packing "),
    ("no_time", "order placed by a customer and sent to the warehouse for packing without any time "),
    ("access", "203.0.113.7 - - [20/Nov/2026:09:40:53 +0000] \"GET /orders/81732?page=2 HTTP/1.1\" 200 5123 "),
    ("syslog", "Nov 20 09:40:53 web-1 shop[1234]: order placed by a customer "),
    ("glog", "I1120 09:40:53.123456    1234 pay.go:127] order placed by a customer "),
    ("epoch", "1795167341.904935 INFO order placed by a customer "),
    ("logfmt", "time=2026-11-20T09:40:53.123Z level=info caller=pay.go:127 msg=\"order placed\" "),
    ("json", "{\"time\":\"2026-11-20T09:40:53.123Z\",\"level\":\"info\",\"msg\":\"order placed\",\"order\":\""),
    (
        "json_late",
        "{\"caller\":\"pay.go:127\",\"msg\":\"order placed\",\"order\":81732,\"level\":\"info\",\"ts\":1795167341.9,\"x\":\"",
    ),
    ("cri", "2026-11-20T09:40:53.123456789Z stdout F 2026-11-20 09:40:53,123 INFO order placed "),
    (
        "docker",
        "{\"log\":\"2026-11-20 09:40:53,123 INFO order placed xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-20T09:40:53.2Z\"}",
    ),
];

fn input(head: &str) -> Vec<Vec<u8>> {
    let fill: String =
        "abcdefghij klmnopqrst uvwxyz0123 ".chars().cycle().take(199_usize.saturating_sub(head.len())).collect();
    let line = match head {
        _ if head.ends_with('}') => head.to_owned(),
        _ if head.starts_with('{') => format!("{head}{}\"}}", fill.split_at(fill.len().saturating_sub(2)).0),
        _ => format!("{head}{fill}"),
    };
    vec![line.into_bytes(); INPUT / 200]
}

fn measure(criterion: &mut Criterion, name: &str, rules: &Rules, lines: &[Vec<u8>]) {
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let mut group = criterion.benchmark_group("applog");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(10);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            let begun = processor_time();
            for _ in 0..times {
                black_box(records(rules, lines));
            }
            processor_time() - begun
        });
    });
    group.finish();
}

fn records(rules: &Rules, lines: &[Vec<u8>]) -> u64 {
    let mut assembler = Assembler::new(rules);
    let (mut at, mut records) = (0, 0);
    for line in lines {
        let end = at + line.len() as u64 + 1;
        assembler.line(black_box(line), at..end, READ_AT, &mut |record| {
            black_box(&record);
            records += 1;
        });
        at = end;
    }
    assembler.flush(&mut |_| records += 1);
    records
}

/// What this thread has had of a processor so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux has it");
    let nanos = stat.split(' ').next().and_then(|field| field.parse().ok()).expect("its first field are nanoseconds");
    Duration::from_nanos(nanos)
}

fn shapes(criterion: &mut Criterion) {
    for (name, head) in SHAPES {
        measure(criterion, name, &Rules::default(), &input(head));
    }
    let iso = input(SHAPES[0].1);
    measure(criterion, "iso_single", &Rules { multiline: Multiline::Off, ..Rules::default() }, &iso);
    let redact = Redaction { builtin: true, patterns: Vec::new() };
    measure(criterion, "iso_redacted", &Rules { redact, ..Rules::default() }, &iso);
}

criterion_group!(benches, shapes);
criterion_main!(benches);
