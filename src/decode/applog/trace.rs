//! Which lines belong to the record before them: traces of Python, Java, Go, Rust and Node, indented lines, private keys.

use memchr::memmem;

/// What a record holds so far, as far as it decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trace {
    /// No trace.
    #[default]
    None,
    /// Python, before the line that names the exception.
    Python,
    /// Python behind that line; Java, Node and .NET behind theirs.
    Exception,
    /// A panic or dump of Go.
    Go,
    /// Rust's `thread … panicked at …:`, whose message is the next line.
    RustMessage,
    /// Rust behind the message.
    Rust,
    /// A key in PEM format, which is not to be torn apart, as what is torn off would not be known for a secret.
    Key,
}

/// What the line begins, by its own.
pub(super) fn begun_by(line: &[u8]) -> Trace {
    let first = line.first().copied().unwrap_or_default();
    match first {
        b'T' if line.starts_with(b"Traceback (most recent call last):") => Trace::Python,
        b'p' if line.starts_with(b"panic: ") => Trace::Go,
        b'f' if line.starts_with(b"fatal error: ") => Trace::Go,
        b'g' if is_goroutine(line) => Trace::Go,
        b't' if line.starts_with(b"thread '") => rust(line),
        b'E' if line.starts_with(b"Exception in thread ") => Trace::Exception,
        b'-' if begins_key(line) => Trace::Key,
        b'U' if line.starts_with(b"Unhandled exception") => Trace::Exception,
        b'\n' | b' ' | b'\t' | b'0'..=b'9' | b'[' | b'{' | b'<' => Trace::None,
        _ if names_exception(line) => Trace::Exception,
        _ => Trace::None,
    }
}

fn rust(line: &[u8]) -> Trace {
    match memmem::find(line, b" panicked at ") {
        None => Trace::None,
        Some(_) if line.ends_with(b":") => Trace::RustMessage,
        Some(_) => Trace::Rust,
    }
}

/// What a record holds with `line` at its end, if it belongs there; `None` if the line begins a record. `trace` is what the
/// record holds before, `lines` how many, and `joins` says whether a trace that `line` begins may be part of it.
pub(super) fn continued(trace: Trace, lines: usize, joins: bool, line: &[u8]) -> Option<Trace> {
    if trace == Trace::Key {
        return Some(if ends_key(line) { Trace::None } else { Trace::Key });
    }
    match line.first() {
        // Also those between the parts of a trace.
        None | Some(b' ' | b'\t' | b'\r') => {
            return Some(if trace == Trace::RustMessage && line.len() > 1 { Trace::Rust } else { trace });
        }
        // The end of a pretty-printed object.
        Some(b'}' | b']' | b')') if lines > 1 => return Some(trace),
        _ => {}
    }
    if line.starts_with(b"Caused by: ") || line == b"Caused by:" || line.starts_with(b"Suppressed: ") {
        return Some(if trace == Trace::None { Trace::Exception } else { trace });
    }
    match trace {
        // Whatever it is called.
        Trace::Python => Some(Trace::Exception),
        Trace::RustMessage => Some(Trace::Rust),
        Trace::Exception if chains(line) => Some(Trace::Exception),
        Trace::Exception if line.starts_with(b"Traceback (most recent call last):") => Some(Trace::Python),
        Trace::Exception if line.starts_with(b"Node.js v") => Some(Trace::None),
        Trace::Go if goes_on(line) => Some(Trace::Go),
        Trace::Rust if line.starts_with(b"stack backtrace:") || line.starts_with(b"note: ") => Some(Trace::Rust),
        _ => match begun_by(line) {
            Trace::None | Trace::Key => None,
            // The source line of Node's uncaught errors stands above them, indented.
            begun if joins || (lines > 1 && trace == Trace::None) => Some(begun),
            _ => None,
        },
    }
}

/// Python's words between two exceptions.
fn chains(line: &[u8]) -> bool {
    line.starts_with(b"During handling of the above exception")
        || line.starts_with(b"The above exception was the direct")
}

fn is_goroutine(line: &[u8]) -> bool {
    line.starts_with(b"goroutine ") && line.ends_with(b":") && memchr::memchr(b'[', line).is_some()
}

/// Lines of Go's dumps that are not indented.
fn goes_on(line: &[u8]) -> bool {
    let beginnings: [&[u8]; 8] = [
        b"created by ",
        b"goroutine ",
        b"panic: ",
        b"[signal ",
        b"exit status ",
        b"runtime stack:",
        b"...additional frames elided...",
        b"fatal error: ",
    ];
    beginnings.iter().any(|beginning| line.starts_with(beginning)) || (line.ends_with(b")") && is_call(line))
}

/// `main.(*Server).serve(0xc000010000, {0x1, 0x2})`: a package's path up to a point, without blanks.
fn is_call(line: &[u8]) -> bool {
    let Some(open) = memchr::memchr(b'(', line) else { return false };
    let name = line.get(..open).unwrap_or_default();
    memchr::memchr(b'.', name).is_some() && !name.contains(&b' ')
}

/// `java.lang.IllegalStateException: …`, `TypeError: …`, `requests.exceptions.ConnectionError`.
fn names_exception(line: &[u8]) -> bool {
    let length =
        line.iter().take(200).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'$')).count();
    let (name, behind) = line.split_at(length);
    let is_name = name.ends_with(b"Exception") || name.ends_with(b"Error") || name.ends_with(b"Throwable");
    let ends = behind.is_empty() || behind.starts_with(b": ") || behind == b":" || behind.starts_with(b" [");
    is_name && ends && name[0].is_ascii_alphabetic()
}

/// True for the first line of a private key.
pub(super) fn begins_key(line: &[u8]) -> bool {
    memmem::find(line, b"-----BEGIN ").is_some() && memmem::find(line, b"PRIVATE KEY").is_some() && !ends_key(line)
}

/// True for its last line.
pub(super) fn ends_key(line: &[u8]) -> bool {
    memmem::find(line, b"-----END ").is_some()
}
