//! Where the record of a test is, and what mostly suffices of it.
//!
//! A table of places, half of them free, in which a test's key itself says where to look first, as it is a hash. A look-up takes
//! one line of memory, because all that it compares is there.

use super::brief::Brief;
use super::past::Record;

/// Places of records in a list, by their tests.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Their number is a power of two, or 0.
    places: Vec<Place>,
}

/// What is known of a test.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    brief: Brief,
    /// Number of its record, from 1; 0: free.
    number: u32,
}

impl Index {
    /// Of all records.
    pub(super) fn new(records: &[Record]) -> Self {
        let mut index = Self::default();
        index.build(records, records.len() * 2);
        index
    }

    /// The place of a test's record, and the record in short, as it was when it came.
    pub(super) fn find(&self, test: u64) -> Option<(usize, Brief)> {
        let places = self.probe(test).map(|at| self.places[at]).take_while(|place| place.number > 0);
        let mut found = places.filter(|place| place.brief.test == test);
        found.next().map(|place| (place.number as usize - 1, place.brief))
    }

    /// Takes the last one of `records`, whose test is not there yet.
    pub(super) fn add(&mut self, records: &[Record]) {
        if records.len() * 2 > self.places.len() {
            return self.build(records, records.len() * 4);
        }
        if let Some(record) = records.last() {
            self.put(record, records.len());
        }
    }

    fn build(&mut self, records: &[Record], room: usize) {
        self.places = vec![Place::default(); room.next_power_of_two().max(16)];
        for (at, record) in records.iter().enumerate() {
            self.put(record, at + 1);
        }
    }

    fn put(&mut self, record: &Record, number: usize) {
        let free = self.probe(record.test).find(|at| self.places[*at].number == 0);
        if let (Some(free), Ok(number)) = (free, u32::try_from(number)) {
            self.places[free] = Place { brief: Brief::new(record), number };
        }
    }

    /// The places at which a test may be, in their order.
    fn probe(&self, test: u64) -> impl Iterator<Item = usize> + use<> {
        let count = self.places.len();
        let first = if count > 1 { (test >> (64 - count.trailing_zeros())) as usize } else { 0 };
        (0..count).map(move |step| (first + step) & (count - 1))
    }
}
