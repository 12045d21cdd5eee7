//! The results of a large run in one entry: what a machine without a history reads in the place of one entry for each test.
//!
//! ```text
//!  RESULTS 50000 tests …\n  base64 of
//!  result: test u64 · seconds before the last one u16 · duration (12 bits), has parts (1), outcome (3) u16
//!          · signature u64, if it failed                                                     12 or 20 bytes
//!  seconds of the last one u32 · results u32 · CRC-32 of all before                          (all little-endian)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::memory::Observed;
use super::past::RUN_END;
use super::slot::Slot;

/// Smaller runs have none: their entries are soon read.
pub const MIN_TESTS: usize = 1000;
const TAIL: usize = 12;
const PARTS: u16 = 1 << 12;

/// The entry's line, for results of one run.
pub fn write(results: &[Observed]) -> String {
    let last = results.iter().map(|result| result.slot.seconds()).max().unwrap_or(0);
    let mut bytes = Vec::with_capacity(13 * results.len() + TAIL);
    for Observed { test, slot, signature, has_parts } in results {
        let before = u16::try_from(last - slot.seconds()).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&test.to_le_bytes());
        bytes.extend_from_slice(&before.to_le_bytes());
        let code = slot.outcome_code() << 13 | if *has_parts { PARTS } else { 0 } | slot.duration_code();
        bytes.extend_from_slice(&code.to_le_bytes());
        if slot.outcome().is_good() == Some(false) {
            bytes.extend_from_slice(&signature.to_le_bytes());
        }
    }
    bytes.extend_from_slice(&last.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(results.len()).unwrap_or(u32::MAX).to_le_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    let tests = results.iter().filter(|result| result.test != RUN_END).count();
    let mut line = format!("RESULTS {tests} tests, for machines without a history\n");
    BASE64.encode_string(&bytes, &mut line);
    line
}

/// The results of run `tag` from the line that [`write`] gave; `None` if it is not whole.
pub fn read(line: &str, tag: u32) -> Option<Vec<Observed>> {
    let bytes = BASE64.decode(line.split_once('\n')?.1).ok()?;
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (body, count) = body.split_last_chunk::<4>()?;
    let (mut rest, last) = body.split_last_chunk::<4>()?;
    let last = u32::from_le_bytes(*last);
    let mut results = Vec::with_capacity(rest.len() / 12);
    while !rest.is_empty() {
        let (test, before, code) = (long(&mut rest)?, short(&mut rest)?, short(&mut rest)?);
        let slot = Slot::of_codes(last.saturating_sub(before.into()), tag, code >> 13, code & (PARTS - 1));
        let signature = if slot.outcome().is_good() == Some(false) { long(&mut rest)? } else { 0 };
        results.push(Observed { test, slot, signature, has_parts: code & PARTS != 0 });
    }
    (u32::try_from(results.len()) == Ok(u32::from_le_bytes(*count))).then_some(results)
}

fn long(bytes: &mut &[u8]) -> Option<u64> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*head))
}

fn short(bytes: &mut &[u8]) -> Option<u16> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::Timestamp;
    use crate::history::slot::Outcome;

    #[test]
    fn results_come_back_as_they_were_and_a_line_that_is_not_whole_gives_none() {
        let outcomes = [Outcome::Passed, Outcome::Failed, Outcome::Flaky, Outcome::Unfinished, Outcome::Errored];
        let results: Vec<Observed> = (0..500_u64)
            .map(|i| {
                let outcome = outcomes[i as usize % 5];
                let time = Timestamp((1_795_200_000 + i as i64 * 100) * 1_000_000_000);
                let slot = Slot::new(time, 77, outcome, (i % 3 > 0).then(|| Duration::from_millis(i)));
                let signature = if outcome.is_good() == Some(false) { i } else { 0 };
                Observed { test: i << 40 | 5, slot, signature, has_parts: i % 7 == 0 }
            })
            .collect();
        let line = write(&results);
        assert_eq!(read(&line, 77).as_ref(), Some(&results));
        assert!(line.starts_with("RESULTS 500 tests"), "{line}");
        for cut in [0, 20, 60, line.len() / 2, line.len() - 1] {
            assert_eq!(read(line.split_at(cut).0, 77), None, "{cut}");
        }
        let damaged = line.replacen("BQAA", "BgAA", 1);
        assert_eq!((damaged == line, read(&damaged, 77)), (false, None));
        assert_eq!(read(&write(&[]), 1), Some(Vec::new()));
    }
}
