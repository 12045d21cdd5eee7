//! Any bytes as the segment and cursor of a spool: it opens, hands out what is whole, and does not panic.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use testwire::spool::{DiskQueue, Settings};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("there is room");
    let dir = folder.path().join("spool/fuzz.1");
    drop(DiskQueue::create(&dir, Settings::default()).expect("a new queue"));
    let half = bytes.len() / 2;
    let (segment, cursor) = bytes.split_at(bytes.first().map_or(half, |first| usize::from(*first).min(bytes.len())));
    fs::write(dir.join("1.segment"), segment).expect("there is room");
    fs::write(dir.join("cursor"), cursor).expect("there is room");
    // An error is an answer, too: a newer version, for example.
    drop(DiskQueue::adopt(&dir, Settings::default()));
});
