//! How much is pushed at a time, and how many pushes are under way: learnt from Loki's answers. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Settings;

/// A batch is never made smaller than this.
const LEAST_BYTES: usize = 8 * 1024;
/// Answers that come together are one sign, not many.
const ONE_SIGN: Duration = Duration::from_secs(1);
/// So many batches must be settled before the next are made larger, by an eighth.
const CALM: u32 = 16;

/// Sizes of batches and number of pushes, between what is set and what Loki bears.
#[derive(Debug)]
pub(super) struct Pace {
    most_bytes: usize,
    most_in_flight: usize,
    bytes: usize,
    in_flight: usize,
    /// Settled since the last growth of each.
    calm_bytes: u32,
    calm_in_flight: usize,
    last_sign: Option<Instant>,
}

impl Pace {
    /// As much as is set.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            most_bytes: settings.batch_bytes,
            most_in_flight: settings.in_flight,
            bytes: settings.batch_bytes,
            in_flight: settings.in_flight,
            calm_bytes: 0,
            calm_in_flight: 0,
            last_sign: None,
        }
    }

    /// Bytes of the next batch.
    pub(super) fn batch_bytes(&self) -> usize {
        self.bytes
    }

    /// Pushes that may be under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A batch was settled.
    pub(super) fn settled(&mut self) {
        self.calm_in_flight += 1;
        if self.calm_in_flight >= self.in_flight {
            self.calm_in_flight = 0;
            self.in_flight = (self.in_flight + 1).min(self.most_in_flight);
        }
        self.calm_bytes += 1;
        if self.calm_bytes >= CALM {
            self.calm_bytes = 0;
            self.bytes = (self.bytes + self.bytes / 8).min(self.most_bytes);
        }
    }

    /// A push of so many bytes was too large, or too slow more than once.
    pub(super) fn too_large(&mut self, bytes: usize) {
        self.calm_bytes = 0;
        self.bytes = self.bytes.min((bytes / 2).max(LEAST_BYTES));
    }

    /// Loki asked to go slower (429), or did not answer in time.
    pub(super) fn crowded(&mut self, now: Instant) {
        self.calm_in_flight = 0;
        if self.last_sign.is_none_or(|last| now.duration_since(last) >= ONE_SIGN) {
            self.last_sign = Some(now);
            self.in_flight = (self.in_flight / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn batches_shrink_to_half_of_what_was_too_large_and_grow_back_slowly() {
        let mut pace = Pace::new(&Settings::default());
        assert_eq!(pace.batch_bytes(), 1024 * KIB);
        pace.too_large(300 * KIB);
        pace.too_large(900 * KIB);
        assert_eq!(pace.batch_bytes(), 150 * KIB);
        (0..CALM).for_each(|_| pace.settled());
        assert_eq!(pace.batch_bytes(), 150 * KIB + 150 * KIB / 8);
        (0..1000).for_each(|_| pace.settled());
        assert_eq!(pace.batch_bytes(), 1024 * KIB);
        pace.too_large(10);
        assert_eq!(pace.batch_bytes(), LEAST_BYTES);
    }

    #[test]
    fn pushes_under_way_are_halved_by_a_sign_and_grow_by_one_a_round() {
        let (mut pace, start) = (Pace::new(&Settings::default()), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for ms in [0, 1, 999] {
            pace.crowded(at(ms));
            assert_eq!(pace.in_flight(), 4, "answers that come together count once");
        }
        for ms in [1000, 2000, 3000, 4000] {
            pace.crowded(at(ms));
        }
        assert_eq!(pace.in_flight(), 1);
        pace.settled();
        assert_eq!(pace.in_flight(), 2);
        pace.settled();
        assert_eq!(pace.in_flight(), 2);
        (0..100).for_each(|_| pace.settled());
        assert_eq!(pace.in_flight(), 8);
    }
}
