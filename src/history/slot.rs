//! A result in eight bytes.

use std::time::Duration;

use crate::event::{Status, Timestamp};
use crate::names;

/// 2020-01-01T00:00:00Z in seconds since 1970: times count from there, until 2054.
const EPOCH: i64 = 1_577_836_800;
const TAG_BITS: u32 = 19;
const OUTCOME_BITS: u32 = 3;
const DURATION_BITS: u32 = 12;
/// Of a duration: 128 steps for each power of two, so that it is right to 1 %, or to 10 µs.
const MANTISSA_BITS: u32 = 7;
/// Unit of a duration, in nanoseconds.
const UNIT: u128 = 10_000;
/// Largest number of seconds that a slot holds.
const MAX_SECONDS: i64 = (1 << (64 - TAG_BITS - OUTCOME_BITS - DURATION_BITS)) - 1;

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. What is stored needs a hash that is fixed for ever.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// MurmurHash64A, little-endian words, no seed: <https://github.com/aappleby/smhasher/blob/master/src/MurmurHash2.cpp>. As
/// fixed as FNV-1a, and several times as fast for what is as long as a test's id.
pub fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = (bytes.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = u64::from_le_bytes(*word).wrapping_mul(FACTOR);
        hash = (hash ^ (mixed ^ mixed >> 47).wrapping_mul(FACTOR)).wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        hash = (hash ^ last).wrapping_mul(FACTOR);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(FACTOR);
    hash ^ hash >> 47
}

/// Result of a test over its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It passed at once.
    Passed,
    /// It failed at least once, and passed in the last attempt.
    Flaky,
    /// The last attempt failed.
    Failed,
    /// The last attempt broke.
    Errored,
    /// It was not run on purpose.
    Skipped,
    /// It failed as expected.
    Xfailed,
    /// It passed although a failure was expected.
    Xpassed,
    /// It has no end.
    Unfinished,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Passed,
        Self::Flaky,
        Self::Failed,
        Self::Errored,
        Self::Skipped,
        Self::Xfailed,
        Self::Xpassed,
        Self::Unfinished,
    ];

    /// Values of the label `status` that a last attempt can have.
    pub const WORDS: [&'static str; 7] = [
        names::status::PASSED,
        names::status::FAILED,
        names::status::ERRORED,
        names::status::SKIPPED,
        names::status::XFAILED,
        names::status::XPASSED,
        names::status::UNFINISHED,
    ];

    /// Of a last attempt; `None` for one that will be repeated.
    pub fn of(status: Status, is_flaky: bool) -> Option<Self> {
        Some(match status {
            Status::Passed if is_flaky => Self::Flaky,
            Status::Passed => Self::Passed,
            Status::Failed => Self::Failed,
            Status::Errored => Self::Errored,
            Status::Skipped => Self::Skipped,
            Status::Xfailed => Self::Xfailed,
            Status::Xpassed => Self::Xpassed,
            Status::Unfinished => Self::Unfinished,
            Status::Retried => return None,
        })
    }

    /// The same from the words of an entry in Loki.
    pub fn of_words(status: &str, outcome: &str) -> Option<Self> {
        if status == names::status::PASSED && outcome == Self::Flaky.as_str() {
            return Some(Self::Flaky);
        }
        Self::ALL.into_iter().find(|known| *known != Self::Flaky && known.as_str() == status)
    }

    /// The outcome of [`Slot::outcome_code`].
    pub(super) fn of_code(code: u16) -> Self {
        Self::ALL[usize::from(code & 7)]
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => names::status::PASSED,
            Self::Flaky => "flaky",
            Self::Failed => names::status::FAILED,
            Self::Errored => names::status::ERRORED,
            Self::Skipped => names::status::SKIPPED,
            Self::Xfailed => names::status::XFAILED,
            Self::Xpassed => names::status::XPASSED,
            Self::Unfinished => names::status::UNFINISHED,
        }
    }

    /// Whether all was as it should be; `None` where the test said nothing about that: it was skipped or has no end.
    pub fn is_good(self) -> Option<bool> {
        match self {
            Self::Passed | Self::Flaky | Self::Xfailed | Self::Xpassed => Some(true),
            Self::Failed | Self::Errored => Some(false),
            Self::Skipped | Self::Unfinished => None,
        }
    }
}

/// A result: time (30 bits), run (19), outcome (3), duration (12), so that slots sort by time.
///
/// Two of a test's twenty runs share their 19 bits once in some thousand tests' lives; then one result less is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Slot(pub u64);

impl Slot {
    /// A result of run `tag` at `time`.
    pub fn new(time: Timestamp, tag: u32, outcome: Outcome, duration: Option<Duration>) -> Self {
        let seconds = (time.0.div_euclid(1_000_000_000) - EPOCH).clamp(0, MAX_SECONDS) as u64;
        let outcome = Outcome::ALL.iter().position(|known| *known == outcome).unwrap_or(0) as u64;
        let tag = u64::from(tag) & ((1 << TAG_BITS) - 1);
        let duration = u64::from(duration.map_or(0, encode));
        Self((((seconds << TAG_BITS | tag) << OUTCOME_BITS | outcome) << DURATION_BITS) | duration)
    }

    /// The same from its parts: seconds since 2020, run, [`Self::outcome_code`] and [`Self::duration_code`].
    pub(super) fn of_codes(seconds: u32, tag: u32, outcome: u16, duration: u16) -> Self {
        let seconds = u64::from(seconds).min(MAX_SECONDS as u64);
        let head = (seconds << TAG_BITS | u64::from(tag)) << OUTCOME_BITS | u64::from(outcome);
        Self(head << DURATION_BITS | u64::from(duration))
    }

    /// What stands for a run.
    pub fn run_tag(run_id: &str) -> u32 {
        let hash = fnv1a(run_id.as_bytes());
        // The upper bits of FNV-1a hardly feel the last letters, by which run ids differ.
        ((hash ^ hash >> 32) & ((1 << TAG_BITS) - 1)) as u32
    }

    /// Seconds since 2020.
    pub fn seconds(self) -> u32 {
        (self.0 >> (TAG_BITS + OUTCOME_BITS + DURATION_BITS)) as u32
    }

    /// Its run.
    pub fn tag(self) -> u32 {
        (self.0 >> (OUTCOME_BITS + DURATION_BITS)) as u32 & ((1 << TAG_BITS) - 1)
    }

    /// Its outcome.
    pub fn outcome(self) -> Outcome {
        Outcome::ALL[(self.0 >> DURATION_BITS) as usize & 7]
    }

    /// The outcome's bits.
    pub(super) fn outcome_code(self) -> u16 {
        (self.0 >> DURATION_BITS) as u16 & 7
    }

    /// How long it took, to 1 %; zero if that is not known.
    pub fn duration(self) -> Duration {
        Self::decode_duration(self.duration_code())
    }

    /// The duration's bits, which sort as durations do; 0 if it is not known.
    pub fn duration_code(self) -> u16 {
        (self.0 & ((1 << DURATION_BITS) - 1)) as u16
    }

    /// The duration of [`Self::duration_code`].
    pub fn decode_duration(code: u16) -> Duration {
        let (exponent, mantissa) = (u32::from(code) >> MANTISSA_BITS, u64::from(code) & ((1 << MANTISSA_BITS) - 1));
        let units = match exponent {
            0 => mantissa,
            // The middle of the step.
            _ => ((1 << MANTISSA_BITS | mantissa) << (exponent - 1)) + ((1 << (exponent - 1)) >> 1),
        };
        Duration::from_micros(units * (UNIT as u64 / 1000))
    }
}

/// Known durations have a code of at least 1.
fn encode(duration: Duration) -> u16 {
    let units = (duration.as_nanos() / UNIT).clamp(1, 1 << 37) as u64;
    let above = (64 - units.leading_zeros()).saturating_sub(MANTISSA_BITS + 1);
    let code = if units < 1 << MANTISSA_BITS {
        units
    } else {
        u64::from(above + 1) << MANTISSA_BITS | (units >> above & ((1 << MANTISSA_BITS) - 1))
    };
    code.min((1 << DURATION_BITS) - 1) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_comes_back_as_it_was_and_its_duration_to_one_percent_or_ten_microseconds() {
        for outcome in Outcome::ALL {
            for micros in [10, 137, 1_280, 99_000, 1_234_567, 3_600_000_000, 86_400_000_000_u64] {
                let duration = Duration::from_micros(micros);
                let slot = Slot::new(Timestamp(1_795_200_000_700_000_000), 0x5_5555, outcome, Some(duration));
                let off = slot.duration().abs_diff(duration).as_secs_f64() / duration.as_secs_f64();
                let is_close = off <= 0.01 || slot.duration().abs_diff(duration) <= Duration::from_micros(10);
                assert!(is_close, "{duration:?} became {:?}", slot.duration());
                let seen = (i64::from(slot.seconds()) + EPOCH, slot.tag(), slot.outcome());
                assert_eq!(seen, (1_795_200_000, 0x5_5555, outcome));
            }
        }
    }

    #[test]
    fn what_stands_for_a_test_never_changes() {
        // The second one is 55 bytes long: whole words and a rest.
        let long = "example.com/app/internal/pkg000/TestHandler00001/case_1";
        assert_eq!([hash(b""), hash(b"a"), hash(long.as_bytes())], [0, 0x0717_17d2_d36b_6b11, 0x61af_49ca_76e5_36d5]);
    }

    #[test]
    fn codes_of_durations_sort_as_durations_do_and_extremes_stay_within() {
        let codes: Vec<u16> = (0..48).map(|power| encode(Duration::from_nanos(1 << power))).collect();
        assert!(codes.is_sorted(), "{codes:?}");
        for far in [i64::MIN, -1, 0, i64::MAX] {
            let slot = Slot::new(Timestamp(far), u32::MAX, Outcome::Failed, Some(Duration::MAX));
            assert_eq!((slot.tag(), slot.outcome()), ((1 << TAG_BITS) - 1, Outcome::Failed));
        }
        assert_eq!(Slot::new(Timestamp(0), 1, Outcome::Passed, None).duration(), Duration::ZERO);
        assert!(Slot::new(Timestamp(0), 1, Outcome::Passed, Some(Duration::ZERO)).duration_code() > 0);
    }
}
