//! What is known of a segment in memory: a bit a record, and a place every 16 KiB.

use super::format::Header;

/// A place is remembered after so many bytes…
const POINT_BYTES: u64 = 16 * 1024;
/// … or so many milliseconds, which is how exactly the age of an old record is known.
const POINT_MS: u64 = 10_000;

/// A segment and what of it is settled: delivered, or lost to damage and kept aside.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Id of its first record; the file is named after it.
    pub(super) base: u64,
    /// Id after its last record.
    pub(super) next: u64,
    /// Bytes of the file that count.
    pub(super) len: u64,
    /// Records that are not settled.
    pub(super) left: u64,
    /// Entries of those.
    pub(super) entries: u64,
    /// Encoded bytes of those.
    pub(super) bytes: u64,
    points: Vec<Point>,
    /// A bit for each record from `base`, set if it is settled; those beyond the end are not.
    settled: Vec<u64>,
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Its first record.
    pub(super) first: u64,
    /// Its place in the file.
    pub(super) at: u64,
    /// When it was appended: milliseconds since 1970.
    pub(super) time: u64,
}

impl Segment {
    /// An empty one.
    pub(super) fn new(base: u64) -> Self {
        Self { base, next: base, ..Self::default() }
    }

    /// With the bits of a cursor.
    pub(super) fn with_settled(base: u64, settled: Vec<u64>) -> Self {
        Self { settled, ..Self::new(base) }
    }

    /// The bits, for the cursor; none if nothing is settled.
    pub(super) fn settled(&self) -> &[u64] {
        &self.settled
    }

    /// A group was found or written at `at`. Its records that are settled already, as the cursor says, are not counted
    /// as left; what of the entries that leaves is `(entries, bytes)`.
    pub(super) fn add(&mut self, header: &Header, at: u64, (entries, bytes): (u64, u64)) {
        // Records that a damaged piece took with it are not to be waited for.
        for lost in self.next..header.first {
            self.mark(lost);
        }
        let far = self
            .points
            .last()
            .is_none_or(|point| at - point.at >= POINT_BYTES || header.time.saturating_sub(point.time) >= POINT_MS);
        if far && header.records > 0 {
            self.points.push(Point { first: header.first, at, time: header.time });
        }
        self.left += (header.first..header.next()).filter(|id| !self.is_settled(*id)).count() as u64;
        self.next = header.next();
        self.len = at + header.len();
        self.entries += entries;
        self.bytes += bytes;
    }

    pub(super) fn is_settled(&self, id: u64) -> bool {
        let index = id.wrapping_sub(self.base);
        let word = usize::try_from(index / 64).ok().and_then(|word| self.settled.get(word));
        word.is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Settles a record with so many entries and bytes. What is taken from the backlog for it; `None` if it was settled
    /// before.
    pub(super) fn settle(&mut self, id: u64, entries: u64, bytes: u64) -> Option<(u64, u64)> {
        if !(self.base..self.next).contains(&id) || self.is_settled(id) {
            return None;
        }
        self.mark(id);
        self.left -= 1;
        // The last one takes along what was counted for records that can no longer say how large they were.
        let taken = if self.left == 0 {
            (self.entries, self.bytes)
        } else {
            (entries.min(self.entries), bytes.min(self.bytes))
        };
        self.entries -= taken.0;
        self.bytes -= taken.1;
        Some(taken)
    }

    /// The first record from `from` that is not settled.
    pub(super) fn first_open(&self, from: u64) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        let mut id = from.max(self.base);
        while id < self.next {
            let index = id - self.base;
            let word = self.settled.get((index / 64) as usize).copied().unwrap_or(0);
            let open = !word & (u64::MAX << (index % 64));
            if open != 0 {
                let found = id - index % 64 + u64::from(open.trailing_zeros());
                return (found < self.next).then_some(found);
            }
            id += 64 - index % 64;
        }
        None
    }

    /// The last remembered place that is not behind this record.
    pub(super) fn point(&self, id: u64) -> Option<Point> {
        let behind = self.points.partition_point(|point| point.first <= id);
        self.points.get(behind.checked_sub(1)?).copied()
    }

    fn mark(&mut self, id: u64) {
        let index = id - self.base;
        let word = (index / 64) as usize;
        if self.settled.len() <= word {
            self.settled.resize(word + 1, 0);
        }
        self.settled[word] |= 1 << (index % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(first: u64, records: u32, time: u64) -> Header {
        let (entries, bytes) = (records * 2, records * 100);
        Header { first, time, records, entries, bytes, heads: 900, mark: None, check: 0 }
    }

    fn add(segment: &mut Segment, first: u64, records: u32, time: u64) {
        let at = segment.len;
        segment.add(&header(first, records, time), at, (u64::from(records) * 2, u64::from(records) * 100));
    }

    #[test]
    fn records_settle_in_any_order_and_once() {
        let mut segment = Segment::new(10);
        add(&mut segment, 10, 200, 0);
        for id in [10, 11, 209, 74, 73, 75] {
            assert_eq!(segment.settle(id, 2, 100), Some((2, 100)));
            assert_eq!(segment.settle(id, 2, 100), None);
        }
        assert_eq!(segment.settle(9, 2, 100), None);
        assert_eq!(segment.settle(210, 2, 100), None);
        assert_eq!((segment.left, segment.entries), (194, 388));
        assert_eq!(segment.first_open(0), Some(12));
        assert_eq!(segment.first_open(73), Some(76));
        assert_eq!(segment.first_open(208), Some(208));
        assert_eq!(segment.first_open(209), None);
        let again = Segment::with_settled(10, segment.settled().to_vec());
        assert!(again.is_settled(74) && !again.is_settled(76));
    }

    #[test]
    fn the_last_record_takes_along_what_no_other_could_name() {
        let mut segment = Segment::new(1);
        add(&mut segment, 1, 3, 0);
        segment.settle(1, 0, 0);
        segment.settle(2, 2, 100);
        assert_eq!(segment.settle(3, 2, 100), Some((4, 200)));
        assert_eq!((segment.left, segment.entries, segment.bytes), (0, 0, 0));
    }

    #[test]
    fn ids_missing_between_groups_are_not_waited_for() {
        let mut segment = Segment::new(1);
        add(&mut segment, 1, 2, 0);
        add(&mut segment, 100, 2, 0);
        assert_eq!(segment.left, 4);
        assert_eq!(segment.first_open(3), Some(100));
    }

    #[test]
    fn a_place_is_remembered_every_16_kib_or_10_seconds() {
        let mut segment = Segment::new(1);
        for i in 0..100 {
            add(&mut segment, 1 + i, 1, 0);
        }
        assert_eq!(segment.points.len(), 7);
        assert_eq!(segment.point(0), None);
        assert_eq!(segment.point(1).map(|point| point.at), Some(0));
        let point = segment.point(60).unwrap();
        assert!(point.first <= 60 && point.at == (point.first - 1) * 1048);
        add(&mut segment, 101, 1, 10_000);
        assert_eq!(segment.point(101).map(|point| point.first), Some(101));
    }
}
