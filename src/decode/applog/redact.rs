//! Secrets are taken out of lines, and counted.

use std::borrow::Cow;

use regex::Regex;
use regex::bytes::Regex as Pattern;

use super::rules::Redaction;

/// What stands in place of a secret.
pub(super) const MARK: &str = "[redacted]";

/// Common tokens, as their issuers document them. Where a pattern has a group `secret`, only that is replaced.
const BUILTIN: &[&str] = &[
    // Private keys in PEM format, RFC 7468; of one that is cut off, all that is there.
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?P<secret>.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // AWS: key ids, and secrets that are named.
    r"\b(?P<secret>(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{16})\b",
    r#"(?i)aws_?(?:secret)?_?(?:access)?_?key["']?\s*[:=]\s*["']?(?P<secret>[A-Za-z0-9/+=]{40})"#,
    // GitHub, GitLab, Slack, Stripe, Google.
    r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,})",
    r"\b(?P<secret>xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,})",
    r"(?P<secret>https://hooks\.slack\.com/services/[A-Za-z0-9/]+)",
    r"\b(?P<secret>[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{35})",
    // JSON web tokens, RFC 7519: both parts are JSON objects.
    r"\b(?P<secret>eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
    // Headers, also in JSON.
    r#"(?i)\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|token|digest|negotiate|apikey)\s+)?(?P<secret>[^\s"',;]+)"#,
    r"(?i)\bbearer\s+(?P<secret>[A-Za-z0-9._~+/-]{16,}=*)",
    // What is named a password or token, quoted or not, in assignments, JSON and queries.
    r#"(?i)(?:password|passwd|pwd|passphrase|secret|api[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|client[_-]?secret)["']?\s*[:=]\s*(?:"(?P<secret>(?:[^"\\]|\\.)+)|'(?P<quoted>[^']+)|(?P<bare>[^\s"',;&})\]]+))"#,
    // Passwords in addresses.
    r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:(?P<secret>[^\s/@]+)@",
];

/// Takes secrets out of texts.
#[derive(Debug)]
pub(super) struct Redactor {
    patterns: Vec<Regex>,
    /// True while a private key was cut off: what follows up to its end is a part of it.
    in_key: bool,
    knows_keys: bool,
    pub(super) count: u64,
}

impl Redactor {
    pub(super) fn new(rules: &Redaction) -> Self {
        let builtin = if rules.builtin { BUILTIN } else { &[] };
        let builtin = builtin.iter().map(|pattern| Regex::new(pattern).expect("a test compiles them"));
        // Texts are UTF-8 when they are looked at, so that what is replaced is whole characters.
        let own = rules.patterns.iter().filter_map(|pattern: &Pattern| Regex::new(pattern.as_str()).ok());
        Self { patterns: builtin.chain(own).collect(), in_key: false, knows_keys: rules.builtin, count: 0 }
    }

    /// The text without secrets.
    pub(super) fn redact<'a>(&mut self, mut text: Cow<'a, str>) -> Cow<'a, str> {
        if self.patterns.is_empty() {
            return text;
        }
        if self.in_key {
            text = self.rest_of_key(text);
        }
        if self.knows_keys && cuts_key(&text) {
            self.in_key = true;
        }
        for pattern in &self.patterns {
            if let Some(replaced) = replace(pattern, &text, &mut self.count) {
                text = Cow::Owned(replaced);
            }
        }
        text
    }

    fn rest_of_key<'a>(&mut self, text: Cow<'a, str>) -> Cow<'a, str> {
        self.count += 1;
        match text.split_once("-----END ") {
            None => Cow::Borrowed(MARK),
            Some((_, behind)) => {
                self.in_key = false;
                Cow::Owned(format!("{MARK}-----END {behind}"))
            }
        }
    }
}

/// True for a text that ends within a private key.
fn cuts_key(text: &str) -> bool {
    let Some((_, behind)) = text.rsplit_once("-----BEGIN ") else { return false };
    behind.split("-----").next().is_some_and(|kind| kind.contains("PRIVATE KEY")) && !behind.contains("-----END ")
}

/// The text with the secret of each match replaced; `None` if nothing matches.
fn replace(pattern: &Regex, text: &str, count: &mut u64) -> Option<String> {
    pattern.is_match(text).then_some(())?;
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for found in pattern.captures_iter(text) {
        // The first group that takes part, else all of it. The names of groups are for readers.
        let secret = found.iter().skip(1).flatten().next().or_else(|| found.get(0))?;
        if secret.as_str() == MARK || secret.is_empty() {
            continue;
        }
        out.push_str(text.get(done..secret.start())?);
        out.push_str(MARK);
        done = secret.end();
        *count += 1;
    }
    out.push_str(text.get(done..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(text: &str) -> (String, u64) {
        let mut redactor = Redactor::new(&Redaction { builtin: true, patterns: Vec::new() });
        (redactor.redact(text.into()).into_owned(), redactor.count)
    }

    #[test]
    fn common_tokens_are_taken_out_and_what_surrounds_them_stays() {
        for (text, expected) in [
            ("key AKIAIOSFODNN7EXAMPLE used", "key [redacted] used"),
            ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = [redacted]"),
            ("push with ghp_0123456789abcdefghijABCDEFGHIJ012345 done", "push with [redacted] done"),
            ("slack xoxb-123456789012-abcdefABCDEF ok", "slack [redacted] ok"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123 end", "jwt [redacted] end"),
            ("Authorization: Bearer abc.def-123", "Authorization: Bearer [redacted]"),
            (r#"{"Authorization":"Basic dXNlcjpwYXNz","a":1}"#, r#"{"Authorization":"Basic [redacted]","a":1}"#),
            (r#"login user=bob password=hunter2 ok"#, "login user=bob password=[redacted] ok"),
            (r#"{"password": "a \"b\" c", "n": 1}"#, r#"{"password": "[redacted]", "n": 1}"#),
            ("GET /x?api_key=abc123&y=2", "GET /x?api_key=[redacted]&y=2"),
            ("postgres://bob:s3cret@db/shop", "postgres://bob:[redacted]@db/shop"),
            (
                "key:\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----\nafter",
                "key:\n-----BEGIN RSA PRIVATE KEY-----[redacted]-----END RSA PRIVATE KEY-----\nafter",
            ),
        ] {
            assert_eq!(builtin(text), (expected.to_owned(), 1), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_stays() {
        for text in [
            "password reset requested for bob",
            "the secret of success",
            "token count 12",
            "eyJust a word",
            "http://example.org:8080/path@2",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(builtin(text), (text.to_owned(), 0));
        }
    }

    #[test]
    fn a_key_that_comes_in_two_records_is_taken_out_of_both() {
        let mut redactor = Redactor::new(&Redaction { builtin: true, patterns: Vec::new() });
        let texts = ["-----BEGIN PRIVATE KEY-----\nMIIE", "abcd\nefgh", "ijkl\n-----END PRIVATE KEY-----", "after"];
        let redacted: Vec<_> = texts.iter().map(|text| redactor.redact((*text).into()).into_owned()).collect();
        assert_eq!(
            redacted,
            ["-----BEGIN PRIVATE KEY-----[redacted]", "[redacted]", "[redacted]-----END PRIVATE KEY-----", "after"]
        );
        assert_eq!(redactor.count, 3);
    }

    #[test]
    fn own_patterns_replace_their_group_or_all_and_nothing_is_done_without_any() {
        let rules = |patterns: &[&str]| Redaction {
            builtin: false,
            patterns: patterns.iter().map(|p| Pattern::new(p).unwrap()).collect(),
        };
        let mut redactor = Redactor::new(&rules(&[r"card (\d{4})", r"\bSSN\S+"]));
        assert_eq!(redactor.redact("card 1234, SSN42 password=x".into()), "card [redacted], [redacted] password=x");
        assert_eq!(redactor.count, 2);
        let mut redactor = Redactor::new(&rules(&[]));
        assert!(matches!(redactor.redact("password=x".into()), Cow::Borrowed("password=x")));
    }
}
