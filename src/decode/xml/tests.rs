use super::*;

/// Writes down what it is told.
#[derive(Default)]
struct Script(String);

impl Elements for Script {
    const ROOTS: &'static [&'static str] = &["a"];

    fn start(&mut self, tag: &Tag<'_>, _: &mut Emit<'_>) {
        self.0.push('(');
        self.0.push_str(tag.name);
        for (key, value) in tag.attributes() {
            self.0.push_str(&format!(" {key}={value}"));
        }
        self.0.push(':');
    }

    fn text(&mut self, text: &str, _: &mut Emit<'_>) {
        self.0.push_str(text);
    }

    fn end(&mut self, whole: bool, _: &mut Emit<'_>) {
        self.0.push(if whole { ')' } else { '!' });
    }
}

/// What a document says, cut into pieces of this size; with the lines outside of it and what is wrong.
fn read(bytes: &[u8], size: usize) -> (String, Vec<String>, Option<Broken>) {
    let (mut xml, mut script, mut noise) = (Xml::default(), Script::default(), Vec::new());
    let mut emit = |event: crate::event::Event<'_>| {
        if let crate::event::Fact::Log(log) = event.fact {
            noise.push(log.text.into_owned());
        }
    };
    for part in bytes.chunks(size) {
        xml.bytes(part, &mut script, &mut emit);
    }
    xml.finish(&mut script, &mut emit);
    (script.0, noise, xml.broken().cloned())
}

/// The same however it is cut.
fn script(bytes: &[u8]) -> (String, Vec<String>, Option<Broken>) {
    let whole = read(bytes, bytes.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read(bytes, size), whole, "in pieces of {size}");
    }
    whole
}

#[test]
fn a_document_is_the_same_however_it_is_cut() {
    let text = "build > 1\n<?xml version='1.0'?>\n<!-- x --><a k='1 &gt; &#x41;\n<' n:l=\"é\">t &lt;&#66;&copy; & ü<b/><![CDATA[<c> ]] ]>]]>\n</a>after\n";
    let (script, noise, broken) = script(text.as_bytes());
    assert_eq!(script, "(a k=1 > A\n< l=é:t <B&copy; & ü(b:)<c> ]] ]>\n)");
    assert_eq!(noise, ["build > 1", "after"]);
    assert_eq!(broken, None);
}

#[test]
fn several_documents_follow_each_other() {
    let (script, noise, broken) = script(b"<a>1</a>\n<?xml version='1.0'?><x:a>2</x:a><a/>");
    assert_eq!((script.as_str(), noise.len(), broken), ("(a:1)(a:2)(a:)", 0, None));
}

#[test]
fn a_file_that_was_cut_says_where_and_what_came_before_is_kept() {
    for (text, said, why) in [
        ("<a>\n<b>one</b>\n<b>tw", "(a:\n(b:one)\n(b:tw!!", "line 3: the report ends within <b>"),
        ("<a>\n<b k='v", "(a:\n!", "line 2: "),
        ("<a>\n<![CDATA[one\ntwo ]]", "(a:\none\ntwo ]]!", "line 3: the report ends within <a>"),
        ("<a>\n<![CDone\n&lt;]]> two</a>", "(a:\n![CDone\n<]]> two)", "line 2: <![ does not begin"),
        ("<a>\n<![CDone\n&lt; two</a>", "(a:\n![CDone\n< two)", "line 2: <![ does not begin"),
        ("<a>\n<b>\n</a>", "(a:\n(b:\n!)", "line 3: </a> comes before the end"),
        ("<a>\n</b></a>", "(a:\n)", "line 2: </b> ends nothing"),
        ("text\n<abc>\n", "", "line 3: there is no <a>"),
        ("", "", "line 1: there is no <a>"),
    ] {
        let (found, _, broken) = script(text.as_bytes());
        let broken = broken.unwrap_or_else(|| panic!("{text}: nothing is wrong")).to_string();
        assert_eq!(found, said, "{text}");
        assert!(broken.starts_with(why), "{text}: {broken}");
    }
}

#[test]
fn other_encodings_are_read_by_their_mark_or_declaration() {
    let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>Größe 🔧</a>";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let marked = [&b"\xff\xfe"[..], &little].concat();
    for bytes in [text.as_bytes(), &little, &big, &marked, format!("\u{feff}{text}").as_bytes()] {
        assert_eq!(script(bytes).0, "(a:Größe 🔧)");
    }
    assert_eq!(script(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>Gr\xf6\xdfe</a>").0, "(a:Größe)");
    assert_eq!(script(b"<a>\xff\x1b</a>").0, "(a:\u{fffd}\u{1b})");
}

#[test]
fn a_mark_within_a_text_is_a_part_of_it_wherever_a_piece_begins() {
    let (script, noise, broken) = script("<a>x\n\u{feff}é\n\u{feff}</b>\n\u{feff}</a>after\n".as_bytes());
    assert_eq!(script, "(a:x\n\u{feff}é\n\u{feff}\n\u{feff})");
    assert_eq!(noise, ["after"]);
    assert_eq!(broken.unwrap().to_string(), "line 3: </b> ends nothing");
}

#[test]
fn a_long_section_needs_little_memory() {
    let (mut xml, mut script) = (Xml::default(), Script::default());
    xml.bytes(b"<a><![CDATA[", &mut script, &mut |_| {});
    let line = "0123456789 > ".repeat(1_000);
    for _ in 0..1_000 {
        xml.bytes(line.as_bytes(), &mut script, &mut |_| {});
        assert!(xml.buffer.capacity() < 1 << 20, "{}", xml.buffer.capacity());
    }
    xml.bytes(b"]]></a>", &mut script, &mut |_| {});
    xml.finish(&mut script, &mut |_| {});
    assert_eq!(script.0.len(), "(a:)".len() + 1_000 * line.len());
    assert_eq!(xml.broken(), None);
}
