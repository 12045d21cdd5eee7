//! Lines for people.

use std::fmt::Write as _;
use std::time::Duration;

use crate::event::Status;

/// Longest line of an entry in bytes, whatever Loki takes: more is no use to a reader.
pub const MAX_LINE: usize = 200 * 1024;
/// No piece is made shorter than this, however short Loki's lines may be.
const MIN_LINE: usize = 256;

/// Longest line that is sent to a Loki that takes lines of `limit` bytes: a fifth is kept free.
pub fn longest_line(limit: usize) -> usize {
    (limit / 5 * 4).clamp(MIN_LINE, MAX_LINE)
}

/// Longest value of the metadata `message` in bytes.
pub(super) const MAX_MESSAGE: usize = 1024;

/// The word that a result's line begins with.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Passed => "PASS",
        Status::Failed => "FAIL",
        Status::Errored => "ERROR",
        Status::Skipped => "SKIP",
        Status::Xfailed => "XFAIL",
        Status::Xpassed => "XPASS",
        Status::Retried => "RETRY",
        Status::Unfinished => "UNFINISHED",
    }
}

/// ` (1.23s)`, with the precision that a reader needs: `0.004s`, `1.23s`, `2m 05s`.
pub(super) fn push_duration(out: &mut String, duration: Duration) {
    let secs = duration.as_secs_f64();
    let written = if secs < 1.0 {
        write!(out, " ({secs:.3}s)")
    } else if secs < 60.0 {
        write!(out, " ({secs:.2}s)")
    } else {
        write!(out, " ({}m {:02}s)", duration.as_secs() / 60, duration.as_secs() % 60)
    };
    written.expect("a String takes all");
}

/// The longest prefix of at most `max` bytes that ends between two characters.
pub(super) fn prefix(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.split_at(end).0
}

/// First line that is not blank, trimmed, at most [`MAX_MESSAGE`] bytes.
pub(super) fn first_line(text: &str) -> &str {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("");
    prefix(line, MAX_MESSAGE)
}

/// What of `message` comes after the line that [`first_line`] shows whole; all of it, if it shows only a part.
pub(super) fn after_first_line(message: &str) -> &str {
    let message = message.trim_start();
    let (first, rest) = message.split_once('\n').unwrap_or((message, ""));
    if first.trim().len() > MAX_MESSAGE { message } else { rest }
}

/// Cuts a line into pieces of at most `max` bytes, which is at least 4, at line ends where there are any near; nothing is lost
/// but the line ends at the cuts.
pub fn pieces(text: &str, max: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.len() > max {
        let head = prefix(rest, max);
        let cut = head.rfind('\n').filter(|&i| i > max / 2);
        let (piece, after) = match cut {
            Some(i) => (head.split_at(i).0, rest.split_at(i + 1).1),
            None => (head, rest.split_at(head.len()).1),
        };
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Milliseconds with three digits of fraction, without a trailing `.000`.
pub(super) fn millis(duration: Duration) -> String {
    let micros = (duration.as_nanos() + 500) / 1000;
    let (whole, rest) = (micros / 1000, (micros % 1000) as u32);
    let mut text = u64::try_from(whole).unwrap_or(u64::MAX).to_string();
    if rest > 0 {
        text.push('.');
        text.extend([rest / 100, rest / 10 % 10, rest % 10].map(|digit| char::from_digit(digit, 10).unwrap_or('0')));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_digits_of_fraction_or_none() {
        for (nanos, text) in [(0, "0"), (499, "0"), (500, "0.001"), (1_000_000, "1"), (12_034_056_499, "12034.056")] {
            assert_eq!(millis(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn pieces_keep_every_character() {
        let text = "é".repeat(MAX_LINE);
        let all = pieces(&text, MAX_LINE);
        assert!(all.len() > 1 && all.iter().all(|p| p.len() <= MAX_LINE));
        assert_eq!(all.concat(), text);
        let lines = "0123456789abcde\n".repeat(MAX_LINE / 8);
        assert_eq!(pieces(&lines, MAX_LINE).join("\n"), lines);
    }

    #[test]
    fn a_line_has_four_fifths_of_what_loki_takes_and_never_more_than_200_kib() {
        assert_eq!(longest_line(256 * 1024), MAX_LINE);
        assert_eq!(longest_line(usize::MAX), MAX_LINE);
        assert_eq!(longest_line(100_000), 80_000);
        assert_eq!(longest_line(10), MIN_LINE);
    }

    #[test]
    fn a_message_is_shown_once() {
        assert_eq!(first_line("\n  boom \nmore"), "boom");
        assert_eq!(after_first_line("\n  boom \nmore"), "more");
        let long = "x".repeat(5000);
        assert_eq!(first_line(&long).len(), MAX_MESSAGE);
        assert_eq!(after_first_line(&long), long);
    }
}
