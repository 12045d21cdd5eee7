//! Failure signatures: the same for failures that differ only in what varies from run to run.

/// Sixteen hex digits that stand for the first line of a failure message with numbers, hex, UUIDs, paths and
/// times taken out. Stable over versions and machines, because stored results are compared by it.
///
/// ```
/// use testwire::normalize::signature;
/// assert_eq!(signature("timeout after 31.2 s at 0x7f3a"), signature("timeout after 5 s at 0x11bc"));
/// assert_ne!(signature("timeout after 5 s"), signature("refused after 5 s"));
/// ```
pub fn signature(message: &str) -> String {
    let first = message.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
    format!("{:016x}", fnv1a(template(first).as_bytes()))
}

/// FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. Fixed by definition, unlike the hashers of std.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// The message with everything that varies replaced by a mark.
fn template(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let is_gap = |c: char| c.is_whitespace() || "\"'`()[]{}<>,;=".contains(c);
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if is_gap(c) {
            if !(c.is_whitespace() && out.ends_with(' ')) {
                out.push(if c.is_whitespace() { ' ' } else { c });
            }
            rest = rest.split_at(c.len_utf8()).1;
            continue;
        }
        let (word, after) = rest.split_at(rest.find(is_gap).unwrap_or(rest.len()));
        push_word(&mut out, word);
        rest = after;
    }
    out
}

fn push_word(out: &mut String, word: &str) {
    if is_path(word) {
        out.push_str("<path>");
        return;
    }
    let mut rest = word;
    while let Some(c) = rest.chars().next() {
        let hex = rest.strip_prefix("0x").unwrap_or(rest);
        let prefix = rest.len() - hex.len();
        let run = hex.find(|c: char| !(c.is_ascii_hexdigit() || c == '-')).unwrap_or(hex.len());
        let (digits, _) = hex.split_at(run);
        let digits = digits.trim_end_matches('-');
        let long = digits.len() >= 8 && digits.bytes().any(|b| b.is_ascii_digit());
        if !digits.is_empty() && (prefix > 0 || (long && digits.bytes().any(|b| b.is_ascii_alphabetic()))) {
            out.push_str("<hex>");
            rest = rest.split_at(prefix + digits.len()).1;
        } else if c.is_ascii_digit() {
            // One mark for 12, 1.5 and 12:30:01, so that the number of digits and parts does not matter.
            let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c))).unwrap_or(rest.len());
            out.push('#');
            rest = rest.split_at(end).1;
        } else {
            out.push(c);
            rest = rest.split_at(c.len_utf8()).1;
        }
    }
}

/// A word with two separators, or one that begins with a separator or a drive.
fn is_path(word: &str) -> bool {
    let separators = word.matches(['/', '\\']).count();
    separators >= 2 || (separators == 1 && word.starts_with(['/', '.', '~']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_from_run_to_run_does_not_change_the_signature() {
        for (a, b) in [
            ("expected 200, got 500", "expected 201, got 404"),
            ("id 3f2b8c1e-7a44-4a0e-9f1d-0123456789ab not found", "id 11111111-aaaa-4a0e-9f1d-ba9876543210 not found"),
            ("open /tmp/x1/data.json: no such file", "open /var/lib/y/other.json: no such file"),
            ("took 1.25s at 2026-11-20T10:04:43.628", "took 12s at 2025-01-02T03:04:05"),
            ("commit deadbeef01 broken", "commit 0123456789abcdef broken"),
            ("boom\nat line 3", "boom\nat line 9"),
        ] {
            assert_eq!(signature(a), signature(b), "{:?} {:?}", template(a), template(b));
        }
    }

    #[test]
    fn different_failures_have_different_signatures() {
        assert_ne!(signature("AssertionError: left"), signature("AssertionError: right"));
        assert_ne!(signature("KeyError: 'a'"), signature("KeyError: 'b'"));
    }

    #[test]
    fn the_signature_is_fixed_for_ever() {
        assert_eq!(signature("expected 200, got 500"), "c8b67a5c3a3d0d3f");
    }
}
