//! Any bytes as the segment and cursor of a spool: it opens, hands out what is whole, and does not panic; and what it handed
//! out once, it hands out again after it was closed.
//!
//! The first byte says whether the check sums of the segment are set right, which no fuzzer finds by itself; the next two say
//! where the cursor begins.
#![no_main]

use std::fs;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use testwire::spool::{DiskQueue, Queue as _, RecordId, Settings};

const PREAMBLE: usize = 16;
const HEADER: usize = 48;

fn put_sum(bytes: &mut [u8], at: usize, of: std::ops::Range<usize>) {
    let sum = crc32fast::hash(&bytes[of]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
}

/// Sets the sums of the preamble and of the groups, as far as their lengths lead.
fn mend(bytes: &mut [u8]) {
    if bytes.len() >= PREAMBLE {
        put_sum(bytes, 12, 0..12);
    }
    let mut at = PREAMBLE;
    while at + HEADER <= bytes.len() {
        let length = |from: usize| {
            let word = bytes[at + from..].first_chunk().expect("the header is there");
            u32::from_le_bytes(*word) as usize
        };
        let (entries, heads) = (length(32), length(36));
        let end = at + HEADER + heads.min(bytes.len());
        if end <= bytes.len() {
            put_sum(bytes, at + 44, at + HEADER..end);
        }
        put_sum(bytes, at + 4, at + 8..at + HEADER);
        at = end + entries.min(bytes.len());
    }
}

/// What a queue hands out now, none of which is committed.
fn records(dir: &Path) -> Vec<(RecordId, usize)> {
    // An error is an answer, too: a newer version, for example.
    let Ok(Some(queue)) = DiskQueue::adopt(dir, Settings::default()) else { return Vec::new() };
    let next = || match pin!(queue.next()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(record) => record,
        Poll::Pending => None,
    };
    std::iter::from_fn(next).map(|(id, chunk)| (id, chunk.entries.len())).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([mends, low, high], bytes)) = bytes.split_first_chunk() else { return };
    let place = usize::from(u16::from_le_bytes([*low, *high])).min(bytes.len());
    let (segment, cursor) = bytes.split_at(place);
    let mut segment = segment.to_vec();
    if mends % 2 == 1 {
        mend(&mut segment);
    }
    let folder = tempfile::tempdir().expect("there is room");
    let dir = folder.path().join("spool/fuzz.1");
    drop(DiskQueue::create(&dir, Settings::default()).expect("a new queue"));
    fs::write(dir.join("00000000000000000001.segment"), segment).expect("there is room");
    fs::write(dir.join("cursor"), cursor).expect("there is room");
    let first = records(&dir);
    assert_eq!(first, records(&dir), "nothing was committed");
});
