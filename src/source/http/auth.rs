//! Who may send.

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq as _;

/// What clients must show.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Token {
    /// A token; it is compared as it is.
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// True if `shown` is the token. Takes as long for every text of its length, so that it cannot be guessed bit by bit.
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

/// Splits `/t/<token>/rest` into token and `/rest`.
pub(super) fn prefix(path: &str) -> (Option<&str>, &str) {
    let split = path.strip_prefix("/t/").and_then(|rest| rest.split_at_checked(rest.find('/')?));
    split.map_or((None, path), |(token, rest)| (Some(token), rest))
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_whole_text_and_nothing_else() {
        let token = Token::new("s3cret".into());
        assert!(token.is("s3cret"));
        for other in ["", "s3cre", "s3crets", "S3cret", "s3cret "] {
            assert!(!token.is(other), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(***)");
    }

    #[test]
    fn a_prefix_carries_a_token_and_leaves_the_path() {
        assert_eq!(prefix("/t/abc/loader"), (Some("abc"), "/loader"));
        assert_eq!(prefix("/t/abc/tm_api/dry_run/"), (Some("abc"), "/tm_api/dry_run/"));
        assert_eq!(prefix("/t//loader"), (Some(""), "/loader"));
        assert_eq!(prefix("/t/abc"), (None, "/t/abc"));
        assert_eq!(prefix("/tm_api/dry_run/"), (None, "/tm_api/dry_run/"));
    }
}
