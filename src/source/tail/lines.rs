//! Bytes of a file → lines, in its encoding.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// A line that is longer is cut: it is held in memory until its end comes.
const LONGEST: usize = 16 << 20;
/// A buffer that one long line made this large is given back.
const KEPT: usize = 64 << 10;

/// How a file's bytes are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, or UTF-16 if the file begins with the mark of that.
    #[default]
    Auto,
    /// UTF-8.
    Utf8,
    /// UTF-16, low byte first.
    Utf16Le,
    /// UTF-16, high byte first.
    Utf16Be,
    /// ISO 8859-1.
    Latin1,
}

/// A line and where it is in the file.
#[derive(Debug)]
pub struct Piece<'a> {
    /// In UTF-8, as far as it is text, without its line end.
    pub bytes: Cow<'a, [u8]>,
    /// Its bytes in the file, line end included.
    pub range: Range<u64>,
}

/// Cuts what was read into lines; keeps the last one until its end comes.
#[derive(Debug)]
pub struct Lines {
    encoding: Encoding,
    /// Begun and not ended.
    held: Vec<u8>,
    /// Where the next line begins.
    at: u64,
}

impl Lines {
    /// Of a file that is read from byte `at` on. The mark of UTF-16 is at its beginning; `start` is that.
    pub fn new(encoding: Encoding, at: u64, start: &[u8]) -> Self {
        let encoding = match (encoding, start) {
            (Encoding::Auto, [0xff, 0xfe, ..]) => Encoding::Utf16Le,
            (Encoding::Auto, [0xfe, 0xff, ..]) => Encoding::Utf16Be,
            (encoding, _) => encoding,
        };
        Self { encoding, held: Vec::new(), at }
    }

    /// True if a line has begun and not ended.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes what was read and hands on each line that it ends.
    pub fn take(&mut self, mut bytes: &[u8], line: &mut impl FnMut(Piece<'_>)) {
        if !self.held.is_empty() {
            let old = self.held.len();
            // The end may be a pair of bytes of which one was there already.
            let from = if self.is_wide() { old & !1 } else { old };
            let missing = old - from;
            let first: Vec<u8> = self.held[from..].iter().chain(bytes.iter().take(1)).copied().collect();
            let end = if missing == 1 && self.end(&first).is_some() { Some(1) } else { None };
            let end = end.or_else(|| {
                let skip = missing.min(bytes.len());
                self.end(&bytes[skip..]).map(|end| skip + end)
            });
            let Some(end) = end else {
                self.held.extend_from_slice(bytes);
                if self.held.len() >= LONGEST {
                    self.flush(line);
                }
                return;
            };
            self.held.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            self.flush(line);
        }
        while let Some(end) = self.end(bytes) {
            let (whole, rest) = bytes.split_at(end);
            line(Self::piece(self.encoding, whole, self.at));
            self.at += end as u64;
            bytes = rest;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Hands on the line that has begun, although its end has not come.
    pub fn flush(&mut self, line: &mut impl FnMut(Piece<'_>)) {
        if self.held.is_empty() {
            return;
        }
        line(Self::piece(self.encoding, &self.held, self.at));
        self.at += self.held.len() as u64;
        if self.held.capacity() > KEPT {
            self.held = Vec::new();
        }
        self.held.clear();
    }

    fn is_wide(&self) -> bool {
        matches!(self.encoding, Encoding::Utf16Le | Encoding::Utf16Be)
    }

    /// Behind the first line end.
    fn end(&self, bytes: &[u8]) -> Option<usize> {
        let unit = match self.encoding {
            Encoding::Utf16Le => [b'\n', 0],
            Encoding::Utf16Be => [0, b'\n'],
            _ => return memchr(b'\n', bytes).map(|i| i + 1),
        };
        bytes.chunks_exact(2).position(|pair| pair == unit).map(|i| 2 * i + 2)
    }

    fn piece(encoding: Encoding, bytes: &[u8], at: u64) -> Piece<'_> {
        let range = at..at + bytes.len() as u64;
        let text = match encoding {
            Encoding::Auto | Encoding::Utf8 => {
                let bytes = if at == 0 { bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes) } else { bytes };
                Cow::Borrowed(bytes)
            }
            Encoding::Latin1 => Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect::<String>().into_bytes()),
            Encoding::Utf16Le => Cow::Owned(utf16(bytes, u16::from_le_bytes)),
            Encoding::Utf16Be => Cow::Owned(utf16(bytes, u16::from_be_bytes)),
        };
        let text = match text {
            Cow::Borrowed(bytes) => Cow::Borrowed(without_end(bytes)),
            Cow::Owned(mut bytes) => {
                bytes.truncate(without_end(&bytes).len());
                Cow::Owned(bytes)
            }
        };
        Piece { bytes: text, range }
    }
}

/// The mark at the beginning of a file is left out.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Vec<u8> {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.strip_prefix('\u{feff}').unwrap_or(&text).as_bytes().to_vec()
}

fn without_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(encoding: Encoding, bytes: &[u8], step: usize) -> Vec<(String, Range<u64>)> {
        let mut found = Vec::new();
        let mut lines = Lines::new(encoding, 0, bytes);
        let mut line = |piece: Piece<'_>| found.push((String::from_utf8_lossy(&piece.bytes).into_owned(), piece.range));
        for part in bytes.chunks(step) {
            lines.take(part, &mut line);
        }
        lines.flush(&mut line);
        found
    }

    #[test]
    fn lines_are_the_same_however_they_were_read() {
        let text = "one\r\n\nthree é\nlast";
        let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let wide_be: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        for bytes in [text.as_bytes(), &wide, &wide_be] {
            let whole = lines(Encoding::Auto, bytes, bytes.len());
            let texts: Vec<&str> = whole.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, ["one", "", "three é", "last"]);
            for step in 1..bytes.len() {
                assert_eq!(lines(Encoding::Auto, bytes, step), whole, "{step} bytes at a time");
            }
            let end = whole.iter().fold(0, |at, (_, range)| {
                assert_eq!(range.start, at);
                range.end
            });
            assert_eq!(end, bytes.len() as u64);
        }
    }

    #[test]
    fn latin_1_becomes_utf_8_and_a_utf_8_mark_is_no_text() {
        assert_eq!(lines(Encoding::Latin1, b"caf\xe9\n", 2)[0].0, "café");
        assert_eq!(lines(Encoding::Auto, b"\xef\xbb\xbfone\n", 3)[0].0, "one");
    }
}
