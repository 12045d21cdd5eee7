//! XML reports as a stream: bytes in pieces of any size → tags and texts.
//!
//! The tokens are quick-xml's. Around them: what is printed before and after the report, several reports in one file, ends
//! that do not match, files that were cut, and memory that is bounded by the largest tag.

mod encoding;

use std::borrow::Cow;

use memchr::{memchr_iter, memmem, memrchr2};
use quick_xml::Reader;
use quick_xml::errors::SyntaxError;
use quick_xml::events::{BytesStart, Event as Token};

use self::encoding::ToUtf8;
use super::Emit;
use super::document::Broken;

/// Longest tag or comment. A tag holds the message of a failure, so that it may well have some megabytes.
const MAX_TOKEN: usize = 64 << 20;
use super::wall::MAX_HELD;
/// The mark of UTF-8, which programs write anywhere.
const MARK: &str = "\u{feff}";

/// How a CDATA section begins.
const CDATA: &str = "<![CDATA[";

/// Takes what a document consists of.
pub(super) trait Elements {
    /// Local names of elements that a document may consist of.
    const ROOTS: &'static [&'static str];

    /// An element begins.
    fn start(&mut self, tag: &Tag<'_>, emit: &mut Emit<'_>);

    /// A part of the text of the innermost open element.
    fn text(&mut self, text: &str, emit: &mut Emit<'_>);

    /// Lines outside of a document.
    fn between(&mut self, _: &str) {}

    /// The innermost open element ends. `whole`: by an end of its own.
    fn end(&mut self, whole: bool, emit: &mut Emit<'_>);
}

/// A start tag.
pub(super) struct Tag<'t> {
    /// Name without its prefix.
    pub(super) name: &'t str,
    inner: &'t BytesStart<'t>,
}

impl<'t> Tag<'t> {
    /// Names, without prefixes, and values of the attributes. One that cannot be read ends the list.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&'t str, Cow<'t, str>)> + use<'t> {
        let mut attributes = self.inner.attributes();
        attributes.with_checks(false);
        attributes.map_while(Result::ok).map(|attribute| {
            let value = match attribute.value {
                Cow::Borrowed(raw) => unescape(raw),
                Cow::Owned(raw) => Cow::Owned(unescape(&raw).into_owned()),
            };
            (local(attribute.key.0), value)
        })
    }

    /// Value of an attribute; empty if there is none.
    pub(super) fn get(&self, name: &str) -> Cow<'t, str> {
        self.attributes().find_map(|(key, value)| (key == name).then_some(value)).unwrap_or_default()
    }
}

/// Line ends are kept, as messages have them; what is no reference stays as it is.
fn unescape(raw: &str) -> Cow<'_, str> {
    quick_xml::escape::unescape(raw).unwrap_or(Cow::Borrowed(raw))
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before, between and after documents.
    Outside,
    Inside,
    Cdata,
}

/// Whether the parser can go on with what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    NeedMore,
}

/// The state of the parser.
pub(super) struct Xml {
    utf8: ToUtf8,
    buffer: String,
    /// Try again when the buffer is this long.
    wanted: usize,
    place: Place,
    open: Vec<Box<str>>,
    line: u64,
    documents: u64,
    /// Documents that there are at least.
    least: u64,
    broken: Option<Broken>,
}

impl Default for Xml {
    fn default() -> Self {
        Self {
            utf8: ToUtf8::default(),
            buffer: String::new(),
            wanted: 0,
            place: Place::Outside,
            open: Vec::new(),
            line: 1,
            documents: 0,
            least: 1,
            broken: None,
        }
    }
}

impl Xml {
    /// For an input of any number of documents in UTF-8, also of none.
    pub(super) fn of_any_number() -> Self {
        Self { least: 0, utf8: ToUtf8::of_utf8(), ..Self::default() }
    }

    /// Takes the next bytes. `noise` gets lines that are outside of a document.
    pub(super) fn bytes<E: Elements>(&mut self, bytes: &[u8], elements: &mut E, emit: &mut Emit<'_>) {
        self.utf8.convert(bytes, false, &mut self.buffer);
        self.parse(false, elements, emit);
    }

    /// There are no more: open elements are closed.
    pub(super) fn finish<E: Elements>(&mut self, elements: &mut E, emit: &mut Emit<'_>) {
        self.utf8.convert(b"", true, &mut self.buffer);
        self.parse(true, elements, emit);
        if let Some(name) = self.open.last() {
            let why = format!("the report ends within <{name}>");
            self.complain(self.line, why);
            while self.open.pop().is_some() {
                elements.end(false, emit);
            }
        } else if self.documents < self.least {
            let why = format!("there is no <{}>", E::ROOTS.join("> and no <"));
            self.complain(self.line, why);
        }
    }

    /// The first thing that was wrong.
    pub(super) fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    fn complain(&mut self, line: u64, why: String) {
        self.broken.get_or_insert(Broken { line, why });
    }

    fn parse<E: Elements>(&mut self, last: bool, elements: &mut E, emit: &mut Emit<'_>) {
        if self.buffer.len() < self.wanted && !last {
            return;
        }
        self.wanted = 0;
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_str();
        loop {
            let (used, next) = match self.place {
                Place::Outside => self.outside(rest, last, elements, emit),
                Place::Inside => self.inside(rest, last, elements, emit),
                Place::Cdata => self.cdata(rest, last, elements, emit),
            };
            let (done, left) = rest.split_at(used);
            self.line += memchr_iter(b'\n', done.as_bytes()).count() as u64;
            rest = left;
            if next == Next::NeedMore {
                break;
            }
        }
        let used = buffer.len() - rest.len();
        self.buffer = buffer;
        self.buffer.drain(..used);
    }

    /// Looks for the beginning of a document.
    fn outside<E: Elements>(&mut self, text: &str, last: bool, elements: &mut E, emit: &mut Emit<'_>) -> (usize, Next) {
        let root = memchr_iter(b'<', text.as_bytes()).find(|at| {
            let name = text.split_at(at + 1).1;
            let end = name.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/' | '<'));
            end.is_some_and(|end| E::ROOTS.contains(&local(name.split_at(end).0)))
        });
        let end = match root {
            Some(at) => at,
            None if last || text.len() > MAX_HELD => text.len(),
            None => text.rfind('\n').map_or(0, |at| at + 1),
        };
        elements.between(text.split_at(end).0);
        noise(text.split_at(end).0, emit);
        if root.is_some() {
            self.place = Place::Inside;
            self.documents += 1;
            return (end, Next::GoOn);
        }
        (end, Next::NeedMore)
    }

    /// Takes all tokens that are whole.
    fn inside<E: Elements>(&mut self, text: &str, last: bool, elements: &mut E, emit: &mut Emit<'_>) -> (usize, Next) {
        if text.starts_with(MARK) {
            // The reader would take it for one of the encoding, leave it out, and count it neither.
            elements.text(MARK, emit);
            return (MARK.len(), Next::GoOn);
        }
        // Behind these no reference can be cut. A tag that is, is found out by the reader.
        let safe = if last { Some(text.len()) } else { memrchr2(b'>', b'\n', text.as_bytes()).map(|at| at + 1) };
        let Some(safe) = safe else { return (0, Next::NeedMore) };
        let mut reader = Reader::from_str(text.split_at(safe).0);
        let config = reader.config_mut();
        (config.check_end_names, config.allow_unmatched_ends, config.allow_dangling_amp) = (false, true, true);
        loop {
            let begun = usize::try_from(reader.buffer_position()).unwrap_or(safe);
            match reader.read_event() {
                Ok(Token::Eof) => return (safe, Next::NeedMore),
                // The reader does not look what stands between the brackets.
                Ok(Token::CData(_)) | Err(quick_xml::Error::Syntax(SyntaxError::UnclosedCData))
                    if !text.split_at(begun).1.starts_with(CDATA) =>
                {
                    if !last && CDATA.starts_with(text.split_at(begun).1) {
                        return (begun, Next::NeedMore);
                    }
                    self.complain_at(text, begun, "<![ does not begin a CDATA section".to_owned());
                    return (begun + 1, Next::GoOn);
                }
                Ok(token) => {
                    self.token(&token, begun, text, elements, emit);
                    if self.open.is_empty() {
                        self.place = Place::Outside;
                        return (usize::try_from(reader.buffer_position()).unwrap_or(safe), Next::GoOn);
                    }
                }
                Err(quick_xml::Error::Syntax(SyntaxError::UnclosedCData)) => {
                    self.place = Place::Cdata;
                    return (begun + CDATA.len(), Next::GoOn);
                }
                Err(error) => {
                    let cut = matches!(&error, quick_xml::Error::Syntax(why) if *why != SyntaxError::InvalidBangMarkup);
                    if cut && !last && text.len() - begun < MAX_TOKEN {
                        self.wanted = (text.len() - begun) * 2;
                        return (begun, Next::NeedMore);
                    }
                    self.complain_at(text, begun, error.to_string());
                    if cut {
                        // Whatever comes is within a tag that has no end.
                        return (text.len(), Next::NeedMore);
                    }
                    // Go on behind what was to be a tag.
                    return (begun + 1, Next::GoOn);
                }
            }
        }
    }

    fn complain_at(&mut self, text: &str, at: usize, why: String) {
        if self.broken.is_none() {
            let lines = memchr_iter(b'\n', text.split_at(at).0.as_bytes()).count() as u64;
            self.complain(self.line + lines, why);
        }
    }

    fn token<E: Elements>(
        &mut self,
        token: &Token<'_>,
        begun: usize,
        text: &str,
        elements: &mut E,
        emit: &mut Emit<'_>,
    ) {
        match token {
            Token::Start(tag) | Token::Empty(tag) => {
                let name = tag.name().0;
                elements.start(&Tag { name: local(name), inner: tag }, emit);
                if matches!(token, Token::Start(_)) {
                    self.open.push(name.into());
                } else {
                    elements.end(true, emit);
                }
            }
            Token::End(tag) => {
                let name = tag.name().0;
                let Some(depth) = self.open.iter().rposition(|open| **open == *name) else {
                    return self.complain_at(text, begun, format!("</{name}> ends nothing"));
                };
                if depth + 1 < self.open.len() {
                    self.complain_at(text, begun, format!("</{name}> comes before the end of what is in it"));
                }
                while self.open.len() > depth {
                    self.open.pop();
                    elements.end(self.open.len() == depth, emit);
                }
            }
            Token::Text(text) => elements.text(text, emit),
            Token::CData(text) => elements.text(text, emit),
            Token::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => elements.text(c.encode_utf8(&mut [0; 4]), emit),
                _ => match quick_xml::escape::resolve_predefined_entity(reference) {
                    Some(text) => elements.text(text, emit),
                    None => elements.text(&format!("&{};", &**reference), emit),
                },
            },
            Token::Comment(_) | Token::Decl(_) | Token::PI(_) | Token::DocType(_) | Token::Eof => {}
        }
    }

    /// Hands on a long CDATA section as it comes.
    fn cdata<E: Elements>(&mut self, text: &str, last: bool, elements: &mut E, emit: &mut Emit<'_>) -> (usize, Next) {
        if let Some(end) = memmem::find(text.as_bytes(), b"]]>") {
            elements.text(text.split_at(end).0, emit);
            self.place = Place::Inside;
            return (end + 3, Next::GoOn);
        }
        // The beginning of the end may be there already.
        let mut end = if last { text.len() } else { text.len().saturating_sub(2) };
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end > 0 {
            elements.text(text.split_at(end).0, emit);
        }
        (end, Next::NeedMore)
    }
}

/// What is printed around a document. Declarations and comments are its own.
fn noise(text: &str, emit: &mut Emit<'_>) {
    for line in text.lines() {
        let mut line = line.trim_end();
        while let Some((before, markup)) = line.split_once("<?xml") {
            let after = markup.split_once("?>").map_or("", |(_, after)| after);
            if !before.trim().is_empty() {
                super::stdout_text(before, emit);
            }
            line = after;
        }
        let trimmed = line.trim_start();
        if !trimmed.is_empty() && !trimmed.starts_with("<!") {
            super::stdout_text(line, emit);
        }
    }
}

#[cfg(test)]
mod tests;
