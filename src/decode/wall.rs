//! Times, durations and statuses as reports write them.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::time::rfc3339;
use crate::event::Timestamp;

/// Output around a report is held back no longer than this, in bytes.
pub(super) const MAX_HELD: usize = 64 << 10;

/// The instant at which clocks of the configured zone show a time.
pub type Zone = Arc<dyn Fn(NaiveDateTime) -> Option<Timestamp> + Send + Sync>;

/// Clocks that show UTC, for reports of which nobody has said where they come from.
pub fn utc() -> Zone {
    Arc::new(|wall| wall.and_utc().timestamp_nanos_opt().map(Timestamp))
}

/// Reads a time with a zone, or one without as `zone` says. Before 1980 nobody has tested anything: it means that nothing
/// is known (gtest writes 1970 for what did not run).
pub(super) fn timestamp(text: &str, zone: &Zone) -> Option<Timestamp> {
    const FIRST: Timestamp = Timestamp(315_532_800_000_000_000);
    let text = text.trim();
    let known = || rfc3339(text).or_else(|| without_zone(text, zone)).or_else(|| mail(text));
    known().filter(|time| *time >= FIRST)
}

/// `2026-11-20T09:57:31.334`, also with a space or a comma; `20261120 09:57:31.334` of Robot Framework up to 6.
fn without_zone(text: &str, zone: &Zone) -> Option<Timestamp> {
    let text = text.replacen(',', ".", 1);
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y%m%d %H:%M:%S%.f"];
    if let Some(wall) = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok()) {
        return zone(wall);
    }
    // +0100 without a colon.
    let with_zone = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f %z"];
    if let Some(time) = with_zone.iter().find_map(|format| DateTime::parse_from_str(&text, format).ok()) {
        return time.timestamp_nanos_opt().map(Timestamp);
    }
    let day = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
    zone(day.and_hms_opt(0, 0, 0)?)
}

/// `Fri, 20 Nov 2026 09:51:37 GMT`, as mocha writes it, and seconds or milliseconds since the epoch.
fn mail(text: &str) -> Option<Timestamp> {
    if let Ok(time) = DateTime::parse_from_rfc2822(text) {
        return time.timestamp_nanos_opt().map(Timestamp);
    }
    let number: f64 = text.parse().ok()?;
    let seconds = if number > 1e11 { number / 1e3 } else { number };
    super::time::epoch_seconds(seconds)
}

/// Milliseconds since the epoch.
pub(super) fn epoch_millis(millis: f64) -> Option<Timestamp> {
    super::time::epoch_seconds(millis / 1e3)
}

/// Reads seconds, also in the writer's locale: `1,234.5`, `1.234,5`, `1 234.5`, `0,5`. A single comma with three digits
/// behind it separates thousands, because Surefire writes `1,234`, unless there is but a zero before it. Also `1.5s`.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let text = text.strip_suffix('s').unwrap_or(text).trim_end();
    let plain = || text.parse::<f64>().ok();
    let value = plain().or_else(|| {
        let text: String = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '’')).collect();
        let number = match (text.rfind(','), text.rfind('.')) {
            (Some(comma), Some(dot)) if comma > dot => text.replace('.', "").replace(',', "."),
            (Some(_), Some(_)) => text.replace(',', ""),
            (Some(comma), None) => {
                let (whole, part) = text.split_at(comma);
                let thousands = part.len() == 4 && whole.trim_start_matches('-') != "0";
                text.replace(',', if thousands || whole.contains(',') { "" } else { "." })
            }
            _ => text,
        };
        number.parse().ok()
    })?;
    value.is_finite().then(|| Duration::try_from_secs_f64(value.max(0.0)).ok())?
}

/// Later by a duration.
pub(super) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let berlin: Zone = Arc::new(|wall| Some(Timestamp(wall.and_utc().timestamp_nanos_opt()? - 3_600_000_000_000)));
        let noon = 1_795_176_000_000_000_000;
        for text in [
            "2026-11-20T12:00:00Z",
            "2026-11-20T13:00:00+01:00",
            "2026-11-20T13:00:00.000+0100",
            "2026-11-20T13:00:00",
            "2026-11-20 13:00:00,000",
            "20261120 13:00:00.000",
            "Fri, 20 Nov 2026 12:00:00 GMT",
            " 1795176000000 ",
            "1795176000",
        ] {
            assert_eq!(timestamp(text, &berlin), Some(Timestamp(noon)), "{text}");
        }
        for text in ["", "soon", "1970-01-01T00:00:00.000", "0", "2026-13-40T00:00:00"] {
            assert_eq!(timestamp(text, &berlin), None, "{text}");
        }
    }

    #[test]
    fn seconds_are_read_in_every_locale() {
        for (text, millis) in [
            ("1.5", 1_500),
            ("1,234.5", 1_234_500),
            ("1.234,5", 1_234_500),
            ("1 234.5", 1_234_500),
            ("1\u{202f}234,5", 1_234_500),
            ("1'234.5", 1_234_500),
            ("0,5", 500),
            ("0,125", 125),
            ("12,25", 12_250),
            ("1,234", 1_234_000),
            ("1,234,567", 1_234_567_000),
            ("1.5s", 1_500),
            ("-1", 0),
            ("1e-3", 1),
        ] {
            assert_eq!(seconds(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "NaN", "inf", "a while", "1.2.3"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
