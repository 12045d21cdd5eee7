//! Values as Python's `repr` writes them → JSON values. The old Loki sink of RealtimeResults sends such lines.

use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const DEPTH: usize = 32;

/// Reads one value: dict, list, tuple, str, number, `None`, `True` or `False`.
pub(super) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(DEPTH)?;
    reader.rest.trim().is_empty().then_some(value)
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(text) {
            Some(behind) => {
                self.rest = behind;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        if self.take("{") {
            return self.dict(depth);
        }
        for (open, close) in [("[", "]"), ("(", ")")] {
            if self.take(open) {
                return self.list(close, depth);
            }
        }
        for (word, value) in [("None", Value::Null), ("True", true.into()), ("False", false.into())] {
            if self.take(word) {
                return Some(value);
            }
        }
        for quote in ['\'', '"'] {
            if self.take(quote.encode_utf8(&mut [0; 4])) {
                return self.string(quote).map(Value::String);
            }
        }
        self.number()
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Map::new();
        while !self.take("}") {
            let Value::String(name) = self.value(depth)? else { return None };
            if !self.take(":") {
                return None;
            }
            fields.insert(name, self.value(depth)?);
            if !self.take(",") {
                return self.take("}").then_some(Value::Object(fields));
            }
        }
        Some(Value::Object(fields))
    }

    fn list(&mut self, close: &str, depth: usize) -> Option<Value> {
        let mut values = Vec::new();
        while !self.take(close) {
            values.push(self.value(depth)?);
            if !self.take(",") {
                return self.take(close).then_some(Value::Array(values));
            }
        }
        Some(Value::Array(values))
    }

    fn number(&mut self) -> Option<Value> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(rest.len());
        let (number, behind) = rest.split_at_checked(end)?;
        self.rest = behind;
        let whole = number.parse::<i64>().ok().map(Number::from);
        whole.or_else(|| Number::from_f64(number.parse().ok()?)).map(Value::Number)
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut out = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                c if c == quote => break,
                '\\' => {
                    let c = chars.next()?;
                    let digits = match c {
                        'x' => 2,
                        'u' => 4,
                        'U' => 8,
                        _ => 0,
                    };
                    if digits > 0 {
                        let hex = chars.as_str().get(..digits)?;
                        let code = u32::from_str_radix(hex, 16).ok()?;
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                        chars = chars.as_str().get(digits..)?.chars();
                    } else {
                        out.push(match c {
                            'n' => '\n',
                            't' => '\t',
                            'r' => '\r',
                            c => c,
                        });
                    }
                }
                c => out.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_python_writes_them() {
        let text =
            r#"{'a': 'it\'s', "b": "it's \\ \n", 'c': [1, -2.5, (True, False, None)], 'd': {}, 'e': '\x1b\u6f22 é'}"#;
        let json = serde_json::json!({
            "a": "it's", "b": "it's \\ \n", "c": [1, -2.5, [true, false, null]], "d": {}, "e": "\u{1b}漢 é"
        });
        assert_eq!(parse(text), Some(json));
    }

    #[test]
    fn what_python_does_not_write_is_refused() {
        for text in
            ["", "{", "{'a'}", "{'a': }", "{1: 2}", "'a", "'\\", "'\\u12", "{'a': <object at 0x7f>}", "1 2", "x"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"[".repeat(1_000_000)), None);
    }
}
