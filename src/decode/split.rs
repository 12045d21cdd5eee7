//! JSON reports as a stream: bytes in pieces of any size → the parts that a format asks for, each small enough to be read
//! at once. So a report of any length needs the memory of its largest part, and one that was cut gives what is whole.

use memchr::{memchr_iter, memchr2};
use serde::Deserialize;

use super::Emit;
use super::document::{Broken, Document};

/// Largest part.
const MAX_PART: usize = 256 << 20;
/// Bytes behind a brace and white space that tell whether the first key is there.
const LOOK: usize = 24;

/// What a format makes of the parts of a report. A path names the keys from the outermost object on; elements of an array
/// are called `[]`.
pub(super) trait Parts {
    /// The value of the label `runner`.
    const RUNNER: &'static str;
    /// Keys with one of which a report begins.
    const FIRST_KEYS: &'static [&'static str];

    /// A report begins.
    fn begin(&mut self, emit: &mut Emit<'_>);

    /// Whether the object or array there is handed on member by member, and not as a whole.
    fn opens(&self, path: &[String]) -> bool;

    /// A member.
    ///
    /// # Errors
    /// It is not what it should be.
    fn part(&mut self, path: &[String], json: &str, emit: &mut Emit<'_>) -> Result<(), serde_json::Error>;

    /// An object or array that was opened ends.
    fn close(&mut self, path: &[String], emit: &mut Emit<'_>);

    /// The report ends. `whole`: by itself.
    fn end(&mut self, whole: bool, emit: &mut Emit<'_>);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    /// A value begins, or an array ends.
    Value,
    /// A key begins, or an object ends.
    Key,
    InKey,
    Colon,
    /// Behind a member.
    Comma,
    /// Within a part; with how many open brackets.
    Part(u32),
    /// Within a string of a part.
    Text(u32),
    /// Broken: nothing more is read.
    Lost,
}

/// A report in the format `P`.
pub(super) struct JsonReport<P> {
    parts: P,
    state: State,
    /// What was not used yet outside; the key or part inside.
    held: Vec<u8>,
    escaped: bool,
    path: Vec<String>,
    arrays: Vec<bool>,
    line: u64,
    part_line: u64,
    documents: u64,
    broken: Option<Broken>,
}

impl<P: Parts> JsonReport<P> {
    pub(super) fn new(parts: P) -> Self {
        Self {
            parts,
            state: State::Outside,
            held: Vec::new(),
            escaped: false,
            path: Vec::new(),
            arrays: Vec::new(),
            line: 1,
            part_line: 1,
            documents: 0,
            broken: None,
        }
    }

    fn complain(&mut self, line: u64, why: String) {
        self.broken.get_or_insert(Broken { line, why });
    }

    /// Where in the report, for a person.
    fn place(&self) -> String {
        let path: Vec<&str> = self.path.iter().map(String::as_str).filter(|key| !key.is_empty()).collect();
        if path.is_empty() { "its beginning".into() } else { path.join(".").replace(".[]", "[]") }
    }

    /// Looks for the beginning of a report; what is before it is output of the program.
    fn outside(&mut self, last: bool, emit: &mut Emit<'_>) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let (mut found, mut unsure) = (None, None);
        for at in memchr_iter(b'{', &held) {
            let rest = held.get(at + 1..).unwrap_or_default().trim_ascii_start();
            let is_key = |key: &&str| {
                rest.strip_prefix(b"\"")
                    .and_then(|rest| rest.strip_prefix(key.as_bytes()))
                    .is_some_and(|r| r.starts_with(b"\""))
            };
            if P::FIRST_KEYS.iter().any(is_key) {
                found = Some(at);
                break;
            }
            // Too little to tell.
            if !last && rest.len() < LOOK {
                unsure = Some(at);
                break;
            }
        }
        // What is before a line's end may be said; the rest of a line may still go on.
        let lines = |to: usize| {
            let before = held.get(..to).unwrap_or_default();
            before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
        };
        let end = match (found, unsure) {
            (Some(at), _) => at,
            (None, Some(at)) => lines(at),
            (None, None) if last || held.len() > super::wall::MAX_HELD => held.len(),
            (None, None) => lines(held.len()),
        };
        let (before, rest) = held.split_at(end);
        self.line += memchr_iter(b'\n', before).count() as u64;
        for line in before.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            super::stdout_line(line.strip_suffix(b"\r").unwrap_or(line), emit);
        }
        if found.is_some() {
            self.documents += 1;
            self.state = State::Key;
            self.arrays.push(false);
            self.path.clear();
            self.parts.begin(emit);
            return rest.get(1..).unwrap_or_default().to_vec();
        }
        self.held = rest.to_vec();
        Vec::new()
    }

    /// Takes bytes inside; gives how many were used before the report's end.
    fn inside(&mut self, bytes: &[u8], emit: &mut Emit<'_>) -> usize {
        let mut at = 0;
        while let Some(byte) = bytes.get(at).copied() {
            self.line += u64::from(byte == b'\n');
            at += 1;
            match self.state {
                State::Outside => return at - 1,
                State::Lost => return bytes.len(),
                State::Text(depth) => {
                    // Counted when it is taken.
                    self.line -= u64::from(byte == b'\n');
                    at = self.text(bytes, at - 1, depth);
                }
                State::Part(1..) => at = self.between(bytes, at - 1, byte, emit),
                State::Part(depth) => self.part_byte(byte, depth, emit),
                State::InKey => self.key_byte(byte),
                _ if byte.is_ascii_whitespace() => {}
                State::Value => self.value(byte, emit),
                State::Key => match byte {
                    b'"' => (self.state, self.escaped) = (State::InKey, false),
                    b'}' => self.leave(emit),
                    b',' => {}
                    _ => self.unexpected(byte),
                },
                State::Colon if byte == b':' => self.state = State::Value,
                State::Comma if matches!(byte, b',' | b']' | b'}') => self.after(byte, emit),
                State::Colon | State::Comma => self.unexpected(byte),
            }
        }
        at
    }

    fn unexpected(&mut self, byte: u8) {
        let why = format!("`{}` comes where JSON has something else, in {}", char::from(byte), self.place());
        self.complain(self.line, why);
        self.state = State::Lost;
    }

    fn key_byte(&mut self, byte: u8) {
        match byte {
            b'"' if !self.escaped => {
                let key = String::from_utf8_lossy(&self.held).into_owned();
                self.held.clear();
                self.path.push(key);
                self.state = State::Colon;
            }
            _ => {
                self.escaped = byte == b'\\' && !self.escaped;
                self.held.push(byte);
                self.bound();
            }
        }
    }

    fn value(&mut self, byte: u8, emit: &mut Emit<'_>) {
        if byte == b']' && self.arrays.last() == Some(&true) {
            return self.leave(emit);
        }
        if self.arrays.last() == Some(&true) {
            self.path.push("[]".into());
        }
        if matches!(byte, b'{' | b'[') && self.parts.opens(&self.path) {
            self.arrays.push(byte == b'[');
            self.state = if byte == b'[' { State::Value } else { State::Key };
            return;
        }
        self.part_line = self.line;
        self.held.push(byte);
        self.state = match byte {
            b'{' | b'[' => State::Part(1),
            b'"' => State::Text(0),
            _ => State::Part(0),
        };
    }

    /// Takes a string up to its end or as far as there is; gives where to go on.
    fn text(&mut self, bytes: &[u8], from: usize, depth: u32) -> usize {
        let mut at = from;
        while at < bytes.len() {
            if self.escaped {
                self.escaped = false;
                self.line += u64::from(bytes[at] == b'\n');
                self.held.push(bytes[at]);
                at += 1;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let stop = memchr2(b'"', b'\\', rest);
            let taken = rest.get(..stop.map_or(rest.len(), |stop| stop + 1)).unwrap_or_default();
            self.held.extend_from_slice(taken);
            self.line += memchr_iter(b'\n', taken).count() as u64;
            at += taken.len();
            match stop.and_then(|stop| rest.get(stop)) {
                Some(b'"') => {
                    self.state = State::Part(depth);
                    break;
                }
                Some(_) => self.escaped = true,
                None => {}
            }
        }
        self.bound();
        at
    }

    /// Gives up where a part or a key has no end.
    fn bound(&mut self) {
        if self.held.len() > MAX_PART {
            self.complain(self.part_line, format!("more than {MAX_PART} bytes belong together in {}", self.place()));
            self.state = State::Lost;
            self.held = Vec::new();
        }
    }

    /// Takes what is up to the next bracket or string of a part, and that bracket; gives where to go on.
    fn between(&mut self, bytes: &[u8], from: usize, first: u8, emit: &mut Emit<'_>) -> usize {
        let rest = bytes.get(from..).unwrap_or_default();
        let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'));
        let (plain, stop) = rest.split_at(stop.unwrap_or(rest.len()));
        self.held.extend_from_slice(plain);
        // The first one was counted.
        self.line += memchr_iter(b'\n', plain).count() as u64 - u64::from(first == b'\n');
        self.bound();
        if let (Some(byte), State::Part(depth)) = (stop.first(), self.state) {
            self.part_byte(*byte, depth, emit);
        }
        from + plain.len() + usize::from(!stop.is_empty())
    }

    fn part_byte(&mut self, byte: u8, depth: u32, emit: &mut Emit<'_>) {
        // A part that is no object or array ends before what follows it.
        if depth == 0 && (matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace()) {
            self.hand_on(emit);
            if !byte.is_ascii_whitespace() && self.state == State::Comma {
                self.after(byte, emit);
            }
            return;
        }
        self.held.push(byte);
        match byte {
            b'"' => self.state = State::Text(depth),
            b'{' | b'[' => self.state = State::Part(depth + 1),
            b'}' | b']' => {
                self.state = State::Part(depth.saturating_sub(1));
                if depth <= 1 {
                    self.hand_on(emit);
                }
            }
            _ => {}
        }
    }

    /// A part is whole.
    fn hand_on(&mut self, emit: &mut Emit<'_>) {
        let held = std::mem::take(&mut self.held);
        let text = String::from_utf8_lossy(&held);
        let mut read = self.parts.part(&self.path, &text, emit);
        if read.is_err()
            && let Some(mended) = without_lone_surrogates(&text)
        {
            read = self.parts.part(&self.path, &mended, emit);
        }
        if let Err(error) = read {
            let line = self.part_line + error.line().saturating_sub(1) as u64;
            let why = format!("{}: {}", self.place(), without_position(&error));
            self.complain(line, why);
        }
        if held.capacity() < 1 << 20 {
            self.held = held;
            self.held.clear();
        }
        self.path.pop();
        self.state = State::Comma;
    }

    /// What comes behind a member.
    fn after(&mut self, byte: u8, emit: &mut Emit<'_>) {
        match (byte, self.arrays.last()) {
            (b',', Some(true)) => self.state = State::Value,
            (b',', _) => self.state = State::Key,
            _ => self.leave(emit),
        }
    }

    /// An object or array that was opened ends.
    fn leave(&mut self, emit: &mut Emit<'_>) {
        self.arrays.pop();
        if self.arrays.is_empty() {
            self.parts.end(true, emit);
            self.state = State::Outside;
            return;
        }
        self.parts.close(&self.path, emit);
        self.path.pop();
        self.state = State::Comma;
    }
}

impl<P: Parts> Document for JsonReport<P> {
    fn bytes(&mut self, bytes: &[u8], emit: &mut Emit<'_>) {
        let mut owned;
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.state == State::Outside {
                self.held.extend_from_slice(rest);
                owned = self.outside(false, emit);
                rest = &owned;
            }
            let used = self.inside(rest, emit);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    fn finish(&mut self, emit: &mut Emit<'_>) {
        if self.state == State::Outside {
            let rest = self.outside(true, emit);
            self.inside(&rest, emit);
        }
        if self.state != State::Outside {
            let why = format!("the report ends within {}", self.place());
            self.complain(self.line, why);
            self.parts.end(false, emit);
        } else if self.documents == 0 {
            let why = format!("there is no report of {}", P::RUNNER);
            self.complain(self.line, why);
        }
    }

    fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    fn runner(&self) -> &str {
        P::RUNNER
    }
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(text, _)| text.to_owned())
}

/// Half of a pair that stands for a character outside of 16 bits; JavaScript and Python write such, and it is no text.
fn without_lone_surrogates(json: &str) -> Option<String> {
    let code = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut rest, mut changed) = (String::with_capacity(json.len()), json, false);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let paired = |text: &str| text.get(6..).and_then(code).is_some_and(|low| (0xdc00..0xe000).contains(&low));
        let taken = match code(escape) {
            Some(0xd800..0xdc00) if paired(escape) => 12,
            Some(0xd800..0xe000) => {
                out.push_str("\\ufffd");
                changed = true;
                rest = escape.split_at(6).1;
                continue;
            }
            _ => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        let (own, after) = escape.split_at(taken);
        out.push_str(own);
        rest = after;
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// Reads a part.
pub(super) fn read<'j, T: Deserialize<'j>>(json: &'j str) -> Result<T, serde_json::Error> {
    serde_json::from_str(json)
}

/// A list that may be missing or null.
pub(super) fn list<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Script(String);

    impl Parts for Script {
        const RUNNER: &'static str = "some";
        const FIRST_KEYS: &'static [&'static str] = &["first"];
        fn begin(&mut self, _: &mut Emit<'_>) {
            self.0.push('(');
        }
        fn opens(&self, path: &[String]) -> bool {
            path.last().is_some_and(|key| key == "open") || path.ends_with(&["open".into(), "[]".into()])
        }
        fn part(&mut self, path: &[String], json: &str, _: &mut Emit<'_>) -> Result<(), serde_json::Error> {
            let value: serde_json::Value = read(json)?;
            self.0.push_str(&format!("{}={value};", path.join(".")));
            Ok(())
        }
        fn close(&mut self, path: &[String], _: &mut Emit<'_>) {
            self.0.push_str(&format!("/{};", path.join(".")));
        }
        fn end(&mut self, whole: bool, _: &mut Emit<'_>) {
            self.0.push(if whole { ')' } else { '!' });
        }
    }

    fn script(text: &str) -> (String, Option<String>) {
        let read = |size: usize| {
            let mut report = JsonReport::new(Script::default());
            let mut noise = String::new();
            let mut emit = |event: crate::event::Event<'_>| {
                if let crate::event::Fact::Log(log) = event.fact {
                    noise.push_str(&format!("<{}>", log.text));
                }
            };
            for part in text.as_bytes().chunks(size) {
                report.bytes(part, &mut emit);
            }
            report.finish(&mut emit);
            (noise + &report.parts.0, report.broken().map(ToString::to_string))
        };
        let whole = read(text.len().max(1));
        for size in [1, 2, 5, 11] {
            assert_eq!(read(size), whole, "in pieces of {size}: {text}");
        }
        whole
    }

    #[test]
    fn parts_are_the_same_however_the_report_is_cut() {
        let text = "a {\"level\":1}\nb{ \"first\" : 1, \"open\":[ {\"x\":\"a\\\"]}\\\\\",\"y\":[1,{}]},[2],{}, 7 ], \"t\":\"é\" }\nc\n";
        let said = "<a {\"level\":1}><b><c>(first=1;open.[].x=\"a\\\"]}\\\\\";open.[].y=[1,{}];/open.[];open.[].[]=2;/open.[];/open.[];open.[]=7;/open;t=\"é\";)";
        let (found, broken) = script(text);
        assert_eq!((found.as_str(), broken), (said, None));
    }

    #[test]
    fn a_report_that_was_cut_gives_what_is_whole() {
        let (found, broken) = script("{\"first\":[1],\n\"open\":[{\"a\":1},{\"a\":\"tw");
        assert_eq!(found, "(first=[1];open.[].a=1;/open.[];!");
        assert_eq!(broken.unwrap(), "line 2: the report ends within open[].a");
        assert_eq!(script("{\"first\":1}}").1, None);
        assert_eq!(script("{\"first\" 1}").1.unwrap(), "line 1: `1` comes where JSON has something else, in first");
        assert_eq!(script("{\"first\":\n tru}").1.unwrap(), "line 2: first: EOF while parsing a value");
        assert_eq!(script("").1.unwrap(), "line 1: there is no report of some");
    }

    #[test]
    fn half_a_character_is_replaced() {
        let (found, broken) = script(r#"{"first":"\ud83d\ude00 \ud83d \\ud83d \udc00x"}"#);
        assert_eq!((found.as_str(), broken), ("(first=\"😀 \u{fffd} \\\\ud83d \u{fffd}x\";)", None));
    }
}
