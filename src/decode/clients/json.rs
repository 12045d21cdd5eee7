//! JSON as Python clients write it, read leniently: fields change their types between versions of one client.

use serde_json::{Map, Value};

/// Fields of a JSON object.
pub(super) type Fields = Map<String, Value>;

/// Reads a JSON document. Wrong UTF-8 and halves of surrogate pairs, which Python writes, become U+FFFD.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok().or_else(|| serde_json::from_str(&mended(&String::from_utf8_lossy(body))).ok())
}

/// Reads a JSON object.
pub(super) fn object(body: &[u8]) -> Option<Fields> {
    match parse(body)? {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// True for what has nothing in it, and for a list of such.
pub(super) fn is_flat(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(values) => !values.iter().any(|value| value.is_object() || value.is_array()),
        _ => true,
    }
}

/// Replaces `\ud800` to `\udfff` that are no pair by `\ufffd`.
fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.find('\\').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(before);
        let escape = |text: &str| {
            let hex = text.strip_prefix("\\u").or_else(|| text.strip_prefix("\\U"))?.get(..4)?;
            u16::from_str_radix(hex, 16).ok()
        };
        let next = behind.get(6..).unwrap_or_default();
        let (taken, written) = match (escape(behind), escape(next)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => (12, behind.get(..12)),
            (Some(0xd800..0xe000), _) => (6, Some("\\ufffd")),
            // An escaped backslash does not escape what follows it.
            _ => (2, behind.get(..2)),
        };
        out.push_str(written.unwrap_or(behind));
        rest = behind.get(taken..).unwrap_or_default();
        if written.is_none() {
            return out;
        }
    }
    out.push_str(rest);
    out
}

/// A field as text: numbers and booleans as they are written, everything else but strings is empty.
pub(super) fn text(fields: &Fields, name: &str) -> String {
    fields.get(name).map(value_text).unwrap_or_default()
}

/// A value as text, as [`text`].
pub(super) fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(bool) => bool.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// A field as a number, written as one or as a string.
pub(super) fn number(fields: &Fields, name: &str) -> Option<f64> {
    match fields.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

/// A field as texts; a single text is one.
pub(super) fn texts(fields: &Fields, name: &str) -> Vec<String> {
    match fields.get(name) {
        Some(Value::Array(values)) => values.iter().map(value_text).filter(|text| !text.is_empty()).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![text.clone()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_surrogate_pairs_and_wrong_utf8_do_not_lose_the_document() {
        let text = |body: &[u8]| text(&object(body).unwrap(), "a");
        assert_eq!(text(br#"{"a": "x\ud800y"}"#), "x\u{fffd}y");
        assert_eq!(text(br#"{"a": "\udc00"}"#), "\u{fffd}");
        assert_eq!(text(br#"{"a": "\ud83d\ude00 \ud83d"}"#), "😀 \u{fffd}");
        assert_eq!(text(br#"{"a": "\\ud800\ud800\u0000"}"#), "\\ud800\u{fffd}\0");
        assert_eq!(text(b"{\"a\": \"\xff\"}"), "\u{fffd}");
        assert_eq!(text(br#"{"a": 1.5}"#), "1.5");
    }

    #[test]
    fn what_is_no_object_and_what_is_too_deep_is_refused() {
        for body in [&b""[..], b"[]", b"1", b"{", b"{\"a\": \"\\ud8", b"{\"a\":\"\\"] {
            assert_eq!(object(body), None, "{}", String::from_utf8_lossy(body));
        }
        assert_eq!(object("{\"a\":".repeat(100_000).as_bytes()), None);
        assert_eq!(object("[".repeat(1_000_000).as_bytes()), None);
    }
}
