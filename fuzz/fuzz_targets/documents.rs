//! Any bytes as a report: no panic, and it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::Format;

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::CucumberJson] {
        let mut decoder = format.decoder();
        for line in bytes.split(|byte| *byte == b'\n') {
            decoder.line(line, &mut |_| {});
        }
        decoder.finish(&mut |_| {});
    }
});
