//! Bytes → lines, without copying a line that came in one piece.

use std::io;

use super::{Got, Source};

/// Room for one read: large enough that system calls do not count at hundreds of MB/s.
pub const READ: usize = 256 * 1024;
/// A line longer than this is handed on in pieces, so that input without line ends cannot fill the memory.
pub const MAX_LINE: usize = 16 << 20;

/// Cuts what a source gives into lines.
#[derive(Debug, Default)]
pub struct LineReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that hold an unfinished line.
    held: usize,
    /// Bytes of all lines that were handed on, with their ends.
    consumed: u64,
}

impl LineReader {
    /// Bytes of the source that were handed on as lines, ends included: a reader that begins here misses nothing.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Reads once from `source`. `raw` sees every byte as it came; `line` every whole line without its end (LF or CRLF),
    /// and the number of bytes up to behind it.
    ///
    /// # Errors
    /// Those of the source.
    pub fn read(
        &mut self,
        source: &mut Source,
        raw: impl FnMut(&[u8]),
        line: impl FnMut(&[u8], u64),
    ) -> io::Result<Got> {
        let got = self.fill(source, raw)?;
        if let Got::Bytes(n) = got {
            self.split(n, line);
        }
        Ok(got)
    }

    /// Reads once from `source`, without handing on. `raw` sees every byte as it came. What was read is to be taken by
    /// [`Self::split`] or [`Self::drain`] before the next read.
    ///
    /// # Errors
    /// Those of the source.
    pub fn fill(&mut self, source: &mut Source, mut raw: impl FnMut(&[u8])) -> io::Result<Got> {
        if self.buffer.len() < self.held + READ {
            self.buffer.resize(self.held + READ, 0);
        }
        let got = source.read(self.buffer.get_mut(self.held..).unwrap_or_default())?;
        if let Got::Bytes(n) = got {
            self.held += n;
            raw(self.pending().get(self.held - n..).unwrap_or_default());
        }
        Ok(got)
    }

    /// What was read and not handed on yet.
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(..self.held).unwrap_or_default()
    }

    /// Hands on the whole lines of what was read, of which the last `fresh` bytes are new.
    pub fn split(&mut self, fresh: usize, mut line: impl FnMut(&[u8], u64)) {
        let end = self.held;
        let fresh_from = end - fresh.min(end);
        let filled = self.buffer.get(..end).unwrap_or_default();
        let mut start = 0;
        // What was held has no line end in it: only the new bytes are searched.
        for newline in memchr::memchr_iter(b'\n', filled.get(fresh_from..).unwrap_or_default()) {
            let stop = fresh_from + newline;
            self.consumed += (stop + 1 - start) as u64;
            line(without_cr(filled.get(start..stop).unwrap_or_default()), self.consumed);
            start = stop + 1;
        }
        if end - start >= MAX_LINE {
            self.consumed += (end - start) as u64;
            line(filled.get(start..end).unwrap_or_default(), self.consumed);
            start = end;
        }
        self.buffer.copy_within(start..end, 0);
        self.held = end - start;
        if self.held == 0 && self.buffer.len() > 4 * READ {
            // One huge line must not keep its memory for the rest of the run.
            self.buffer = Vec::new();
        }
    }

    /// Hands on what was read as it is, for input that has no lines.
    pub fn drain(&mut self, mut bytes: impl FnMut(&[u8], u64)) {
        self.consumed += self.held as u64;
        bytes(self.buffer.get(..self.held).unwrap_or_default(), self.consumed);
        self.held = 0;
    }

    /// Hands on the last line if it had no end.
    pub fn finish(&mut self, mut line: impl FnMut(&[u8], u64)) {
        if self.held > 0 {
            self.consumed += self.held as u64;
            line(without_cr(self.buffer.get(..self.held).unwrap_or_default()), self.consumed);
            self.held = 0;
        }
    }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::follow::Follow;
    use std::io::Write as _;

    fn read_all(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let mut source = Source::Follow(Follow::new(&path));
        let mut reader = LineReader::default();
        let (mut lines, mut raw) = (Vec::new(), Vec::new());
        let mut file = std::fs::File::create(&path).unwrap();
        for part in parts {
            file.write_all(part).unwrap();
            while reader.read(&mut source, |b| raw.extend_from_slice(b), |l, _| lines.push(l.to_vec())).unwrap()
                != Got::Nothing
            {}
        }
        reader.finish(|l, _| lines.push(l.to_vec()));
        assert_eq!(raw, parts.concat(), "every byte is passed on");
        lines
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\r\ntwo\n\nfour \xff\nlast".to_vec();
        let expected: Vec<Vec<u8>> =
            vec![b"one".to_vec(), b"two".to_vec(), b"".to_vec(), b"four \xff".to_vec(), b"last".to_vec()];
        for cut in 0..text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(read_all(&[a, b]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_longer_than_the_bound_is_handed_on_in_pieces_and_nothing_is_lost() {
        let long = vec![b'x'; MAX_LINE + 3 * READ];
        let lines = read_all(&[&long, b"\nnext\n"]);
        assert_eq!(lines.last().unwrap(), b"next");
        assert_eq!(lines.iter().map(Vec::len).sum::<usize>(), long.len() + 4);
    }
}
