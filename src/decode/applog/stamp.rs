//! Times as logs write them, byte by byte. The shapes exclude one another by where their digits and separators are, so that
//! the first bytes tell which one is to be read, and nothing must be remembered from line to line.

use crate::event::Level;

/// One second in nanoseconds.
const SECOND: i64 = 1_000_000_000;
/// Epoch seconds from here on are times: 2001-09-09. Smaller numbers are counts and ids.
const FIRST_EPOCH: i64 = 1_000_000_000;

/// A time as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) when: When,
    /// How finely it is written, in nanoseconds.
    pub(super) resolution: i64,
    /// Bytes up to its end.
    pub(super) end: usize,
    /// A severity that is part of its shape: glog's letter, syslog's priority.
    pub(super) level: Option<Level>,
}

/// What a time says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Nanoseconds since the epoch.
    Epoch(i64),
    /// What a clock and perhaps a calendar show.
    Wall(Wall),
}

/// What a clock and perhaps a calendar show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wall {
    /// `None`: syslog and glog leave it out.
    pub(super) year: Option<i64>,
    /// Month and day from 1; `None`: a time alone.
    pub(super) day: Option<(i64, i64)>,
    /// Nanoseconds of the day.
    pub(super) nanos: i64,
    /// Seconds east of UTC, if it says so.
    pub(super) offset: Option<i64>,
}

/// The time at the very beginning of a line, behind at most a bracket, a quote, colours and syslog's priority.
pub(super) fn at_start(line: &[u8]) -> Option<Stamp> {
    let colour = skip_colour(line);
    let mut rest = line.get(colour..)?;
    let mut level = None;
    if let Some((priority, after)) = priority(rest) {
        (level, rest) = (Some(priority), after);
    }
    let enclosed = matches!(rest.first()?, b'[' | b'(' | b'"' | b'\'');
    let body = if enclosed { rest.get(1..)? } else { rest };
    let stamp = shape(body, enclosed, true)?;
    Some(Stamp { end: line.len() - body.len() + stamp.end, level: level.or(stamp.level), ..stamp })
}

/// The time within the head of a line: in a bracket (`127.0.0.1 - - [20/Nov/2026:10:04:43 +0000]`), or behind one word
/// (`INFO 2026-11-20 …`, `web-1 | 2026-…`). Others are part of a sentence: `valid until 2027-01-01 00:00:00`.
pub(super) fn in_head(line: &[u8]) -> Option<Stamp> {
    let head = line.get(..line.len().min(96))?;
    let read = |at: usize, enclosed: bool| {
        let stamp = shape(line.get(at..)?, enclosed, false)?;
        Some(Stamp { end: at + stamp.end, ..stamp })
    };
    behind_a_word(head)
        .and_then(|at| read(at, false))
        .or_else(|| memchr::memchr_iter(b'[', head).find_map(|at| read(at + 1, true)))
}

/// Where the second word of a line begins, signs that part words aside, if it begins with a digit.
fn behind_a_word(head: &[u8]) -> Option<usize> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let first = head.iter().position(|byte| !is_blank(byte))?;
    let end = first + head.iter().skip(first).position(is_blank)?;
    let parts = |byte: &u8| is_blank(byte) || matches!(byte, b'|' | b'-' | b'*' | b'>');
    let second = end + head.iter().skip(end).position(|byte| !parts(byte))?;
    head.get(second)?.is_ascii_digit().then_some(second)
}

/// The time that a text consists of, such as the value of a field.
pub(super) fn whole(text: &[u8]) -> Option<Stamp> {
    let stamp = shape(text, true, true)?;
    (stamp.end == text.len()).then_some(stamp)
}

/// Length of an escape sequence that sets a colour.
fn skip_colour(text: &[u8]) -> usize {
    match text {
        [0x1b, b'[', rest @ ..] => {
            let end = rest.iter().take(12).position(|b| b.is_ascii_alphabetic());
            end.map_or(0, |end| end + 3)
        }
        _ => 0,
    }
}

/// Syslog's `<34>`, and the `1 ` that RFC 5424 puts behind it, with what follows.
fn priority(text: &[u8]) -> Option<(Level, &[u8])> {
    let rest = text.strip_prefix(b"<")?;
    let (number, count) = run(rest)?;
    let rest = rest.get(count..)?.strip_prefix(b">")?;
    if count > 3 || number > 191 {
        return None;
    }
    let rest = rest.strip_prefix(b"1 ").unwrap_or(rest);
    let level = match number % 8 {
        0 | 1 => Level::Fatal,
        2 | 3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    };
    Some((level, rest))
}

/// Reads the shape that the first bytes tell. `weak`: also those that are times only where a line begins, as numbers and
/// month names are common in texts.
fn shape(text: &[u8], enclosed: bool, weak: bool) -> Option<Stamp> {
    let first = *text.first()?;
    if !first.is_ascii_digit() {
        return if weak { lettered(text) } else { None };
    }
    let count = text.iter().take(20).take_while(|b| b.is_ascii_digit()).count();
    match (count, text.get(count)) {
        (4, Some(b'-' | b'/' | b'.')) => iso(text),
        (2, Some(b':')) if weak => time_alone(text, enclosed),
        (1 | 2, Some(b'/' | b'-' | b'.' | b' ')) => day_first(text, count),
        (8, Some(b'T' | b' ' | b'-')) => compact(text),
        (10 | 13 | 16 | 19, _) if weak => epoch(text, count),
        _ => None,
    }
}

/// `2026-11-20T10:04:43.123+01:00`, with `T`, blank or `_` between, and `-`, `/` or `.` within the date.
fn iso(text: &[u8]) -> Option<Stamp> {
    let (date, _) = text.split_first_chunk::<11>()?;
    if date[4] != date[7] || !matches!(date[10], b' ' | b'T' | b't' | b'_') {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    clock(text, 11, Some(year), Some((two(text, 5)?, two(text, 8)?)))
}

/// `20261120 10:04:43.123` (Robot Framework), `20261120T100443Z`.
fn compact(text: &[u8]) -> Option<Stamp> {
    let year = two(text, 0)? * 100 + two(text, 2)?;
    clock(text, 9, Some(year), Some((two(text, 4)?, two(text, 6)?)))
}

/// `10:04:43.123`; of a time alone the fraction or a bracket tells that it is none of a duration.
fn time_alone(text: &[u8], enclosed: bool) -> Option<Stamp> {
    let stamp = clock(text, 0, None, None)?;
    (enclosed || stamp.resolution < SECOND).then_some(stamp)
}

/// `20/Nov/2026:10:04:43 +0000` (Apache, nginx), `20-Nov-2026 10:04:43`, `20 Nov 2026 10:04:43`, `20.11.2026 10:04:43`,
/// `20-11-2026 10:04:43`, `11/20/2026 10:04:43 AM`.
fn day_first(text: &[u8], count: usize) -> Option<Stamp> {
    let (first, _) = run(text)?;
    let separator = *text.get(count)?;
    let rest = text.get(count + 1..)?;
    let (second, length, named) = match month(rest) {
        Some(number) => (number, 3, true),
        None => {
            let (number, length) = run(rest)?;
            (number, length, false)
        }
    };
    if rest.get(length) != Some(&separator) || length > 3 || (separator == b' ' && !named) {
        return None;
    }
    let at = count + 1 + length + 1;
    let (year, digits) = run(text.get(at..)?)?;
    let between = text.get(at + digits)?;
    let comma = usize::from(*between == b',');
    if digits != 4 || !(matches!(between, b' ' | b'T') || (*between == b':' && named) || comma > 0) {
        return None;
    }
    let at = at + digits + 1 + usize::from(comma > 0 && text.get(at + digits + 1) == Some(&b' '));
    let swapped = if named { false } else { is_month_first(text, at, separator, first, second) };
    let day = if swapped { (first, second) } else { (second, first) };
    clock(text, at, Some(year), Some(day))
}

/// With slashes, both orders are common: numbers above 12 and the twelve-hour clock of American texts tell, and where they
/// do not, the American order counts, as it is what Windows writes by default.
fn is_month_first(text: &[u8], at: usize, separator: u8, first: i64, second: i64) -> bool {
    let half = text.get(at..).and_then(|rest| rest.get(..rest.len().min(16)));
    let twelve = half.is_some_and(|half| half.windows(2).any(|pair| matches!(pair, b"AM" | b"PM" | b"am" | b"pm")));
    first <= 12 && (twelve || separator == b'/' || second > 12)
}

/// Shapes that begin with a letter: `Nov 20 10:04:43`, `Fri Nov 20 10:04:43 2026`, `Fri, 20 Nov 2026 10:04:43 GMT`,
/// `I1120 10:04:43.123456` (glog, klog).
fn lettered(text: &[u8]) -> Option<Stamp> {
    if let Some(month) = month(text) {
        return month_first(text, 3, month);
    }
    if let [
        b'M' | b'T' | b'W' | b'F' | b'S',
        b'o' | b'u' | b'e' | b'h' | b'r' | b'a',
        b'n' | b'e' | b'd' | b'u' | b'i' | b't',
        ..,
    ] = text
    {
        let at = 3 + usize::from(text.get(3) == Some(&b',')) + 1;
        let rest = text.get(at..)?;
        let stamp = match month(rest) {
            Some(month) => month_first(rest, 3, month)?,
            None => day_first(rest, rest.iter().take_while(|b| b.is_ascii_digit()).count())?,
        };
        return Some(Stamp { end: stamp.end + at, ..stamp });
    }
    glog(text)
}

/// `Nov 20 10:04:43`, `Nov  2 …`, `Nov 20 2026 10:04:43`, `Nov 20 10:04:43 2026`; `at` is behind the name.
fn month_first(text: &[u8], at: usize, month: i64) -> Option<Stamp> {
    let rest = text.get(at..)?.strip_prefix(b" ")?;
    let pad = usize::from(rest.first() == Some(&b' '));
    let (day, digits) = run(rest.get(pad..)?)?;
    let mut next = at + 1 + pad + digits;
    if digits > 2 {
        return None;
    }
    if text.get(next) == Some(&b',') {
        next += 1;
    }
    if text.get(next) != Some(&b' ') {
        return None;
    }
    next += 1;
    let year = run(text.get(next..)?).filter(|(_, digits)| *digits == 4 && text.get(next + 4) == Some(&b' '));
    if let Some((year, digits)) = year {
        return clock(text, next + digits + 1, Some(year), Some((month, day)));
    }
    let stamp = clock(text, next, None, Some((month, day)))?;
    // `ctime` puts the year behind, and `date` the zone between.
    let behind = text.get(stamp.end..).and_then(|rest| rest.strip_prefix(b" "));
    if let (Some((year @ 1971..=2199, 4)), When::Wall(wall)) = (behind.and_then(run), stamp.when) {
        let wall = Wall { year: Some(year), ..wall };
        let is_day = (1..=days_in(year, month)).contains(&day);
        return is_day.then_some(Stamp { when: When::Wall(wall), end: stamp.end + 5, ..stamp });
    }
    Some(stamp)
}

/// `I1120 10:04:43.123456`.
fn glog(text: &[u8]) -> Option<Stamp> {
    let level = match text.first()? {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    };
    let (_, digits) = run(text.get(1..)?)?;
    let at = 1 + digits;
    if text.get(at) != Some(&b' ') {
        return None;
    }
    let year = match digits {
        4 => None,
        8 => Some(two(text, 1)? * 100 + two(text, 3)?),
        _ => return None,
    };
    let stamp = clock(text, at + 1, year, Some((two(text, at - 4)?, two(text, at - 2)?)))?;
    (stamp.resolution < SECOND).then_some(Stamp { level: Some(level), ..stamp })
}

/// Seconds with or without a fraction, milliseconds, microseconds, nanoseconds; nothing else has as many digits.
fn epoch(text: &[u8], count: usize) -> Option<Stamp> {
    let (number, _) = run(text)?;
    let unit = 10_i64.pow(u32::try_from(19 - count).ok()?);
    let mut stamp = Stamp { when: When::Epoch(number.checked_mul(unit)?), resolution: unit, end: count, level: None };
    if number / (SECOND / unit) < FIRST_EPOCH {
        return None;
    }
    if count <= 13
        && let Some(b'.' | b',') = text.get(count)
        && let Some((nanos, digits)) = fraction(text.get(count + 1..)?)
    {
        // A fraction of milliseconds, as some tracers write, is one of the same second's thousandth.
        let scale = SECOND / unit;
        stamp.when = When::Epoch(number * unit + nanos / scale);
        stamp.resolution = (unit / 10_i64.pow(digits.min(9) as u32)).max(1);
        stamp.end = count + 1 + digits;
    }
    is_end(text, stamp.end).then_some(stamp)
}

/// `10:04:43`, its fraction, half of the day and zone, from `at` on. Seconds may be missing where colons are (`100443`).
fn clock(text: &[u8], at: usize, year: Option<i64>, day: Option<(i64, i64)>) -> Option<Stamp> {
    let single = text.get(at + 1) == Some(&b':');
    let start = if single { at } else { at + 1 };
    let mut hour = if single { run(text.get(at..)?)?.0 } else { two(text, at)? };
    let colons = text.get(start + 1) == Some(&b':');
    let step = if colons { 3 } else { 2 };
    let minute = two(text, start + step - 1)?;
    let second = two(text, start + 2 * step - 1)?;
    if (colons && text.get(start + 4) != Some(&b':')) || (!colons && year.is_none()) {
        return None;
    }
    let mut end = start + 2 * step + 1;
    let mut nanos = 0;
    let mut resolution = SECOND;
    if let Some(mark @ (b'.' | b',' | b':')) = text.get(end)
        && let Some((value, digits)) = fraction(text.get(end + 1..)?)
        // A colon is for log4net's milliseconds only.
        && (*mark != b':' || digits == 3)
    {
        nanos = value;
        resolution = (SECOND / 10_i64.pow(digits.min(9) as u32)).max(1);
        end += 1 + digits;
    }
    if let Some((half, length)) = half_day(text, end) {
        if !(1..=12).contains(&hour) {
            return None;
        }
        hour = hour % 12 + half;
        end += length;
    } else if single && !(day.is_some() && year.is_some()) {
        return None;
    }
    let offset = offset(text, end);
    end += offset.map_or(0, |(_, length)| length);
    let is_clock = hour < 24 && minute < 60 && second < 61;
    let is_day = day.is_none_or(|(month, day)| {
        (1..=12).contains(&month) && (1..=days_in(year.unwrap_or(2000), month)).contains(&day)
    });
    let is_year = year.is_none_or(|year| (1971..=2199).contains(&year));
    if !(is_clock && is_day && is_year && is_end(text, end)) {
        return None;
    }
    // A leap second is counted as the one before it, as the system's clock does.
    let seconds = hour * 3_600 + minute * 60 + second.min(59);
    let wall = Wall { year, day, nanos: seconds * SECOND + nanos, offset: offset.map(|(seconds, _)| seconds) };
    Some(Stamp { when: When::Wall(wall), resolution, end, level: None })
}

/// ` AM`, `pm`: hours to add, and length.
fn half_day(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let blank = usize::from(text.get(at) == Some(&b' '));
    let hours = match text.get(at + blank..at + blank + 2)? {
        b"AM" | b"am" => 0,
        b"PM" | b"pm" => 12,
        _ => return None,
    };
    is_end(text, at + blank + 2).then_some((hours, blank + 2))
}

/// `Z`, `+01:00`, `+0100`, `+01`, ` +0100`, ` UTC`, ` GMT`: seconds east of UTC, and length.
fn offset(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let blank = usize::from(text.get(at) == Some(&b' '));
    let rest = text.get(at + blank..)?;
    match rest {
        [b'Z' | b'z', ..] if is_end(rest, 1) => return Some((0, blank + 1)),
        [b'U', b'T', b'C', ..] | [b'G', b'M', b'T', ..] if is_end(rest, 3) => return Some((0, blank + 3)),
        [b'+' | b'-', ..] => {}
        _ => return None,
    }
    let hours = two(rest, 1)?;
    let (minutes, length) = match rest.get(3) {
        Some(b':') => (two(rest, 4)?, 6),
        Some(b) if b.is_ascii_digit() => (two(rest, 3)?, 5),
        // Behind a blank it would be a number: `10:04:43 -12 items`.
        _ if blank == 0 => (0, 3),
        _ => return None,
    };
    if hours > 14 || minutes > 59 || !is_end(rest, length) {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some((if rest.first() == Some(&b'-') { -seconds } else { seconds }, blank + length))
}

/// Nanoseconds of the digits behind a point, and how many they are.
fn fraction(text: &[u8]) -> Option<(i64, usize)> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let used = digits.min(9);
    let value = text.iter().take(used).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    (1..=12).contains(&digits).then(|| (value * 10_i64.pow(9 - used as u32), digits))
}

/// True where a time may end: not within a word or number.
fn is_end(text: &[u8], at: usize) -> bool {
    !text.get(at).is_some_and(u8::is_ascii_alphanumeric)
}

fn two(text: &[u8], at: usize) -> Option<i64> {
    let pair = text.get(at..at + 2)?;
    let [tens, ones] = [pair[0].wrapping_sub(b'0'), pair[1].wrapping_sub(b'0')];
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// The digits at the beginning as a number, and how many they are; `None` for none and for more than 19.
fn run(text: &[u8]) -> Option<(i64, usize)> {
    let count = text.iter().take(20).take_while(|b| b.is_ascii_digit()).count();
    let number =
        text.iter().take(count).try_fold(0_i64, |sum, b| sum.checked_mul(10)?.checked_add(i64::from(b - b'0')));
    number.filter(|_| count > 0).map(|number| (number, count))
}

/// The number of the English month whose first three letters these are.
fn month(text: &[u8]) -> Option<i64> {
    let name = text.first_chunk::<3>()?;
    let names: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let at = names.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i64::try_from(at + 1).ok()
}

/// Days of a month.
pub(super) fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}
