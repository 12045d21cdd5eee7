//! Any bytes as lines of the formats that are text, of what ctest and cargo print, and of Maven's event file: no panic, and it ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::{Format, utc};

fuzz_target!(|bytes: &[u8]| {
    let formats = [Format::Tap, Format::TeamCity, Format::GtestStream, Format::Gtest, Format::Ctest, Format::Cargo];
    let decoders = formats.map(Format::decoder).into_iter().chain([Format::Junit.event_file_decoder(&utc())]);
    for mut decoder in decoders {
        for line in bytes.split(|byte| *byte == b'\n') {
            decoder.line(line, &mut |_| {});
        }
        decoder.finish(&mut |_| {});
    }
});
