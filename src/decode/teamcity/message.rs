//! One service message → its name and attributes.
//!
//! Syntax and escapes: <https://www.jetbrains.com/help/teamcity/service-messages.html>.

use std::borrow::Cow;

use memchr::{memchr2, memmem};

use crate::event::Timestamp;

/// What every message begins with.
pub(super) const BEGIN: &str = "##teamcity[";

/// A message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message<'a> {
    pub(super) kind: &'a str,
    pub(super) name: Cow<'a, str>,
    pub(super) flow: Cow<'a, str>,
    pub(super) timestamp: Cow<'a, str>,
    pub(super) duration: Cow<'a, str>,
    pub(super) message: Cow<'a, str>,
    pub(super) details: Cow<'a, str>,
    pub(super) expected: Cow<'a, str>,
    pub(super) actual: Cow<'a, str>,
    pub(super) out: Cow<'a, str>,
    pub(super) count: Cow<'a, str>,
    pub(super) text: Cow<'a, str>,
    pub(super) status: Cow<'a, str>,
    pub(super) error_details: Cow<'a, str>,
    /// What `timestamp` says.
    pub(super) time: Option<Timestamp>,
}

/// Finds the next message in a line: what is before it, the message, and what follows. A beginning that is no message is
/// passed over.
pub(super) fn find(text: &str) -> Option<(&str, Message<'_>, &str)> {
    memmem::find_iter(text.as_bytes(), BEGIN).find_map(|at| {
        let (before, from) = text.split_at_checked(at)?;
        let (message, rest) = parse(from.strip_prefix(BEGIN)?)?;
        Some((before, message, rest))
    })
}

/// Reads what follows `##teamcity[` up to `]`, and returns what is behind that.
fn parse(text: &str) -> Option<(Message<'_>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')?;
    let (kind, mut rest) = text.split_at_checked(end)?;
    if kind.is_empty() {
        return None;
    }
    let mut message = Message { kind, ..Message::default() };
    rest = rest.trim_start();
    // `##teamcity[progressMessage 'text']` has a value without a name.
    if rest.starts_with('\'') {
        let (value, after) = value(rest)?;
        message.text = value;
        rest = after.trim_start();
    }
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            return Some((message, after));
        }
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        {
            return None;
        }
        let (value, after) = value(after.trim_start())?;
        message.set(key, value);
        rest = after.trim_start();
    }
}

impl<'a> Message<'a> {
    fn set(&mut self, key: &str, value: Cow<'a, str>) {
        let field = match key {
            "name" => &mut self.name,
            "flowId" => &mut self.flow,
            "timestamp" => &mut self.timestamp,
            "duration" => &mut self.duration,
            "message" => &mut self.message,
            "details" => &mut self.details,
            "expected" => &mut self.expected,
            "actual" => &mut self.actual,
            "out" => &mut self.out,
            "count" => &mut self.count,
            "text" => &mut self.text,
            "status" => &mut self.status,
            "errorDetails" => &mut self.error_details,
            _ => return,
        };
        *field = value;
    }
}

/// A quoted value, and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let text = text.strip_prefix('\'')?;
    let bytes = text.as_bytes();
    let mut at = memchr2(b'\'', b'|', bytes)?;
    if bytes.get(at) == Some(&b'\'') {
        return Some((Cow::Borrowed(text.get(..at)?), text.get(at + 1..)?));
    }
    let mut plain = String::with_capacity(text.len().min(at + 256));
    let mut from = 0;
    loop {
        plain.push_str(text.get(from..at)?);
        if bytes.get(at) == Some(&b'\'') {
            return Some((Cow::Owned(plain), text.get(at + 1..)?));
        }
        from = at + 1 + escape(text.get(at + 1..)?, &mut plain)?;
        at = from + memchr2(b'\'', b'|', bytes.get(from..)?)?;
    }
}

/// Resolves what follows a `|`; returns how many bytes it took. Unknown escapes stand for themselves.
fn escape(text: &str, plain: &mut String) -> Option<usize> {
    let c = text.chars().next()?;
    if let Some(code) = text.strip_prefix("0x").and_then(|hex| hex.get(..4)) {
        if let Some(c) = u32::from_str_radix(code, 16).ok().and_then(char::from_u32) {
            plain.push(c);
            return Some(6);
        }
        // Half of a surrogate pair: the other half may follow.
        let high = u32::from_str_radix(code, 16).ok().filter(|high| (0xd800..0xdc00).contains(high));
        let low = text.get(6..).and_then(|rest| rest.strip_prefix("|0x")).and_then(|hex| hex.get(..4));
        let low = low.and_then(|low| u32::from_str_radix(low, 16).ok()).filter(|low| (0xdc00..0xe000).contains(low));
        if let (Some(high), Some(low)) = (high, low) {
            plain.extend(char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
            return Some(13);
        }
        plain.push(char::REPLACEMENT_CHARACTER);
        return Some(6);
    }
    plain.push(match c {
        'n' => '\n',
        'r' => '\r',
        'x' => '\u{85}',
        'l' => '\u{2028}',
        'p' => '\u{2029}',
        other => other,
    });
    Some(c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_anywhere_in_a_line_and_escapes_are_resolved() {
        let text = "PASSED [ 20%]##teamcity[testFailed name='a|'b||c|[d|]' message='x|ny|0x00e9|0xd83d|0xde00' \
                    details=''] tail ##teamcity[blockOpened name='ü']";
        let (before, message, rest) = find(text).unwrap();
        assert_eq!((before, message.kind, rest.split('#').next()), ("PASSED [ 20%]", "testFailed", Some(" tail ")));
        assert_eq!((message.name.as_ref(), message.message.as_ref()), ("a'b|c[d]", "x\nyé😀"));
        let (before, message, rest) = find(rest).unwrap();
        assert_eq!((before, message.name.as_ref(), rest), (" tail ", "ü", ""));
    }

    #[test]
    fn what_is_no_message_is_passed_over() {
        for text in [
            "##teamcity[",
            "##teamcity[]",
            "##teamcity[testStarted name='a",
            "##teamcity[testStarted name='a|",
            "##teamcity[testStarted name=a]",
            "##teamcity[testStarted name",
            "##teamcity[testStarted 'a' b",
            "##teamcity[a b='|0x12",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
        let (before, message, _) = find("##teamcity[ ##teamcity[progressMessage 'at |'it|''] ").unwrap();
        assert_eq!((before, message.text.as_ref()), ("##teamcity[ ", "at 'it'"));
    }
}
