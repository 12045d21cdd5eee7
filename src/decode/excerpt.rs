//! The beginning and the end of a text of any length, in bounded memory.

use std::fmt::Write;

/// Bytes kept of the beginning.
const HEAD: usize = 8 * 1024;
/// Bytes kept of the end, at least; up to twice as many are held before the surplus is cut off.
const TAIL: usize = 24 * 1024;

/// Collects lines; what does not fit between the first 8 KiB and the last 24 KiB is counted and left out.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    head: String,
    tail: String,
    left_out: usize,
}

impl Excerpt {
    /// Adds a line (without its end).
    pub(crate) fn push_line(&mut self, line: &str) {
        if self.tail.is_empty() && self.left_out == 0 && self.head.len() + line.len() < HEAD {
            self.head.push_str(line);
            self.head.push('\n');
            return;
        }
        let line = if line.len() > 2 * TAIL {
            let end = clip_front(line, TAIL);
            self.left_out += line.len() - end.len();
            end
        } else {
            line
        };
        self.tail.push_str(line);
        self.tail.push('\n');
        if self.tail.len() > 2 * TAIL {
            let surplus = self.tail.len() - clip_front(&self.tail, TAIL).len();
            self.left_out += surplus;
            self.tail.drain(..surplus);
        }
    }

    /// True if nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// The lines, each with its end, and between beginning and end a line that says how much was left out.
    pub(crate) fn text(&self) -> String {
        let end = clip_front(&self.tail, TAIL);
        let left_out = self.left_out + self.tail.len() - end.len();
        let mut text = String::with_capacity(self.head.len() + end.len() + 40);
        text.push_str(&self.head);
        if left_out > 0 {
            writeln!(text, "… {left_out} bytes left out …").expect("writing to a string does not fail");
        }
        text.push_str(end);
        text
    }

    /// Empties it and keeps the memory of the beginning for the next use.
    pub(crate) fn clear(&mut self) {
        self.head.clear();
        self.tail = String::new();
        self.left_out = 0;
    }
}

/// The last `limit` bytes of `text`, or a little less: from a line's beginning if one is near, else from a character's.
fn clip_front(text: &str, limit: usize) -> &str {
    let Some(mut from) = text.len().checked_sub(limit).filter(|from| *from > 0) else { return text };
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let (_, end) = text.split_at(from);
    match end.split_once('\n') {
        Some((cut, lines)) if cut.len() < limit / 4 => lines,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_kept_whole() {
        let mut excerpt = Excerpt::default();
        assert!(excerpt.is_empty());
        excerpt.push_line("one");
        excerpt.push_line("");
        excerpt.push_line("three");
        assert_eq!(excerpt.text(), "one\n\nthree\n");
        excerpt.clear();
        assert_eq!(excerpt.text(), "");
    }

    #[test]
    fn a_long_text_keeps_its_beginning_and_its_end_in_bounded_memory() {
        let mut excerpt = Excerpt::default();
        let mut whole = 0;
        for number in 0..100_000 {
            let line = format!("line {number}");
            whole += line.len() + 1;
            excerpt.push_line(&line);
            assert!(excerpt.head.len() + excerpt.tail.len() <= HEAD + 2 * TAIL + 16);
        }
        let text = excerpt.text();
        assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("line 99998\nline 99999\n"));
        assert!(text.len() < HEAD + TAIL + 64, "{}", text.len());
        let middle = text.lines().find(|line| line.starts_with('…')).unwrap();
        let left_out: usize = middle.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(whole - left_out + middle.len() + 1, text.len());
    }

    #[test]
    fn one_line_of_a_megabyte_is_cut_at_a_character() {
        let mut excerpt = Excerpt::default();
        excerpt.push_line(&"é".repeat(600_000));
        excerpt.push_line("last");
        assert!(excerpt.text().ends_with("é\nlast\n"));
        assert!(excerpt.text().len() <= HEAD + TAIL + 64);
    }
}
