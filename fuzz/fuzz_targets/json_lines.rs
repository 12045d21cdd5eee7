//! Any bytes as lines of the formats with a JSON value a line: no panic, and it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::Format;

fuzz_target!(|bytes: &[u8]| {
    for format in [Format::Libtest, Format::Cucumber, Format::Mocha, Format::NodeEvents, Format::JestReporter] {
        let mut decoder = format.decoder();
        for line in bytes.split(|byte| *byte == b'\n') {
            decoder.line(line, &mut |_| {});
        }
        decoder.finish(&mut |_| {});
    }
});
