//! What it costs to encode entries, to make push bodies, and to ship.
//!
//! `cargo bench --bench ship` measures the first two. With `SINK_URL=http://127.0.0.1:PORT` of a server that answers
//! 204 at once, a million entries also go through the queue and the shipper, and their speed, CPU time and peak memory are
//! printed; `ENTRIES` changes their number.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use testwire::event::Timestamp;
use testwire::loki::encode::{Encoder, Packer};
use testwire::loki::entry::{Entry, EntrySink as _, Stream};
use testwire::loki::push::{Client, Transport};
use testwire::ship::{Drain, RejectedFiles, Settings, Shipper};
use testwire::spool::{self, DiskQueue, Queue as _};

/// What one appended piece of input gives: some 200 entries.
const PIECE: u64 = 200;

fn stream() -> Arc<Stream> {
    Stream::new(vec![
        ("service_name", "shop".into()),
        ("env", "local".into()),
        ("runner", "gotest".into()),
        ("kind", "log".into()),
        ("source", "stdout".into()),
    ])
}

/// An output line of a test as normalize makes it: about 200 bytes encoded.
fn encode(encoder: &mut Encoder, stream: &Arc<Stream>, line: &mut String, seq: u64, now: i64) {
    use std::fmt::Write as _;
    line.clear();
    let (a, b) = (seq.wrapping_mul(0x9E37_79B9_7F4A_7C15), seq % 977);
    write!(line, "    pay_test.go:{b}: request {a:016x} answered 200 in {b} ms, cart holds {b} items")
        .expect("a String takes all");
    let metadata =
        [("run_id", "20261120-120000-4f2a"), ("level", "info"), ("test", "example.com/shop/pay.TestPay/card")];
    let time = Timestamp((now + seq as i64) * 1000 + (seq % 1000) as i64);
    encoder.entry(stream, &Entry { time, seq, line, metadata: &metadata });
}

fn micro(criterion: &mut Criterion) {
    let (stream, mut line) = (stream(), String::new());
    let mut group = criterion.benchmark_group("ship");
    group.throughput(Throughput::Elements(PIECE));
    group.bench_function("encode", |bench| {
        let mut encoder = Encoder::new();
        bench.iter(|| {
            for seq in 0..PIECE {
                encode(&mut encoder, &stream, &mut line, seq, 1_700_000_000_000_000);
            }
            black_box(encoder.take())
        });
    });
    let mut encoder = Encoder::new();
    for seq in 0..5_000 {
        encode(&mut encoder, &stream, &mut line, seq, 1_700_000_000_000_000);
    }
    let chunks = encoder.take();
    let parts: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.entries.as_ref()).collect();
    println!("an entry has {} bytes", parts.iter().map(|part| part.len()).sum::<usize>() / 5_000);
    group.throughput(Throughput::Elements(5_000));
    group.bench_function("body of 1 MiB", |bench| {
        let mut packer = Packer::default();
        bench.iter(|| black_box(packer.body(&stream, &parts)));
    });
    group.finish();
}

/// User and system time of this process in seconds, and its peak memory in MiB.
fn costs() -> (f64, f64) {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let field = |index: usize| fields.split_whitespace().nth(index).and_then(|text| text.parse::<f64>().ok());
    let cpu = (field(11).expect("utime") + field(12).expect("stime")) / TICKS_PER_SECOND;
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("peak memory");
    let kib: f64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    (cpu, kib / 1024.0)
}

fn whole(url: &str) {
    let entries: u64 = std::env::var("ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let dir = std::env::temp_dir().join(format!("testwire-bench-spool.{}", std::process::id()));
    let queue = Arc::new(DiskQueue::create(&dir, spool::Settings::default()).expect("a place for the spool"));
    let client = Client::new(&Transport::new(url)).expect("a usable SINK_URL");
    let rejected = RejectedFiles::new(std::env::temp_dir().join("testwire-bench-rejected"));
    let (cpu_before, _) = costs();
    let start = Instant::now();
    let guard = runtime.enter();
    let mut shipper = Shipper::start(Arc::clone(&queue), client, rejected, Settings::default());
    drop(guard);
    let now = chrono::Utc::now().timestamp_micros();
    let appended = Arc::clone(&queue);
    let generator = std::thread::spawn(move || {
        let queue = appended;
        let (mut encoder, stream, mut line) = (Encoder::new(), stream(), String::new());
        for seq in 0..entries {
            encode(&mut encoder, &stream, &mut line, seq, now);
            if seq % PIECE == PIECE - 1 {
                queue.append(encoder.take(), None).expect("the queue is open");
            }
        }
        queue.append(encoder.take(), None).expect("the queue is open");
    });
    generator.join().expect("no panic");
    let ended = runtime.block_on(shipper.drain(Duration::from_secs(60)));
    assert_eq!(ended, Drain::Drained);
    let seconds = start.elapsed().as_secs_f64();
    queue.remove().expect("everything was delivered");
    let (cpu, peak) = costs();
    let cpu = cpu - cpu_before;
    let stats = shipper.stats();
    assert_eq!(stats.pushed_entries(), entries);
    println!(
        "{entries} entries ({} MB, {} MB sent) in {seconds:.2} s: {:.0} entries/s, {cpu:.2} CPU s ({:.2} a million), peak {peak:.0} MiB",
        stats.pushed_bytes() / 1_000_000,
        stats.wire_bytes() / 1_000_000,
        entries as f64 / seconds,
        cpu / entries as f64 * 1e6,
    );
}

fn main() {
    match std::env::var("SINK_URL") {
        Ok(url) => whole(&url),
        Err(_) => {
            let mut criterion = Criterion::default().configure_from_args();
            micro(&mut criterion);
            criterion.final_summary();
        }
    }
}
