//! One line of `go test -json` → its fields.
//!
//! Fields are those of `go doc cmd/test2json`, and `ImportPath` of build events (`go help buildjson`). Go writes the
//! keys in one fixed order, so [`scan`] reads that order in one pass; [`parse`] (serde) reads everything else.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use serde::Deserialize;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    Start,
    Run,
    Pause,
    Cont,
    Output,
    Pass,
    Fail,
    Skip,
    Bench,
    Attr,
    Artifacts,
    BuildOutput,
    BuildFail,
}

impl Action {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "output" => Self::Output,
            "run" => Self::Run,
            "pass" => Self::Pass,
            "fail" => Self::Fail,
            "skip" => Self::Skip,
            "pause" => Self::Pause,
            "cont" => Self::Cont,
            "start" => Self::Start,
            _ => return None,
        })
    }
}

/// The fields of a line; empty or `None` where the line has none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    pub(super) time: Cow<'a, str>,
    pub(super) action: Action,
    #[serde(borrow, default)]
    pub(super) package: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) test: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) output: Cow<'a, str>,
    /// True if `output` ended in a line end, which is taken off.
    #[serde(skip)]
    pub(super) line_end: bool,
    /// Seconds.
    pub(super) elapsed: Option<f64>,
    #[serde(borrow, default)]
    pub(super) import_path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) failed_build: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) key: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) value: Cow<'a, str>,
}

impl<'a> Line<'a> {
    fn new(action: Action) -> Self {
        let empty = || Cow::Borrowed("");
        Self {
            time: empty(),
            action,
            package: empty(),
            test: empty(),
            output: empty(),
            line_end: false,
            elapsed: None,
            import_path: empty(),
            failed_build: empty(),
            key: empty(),
            value: empty(),
        }
    }

    /// True if some field says where the line belongs, without which it is a program's own JSON.
    fn is_placed(&self) -> bool {
        match self.action {
            Action::BuildOutput | Action::BuildFail => !self.import_path.is_empty(),
            Action::Start | Action::Bench => !self.package.is_empty(),
            Action::Output => !(self.package.is_empty() && self.test.is_empty() && self.output.is_empty()),
            Action::Pass | Action::Fail | Action::Skip => {
                !(self.package.is_empty() && self.test.is_empty()) || self.elapsed.is_some()
            }
            Action::Run | Action::Pause | Action::Cont | Action::Attr | Action::Artifacts => !self.test.is_empty(),
        }
    }
}

/// Reads any JSON object; `None` if it is no event of `go test`.
pub(super) fn parse(text: &str) -> Option<Line<'_>> {
    let mut line: Line<'_> = serde_json::from_str(text).ok()?;
    match &mut line.output {
        Cow::Borrowed(output) => {
            if let Some(stripped) = output.strip_suffix('\n') {
                *output = stripped;
                line.line_end = true;
            }
        }
        Cow::Owned(output) => line.line_end = take_line_end(output),
    }
    line.is_placed().then_some(line)
}

/// The end of a package as test2json writes it that was told neither its name (`-p`) nor to write times (`-t`).
pub(super) fn nameless_end(text: &str) -> Option<Line<'static>> {
    let name = text.trim_end().strip_prefix("{\"Action\":\"")?.strip_suffix("\"}")?;
    let action = Action::from_name(name)?;
    matches!(action, Action::Pass | Action::Fail | Action::Skip).then(|| Line::new(action))
}

/// Takes one line end off; false if there is none.
fn take_line_end(text: &mut String) -> bool {
    let ends = text.ends_with('\n');
    if ends {
        text.pop();
    }
    ends
}

/// Reads `{"Time":…,"Action":…,"Package":…[,"Test":…][,"Elapsed":…|,"Output":…]}` in exactly this form; `None` for all
/// else, which [`parse`] then has to judge. `scratch` holds the output where it has escapes.
pub(super) fn scan<'a>(text: &'a str, scratch: &'a mut String) -> Option<Line<'a>> {
    // JSON allows no control characters; one look at the whole line is cheaper than one at each string.
    if text.as_bytes().iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ' {
        return None;
    }
    let rest = text.strip_prefix("{\"Time\":\"")?;
    let (time, rest) = plain(rest)?;
    let rest = rest.strip_prefix(",\"Action\":\"")?;
    let (action, rest) = plain(rest)?;
    let mut line = Line::new(Action::from_name(action)?);
    line.time = Cow::Borrowed(time);
    let rest = rest.strip_prefix(",\"Package\":\"")?;
    let (package, mut rest) = plain(rest)?;
    line.package = Cow::Borrowed(package);
    if let Some(after) = rest.strip_prefix(",\"Test\":\"") {
        let (test, after) = plain(after)?;
        line.test = Cow::Borrowed(test);
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(",\"Output\":\"") {
        let (output, line_end, after) = output(after, scratch)?;
        line.output = Cow::Borrowed(output);
        line.line_end = line_end;
        rest = after;
    } else if let Some(after) = rest.strip_prefix(",\"Elapsed\":") {
        let number = after.strip_suffix('}')?;
        line.elapsed = Some(json_number(number)?);
        rest = "}";
    }
    (rest == "}" && line.is_placed()).then_some(line)
}

/// A plain decimal number as Go writes most of them, a subset of JSON's.
fn json_number(text: &str) -> Option<f64> {
    let whole = text.bytes().take_while(u8::is_ascii_digit).count();
    let canonical = whole == 1 || whole > 1 && !text.starts_with('0');
    let fraction = text.as_bytes().get(whole..)?;
    let valid = match fraction {
        [] => true,
        [b'.', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (canonical && valid).then(|| text.parse().ok())?
}

/// A string without escapes up to its closing quote, and what follows.
fn plain(text: &str) -> Option<(&str, &str)> {
    let end = memchr2(b'"', b'\\', text.as_bytes())?;
    let (value, rest) = text.split_at_checked(end)?;
    Some((value, rest.strip_prefix('"')?))
}

/// A string with escapes up to its closing quote, without the line end at its own end; whether it had one; the rest.
fn output<'a>(text: &'a str, scratch: &'a mut String) -> Option<(&'a str, bool, &'a str)> {
    let end = memchr2(b'"', b'\\', text.as_bytes())?;
    let (head, mut rest) = text.split_at_checked(end)?;
    if let Some(after) = rest.strip_prefix('"') {
        return Some((head, false, after));
    }
    if let Some(after) = rest.strip_prefix("\\n\"") {
        return Some((head, true, after));
    }
    scratch.clear();
    scratch.push_str(head);
    loop {
        let run = memchr2(b'"', b'\\', rest.as_bytes())?;
        let (head, escape) = rest.split_at_checked(run)?;
        scratch.push_str(head);
        if let Some(after) = escape.strip_prefix('"') {
            let line_end = take_line_end(scratch);
            return Some((scratch, line_end, after));
        }
        let (character, after) = unescape(escape)?;
        scratch.push(character);
        rest = after;
    }
}

/// One escape at the start of `text`; `None` for surrogates, which serde joins.
fn unescape(text: &str) -> Option<(char, &str)> {
    let (escape, rest) = text.split_at_checked(2)?;
    let character = match escape {
        "\\n" => '\n',
        "\\t" => '\t',
        "\\\"" => '"',
        "\\\\" => '\\',
        "\\r" => '\r',
        "\\/" => '/',
        "\\b" => '\u{8}',
        "\\f" => '\u{c}',
        "\\u" => {
            let (hex, rest) = rest.split_at_checked(4)?;
            let valid = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = valid.then(|| u32::from_str_radix(hex, 16).ok())??;
            return Some((char::from_u32(code)?, rest));
        }
        _ => return None,
    };
    Some((character, rest))
}

/// Where an event of `go test` may begin inside a line that begins with something else. Only the two beginnings that
/// Go itself writes count, so that JSON which a program prints is left alone.
pub(super) fn find_start(line: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = memchr(b'{', line.get(from..)?) {
        let start = from + at;
        let rest = line.get(start..)?;
        if rest.starts_with(b"{\"Time\":\"") || rest.starts_with(b"{\"ImportPath\":\"") {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Damages a line in one place: the scanner may then only say what serde says, or nothing.
    fn variants(line: &str) -> Vec<String> {
        let mut all = vec![line.to_owned()];
        for (at, _) in line.char_indices().step_by(3) {
            let (head, tail) = line.split_at(at);
            all.push(head.to_owned());
            for insert in ["\"", "\\", "\\u0041", "\\ud83d\\ude00", "}", "\t", "é", ",\"Test\":\"b\"", " "] {
                all.push(format!("{head}{insert}{tail}"));
            }
        }
        all
    }

    fn assert_same(text: &str) -> bool {
        let mut scratch = String::from("old");
        let Some(fast) = scan(text, &mut scratch) else { return false };
        let slow = parse(text);
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= a.abs() * 1e-12,
            (a, b) => a == b,
        };
        let slow = slow.unwrap_or_else(|| panic!("only the scanner takes {text}"));
        assert!(close(fast.elapsed, slow.elapsed), "{text}");
        assert_eq!(Line { elapsed: None, ..fast }, Line { elapsed: None, ..slow }, "{text}");
        true
    }

    #[test]
    fn the_scanner_says_what_serde_says_on_every_capture_and_on_damaged_lines() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/go");
        let (mut lines, mut fast) = (0, 0);
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            for (number, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
                lines += 1;
                fast += u32::from(assert_same(line));
                if number % 97 == 0 {
                    variants(line).iter().for_each(|variant| {
                        assert_same(variant);
                    });
                }
            }
        }
        assert!(lines > 3_000, "{lines} lines");
        assert!(fast * 100 >= lines * 98, "the scanner took only {fast} of {lines} lines");
    }

    #[test]
    fn json_of_a_program_is_no_event() {
        for text in [
            r#"{"Action":"start","port":80}"#,
            r#"{"Action":"fly","Package":"p"}"#,
            r#"{"Action":"run"}"#,
            r#"{"Time":"x","Package":"p"}"#,
            r#"{"Action":7}"#,
            "[]",
            "{",
            "",
        ] {
            assert_eq!(parse(text), None, "{text}");
            assert_eq!(scan(text, &mut String::new()), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_the_fast_path_are_json_numbers() {
        for good in ["0", "0.5", "12", "12.25", "1.9060000000000001"] {
            assert!(json_number(good).is_some(), "{good}");
        }
        for bad in ["", ".5", "5.", "01", "-1", "1e3", "NaN", "inf", "1 "] {
            assert!(json_number(bad).is_none(), "{bad}");
        }
    }
}
