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
use crate::loki::encode::{Chunk, entries_of, time_of};
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

/// Deals the entries of a chunk that is offered now out to its own stream and to late ones; each piece in the order of the
/// chunk. At least one piece.
pub(super) fn pieces(chunk: Chunk, now: Timestamp) -> Vec<Piece> {
    let late = |time: Timestamp| (time.0 < now.0.saturating_sub(LATE_AFTER)).then(|| Hour::of(time));
    let Chunk { stream, entries, count, first, last } = chunk;
    if late(first) == late(last) || is_late(&stream) {
        let stream = match late(first) {
            Some(hour) if !is_late(&stream) => late_stream(&stream, hour),
            _ => stream,
        };
        return vec![Piece { stream, selection: None, entries, count }];
    }
    let hours = entries_of(&entries).map(|place| time_of(&entries[place]).and_then(late));
    let mut groups = Groups::default();
    for (number, hour) in (0..).zip(hours) {
        groups.add(hour, number);
    }
    groups.pieces(&stream, &entries)
}

/// The pieces of a record's entries that Loki found too far behind in their own stream. `numbers` are those of entries
/// of the record, ascending.
pub(super) fn behind(stream: &Stream, entries: &Bytes, numbers: impl IntoIterator<Item = u32>) -> Vec<Piece> {
    let hours: Vec<_> = entries_of(entries).map(|place| time_of(&entries[place]).map_or(Hour(0), Hour::of)).collect();
    let mut groups = Groups::default();
    for number in numbers {
        groups.add(hours.get(number as usize).copied(), number);
    }
    groups.pieces(stream, entries)
}

/// The selected entries of a record.
pub(super) fn select(entries: Bytes, selection: &Selection) -> Bytes {
    match selection {
        None => entries,
        Some(ranges) => cut(&entries, ranges),
    }
}

/// Number in its record of the `index`th selected entry.
pub(super) fn number(selection: &Selection, index: u32) -> u32 {
    let Some(ranges) = selection else { return index };
    let mut left = index;
    for range in ranges.iter() {
        let len = range.end - range.start;
        if left < len {
            return range.start + left;
        }
        left -= len;
    }
    // Only a record that changed on disk since it was dealt out brings this.
    index
}

/// Entry numbers by hour, in order of their first appearance.
#[derive(Default)]
struct Groups(Vec<(Option<Hour>, Vec<Range<u32>>)>);

impl Groups {
    fn add(&mut self, hour: Option<Hour>, number: u32) {
        // The hour of an entry is mostly that of the one before, and time mostly goes on.
        let index = self.0.iter().rposition(|(known, _)| *known == hour).unwrap_or_else(|| {
            self.0.push((hour, Vec::new()));
            self.0.len() - 1
        });
        let ranges = &mut self.0[index].1;
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }

    fn pieces(self, stream: &Stream, entries: &Bytes) -> Vec<Piece> {
        let own = || Stream::new(stream.labels().to_vec());
        let piece = |(hour, ranges): (Option<Hour>, Vec<Range<u32>>)| Piece {
            stream: hour.map_or_else(own, |hour| late_stream(stream, hour)),
            entries: cut(entries, &ranges),
            count: ranges.iter().map(|range| range.end - range.start).sum(),
            selection: Some(Arc::new(ranges)),
        };
        self.0.into_iter().map(piece).collect()
    }
}

/// The entries of these numbers, which ascend.
fn cut(entries: &[u8], ranges: &[Range<u32>]) -> Bytes {
    let places: Vec<Range<usize>> = entries_of(entries).collect();
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

    /// A chunk with entries of these ages in minutes; the line is the number.
    fn chunk(ages: &[i64], labels: &[(&'static str, &str)]) -> Chunk {
        let stream = Stream::new(labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect());
        let mut encoder = Encoder::new();
        for (number, age) in ages.iter().enumerate() {
            let time = Timestamp(NOW.0 - age * MINUTE);
            encoder.entry(&stream, &Entry { time, seq: 1, line: &number.to_string(), metadata: &[("a", "b")] });
        }
        encoder.take().remove(0)
    }

    fn lines(entries: &[u8]) -> Vec<usize> {
        entries_of(entries).map(|place| decode(&entries[place]).unwrap().line.parse().unwrap()).collect()
    }

    /// Value of `late` and numbers of the entries of each piece.
    fn dealt(chunk: &Chunk) -> Vec<(String, Vec<usize>)> {
        let pieces = pieces(chunk.clone(), NOW);
        for piece in &pieces {
            assert_eq!(select(chunk.entries.clone(), &piece.selection), piece.entries, "read again as it was");
            let numbers = lines(&piece.entries);
            assert_eq!(piece.count as usize, numbers.len());
            for (index, line) in numbers.iter().enumerate() {
                assert_eq!(number(&piece.selection, index as u32) as usize, *line);
            }
        }
        let late = |stream: &Stream| {
            let found = stream.labels().iter().find(|(name, _)| *name == "late");
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        pieces.iter().map(|piece| (late(&piece.stream), lines(&piece.entries))).collect()
    }

    #[test]
    fn entries_up_to_30_minutes_old_stay_in_their_stream() {
        assert_eq!(dealt(&chunk(&[30, 10, 0, -9], &[("kind", "log")])), [(String::new(), vec![0, 1, 2, 3])]);
    }

    #[test]
    fn older_ones_go_to_a_stream_of_their_hour() {
        assert_eq!(dealt(&chunk(&[69, 31], &[("kind", "log")])), [("2026-11-20T11".into(), vec![0, 1])]);
        assert_eq!(dealt(&chunk(&[365 * 24 * 60], &[("kind", "log")])), [("2025-11-20T12".into(), vec![0])]);
    }

    #[test]
    fn a_chunk_over_several_hours_is_dealt_out_in_order() {
        let mixed = chunk(&[190, 189, 100, 5, 185, 71, 70, 20, 99], &[("kind", "log")]);
        let expected = [("2026-11-20T09", vec![0, 1, 4]), ("2026-11-20T10", vec![2, 5, 8]), ("", vec![3, 7])];
        let mut found = dealt(&mixed);
        found.retain(|(late, _)| late != "2026-11-20T11");
        assert_eq!(found, expected.map(|(late, numbers)| (late.to_owned(), numbers)));
        assert_eq!(dealt(&mixed).len(), 4);
    }

    #[test]
    fn a_stream_that_is_late_already_is_left_as_it_is() {
        let chunk = chunk(&[300, 10], &[("kind", "log"), ("late", "2026-11-20T07")]);
        assert_eq!(dealt(&chunk), [("2026-11-20T07".into(), vec![0, 1])]);
    }

    #[test]
    fn what_was_too_far_behind_goes_to_its_hour_however_young() {
        let chunk = chunk(&[80, 12, 11, 5, 4], &[("kind", "log")]);
        let found = behind(&chunk.stream, &chunk.entries, [0, 1, 3, 4]);
        let found: Vec<_> = found.iter().map(|piece| (piece.stream.selector(), lines(&piece.entries))).collect();
        assert_eq!(
            found,
            [
                (r#"{kind="log", late="2026-11-20T10"}"#, vec![0]),
                (r#"{kind="log", late="2026-11-20T11"}"#, vec![1]),
                (r#"{kind="log", late="2026-11-20T12"}"#, vec![3, 4]),
            ]
        );
    }
}
