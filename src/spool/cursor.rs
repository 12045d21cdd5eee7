//! The cursor: which records are settled. Pure but for reading and writing the file.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::SpoolError;
use super::files::{self, failed};
use super::format::{self, PREAMBLE_LEN, Preamble, u64_at};
use super::segment::Segment;

/// What a cursor says of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// How many records the segment had.
    records: u64,
    /// A bit for each settled record.
    settled: Vec<u64>,
}

/// What was settled in each segment, by its first record.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    claims: HashMap<u64, Claim>,
}

impl Cursor {
    /// The bits of a segment.
    pub(super) fn settled(&mut self, base: u64) -> Vec<u64> {
        self.claims.get_mut(&base).map(|claim| std::mem::take(&mut claim.settled)).unwrap_or_default()
    }

    /// The first id that no segment ever had, as far as the cursor knows. A segment may have lost its end in a power
    /// failure; were its ids given again, those bits would speak of other records.
    pub(super) fn next(&self) -> u64 {
        self.claims.iter().map(|(base, claim)| base.saturating_add(claim.records)).max().unwrap_or(0)
    }

    /// Reads the cursor of a queue; an empty one if there is none, or it is damaged: then what was not deleted yet is
    /// sent again.
    pub(super) fn read(dir: &Path) -> Result<Self, SpoolError> {
        let path = files::cursor(dir);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(failed("read", &path))?,
        };
        if let Preamble::Newer(found) = format::read_preamble(&bytes, format::CURSOR) {
            return Err(SpoolError::Version { path, found });
        }
        Ok(decode(&bytes).unwrap_or_else(|| {
            tracing::warn!("{} is damaged; what it said was delivered may be sent again", path.display());
            Self::default()
        }))
    }
}

/// The bytes of a cursor over these segments.
pub(super) fn encode<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<u8> {
    let mut bytes = format::preamble(format::CURSOR).to_vec();
    for segment in segments.filter(|segment| !segment.settled().is_empty()) {
        let settled = segment.settled();
        for value in [segment.base, segment.next - segment.base, settled.len() as u64].iter().chain(settled) {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
    }
    let check = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Cursor> {
    let (content, check) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(content).to_le_bytes() != *check
        || format::read_preamble(content, format::CURSOR) != Preamble::Known
    {
        return None;
    }
    let mut rest = content.get(PREAMBLE_LEN..)?;
    let mut cursor = Cursor::default();
    while !rest.is_empty() {
        let head = rest.split_off(..24)?;
        let words = usize::try_from(u64_at(head, 16)).ok()?;
        let settled = rest.split_off(..words.checked_mul(8)?)?;
        let settled = settled.chunks_exact(8).map(|word| u64_at(word, 0)).collect();
        cursor.claims.insert(u64_at(head, 0), Claim { records: u64_at(head, 8), settled });
    }
    Some(cursor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::format::Header;

    fn segment(base: u64, records: u32, settled: &[u64]) -> Segment {
        let mut segment = Segment::new(base);
        let header =
            Header { first: base, time: 0, records, entries: records, bytes: 0, heads: 0, mark: None, check: 0 };
        segment.add(&header, 16, (u64::from(records), 0));
        for id in settled {
            segment.settle(*id, 1, 0);
        }
        segment
    }

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let segments = [segment(1, 100, &[1, 2, 99]), segment(101, 5, &[]), segment(106, 3, &[106, 107, 108])];
        let mut cursor = decode(&encode(segments.iter())).unwrap();
        assert_eq!(cursor.next(), 109);
        let again = Segment::with_settled(1, cursor.settled(1));
        assert!(again.is_settled(99) && !again.is_settled(3));
        assert!(cursor.settled(101).is_empty());
        assert_eq!(cursor.settled(106), [7]);
    }

    #[test]
    fn no_part_and_no_flipped_bit_of_a_cursor_is_believed() {
        let bytes = encode([segment(1, 100, &[1, 2, 99])].iter());
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
    }
}
