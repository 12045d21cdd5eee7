//! Loki's unit: an entry of a stream.

use std::sync::Arc;

use crate::event::Timestamp;

/// A label set, the identity of a stream, made once and shared by its entries.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    labels: Vec<(&'static str, String)>,
    selector: String,
}

impl Stream {
    /// A stream of these labels; empty values are left out, as Loki would.
    pub fn new(mut labels: Vec<(&'static str, String)>) -> Arc<Self> {
        labels.retain(|(_, value)| !value.is_empty());
        labels.sort_unstable();
        let mut selector = String::from("{");
        for (i, (name, value)) in labels.iter().enumerate() {
            if i > 0 {
                selector.push_str(", ");
            }
            selector.push_str(name);
            selector.push('=');
            push_quoted(&mut selector, value);
        }
        selector.push('}');
        Arc::new(Self { labels, selector })
    }

    /// Name and value of each label, sorted by name.
    pub fn labels(&self) -> &[(&'static str, String)] {
        &self.labels
    }

    /// The label set as Loki's push API takes it: `{a="b", c="d"}`.
    pub fn selector(&self) -> &str {
        &self.selector
    }
}

/// Quotes as Loki's label parser reads it (Prometheus' `strutil.Unquote`: `\"`, `\\`, `\n`, `\xHH`, no `\u{…}`).
fn push_quoted(out: &mut String, value: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", c as u32).expect("a String takes all"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// One entry, on its way from normalize to the spool or to an output.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Whole microseconds; the last three digits of the nanoseconds are `seq` mod 1000.
    pub time: Timestamp,
    /// Number within the run's shard, from 1.
    pub seq: u64,
    /// Text for a person, or the raw line of a log; at most 200 KiB.
    pub line: &'a str,
    /// Structured metadata; no value is empty.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// Takes entries in the order in which they were made.
pub trait EntrySink {
    /// Takes one entry of `stream`.
    fn entry(&mut self, stream: &Arc<Stream>, entry: &Entry<'_>);
}
