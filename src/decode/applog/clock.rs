//! What is written → the instant: zones, and the years and days that are left out.

use chrono::{DateTime, NaiveDateTime};

use super::rules::Zone;
use super::stamp::{Stamp, Wall, When, days_in};
use crate::decode::time::days_from_civil;
use crate::event::Timestamp;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Zones change their distance from UTC at whole quarters of an hour only, so that it is asked for once in each.
const QUARTER: i64 = 900 * SECOND;
/// How far a time without a year may seem to lie ahead: clocks of two machines and two zones.
const AHEAD: i64 = DAY;
/// The same of a time without a day.
const AHEAD_OF_DAY: i64 = 3_600 * SECOND;

/// The clocks of one source.
#[derive(Debug)]
pub(super) struct Clock {
    zone: Zone,
    /// A quarter of an hour of the wall, and how far its clocks were ahead of UTC in nanoseconds.
    quarter: Option<(i64, i64)>,
}

impl Clock {
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone, quarter: None }
    }

    /// The instant that `stamp` means, if it was read at `read_at`.
    pub(super) fn instant(&mut self, stamp: &Stamp, read_at: Timestamp) -> Option<Timestamp> {
        let wall = match stamp.when {
            // A number that lies ahead is another number.
            When::Epoch(nanos) => return (nanos <= read_at.0.saturating_add(AHEAD)).then_some(Timestamp(nanos)),
            When::Wall(wall) => wall,
        };
        match (wall.year, wall.day) {
            (Some(year), Some((month, day))) => self.at(days_from_civil(year, month, day), &wall),
            (_, Some((month, day))) => self.latest_year(month, day, &wall, read_at),
            (_, None) => self.latest_day(&wall, read_at),
        }
    }

    /// The instant at which the zone's clocks show `wall`.
    pub(super) fn of_wall(&self, wall: NaiveDateTime) -> Option<Timestamp> {
        self.zone.timestamp(wall)
    }

    /// What was left out is the latest year that lies not ahead.
    fn latest_year(&mut self, month: i64, day: i64, wall: &Wall, read_at: Timestamp) -> Option<Timestamp> {
        let read_in = i64::from(chrono::Datelike::year(&DateTime::from_timestamp_nanos(read_at.0)));
        // The 29th of February is at most eight years away.
        (0..=9).map(|back| read_in + 1 - back).find_map(|year| {
            let time = (day <= days_in(year, month)).then(|| self.at(days_from_civil(year, month, day), wall))??;
            (time.0 <= read_at.0.saturating_add(AHEAD)).then_some(time)
        })
    }

    fn latest_day(&mut self, wall: &Wall, read_at: Timestamp) -> Option<Timestamp> {
        let read_on = read_at.0.div_euclid(DAY);
        (-1..=2).map(|back| read_on - back).find_map(|day| {
            let time = self.at(day, wall)?;
            (time.0 <= read_at.0.saturating_add(AHEAD_OF_DAY)).then_some(time)
        })
    }

    /// The instant of a wall time on a day, counted from 1970-01-01.
    fn at(&mut self, day: i64, wall: &Wall) -> Option<Timestamp> {
        let shown = day.checked_mul(DAY)?.checked_add(wall.nanos)?;
        if let Some(offset) = wall.offset {
            return shown.checked_sub(offset * SECOND).map(Timestamp);
        }
        let quarter = shown.div_euclid(QUARTER);
        let ahead = match self.quarter {
            Some((known, ahead)) if known == quarter => ahead,
            _ => {
                let begins = DateTime::from_timestamp_nanos(quarter * QUARTER).naive_utc();
                let ahead = quarter * QUARTER - self.zone.timestamp(begins)?.0;
                self.quarter = Some((quarter, ahead));
                ahead
            }
        };
        shown.checked_sub(ahead).map(Timestamp)
    }
}
