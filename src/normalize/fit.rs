//! Structured metadata within Loki's limits.

use super::text::prefix;
use crate::loki::limits::Limits;
use crate::names::meta;

/// Pairs that are left to Loki, which adds some itself (`detected_level`).
const PAIRS_FREE: usize = 4;
/// A value is not cut below this many bytes.
const LEAST: usize = 32;

/// Whether the metadata of an entry needs nothing of [`fit`].
pub(super) fn fits(pairs: &[(&str, &str)], limits: &Limits) -> bool {
    pairs.len() <= most(limits) && size(pairs) <= budget(limits)
}

fn most(limits: &Limits) -> usize {
    limits.metadata_pairs.saturating_sub(PAIRS_FREE).max(1)
}

fn budget(limits: &Limits) -> usize {
    limits.metadata / 10 * 9
}

fn size(pairs: &[(&str, &str)]) -> usize {
    pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// Makes the metadata of an entry fit: leaves out attributes, and then others from the end, if there are too many pairs
/// (but not `entries`, by which a run is proved whole);
/// cuts values, the largest first, if they are too long together. A tenth of the size is kept free.
pub fn fit(pairs: &mut Vec<(&str, &str)>, limits: &Limits) {
    while pairs.len() > most(limits) {
        let attribute = pairs.iter().rposition(|(name, _)| name.starts_with(meta::ATTR_PREFIX));
        let other = || pairs.iter().rposition(|(name, _)| *name != meta::ENTRIES);
        pairs.remove(attribute.or_else(other).unwrap_or(0));
    }
    let (budget, mut size) = (budget(limits), size(pairs));
    while size > budget {
        let Some((_, value)) = pairs.iter_mut().max_by_key(|(_, value)| value.len()) else { return };
        if value.len() <= LEAST {
            return; // A limit of a few hundred bytes; Loki will say so.
        }
        let before = value.len();
        *value = prefix(value, before.saturating_sub(size - budget).max(LEAST));
        size -= before - value.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(metadata: usize, metadata_pairs: usize) -> Limits {
        Limits { metadata, metadata_pairs, ..Limits::default() }
    }

    #[test]
    fn what_fits_is_left_as_it_is() {
        let pairs = vec![("run_id", "r1"), ("level", "info")];
        let mut fitted = pairs.clone();
        fit(&mut fitted, &Limits::default());
        fit(&mut fitted, &limits(100, 6));
        assert_eq!(fitted, pairs);
    }

    #[test]
    fn the_largest_values_are_cut_first_and_between_characters() {
        let (long, longer) = ("é".repeat(200), "x".repeat(900));
        let mut pairs = vec![("run_id", "r1"), ("message", long.as_str()), ("tags", longer.as_str())];
        fit(&mut pairs, &limits(1000, 128));
        assert_eq!((pairs[0].1, pairs[1].1.len(), pairs[2].1.len()), ("r1", 400, 900 - 419));
        fit(&mut pairs, &limits(100, 128));
        assert_eq!((pairs[1].1, pairs[2].1.len()), ("é".repeat(19).as_str(), LEAST));
        let size: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= 90, "{size}");
    }

    #[test]
    fn too_many_pairs_lose_attributes_first() {
        let mut pairs = vec![("run_id", "r"), ("attr_a", "1"), ("attr_b", "2"), ("passed", "3"), ("entries", "4")];
        fit(&mut pairs, &limits(1000, PAIRS_FREE + 3));
        assert_eq!(pairs, [("run_id", "r"), ("passed", "3"), ("entries", "4")]);
        fit(&mut pairs, &limits(1000, 0));
        assert_eq!(pairs, [("entries", "4")]);
    }
}
