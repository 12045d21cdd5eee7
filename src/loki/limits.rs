//! What Loki takes, so that entries are made to fit before they are sent.
//!
//! Loki shows its configuration at `/config`, if the way there is open: YAML, of which a few lines matter. Limits of a
//! single tenant are not in it, so a refusal stays possible. Pure: the text is an argument.

use std::time::Duration;

/// Limits of a Loki, in bytes where nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line; `max_line_size`.
    pub line: usize,
    /// Names and values of an entry's structured metadata together; `max_structured_metadata_size`.
    pub metadata: usize,
    /// Number of an entry's metadata pairs; `max_structured_metadata_entries_count`.
    pub metadata_pairs: usize,
    /// Longest value of a label; `max_label_value_length`.
    pub label_value: usize,
    /// Oldest entry that is taken; `None`: any. `reject_old_samples_max_age`.
    pub age: Option<Duration>,
    /// Bytes a second from which on Loki splits a stream within a push (`shard_streams`); `None`: never, or not known.
    pub shard_rate: Option<usize>,
}

const KIB: usize = 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Limits {
    /// Loki's own (3.7, `pkg/validation/limits.go`), but for splitting of streams, which is on where that can be seen.
    fn default() -> Self {
        Self {
            line: 256 * KIB,
            metadata: 64 * KIB,
            metadata_pairs: 128,
            label_value: 2048,
            age: Some(7 * DAY),
            shard_rate: None,
        }
    }
}

impl Limits {
    /// Reads them from the text of `/config`; `None` if that has no section `limits_config`. What is missing or not
    /// understood there is as by default.
    pub fn of_config(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim_end).skip_while(|line| *line != "limits_config:");
        lines.next()?;
        let section: Vec<&str> = lines.take_while(|line| line.starts_with(' ') || line.is_empty()).collect();
        let default = Self::default();
        let value = |key| find(&section, key);
        // Loki takes 0 for no limit.
        let bytes = |key, default| match value(key).and_then(size) {
            Some(0) => usize::MAX,
            found => found.unwrap_or(default),
        };
        let old = value("reject_old_samples") != Some("false");
        let age = value("reject_old_samples_max_age").and_then(duration).or(default.age);
        let rate = below(&section, "shard_streams", "desired_rate").and_then(size).filter(|rate| *rate > 0);
        let splits = below(&section, "shard_streams", "enabled") == Some("true");
        Some(Self {
            line: bytes("max_line_size", default.line),
            metadata: bytes("max_structured_metadata_size", default.metadata),
            metadata_pairs: bytes("max_structured_metadata_entries_count", default.metadata_pairs),
            label_value: bytes("max_label_value_length", default.label_value),
            age: age.filter(|age| old && !age.is_zero()),
            shard_rate: rate.filter(|_| splits),
        })
    }
}

/// The value of a key in a section of the text of `/config`, if it has both.
pub fn config_value<'a>(text: &'a str, section: &str, key: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim_end).skip_while(|line| line.strip_suffix(':') != Some(section)).skip(1);
    lines.take_while(|line| line.starts_with(' ') || line.is_empty()).find_map(|line| pair(line, "  ", key))
}

/// The value of `  key: value`.
fn find<'a>(section: &[&'a str], key: &str) -> Option<&'a str> {
    section.iter().find_map(|line| pair(line, "  ", key))
}

/// The value of `    key: value` below `  head:`.
fn below<'a>(section: &[&'a str], head: &str, key: &str) -> Option<&'a str> {
    let lines = section.iter().skip_while(|line| pair(line, "  ", head).is_none()).skip(1);
    lines.take_while(|line| line.starts_with("    ")).find_map(|line| pair(line, "    ", key))
}

fn pair<'a>(line: &'a str, indent: &str, key: &str) -> Option<&'a str> {
    let value = line.strip_prefix(indent)?.strip_prefix(key)?.strip_prefix(':')?;
    Some(value.trim().trim_matches('"'))
}

/// `256KB`, `1.5MB`, `0B` or a bare number; Loki's units are powers of 1024.
fn size(text: &str) -> Option<usize> {
    const UNITS: [(&str, f64); 5] =
        [("KB", 1024.0), ("MB", 1024.0 * 1024.0), ("GB", 1_073_741_824.0), ("B", 1.0), ("", 1.0)];
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let number: f64 = number.trim().parse().ok()?;
    (number >= 0.0).then_some((number * unit) as usize)
}

/// `1w`, `30d1h`, `10m0s`: numbers with units, as Prometheus writes them.
pub fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
    let (mut rest, mut millis) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let (unit, per) = UNITS.iter().find(|(unit, _)| after.starts_with(unit))?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*per)?)?;
        rest = after.strip_prefix(unit)?;
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_stock_loki_are_read_from_its_config_page() {
        let text = include_str!("../../tests/fixtures/loki/config.yaml");
        let limits = Limits::of_config(text).unwrap();
        assert_eq!(limits, Limits { shard_rate: Some(1536 * KIB), ..Limits::default() });
    }

    #[test]
    fn limits_that_were_changed_and_ones_that_are_off_are_read() {
        let text = "server:\n  max_line_size: 7\nlimits_config:\n  max_line_size: 1.5MB\n  reject_old_samples: false\n\
                    \x20 max_label_value_length: 64\n  max_structured_metadata_size: 0B\n\
                    \x20 max_structured_metadata_entries_count: 12\n  shard_streams:\n    enabled: false\n\
                    \x20   desired_rate: 3MB\n  other: {}\nafter:\n  max_label_value_length: 9\n";
        let limits = Limits::of_config(text).unwrap();
        let expected = Limits {
            line: 1536 * KIB,
            metadata: usize::MAX,
            metadata_pairs: 12,
            label_value: 64,
            age: None,
            shard_rate: None,
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn what_is_not_understood_is_as_by_default_and_no_config_is_none() {
        let text = "limits_config:\n  max_line_size: lots\n  reject_old_samples_max_age: soon\n  shard_streams: {}\n";
        assert_eq!(Limits::of_config(text), Some(Limits::default()));
        for text in ["", "<html>limits_config:</html>", "server:\n  x: 1\n", "  limits_config:\n"] {
            assert_eq!(Limits::of_config(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_sizes_are_read_as_loki_writes_them() {
        for (text, hours) in [("1w", 168), ("30d1h", 721), ("2h0m0s", 2), ("3600s", 1), ("3600000ms", 1)] {
            assert_eq!(duration(text), Some(Duration::from_secs(hours * 3600)), "{text}");
        }
        assert_eq!((duration(""), duration("1"), duration("h"), duration("1y")), (None, None, None, None));
        assert_eq!(
            (size("256KB"), size("10 MB"), size("7"), size("-1B")),
            (Some(262_144), Some(10 << 20), Some(7), None)
        );
    }
}
