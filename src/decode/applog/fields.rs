//! Times and levels in the fields of JSON and logfmt lines. Nothing else of the line is read, and reading ends when both
//! are found.

use memchr::memchr2;

use super::level::{is_level_key, of_value};
use super::stamp::{Stamp, whole};
use crate::event::Level;

/// How far into a line fields are looked for, in bytes.
const HEAD: usize = 8 << 10;

/// What the fields of a line say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    pub(super) stamp: Option<Stamp>,
    pub(super) level: Option<Level>,
}

impl Found {
    fn take(&mut self, key: &[u8], value: &[u8]) {
        if self.stamp.is_none() && is_time_key(key) {
            self.stamp = whole(value);
        } else if self.level.is_none() && is_level_key(key) {
            self.level = of_value(value);
        }
    }

    fn is_complete(&self) -> bool {
        self.stamp.is_some() && self.level.is_some()
    }
}

fn is_time_key(key: &[u8]) -> bool {
    let known: [&[u8]; 11] = [
        b"time",
        b"ts",
        b"timestamp",
        b"@timestamp",
        b"t",
        b"@t",
        b"asctime",
        b"datetime",
        b"date",
        b"eventtime",
        b"time_iso8601",
    ];
    known.iter().any(|name| name.eq_ignore_ascii_case(key))
}

/// The fields of a line that is a JSON object or begins as logfmt; `None` for any other.
pub(super) fn of_line(line: &[u8]) -> Option<Found> {
    let head = line.get(..line.len().min(HEAD))?;
    match head.first()? {
        b'{' => json(head),
        byte if byte.is_ascii_alphabetic() || *byte == b'@' => logfmt(head),
        _ => None,
    }
}

/// Fields of the outermost object. A line that is not valid JSON gives what was found before that shows.
fn json(text: &[u8]) -> Option<Found> {
    let mut at = 1;
    let mut found = Found::default();
    loop {
        at = blanks(text, at);
        let Some((key, behind)) = string(text, at) else { break };
        at = blanks(text, behind);
        if text.get(at) != Some(&b':') {
            break;
        }
        at = blanks(text, at + 1);
        let Some((value, behind)) = value(text, at) else { break };
        found.take(key, value);
        at = blanks(text, behind);
        if found.is_complete() || text.get(at) != Some(&b',') {
            break;
        }
        at += 1;
    }
    // An object without fields is no log line's.
    (at > 2).then_some(found)
}

fn blanks(text: &[u8], at: usize) -> usize {
    at + text.iter().skip(at).take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// The inside of the string that begins at `at`, escapes as they are, and where it ends.
fn string(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(at..)?.strip_prefix(b"\"")?;
    let mut end = 0;
    loop {
        let next = memchr2(b'"', b'\\', rest.get(end..)?)?;
        end += next;
        if rest[end] == b'"' {
            return Some((rest.get(..end)?, at + end + 2));
        }
        end += 2;
    }
}

/// The value that begins at `at` (a string without its quotes), and where it ends.
fn value(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    match text.get(at)? {
        b'"' => string(text, at),
        b'{' | b'[' => {
            let (mut depth, mut end) = (0_u32, at);
            loop {
                match text.get(end)? {
                    b'"' => {
                        end = string(text, end)?.1;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                end += 1;
                if depth == 0 {
                    return Some((text.get(at..end)?, end));
                }
            }
        }
        _ => {
            let length = text.iter().skip(at).take_while(|b| !matches!(b, b',' | b'}' | b' ')).count();
            Some((text.get(at..at + length)?, at + length))
        }
    }
}

/// `time=… level=info msg="…"`; at least two fields must be there, as `a=b` alone begins many a text.
fn logfmt(text: &[u8]) -> Option<Found> {
    let mut at = 0;
    let mut fields = 0;
    let mut found = Found::default();
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let length = rest.iter().take_while(|b| is_key(**b)).count();
        if length == 0 || rest.get(length) != Some(&b'=') {
            break;
        }
        let key = rest.get(..length)?;
        let start = at + length + 1;
        let (value, end) = match text.get(start) {
            Some(b'"') => match string(text, start) {
                Some(inside) => inside,
                None => break,
            },
            _ => {
                let length = text.iter().skip(start).take_while(|b| **b != b' ').count();
                (text.get(start..start + length)?, start + length)
            }
        };
        found.take(key, value);
        fields += 1;
        if found.is_complete() {
            break;
        }
        at = blanks(text, end);
    }
    (fields >= 2 || found.stamp.is_some()).then_some(found)
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'@' | b'/')
}
