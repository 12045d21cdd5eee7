//! Any bytes as reports of every format, cut at any place: no panic, and the same events however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::{Format, utc};

fn events(format: Format, bytes: &[u8], size: usize) -> Vec<String> {
    let mut events = Vec::new();
    let Some(mut document) = format.document(&utc()) else { return events };
    for piece in bytes.chunks(size.max(1)) {
        document.bytes(piece, &mut |event| events.push(format!("{event:?}")));
    }
    document.finish(&mut |event| events.push(format!("{event:?}")));
    events
}

fuzz_target!(|bytes: &[u8]| {
    // The first byte says which format and how it is cut, so that the corpus leads to each.
    let Some((first, bytes)) = bytes.split_first() else { return };
    let formats: Vec<Format> = Format::ALL.iter().copied().filter(|format| format.document(&utc()).is_some()).collect();
    let format = formats[usize::from(*first) % formats.len()];
    assert_eq!(events(format, bytes, usize::from(*first)), events(format, bytes, bytes.len()));
});
