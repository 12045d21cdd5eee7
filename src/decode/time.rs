//! Times as runners write them → [`Timestamp`].

use chrono::DateTime;

use crate::event::Timestamp;

/// Seconds since the epoch, rounded to microseconds, as a float of today holds no more; `None` for times that are not
/// after the epoch and for those after the year 2261.
pub(crate) fn epoch_seconds(seconds: f64) -> Option<Timestamp> {
    let micros = (seconds * 1e6).round();
    (micros > 0.0 && micros < i64::MAX as f64 / 1e3).then(|| Timestamp(micros as i64 * 1_000))
}

/// Parses an RFC 3339 time with a zone (`2026-11-20T09:40:53.344432125Z`, `…+01:00`); `None` if it is none, or
/// outside the years 1678 to 2261.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    fixed_layout(text.as_bytes()).or_else(|| {
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        time.timestamp_nanos_opt().map(Timestamp)
    })
}

/// The layout that Go writes, `YYYY-MM-DDTHH:MM:SS[.f…]Z`, and Python's `+00:00`, which is most of a stream; `None` for all others.
fn fixed_layout(text: &[u8]) -> Option<Timestamp> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let separators = [date_time[4], date_time[7], date_time[10], date_time[13], date_time[16]];
    if separators != *b"--T::" {
        return None;
    }
    let number = |range: std::ops::Range<usize>| digits(date_time.get(range)?);
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days after the 28th and leap seconds are left to chrono, which knows the calendar.
    if !(1700..2200).contains(&year) || !(1..=12).contains(&month) || !(1..=28).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000_000 + fraction(rest)?))
}

/// Nanoseconds of `.123Z` or `Z`.
fn fraction(rest: &[u8]) -> Option<i64> {
    match rest {
        b"Z" | b"+00:00" => Some(0),
        [b'.', digits_of @ .., b'Z'] | [b'.', digits_of @ .., b'+', b'0', b'0', b':', b'0', b'0']
            if (1..=9).contains(&digits_of.len()) =>
        {
            let scale = 10_i64.pow(9 - u32::try_from(digits_of.len()).ok()?);
            Some(digits(digits_of)? * scale)
        }
        _ => None,
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Days since 1970-01-01 in the Gregorian calendar: the year is taken to begin in March, so that the leap day is its
/// last, and eras of 400 years have equal lengths.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_path_and_chrono_agree() {
        for day in 0..190_000_i64 {
            let nanos = (day - 90_000) * 86_400_000_000_000 + day * 7_919_000_000 % 86_400_000_000_000 + day * 104_729;
            let text = DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            assert_eq!(rfc3339(&text), Some(Timestamp(nanos)), "{text}");
            if let Some(fast) = fixed_layout(text.as_bytes()) {
                assert_eq!(fast, Timestamp(nanos), "{text}");
            }
        }
    }

    #[test]
    fn seconds_of_a_float_are_whole_microseconds() {
        assert_eq!(epoch_seconds(1_795_167_341.904_935), Some(Timestamp(1_795_167_341_904_935_000)));
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e18] {
            assert_eq!(epoch_seconds(none), None, "{none}");
        }
    }

    #[test]
    fn fractions_zones_and_leap_days_are_read() {
        assert_eq!(rfc3339("1970-01-01T00:00:01Z"), Some(Timestamp(1_000_000_000)));
        assert_eq!(rfc3339("1970-01-01T00:00:01.5Z"), Some(Timestamp(1_500_000_000)));
        assert_eq!(rfc3339("1970-01-01T01:00:01.5+01:00"), Some(Timestamp(1_500_000_000)));
        assert_eq!(rfc3339("2024-02-29T00:00:00Z"), Some(Timestamp(1_709_164_800_000_000_000)));
        assert_eq!(rfc3339("2023-02-29T00:00:00Z"), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "Z", "2026-11-20", "2026-11-20T09:40:53", "2026-13-20T09:40:53Z", "2026-11-20T24:40:53Z"] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        for text in ["2026-11-20T09:40:53.Z", "2026-11-20T09:4x:53Z", "9999-01-01T00:00:00Z", "٢٠٢٦-11-20T09:40:53Z"]
        {
            assert_eq!(rfc3339(text), None, "{text}");
        }
    }
}
