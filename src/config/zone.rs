//! The zone of times that are written without one.

use std::fmt;
use std::str::FromStr;

use chrono::{FixedOffset, Local, NaiveDateTime, TimeZone};

use super::value::Expected;
use crate::event::Timestamp;

/// Time zone of runners and logs whose times name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// The machine's own.
    Local,
    /// A zone of the IANA database, `UTC` among them.
    Named(chrono_tz::Tz),
    /// A fixed distance from UTC.
    Fixed(FixedOffset),
}

impl Zone {
    /// The instant at which clocks of this zone show `wall`. Of two (clocks were put back) it is the earlier; a time that
    /// clocks skipped counts as one hour later. `None` outside the years 1678 to 2261.
    pub fn timestamp(self, wall: NaiveDateTime) -> Option<Timestamp> {
        match self {
            Self::Local => instant(&Local, wall),
            Self::Named(zone) => instant(&zone, wall),
            Self::Fixed(offset) => instant(&offset, wall),
        }
    }
}

fn instant<Z: TimeZone>(zone: &Z, wall: NaiveDateTime) -> Option<Timestamp> {
    let hour = chrono::TimeDelta::hours(1);
    let time = zone.from_local_datetime(&wall).earliest();
    // Clocks are put forward by one hour (Lord Howe: half an hour), so that the next hour exists.
    let time = time.or_else(|| zone.from_local_datetime(&wall.checked_add_signed(hour)?).earliest())?;
    time.timestamp_nanos_opt().map(Timestamp)
}

impl FromStr for Zone {
    type Err = Expected;

    fn from_str(text: &str) -> Result<Self, Expected> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("local") {
            return Ok(Self::Local);
        }
        if text.eq_ignore_ascii_case("utc") || text == "Z" {
            return Ok(Self::Named(chrono_tz::UTC));
        }
        if let Some(offset) = offset(text) {
            return Ok(Self::Fixed(offset));
        }
        text.parse().map(Self::Named).map_err(|_| {
            Expected("an IANA name such as Europe/Berlin, `local`, `UTC` or an offset such as +02:00".into())
        })
    }
}

/// `+02:00` or `-0530`.
fn offset(text: &str) -> Option<FixedOffset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let digits = digits.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: i32 = digits.parse().ok()?;
    let (hours, minutes) = (number / 100, number % 100);
    if hours > 14 || minutes > 59 {
        return None;
    }
    FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60))
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Fixed(offset) => write!(f, "{offset}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, wall: &str) -> i64 {
        let wall = NaiveDateTime::parse_from_str(wall, "%Y-%m-%d %H:%M:%S").unwrap();
        zone.parse::<Zone>().unwrap().timestamp(wall).unwrap().0 / 1_000_000_000
    }

    #[test]
    fn the_same_wall_time_is_another_instant_in_another_zone() {
        let utc = at("UTC", "2026-11-20 12:00:00");
        assert_eq!(at("+02:00", "2026-11-20 12:00:00"), utc - 7200);
        assert_eq!(at("-0530", "2026-11-20 12:00:00"), utc + 5 * 3600 + 1800);
        assert_eq!(at("Europe/Berlin", "2026-11-20 12:00:00"), utc - 3600);
        assert_eq!(at("Europe/Berlin", "2026-07-20 12:00:00"), at("UTC", "2026-07-20 10:00:00"));
    }

    #[test]
    fn hours_that_clocks_repeat_or_skip_still_give_a_time() {
        assert_eq!(at("Europe/Berlin", "2026-10-25 02:30:00"), at("UTC", "2026-10-25 00:30:00"));
        assert_eq!(at("Europe/Berlin", "2026-03-29 02:30:00"), at("UTC", "2026-03-29 01:30:00"));
    }

    #[test]
    fn what_is_no_zone_is_refused_with_what_would_be() {
        for wrong in ["", "europe/berlin", "Europe/Berlim", "+2", "+99:00", "+02:60", "02:00", "+", "é"] {
            let error = wrong.parse::<Zone>().unwrap_err();
            assert!(error.to_string().contains("Europe/Berlin"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_zone_prints_as_it_can_be_read() {
        for text in ["local", "UTC", "Europe/Berlin", "+02:00", "-05:30"] {
            assert_eq!(text.parse::<Zone>().unwrap().to_string(), text);
        }
    }
}
