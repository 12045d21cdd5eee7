//! Any bytes as packets of subunit, whole and in pieces: no panic, and the pieces make no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use testwire::decode::Format;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let told = |size: usize| {
        let mut facts = Vec::new();
        let mut decoder = Format::Subunit.decoder();
        for piece in bytes.chunks(size.max(1)) {
            decoder.line(piece, &mut |event| facts.push(format!("{event:?}")));
        }
        decoder.finish(&mut |event| facts.push(format!("{event:?}")));
        facts
    };
    assert_eq!(told(bytes.len()), told(usize::from(size)));
});
