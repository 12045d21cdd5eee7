//! One line of TAP → what it is.
//!
//! TAP 14 (<https://testanything.org/tap-version-14-specification.html>) is taken as the rule, and older versions are
//! read by it: indented lines belong to subtests, `\#` and `\\` are escapes, directives are of any case.

use std::borrow::Cow;
use std::time::Duration;

/// A line without its indentation.
#[derive(Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// `TAP version 14`.
    Version,
    /// `1..3 # SKIP no gauge`.
    Plan { last: u64, skip: Option<&'a str> },
    /// `not ok 2 - name # TODO reason`.
    Point(Point<'a>),
    /// `# Subtest: name`.
    Subtest(&'a str),
    /// `# anything`.
    Comment(&'a str),
    /// `Bail out! reason`.
    BailOut(&'a str),
    /// `---`.
    YamlBegin,
    /// `}` behind a block.
    Close,
    /// Anything else.
    Other,
}

/// A test point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point<'a> {
    pub(super) ok: bool,
    /// Description without directive, unescaped.
    pub(super) name: Cow<'a, str>,
    pub(super) directive: Option<Directive>,
    /// Reason of the directive.
    pub(super) reason: &'a str,
    /// What `# time=5.2ms` says (vitest, node-tap).
    pub(super) duration: Option<Duration>,
    /// The name is followed by ` {`, which opens a block in the TAP of vitest, Test2 and older node-tap.
    pub(super) brace: bool,
    /// The brace stands behind a directive or a time, which are the other way round in Test2.
    pub(super) brace_is_last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    Skip,
    Todo,
}

/// Columns before the first other character; a tab counts as four.
pub(super) fn indent(line: &str) -> (usize, &str) {
    let rest = line.trim_start_matches([' ', '\t']);
    let (white, _) = line.split_at(line.len() - rest.len());
    (white.bytes().map(|byte| if byte == b'\t' { 4 } else { 1 }).sum(), rest)
}

/// Reads a line without its indentation.
pub(super) fn parse(text: &str) -> Line<'_> {
    match text.as_bytes().first() {
        Some(b'o' | b'n') => point(text).map_or(Line::Other, Line::Point),
        Some(b'#') => comment(text),
        Some(b'1') => plan(text).unwrap_or(Line::Other),
        Some(b'T') if is_version(text) => Line::Version,
        Some(b'B' | b'b') => match strip_word(text, "bail out!") {
            Some(reason) => Line::BailOut(reason.trim()),
            None => Line::Other,
        },
        Some(b'-') if text.trim_end() == "---" => Line::YamlBegin,
        Some(b'}') if text.trim_end() == "}" => Line::Close,
        _ => Line::Other,
    }
}

/// `TAP version 13`.
pub(super) fn is_version(text: &str) -> bool {
    strip_word(text, "tap version ").is_some_and(|rest| rest.trim().parse::<u32>().is_ok())
}

fn comment(text: &str) -> Line<'_> {
    let rest = text.strip_prefix('#').unwrap_or(text);
    match rest.trim_start().strip_prefix("Subtest: ").or_else(|| rest.trim_start().strip_prefix("Subtest:")) {
        Some(name) => Line::Subtest(name.trim()),
        None => Line::Comment(rest.strip_prefix(' ').unwrap_or(rest)),
    }
}

fn plan(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("1..")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    let last = number.parse().ok()?;
    let rest = rest.trim();
    if rest.is_empty() {
        return Some(Line::Plan { last, skip: None });
    }
    let comment = rest.strip_prefix('#')?.trim_start();
    let skip = directive(comment).filter(|(directive, _)| *directive == Directive::Skip).map(|(_, reason)| reason);
    Some(Line::Plan { last, skip })
}

fn point(text: &str) -> Option<Point<'_>> {
    let (ok, rest) = match text.strip_prefix("not ok") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok")?),
    };
    if !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        return None;
    }
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    // `ok 3rd floor` has no number.
    let rest = if number.is_empty() || after.is_empty() || after.starts_with([' ', '\t']) { after } else { rest };
    let rest = rest.trim();
    let rest = rest.strip_prefix("- ").unwrap_or(if rest == "-" { "" } else { rest });
    let (rest, brace) = match rest.strip_suffix('{') {
        Some(before) if before.is_empty() || before.ends_with(' ') => (before.trim_end(), true),
        _ => (rest, false),
    };
    let mut point =
        Point { ok, name: Cow::Borrowed(""), directive: None, reason: "", duration: None, brace, brace_is_last: false };
    let mut name = rest;
    for (at, comment) in comments(rest) {
        if let Some((directive, reason)) = directive(comment) {
            point.directive = Some(directive);
            point.reason = reason;
        } else if let Some(time) = comment.strip_prefix("time=") {
            point.duration = duration(time);
        } else {
            continue;
        }
        name = rest.get(..at).unwrap_or_default().trim_end();
        break;
    }
    let is_marked = point.directive.is_some() || point.duration.is_some();
    point.brace_is_last = brace && is_marked;
    if let Some(before) = name.strip_suffix('{').filter(|before| is_marked && !brace && before.ends_with(' ')) {
        point.brace = true;
        name = before.trim_end();
    }
    point.name = unescape(name.strip_suffix(" -").unwrap_or(name));
    Some(point)
}

/// Where a `#` that is not escaped stands, and what follows it.
fn comments(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'#', bytes).filter_map(move |at| {
        let before = bytes.get(..at)?;
        let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
        let free = backslashes % 2 == 0 && before.last().is_none_or(|byte| byte.is_ascii_whitespace());
        free.then(|| Some((at, text.get(at + 1..)?.trim_start())))?
    })
}

/// `SKIP`, `Skipped: …`, `TODO` and their reasons.
fn directive(comment: &str) -> Option<(Directive, &str)> {
    if let Some(rest) = strip_word(comment, "skip") {
        // TAP 14: `/# skip\S*\s+/i`.
        let rest = rest.trim_start_matches(|c: char| !c.is_whitespace());
        return Some((Directive::Skip, rest.trim()));
    }
    let rest = strip_word(comment, "todo")?;
    let whole = rest.chars().next().is_none_or(|c| !c.is_alphanumeric());
    whole.then(|| (Directive::Todo, rest.trim_start_matches(':').trim()))
}

/// What follows `word`, in any case.
fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let head = text.get(..word.len())?;
    head.eq_ignore_ascii_case(word).then(|| text.get(word.len()..))?
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.split_whitespace().next()?;
    let (number, scale) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? / scale).ok()
}

/// Resolves `\#` and `\\`; all other backslashes stay.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next @ ('#' | '\\')) if c == '\\' => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Point<'_> {
        match parse(text) {
            Line::Point(point) => point,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn points_are_read_in_all_their_forms() {
        for (text, ok, name, directive, reason) in [
            ("ok", true, "", None, ""),
            ("not ok 2", false, "", None, ""),
            ("ok 1 - a b", true, "a b", None, ""),
            ("ok 1 a - b", true, "a - b", None, ""),
            ("ok - a", true, "a", None, ""),
            ("ok 3rd floor", true, "3rd floor", None, ""),
            ("ok 4 # skip no gauge", true, "", Some(Directive::Skip), "no gauge"),
            ("ok 4 - x # SKIPPED: why", true, "x", Some(Directive::Skip), "why"),
            ("not ok 6 - leak # TODO not fixed", false, "leak", Some(Directive::Todo), "not fixed"),
            ("ok 6 - leak #todo", true, "leak", Some(Directive::Todo), ""),
            ("ok 6 - # todos are many", true, "# todos are many", None, ""),
            (r"not ok 2 a \# TODO b \\# TODO c \\x", false, r"a # TODO b \# TODO c \x", None, ""),
            ("ok 7 - issue #12 # TODO x", true, "issue #12", Some(Directive::Todo), "x"),
            ("ok 8 - c# todo", true, "c# todo", None, ""),
        ] {
            let point = of(text);
            assert_eq!((point.ok, point.name.as_ref(), point.directive, point.reason), (ok, name, directive, reason));
        }
    }

    #[test]
    fn times_and_braces_of_vitest_are_read() {
        let point = of("not ok 1 - a.test.js # time=1746.20ms {");
        assert_eq!((point.name.as_ref(), point.brace), ("a.test.js", true));
        assert_eq!(point.duration, Some(Duration::from_micros(1_746_200)));
        assert!(!of("ok 1 - a{").brace);
        assert!(of("ok 1 - a {").brace);
        let point = of("ok 2 - all # SKIP {");
        assert_eq!((point.directive, point.reason, point.brace), (Some(Directive::Skip), "", true));
        assert!(point.brace_is_last && !of("ok 1 - a {").brace_is_last);
        let point = of("not ok 4 - td { # TODO later");
        assert_eq!((point.name.as_ref(), point.reason, point.brace, point.brace_is_last), ("td", "later", true, false));
    }

    #[test]
    fn other_lines_are_told_apart() {
        assert_eq!(parse("1..0 # Skipped: no boiler"), Line::Plan { last: 0, skip: Some("no boiler") });
        assert_eq!(parse("1..12"), Line::Plan { last: 12, skip: None });
        assert_eq!(parse("1..x"), Line::Other);
        assert_eq!(parse("10..12"), Line::Other);
        assert_eq!(parse("# Subtest: a b"), Line::Subtest("a b"));
        assert_eq!(parse("#x"), Line::Comment("x"));
        assert_eq!(parse("Bail out!  no steam"), Line::BailOut("no steam"));
        assert_eq!(parse("TAP version 14"), Line::Version);
        for text in ["okay", "notok 1", "nothing", "TAP version", "okk 1", "TAP versions 13", "-----", ""] {
            assert_eq!(parse(text), Line::Other, "{text}");
        }
    }
}
