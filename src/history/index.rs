//! Where the record of a test is.
//!
//! A table of places, half of them free, in which a test's key itself says where to look first, as it is a hash. It has four
//! bytes a place and no keys, which are in the records: so it stays in the processor's cache, unlike a map.

use super::past::Record;

/// Places of records in a list, by their tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Number of a record, from 1; 0: free. Their number is a power of two, or 0.
    places: Vec<u32>,
}

impl Index {
    /// Of all records.
    pub(super) fn new(records: &[Record]) -> Self {
        let mut index = Self::default();
        index.build(records, records.len() * 2);
        index
    }

    /// The place of the record of this test, where `test_at` tells of which test the record in a place is.
    pub(super) fn find(&self, test: u64, test_at: impl Fn(usize) -> Option<u64>) -> Option<usize> {
        self.probe(test)
            .map_while(|at| usize::checked_sub(self.places[at] as usize, 1))
            .find(|at| test_at(*at) == Some(test))
    }

    /// Takes the last one of `records`, whose test is not there yet.
    pub(super) fn add(&mut self, records: &[Record]) {
        if records.len() * 2 > self.places.len() {
            return self.build(records, records.len() * 4);
        }
        if let Some(record) = records.last() {
            self.put(record.test, records.len());
        }
    }

    fn build(&mut self, records: &[Record], room: usize) {
        self.places = vec![0; room.next_power_of_two().max(16)];
        for (at, record) in records.iter().enumerate() {
            self.put(record.test, at + 1);
        }
    }

    fn put(&mut self, test: u64, number: usize) {
        let free = self.probe(test).find(|at| self.places[*at] == 0);
        if let (Some(free), Ok(number)) = (free, u32::try_from(number)) {
            self.places[free] = number;
        }
    }

    /// The places at which a test may be, in their order.
    fn probe(&self, test: u64) -> impl Iterator<Item = usize> + use<> {
        let count = self.places.len();
        let first = if count > 1 { (test >> (64 - count.trailing_zeros())) as usize } else { 0 };
        (0..count).map(move |step| (first + step) & (count - 1))
    }
}
