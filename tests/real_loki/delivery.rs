//! The shipping side alone, without a run.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testwire::event::Timestamp;
use testwire::loki::encode::Encoder;
use testwire::loki::entry::{Entry, EntrySink as _, Stream};
use testwire::loki::push::{Client, Transport};
use testwire::ship::{Drain, Rejected, RejectedEntry, Settings, Shipper};
use testwire::spool::Queue as _;
use testwire::spool::{self, DiskQueue};

use crate::loki::Loki;
use crate::query::{Labels, now, unique_project, wait_for};

const DAY: i64 = 24 * 3_600 * 1_000_000_000;

/// Loki's reasons for what it refused.
#[derive(Clone, Default)]
struct Reasons(Arc<Mutex<Vec<&'static str>>>);

impl Rejected for Reasons {
    fn keep(&self, entries: &[RejectedEntry<'_>]) -> io::Result<()> {
        self.0.lock().unwrap().extend(entries.iter().map(|entry| entry.refusal.reason.as_str()));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loki_gives_back_exactly_what_was_pushed_and_what_it_refuses_is_kept() {
    // Its defaults refuse what is older than a week.
    let loki = Loki::stock();
    let project = unique_project("delivery");
    let stream = Stream::new(vec![("service_name", project.clone()), ("kind", "test\"\\\n\u{7}é".into())]);
    let begun = now() / 1_000_000 * 1_000_000;
    let mut encoder = Encoder::new();
    let mut pushed = Vec::new();
    for seq in 1..=2_000_u64 {
        let time = begun - 2_000_000 + seq as i64 * 1000 + (seq % 1000) as i64;
        let line = match seq % 4 {
            0 => format!("PASS shop.test_{seq} (0.01s)"),
            1 => format!("tab\t, quote \" and backslash \\ in {seq}"),
            2 => format!("two lines,\nthe second ☂ {seq}"),
            _ => format!("{seq} {}", "x".repeat(2000)),
        };
        let number = seq.to_string();
        let metadata = [("level", "info"), ("run_id", "r-1"), ("test", "shop.test[a=\"b\"]"), ("n", &number)];
        encoder.entry(&stream, &Entry { time: Timestamp(time), seq, line: &line, metadata: &metadata });
        let labels: Labels = metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        pushed.push((time, line, labels));
    }
    for time in [begun - 8 * DAY, begun + DAY] {
        encoder.entry(&stream, &Entry { time: Timestamp(time), seq: 1, line: "refused", metadata: &[] });
    }
    let folder = tempfile::tempdir().unwrap();
    let queue = DiskQueue::create(&folder.path().join("spool/r1.1"), spool::Settings::default()).unwrap();
    let (queue, reasons) = (Arc::new(queue), Reasons::default());
    let client = Client::new(&Transport::new(loki.url())).unwrap();
    let mut shipper = Shipper::start(Arc::clone(&queue), client, reasons.clone(), Settings::default());
    queue.append(encoder.take(), None).unwrap();
    queue.close();
    let drain = shipper.drain(Duration::from_secs(30)).await;
    assert_eq!(drain, Drain::Drained, "{:?}", shipper.stats().last_error());
    let mut reasons = reasons.0.lock().unwrap().clone();
    reasons.sort_unstable();
    assert_eq!(reasons, ["greater_than_max_sample_age", "too_far_in_future"]);

    let rows = wait_for("all entries", Duration::from_secs(20), || async {
        let rows = loki.query_range(stream.selector(), begun - DAY, begun + DAY, usize::MAX).await;
        (rows.len() >= pushed.len()).then_some(rows)
    })
    .await;
    assert_eq!(rows.len(), pushed.len());
    for (row, (time, line, labels)) in rows.iter().zip(&pushed) {
        assert_eq!((row.time, &row.line), (*time, line));
        let mut expected = labels.clone();
        expected.extend(stream.labels().iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut read = row.labels.clone();
        read.remove("detected_level");
        assert_eq!(read, expected);
    }
}
