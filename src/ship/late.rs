//! Which stream an entry is offered to: one that is old by then gets the label `late` with the hour of its own time.
//!
//! Loki takes an entry as long as it is at most an hour behind the newest of its stream (half of `max_chunk_age`). A backlog
//! would be behind what other processes have pushed meanwhile; within a stream of one hour nothing is ever too far behind.
//!
//! Pure: the wall clock is an argument.

use std::ops::Range;
use std::sync::Arc;

use prost::bytes::Bytes;

use crate::event::Timestamp;
use crate::loki::encode::{entries_of, time_of};
use crate::loki::entry::Stream;
use crate::names::label;

/// Older entries are late, in nanoseconds: half of Loki's window, so that retries have the other half.
const LATE_AFTER: i64 = 30 * 60 * 1_000_000_000;
const HOUR: i64 = 3_600 * 1_000_000_000;

/// An hour, counted from the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hour(i64);

impl Hour {
    /// The hour that this time lies in.
    pub(super) fn of(time: Timestamp) -> Self {
        Self(time.0.div_euclid(HOUR))
    }

    /// As in the label: `2026-11-20T09`, UTC.
    fn text(self) -> String {
        chrono::DateTime::from_timestamp_nanos(self.0 * HOUR).format("%Y-%m-%dT%H").to_string()
    }
}

/// Which entries of a record, by their numbers in it; `None`: all of them.
pub(super) type Selection = Option<Arc<Vec<Range<u32>>>>;

/// Entries of one record that go to one stream.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) stream: Arc<Stream>,
    pub(super) selection: Selection,
    pub(super) entries: Bytes,
    pub(super) count: u32,
}

/// True if the stream has the label already.
pub(super) fn is_late(stream: &Stream) -> bool {
    stream.labels().iter().any(|(name, _)| *name == label::LATE)
}

/// The stream of the same labels and `late`.
fn late_stream(stream: &Stream, hour: Hour) -> Arc<Stream> {
    let mut labels = stream.labels().to_vec();
    labels.push((label::LATE, hour.text()));
    Stream::new(labels)
}

/// Entries from before this time are late when they are offered now.
pub(super) fn cutoff(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_sub(LATE_AFTER))
}

/// Deals entries of a record out to the streams of their hours, each piece in the record's order. `numbers` are those of
/// the entries, ascending.
pub(super) fn pieces(stream: &Stream, entries: &[u8], numbers: impl IntoIterator<Item = u32>) -> Vec<Piece> {
    let places: Vec<Range<usize>> = entries_of(entries).collect();
    let mut groups: Vec<(Hour, Vec<Range<u32>>)> = Vec::new();
    for number in numbers {
        let Some(time) = places.get(number as usize).and_then(|place| time_of(&entries[place.clone()])) else {
            continue;
        };
        let hour = Hour::of(time);
        // The hour of an entry is mostly that of the one before, and time mostly goes on.
        let index = groups.iter().rposition(|(known, _)| *known == hour).unwrap_or_else(|| {
            groups.push((hour, Vec::new()));
            groups.len() - 1
        });
        match groups[index].1.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => groups[index].1.push(number..number + 1),
        }
    }
    let piece = |(hour, ranges): (Hour, Vec<Range<u32>>)| Piece {
        stream: late_stream(stream, hour),
        entries: cut(entries, &places, &ranges),
        count: ranges.iter().map(|range| range.end - range.start).sum(),
        selection: Some(Arc::new(ranges)),
    };
    groups.into_iter().map(piece).collect()
}

/// The selected entries of a record.
pub(super) fn select(entries: Bytes, selection: &Selection) -> Bytes {
    match selection {
        None => entries,
        Some(ranges) => cut(&entries, &entries_of(&entries).collect::<Vec<_>>(), ranges),
    }
}

/// The entries of these numbers, which ascend.
fn cut(entries: &[u8], places: &[Range<usize>], ranges: &[Range<u32>]) -> Bytes {
    let mut out = Vec::new();
    for range in ranges {
        let run = places.get(range.start as usize..range.end as usize).unwrap_or_default();
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            out.extend_from_slice(&entries[first.start..last.end]);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loki::encode::{Encoder, decode};
    use crate::loki::entry::{Entry, EntrySink as _};

    const MINUTE: i64 = 60 * 1_000_000_000;
    /// 2026-11-20 12:10 UTC.
    const NOW: Timestamp = Timestamp(1_795_176_600_000_000_000);

    /// A record with entries of these ages in minutes; the line is the number.
    fn record(ages: &[i64], stream: &Arc<Stream>) -> Bytes {
        let mut encoder = Encoder::new();
        for (number, age) in ages.iter().enumerate() {
            let time = Timestamp(NOW.0 - age * MINUTE);
            encoder.entry(stream, &Entry { time, seq: 1, line: &number.to_string(), metadata: &[("a", "b")] });
        }
        encoder.take().remove(0).entries
    }

    fn lines(entries: &[u8]) -> Vec<usize> {
        entries_of(entries).map(|place| decode(&entries[place]).unwrap().line.parse().unwrap()).collect()
    }

    #[test]
    fn entries_are_dealt_out_to_streams_of_their_hours_in_order_and_found_again() {
        let stream = Stream::new(vec![("kind", "log".into())]);
        let record = record(&[190, 189, 100, 5, 185, 71, 70, 20, 365 * 24 * 60], &stream);
        let pieces = pieces(&stream, &record, [0, 1, 2, 4, 5, 6, 8]);
        let found: Vec<_> = pieces.iter().map(|piece| (piece.stream.selector(), lines(&piece.entries))).collect();
        assert_eq!(
            found,
            [
                (r#"{kind="log", late="2026-11-20T09"}"#, vec![0, 1, 4]),
                (r#"{kind="log", late="2026-11-20T10"}"#, vec![2, 5]),
                (r#"{kind="log", late="2026-11-20T11"}"#, vec![6]),
                (r#"{kind="log", late="2025-11-20T12"}"#, vec![8]),
            ]
        );
        for piece in &pieces {
            assert!(is_late(&piece.stream) && !is_late(&stream));
            assert_eq!(select(record.clone(), &piece.selection), piece.entries, "read again as it was");
            assert_eq!(piece.count as usize, lines(&piece.entries).len());
        }
        assert_eq!(select(record.clone(), &None), record);
    }

    #[test]
    fn an_entry_is_late_when_it_is_over_30_minutes_old() {
        assert_eq!(cutoff(NOW), Timestamp(NOW.0 - 30 * MINUTE));
    }
}
