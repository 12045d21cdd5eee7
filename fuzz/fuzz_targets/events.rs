//! Any bytes as events of every format: no panic, and every line is heard of.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::{Format, detect};

fuzz_target!(|bytes: &[u8]| {
    // What it finds does not matter here, only that it ends.
    drop(detect(bytes, true));
    for format in Format::ALL {
        let mut decoder = format.decoder();
        for line in bytes.split(|byte| *byte == b'\n') {
            decoder.line(line, &mut |_| {});
        }
        decoder.finish(&mut |_| {});
    }
});
