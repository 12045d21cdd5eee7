//! A shipper between a queue in memory and a Loki.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use testwire::event::Timestamp;
use testwire::loki::encode::{Chunk, Encoder, decode};
use testwire::loki::entry::{Entry, EntrySink as _, Stream};
use testwire::loki::push::{Client, RetryClass, Transport};
use testwire::loki::reason::Reason;
use testwire::ship::{Drain, Rejected, RejectedEntry, Settings, Shipper, Stats};
use testwire::spool::Queue as _;
use testwire::spool::{self, DiskQueue};

use crate::fake_loki;

pub(crate) const LOG: &str = r#"{kind="log", service_name="shop"}"#;
pub(crate) const TEST: &str = r#"{kind="test", service_name="shop"}"#;

pub(crate) fn stream(kind: &str) -> Arc<Stream> {
    Stream::new(vec![("service_name", "shop".into()), ("kind", kind.into())])
}

/// The time of entry 0 in microseconds: a minute ago, so that no entry is late.
pub(crate) fn start() -> i64 {
    static START: LazyLock<i64> = LazyLock::new(|| chrono::Utc::now().timestamp_micros() - 60_000_000);
    *START
}

/// Entries of these numbers: the number is the line, and the time in microseconds from a minute ago.
pub(crate) fn chunks(kind: &str, numbers: impl IntoIterator<Item = i64>, padding: usize) -> Vec<Chunk> {
    let (mut encoder, stream) = (Encoder::new(), stream(kind));
    let padding = "p".repeat(padding);
    for number in numbers {
        let line = format!("{number} {padding}");
        let metadata = [("run_id", "r1"), ("level", "info")];
        encoder.entry(
            &stream,
            &Entry { time: Timestamp((start() + number) * 1000), seq: 1, line: &line, metadata: &metadata },
        );
    }
    encoder.take()
}

pub(crate) fn number(entry: &fake_loki::Entry) -> i64 {
    entry.time / 1000 - start()
}

pub(crate) fn numbers(entries: &[fake_loki::Entry]) -> Vec<i64> {
    entries.iter().map(number).collect()
}

/// What was rejected: line, reason, status, answer.
pub(crate) type KeptEntry = (String, Reason, u16, String);

/// Takes what was rejected; fails as long as it is told to.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) entries: Arc<Mutex<Vec<KeptEntry>>>,
    pub(crate) broken: Arc<AtomicBool>,
}

impl Rejected for Kept {
    fn keep(&self, entries: &[RejectedEntry<'_>]) -> io::Result<()> {
        if self.broken.load(SeqCst) {
            return Err(io::Error::other("no space left on device"));
        }
        let mut kept = self.entries.lock().unwrap();
        for RejectedEntry { entry, refusal, .. } in entries {
            let line = decode(entry).unwrap().line.to_owned();
            kept.push((line, refusal.reason, refusal.status, refusal.answer.clone()));
        }
        Ok(())
    }
}

pub(crate) struct Setup {
    pub(crate) queue: Arc<DiskQueue>,
    pub(crate) shipper: Shipper<DiskQueue>,
    pub(crate) kept: Kept,
    _folder: tempfile::TempDir,
}

impl Setup {
    pub(crate) fn to(url: &str) -> Self {
        Self::with(&Transport::new(url))
    }

    pub(crate) fn with(transport: &Transport) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = DiskQueue::create(&folder.path().join("spool/r1.1"), spool::Settings::default()).unwrap();
        let queue = Arc::new(queue);
        let kept = Kept::default();
        let client = Client::new(transport).unwrap();
        let shipper = Shipper::start(Arc::clone(&queue), client, kept.clone(), Settings::default());
        Self { queue, shipper, kept, _folder: folder }
    }

    pub(crate) fn append(&self, chunks: Vec<Chunk>) {
        self.queue.append(chunks, None).unwrap();
    }

    /// From another thread, as it may block.
    pub(crate) fn append_beside(&self, chunks: Vec<Chunk>) -> std::thread::JoinHandle<()> {
        let queue = Arc::clone(&self.queue);
        std::thread::spawn(move || queue.append(chunks, None).unwrap())
    }

    pub(crate) async fn drain(&mut self) -> Drain {
        self.shipper.drain(Duration::from_secs(20)).await
    }

    pub(crate) fn stats(&self) -> &Stats {
        self.shipper.stats()
    }

    pub(crate) fn retried(&self, class: RetryClass) -> u64 {
        self.stats().retried().find(|(known, _)| *known == class).unwrap().1
    }
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(15), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
