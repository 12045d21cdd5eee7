//! Bytes in any encoding → UTF-8.

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use memchr::memmem;

/// Bytes that are looked at for a declaration.
const HEAD: usize = 256;

/// Finds out the encoding from the first bytes and then converts. What is not valid becomes U+FFFD.
#[derive(Default)]
pub(super) struct ToUtf8 {
    head: Vec<u8>,
    decoder: Option<Decoder>,
}

impl ToUtf8 {
    /// For bytes that are in UTF-8, whatever they say.
    pub(super) fn of_utf8() -> Self {
        Self { decoder: Some(UTF_8.new_decoder_with_bom_removal()), ..Self::default() }
    }

    /// Appends the text of `bytes` to `out`. `last`: there are no more.
    pub(super) fn convert(&mut self, bytes: &[u8], last: bool, out: &mut String) {
        let Some(decoder) = &mut self.decoder else {
            self.head.extend_from_slice(bytes);
            if self.head.len() < HEAD && !last {
                return;
            }
            let head = std::mem::take(&mut self.head);
            self.decoder = Some(encoding(&head).new_decoder_with_bom_removal());
            return self.convert(&head, last, out);
        };
        let mut rest = bytes;
        loop {
            out.reserve(decoder.max_utf8_buffer_length(rest.len()).unwrap_or(rest.len()));
            let (result, read, _) = decoder.decode_to_string(rest, out, last);
            rest = rest.get(read..).unwrap_or_default();
            if result == encoding_rs::CoderResult::InputEmpty {
                return;
            }
        }
    }
}

/// What the mark at the beginning or the declaration says. Whoever can be read as ASCII is not in UTF-16, whatever it says.
fn encoding(head: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return encoding;
    }
    match head {
        [b'<', 0, ..] => return UTF_16LE,
        [0, b'<', ..] => return UTF_16BE,
        _ => {}
    }
    let declared = || {
        let from = memmem::find(head, b"<?xml")?;
        let declaration = head.get(from..)?;
        let end = memmem::find(declaration, b"?>")?;
        let declaration = std::str::from_utf8(declaration.get(..end)?).ok()?;
        let (_, value) = declaration.split_once("encoding")?;
        let value = value.trim_start().strip_prefix('=')?.trim_start();
        let name = value.get(1..)?.split(['"', '\'']).next()?;
        Encoding::for_label(name.as_bytes())
    };
    declared().filter(|encoding| ![UTF_16LE, UTF_16BE].contains(encoding)).unwrap_or(UTF_8)
}
