//! What it costs to go through the spool: append, hand out, commit; with and without `fsync`.
//!
//! `cargo bench --bench spool`; the files are below `TMPDIR`, so name a folder on the disk in question. With `BACKLOG=n`
//! it tells instead how much memory a backlog of n records of one entry takes, and how long it takes to adopt it.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use testwire::event::Timestamp;
use testwire::loki::encode::{Chunk, Encoder};
use testwire::loki::entry::{Entry, EntrySink as _, Stream};
use testwire::spool::{DiskQueue, Queue as _, Settings};

/// A group of one record with so many entries of about 200 bytes.
fn record(entries: i64) -> Chunk {
    let stream =
        Stream::new(vec![("service_name", "shop".into()), ("kind", "log".into()), ("source", "stdout".into())]);
    let mut encoder = Encoder::new();
    for seq in 0..entries {
        let line = format!("    pay_test.go:{seq}: request 9e3779b97f4a7c15 answered 200 in 17 ms, cart holds 4 items");
        let metadata =
            [("run_id", "20261120-120000-4f2a"), ("level", "info"), ("test", "example.com/shop/pay.TestPay/card")];
        let time = Timestamp(1_700_000_000_000_000_000 + seq * 1000);
        encoder.entry(&stream, &Entry { time, seq: 1, line: &line, metadata: &metadata });
    }
    encoder.take().remove(0)
}

fn next(queue: &DiskQueue) -> Option<(testwire::spool::RecordId, Chunk)> {
    match pin!(queue.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(record) => record,
        Poll::Pending => None,
    }
}

struct Spool {
    queue: Arc<DiskQueue>,
    _folder: tempfile::TempDir,
}

impl Spool {
    fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = DiskQueue::create(&folder.path().join("spool/r1.1"), settings).expect("a queue");
        Self { queue: Arc::new(queue), _folder: folder }
    }

    /// As the reader that keeps up does.
    fn take_and_commit(&self) {
        while let Some((id, chunk)) = next(&self.queue) {
            black_box(chunk);
            self.queue.commit(id);
        }
    }
}

fn append_and_commit(criterion: &mut Criterion) {
    for (name, fsync) in [("page cache", false), ("fsync", true)] {
        let mut group = criterion.benchmark_group(format!("spool, {name}"));
        if fsync {
            group.sample_size(20).measurement_time(Duration::from_secs(5));
        }
        for entries in [1, 100, 1000] {
            let chunk = record(entries);
            let spool = Spool::new(Settings { fsync, ..Settings::default() });
            group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: chunk.entries.len() as u64 });
            group.bench_function(format!("append, take and commit a record of {entries}"), |bench| {
                bench.iter(|| {
                    spool.queue.append(vec![chunk.clone()], None).expect("room");
                    spool.take_and_commit();
                });
            });
        }
        // Eight who append at once share their writes and syncs.
        let (chunk, spool) = (record(1), Spool::new(Settings { fsync, ..Settings::default() }));
        group.throughput(Throughput::ElementsAndBytes { elements: 8 * 50, bytes: 8 * 50 * chunk.entries.len() as u64 });
        group.bench_function("append 50 records of 1 by each of 8 threads", |bench| {
            bench.iter(|| {
                std::thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            for _ in 0..50 {
                                spool.queue.append(vec![chunk.clone()], None).expect("room");
                            }
                        });
                    }
                });
                spool.take_and_commit();
            });
        });
        group.finish();
    }
}

fn catch_up(criterion: &mut Criterion) {
    const RECORDS: u64 = 20_000;
    let mut group = criterion.benchmark_group("spool, backlog");
    for entries in [1, 100] {
        let chunk = record(entries);
        let settings = Settings { tail_bytes: 0, ..Settings::default() };
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("spool/r1.1");
        let queue = DiskQueue::create(&dir, settings).expect("a queue");
        let records = RECORDS / if entries == 1 { 1 } else { 10 };
        for _ in 0..records {
            queue.append(vec![chunk.clone()], None).expect("room");
        }
        drop(queue);
        group.sample_size(20);
        group.throughput(Throughput::ElementsAndBytes {
            elements: records,
            bytes: records * chunk.entries.len() as u64,
        });
        group.bench_function(format!("adopt and read records of {entries} from the page cache"), |bench| {
            bench.iter(|| {
                let queue = DiskQueue::adopt(&dir, settings).expect("readable").expect("no owner");
                let count = std::iter::from_fn(|| next(&queue)).map(black_box).count();
                assert_eq!(count as u64, records);
            });
        });
    }
    group.finish();
}

/// Resident memory in MiB.
fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let now = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident memory");
    let kib: f64 = now.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}

fn backlog(records: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("spool/r1.1");
    let settings = Settings { max_bytes: 1 << 40, ..Settings::default() };
    let (chunk, before) = (record(1), memory());
    let queue = DiskQueue::create(&dir, settings).expect("a queue");
    for _ in 0..records {
        queue.append(vec![chunk.clone()], None).expect("room");
    }
    println!("{records} records waiting: {:.1} MiB more than {before:.1}", memory() - before);
    drop(queue);
    let (before, begun) = (memory(), Instant::now());
    let queue = DiskQueue::adopt(&dir, settings).expect("readable").expect("no owner");
    println!("adopted in {:.2} s: {:.1} MiB more than {before:.1}", begun.elapsed().as_secs_f64(), memory() - before);
    let (mut held, begun, mut most) = (Vec::new(), Instant::now(), 0.0_f64);
    while let Some((id, _)) = next(&queue) {
        // One in four is of a stream that is refused; the shipper holds so many of these.
        if id.0 % 4 == 0 && held.len() < 256 * 1024 {
            held.push(id);
        } else {
            queue.commit(id);
        }
        if id.0 % 100_000 == 0 {
            most = most.max(memory());
        }
    }
    println!("read in {:.2} s: at most {most:.1} MiB", begun.elapsed().as_secs_f64());
    held.into_iter().for_each(|id| queue.commit(id));
    assert_eq!(queue.backlog().entries, 0);
    queue.remove().expect("nothing is left");
}

fn main() {
    if let Some(records) = std::env::var("BACKLOG").ok().and_then(|text| text.parse().ok()) {
        return backlog(records);
    }
    let mut criterion = Criterion::default().configure_from_args();
    append_and_commit(&mut criterion);
    catch_up(&mut criterion);
    criterion.final_summary();
}
