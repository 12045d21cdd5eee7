//! Severities as logs write them.

use crate::event::Level;

/// How far into a line, from behind its time, a level is looked for: behind a thread's and a logger's name.
const HEAD: usize = 80;
/// Longest word that means a level.
const LONGEST: usize = 11;

/// The level that a word means, whatever its case.
pub(super) fn of_word(word: &[u8]) -> Option<Level> {
    if !(3..=LONGEST).contains(&word.len()) {
        return None;
    }
    let known: &[(&[u8], Level)] = match word[0] | 0x20 {
        b'i' => &[(b"info", Level::Info), (b"information", Level::Info)],
        b'd' => &[(b"debug", Level::Debug), (b"dbg", Level::Debug)],
        b'w' => &[(b"warn", Level::Warn), (b"warning", Level::Warn), (b"wrn", Level::Warn)],
        b'e' => {
            &[(b"error", Level::Error), (b"err", Level::Error), (b"emerg", Level::Fatal), (b"emergency", Level::Fatal)]
        }
        b't' => &[(b"trace", Level::Trace), (b"trc", Level::Trace)],
        b'f' => &[
            (b"fatal", Level::Fatal),
            (b"fail", Level::Error),
            (b"ftl", Level::Fatal),
            (b"fine", Level::Debug),
            (b"finer", Level::Trace),
            (b"finest", Level::Trace),
        ],
        b'c' => &[(b"critical", Level::Fatal), (b"crit", Level::Fatal)],
        b's' => &[(b"severe", Level::Error)],
        b'n' => &[(b"notice", Level::Info)],
        b'v' => &[(b"verbose", Level::Trace)],
        b'a' => &[(b"alert", Level::Fatal)],
        b'p' => &[(b"panic", Level::Fatal)],
        _ => return None,
    };
    let (name, level) = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
    // Java's FINE is a word of everyday texts too.
    (!name.starts_with(b"fin") || word.starts_with(b"FIN")).then_some(*level)
}

/// The level that a field's value means: a word, or the numbers of pino and bunyan.
pub(super) fn of_value(value: &[u8]) -> Option<Level> {
    match value {
        b"10" => Some(Level::Trace),
        b"20" => Some(Level::Debug),
        b"30" => Some(Level::Info),
        b"40" => Some(Level::Warn),
        b"50" => Some(Level::Error),
        b"60" => Some(Level::Fatal),
        _ => of_word(value),
    }
}

/// The level in the head of a line, `text` being what follows the time. A word in capitals counts; others only where they
/// cannot be part of a sentence: as the first word, in brackets, or with a colon behind.
pub(super) fn in_head(text: &[u8]) -> Option<Level> {
    let head = text.get(..text.len().min(HEAD))?;
    let mut words = 0;
    let mut at = 0;
    while let Some(byte) = head.get(at) {
        if *byte == 0x1b {
            // Colours: `ESC [ 32 m`.
            at += 1 + head.iter().skip(at + 1).position(u8::is_ascii_alphabetic).map_or(0, |letter| letter + 1);
            continue;
        }
        if !is_word(*byte) {
            at += 1;
            continue;
        }
        let length = head.iter().skip(at).take_while(|b| is_word(**b)).count();
        let end = at + length;
        if (3..=LONGEST).contains(&length)
            && let Some(level) = head.get(at..end).and_then(of_word)
        {
            let before = if at == 0 { b' ' } else { head[at - 1] };
            if stands_alone(head, at, end, before, words, text.get(end).copied()) {
                return Some(level);
            }
        }
        words += 1;
        at = end;
    }
    None
}

/// True where a word is a level of its own, and no part of a name, a path or a sentence.
fn stands_alone(head: &[u8], at: usize, end: usize, before: u8, words: u32, after: Option<u8>) -> bool {
    let capitals = head[at..end].iter().all(u8::is_ascii_uppercase);
    let opened = matches!(before, b'[' | b'(' | b'<' | b'|' | b'"');
    let after_ends =
        matches!(after, None | Some(b' ' | b'\t' | b']' | b')' | b'>' | b'|' | b':' | b',' | b'"' | b';' | 0x1b));
    let before_begins = opened || matches!(before, b' ' | b'\t' | b':' | b',' | b'm' | b'*' | b'=');
    if !(after_ends && before_begins) {
        return false;
    }
    if before == b'=' {
        // `level=warn`, but not `status=error`.
        return head.get(..at - 1).is_some_and(|text| is_level_key(last_word(text)));
    }
    let first = words == 0;
    let colon = after == Some(b':') && words < 3;
    let closed = (opened || before == b':') && matches!(after, Some(b']' | b')' | b'>' | b'|' | b'"'));
    capitals || first || colon || closed
}

fn last_word(text: &[u8]) -> &[u8] {
    let length = text.iter().rev().take_while(|b| is_word(**b) || **b == b'.').count();
    text.get(text.len() - length..).unwrap_or_default()
}

/// True for names of fields that hold a level.
pub(super) fn is_level_key(key: &[u8]) -> bool {
    let known: [&[u8]; 8] =
        [b"level", b"lvl", b"severity", b"loglevel", b"log.level", b"levelname", b"log_level", b"@l"];
    known.iter().any(|name| name.eq_ignore_ascii_case(key))
}

/// What cannot be around a level, as it would be a part of a longer name.
fn is_word(byte: u8) -> bool {
    WORD[usize::from(byte)]
}

/// Looked up for every byte of a head, so it is a table.
const WORD: [bool; 256] = {
    let mut word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let sign = byte as u8;
        word[byte] = sign.is_ascii_alphanumeric() || matches!(sign, b'_' | b'-' | b'.' | b'/' | b'@') || sign >= 0x80;
        byte += 1;
    }
    word
};
