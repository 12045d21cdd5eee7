//! What one line says of itself.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime};
use regex::bytes::{Captures, Regex};

use super::clock::Clock;
use super::fields::of_line;
use super::level;
use super::rules::{Rules, TimePattern};
use super::stamp::{Stamp, at_start, in_head, whole};
use crate::event::{Level, Timestamp};
use crate::names::meta;

/// What a record knows from its first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) time: Option<Timestamp>,
    pub(super) resolution: i64,
    pub(super) level: Option<Level>,
    /// True if the application wrote the time itself.
    pub(super) is_own_time: bool,
    /// True if the container runtime wrote it.
    pub(super) is_runtimes: bool,
}

/// How a record begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// With a time at its beginning.
    Time(Stamp),
    /// With fields, of which one is a time or a level.
    Fields(Option<Stamp>, Option<Level>),
    /// With a time that has a pattern of its own; it is read when the record begins.
    Pattern,
}

/// Reads lines of one source.
#[derive(Debug)]
pub(super) struct Reader {
    clock: Clock,
    time: Option<TimePattern>,
    level: Option<Regex>,
    /// Patterns of metadata, by its names.
    patterns: Vec<(&'static str, Regex)>,
}

impl Reader {
    pub(super) fn new(rules: &Rules) -> Self {
        let patterns = [(meta::TEST, &rules.test), (meta::WORKER, &rules.worker), (meta::TRACE_ID, &rules.trace)];
        Self {
            clock: Clock::new(rules.zone.clone()),
            time: rules.time.clone(),
            level: rules.level.clone(),
            patterns: patterns.into_iter().filter_map(|(name, find)| Some((name, find.clone()?))).collect(),
        }
    }

    /// How a record begins with `line`, if it is sure that one does.
    pub(super) fn start(&self, line: &[u8]) -> Option<Start> {
        if let Some(pattern) = &self.time {
            return pattern.find.is_match(line).then_some(Start::Pattern);
        }
        if let Some(stamp) = at_start(line) {
            return Some(Start::Time(stamp));
        }
        let found = of_line(line).filter(|found| found.stamp.is_some() || found.level.is_some())?;
        Some(Start::Fields(found.stamp, found.level))
    }

    /// Reads the first line of a record. `start` is how it begins, if that was found already, and `runtime` the time that a
    /// container's runtime gave it.
    pub(super) fn head(
        &mut self,
        line: &[u8],
        start: Option<Start>,
        runtime: Option<Stamp>,
        read_at: Timestamp,
    ) -> Head {
        let start = start.or_else(|| self.start(line));
        let mut level =
            self.level.as_ref().map(|find| find.captures(line).and_then(|found| level::of_value(group(&found))));
        let (mut stamp, mut time, mut resolution) = (None, None, 0);
        match start {
            Some(Start::Time(found)) => {
                stamp = Some(found);
                level = level.or(found.level.map(Some));
            }
            Some(Start::Fields(found, severity)) => {
                stamp = found;
                // What a JSON line says in its texts is no level of its own.
                level = level.or(Some(severity));
            }
            Some(Start::Pattern) => {
                if let Some(found) = self.by_pattern(line, read_at) {
                    (time, resolution) = (Some(found.0), found.1);
                }
            }
            // A line that is indented is a part of something.
            None if matches!(line.first(), Some(b' ' | b'\t')) => {}
            None => stamp = in_head(line),
        }
        let text_at = match (start, stamp) {
            (Some(Start::Time(found)), _) => found.end,
            _ => 0,
        };
        let level = level.unwrap_or_else(|| level::in_head(line.get(text_at..).unwrap_or_default()));
        if let Some(found) = stamp {
            time = self.clock.instant(&found, read_at);
            resolution = found.resolution;
        }
        let is_own_time = time.is_some();
        if let (None, Some(runtime)) = (time, runtime) {
            time = self.clock.instant(&runtime, read_at);
            resolution = runtime.resolution;
        }
        let is_runtimes = time.is_some() && !is_own_time;
        Head { time, resolution, level, is_own_time, is_runtimes }
    }

    /// The time that the configured pattern finds, and how finely it is written.
    fn by_pattern(&mut self, line: &[u8], read_at: Timestamp) -> Option<(Timestamp, i64)> {
        let pattern = self.time.as_ref()?;
        let found = pattern.find.captures(line)?;
        let text = group(&found);
        let Some(format) = &pattern.format else {
            let stamp = whole(text)?;
            return Some((self.clock.instant(&stamp, read_at)?, stamp.resolution));
        };
        let text = std::str::from_utf8(text).ok()?;
        // As fine as the format allows; digits behind the seconds are not counted.
        let resolution = if format.contains('f') { 1_000 } else { 1_000_000_000 };
        let time = match DateTime::parse_from_str(text, format) {
            Ok(time) => Timestamp(time.timestamp_nanos_opt()?),
            Err(_) => self.clock.of_wall(NaiveDateTime::parse_from_str(text, format).ok()?)?,
        };
        Some((time, resolution))
    }

    /// What the configured patterns find in a record.
    pub(super) fn fields<'a>(&self, text: &'a [u8]) -> Vec<(&'static str, Cow<'a, str>)> {
        let mut fields = Vec::new();
        for (name, find) in &self.patterns {
            if let Some(found) = find.captures(text) {
                fields.push((*name, String::from_utf8_lossy(group(&found))));
            }
        }
        fields
    }
}

/// The first group that takes part, else the whole match. Names of groups are for readers.
fn group<'a>(found: &Captures<'a>) -> &'a [u8] {
    let first = found.iter().skip(1).flatten().next();
    first.or_else(|| found.get(0)).map(|part| part.as_bytes()).unwrap_or_default()
}
