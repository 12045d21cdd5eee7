//! How long to wait before a push is tried again.

use std::time::Duration;

use crate::loki::push::RetryClass;

/// First and longest wait where Loki itself is likely to mend.
const QUICK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));
/// The same without a connection, which costs Loki nothing: what has waited is to arrive soon after Loki is back.
const UNREACHED: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// First and longest wait where a person must act; the longest is what that person will wait for.
const SLOW: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The wait after the `failures`th failure in a row (from 1): doubled each time, then cut to between a half and the
/// whole of it by `random` (0 to 1), so that many processes do not come back at once. What Loki asked for is kept, and
/// up to a tenth added.
pub(super) fn delay(class: RetryClass, failures: u32, after: Option<Duration>, random: f64) -> Duration {
    if let Some(after) = after {
        return after.mul_f64(1.0 + random / 10.0);
    }
    let (first, longest) = match class {
        RetryClass::Person => SLOW,
        RetryClass::Connection => UNREACHED,
        RetryClass::RateLimited
        | RetryClass::Server
        | RetryClass::Timeout
        | RetryClass::NotStored
        | RetryClass::Local => QUICK,
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_100_ms_to_30_s_with_jitter() {
        let whole = |failures| delay(RetryClass::Server, failures, None, 1.0);
        assert_eq!(whole(1), Duration::from_millis(100));
        assert_eq!(whole(2), Duration::from_millis(200));
        assert_eq!(whole(5), Duration::from_millis(1600));
        assert_eq!(whole(10), Duration::from_secs(30));
        assert_eq!(whole(u32::MAX), Duration::from_secs(30));
        assert_eq!(delay(RetryClass::Timeout, 1, None, 0.0), Duration::from_millis(50));
    }

    #[test]
    fn a_loki_that_cannot_be_reached_is_looked_for_every_second() {
        assert_eq!(delay(RetryClass::Connection, 1, None, 1.0), Duration::from_millis(100));
        assert_eq!(delay(RetryClass::Connection, 20, None, 1.0), Duration::from_secs(1));
    }

    #[test]
    fn what_loki_asks_for_is_never_cut_short() {
        let asked = Some(Duration::from_secs(10));
        assert_eq!(delay(RetryClass::RateLimited, 1, asked, 0.0), Duration::from_secs(10));
        assert_eq!(delay(RetryClass::RateLimited, 9, asked, 1.0), Duration::from_secs(11));
    }

    #[test]
    fn a_push_that_needs_a_person_is_tried_slowly() {
        assert_eq!(delay(RetryClass::Person, 1, None, 1.0), Duration::from_secs(5));
        assert_eq!(delay(RetryClass::Person, 20, None, 1.0), Duration::from_secs(60));
    }
}
