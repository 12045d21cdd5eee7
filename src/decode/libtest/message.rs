//! Why a Rust test failed, from what it printed.

use std::borrow::Cow;

use super::line::Line;
use crate::event::Status;

/// Message and details of a result.
pub(super) fn of<'l>(line: &'l Line<'_>, status: Status) -> (Cow<'l, str>, Cow<'l, str>) {
    let told = if line.message.is_empty() { &line.reason } else { &line.message };
    if status != Status::Failed || !told.is_empty() {
        return (Cow::Borrowed(told), Cow::Borrowed(""));
    }
    match panic(&line.stdout) {
        Some((place, message)) => (message, Cow::Owned(format!("panicked at {place}"))),
        None => {
            let last = line.stdout.lines().rev().find(|line| !line.trim().is_empty());
            (Cow::Borrowed(last.unwrap_or_default()), Cow::Borrowed(""))
        }
    }
}

/// Place and message of a panic: since Rust 1.73 `thread 'x' panicked at src/lib.rs:3:5:` and the message below it, before
/// that `thread 'x' panicked at 'message', src/lib.rs:3:5`.
fn panic(output: &str) -> Option<(&str, Cow<'_, str>)> {
    let (_, after) = output.split_once(" panicked at ")?;
    let (head, below) = after.split_once('\n').unwrap_or((after, ""));
    if let Some(place) = head.strip_suffix(':') {
        let ends = ["\nnote: run with `RUST_BACKTRACE", "\nstack backtrace:\n", "\nnote: Some details are omitted"];
        let end = ends.iter().filter_map(|end| below.find(end)).min().unwrap_or(below.len());
        return Some((place, Cow::Borrowed(below.get(..end)?.trim_end())));
    }
    let (message, place) = head.rsplit_once("', ")?;
    Some((place, Cow::Borrowed(message.strip_prefix('\'').unwrap_or(message))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_s_message_and_place_are_found() {
        let new = "out\n\nthread 't' (7) panicked at src/a.rs:1:2:\nleft\n  right\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(panic(new), Some(("src/a.rs:1:2", "left\n  right".into())));
        assert_eq!(panic("thread 't' panicked at 'no', src/a.rs:1:2\n"), Some(("src/a.rs:1:2", "no".into())));
        assert_eq!(panic("Error: \"x\"\n"), None);
    }
}
