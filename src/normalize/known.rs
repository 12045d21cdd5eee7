//! Failures that somebody knows of: marked and counted apart, never hidden.

use crate::event::Timestamp;

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFailure {
    /// Which tests: a whole id in which `*` stands for anything.
    pub pattern: String,
    /// Why; for people.
    pub reason: String,
    /// Until when it counts; `None`: for ever.
    pub until: Option<Timestamp>,
}

/// All of them, and how often each was met.
#[derive(Clone, Debug, Default)]
pub struct Known {
    entries: Vec<(KnownFailure, bool)>,
}

impl Known {
    /// These.
    pub fn new(entries: Vec<KnownFailure>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry, false)).collect() }
    }

    /// Whether the failure of `id` at `time` is known. A pattern counts as met by any result of a test.
    pub(super) fn matches(&mut self, id: &str, time: Timestamp, is_failing: bool) -> bool {
        let mut is_known = false;
        for (entry, met) in &mut self.entries {
            if glob(&entry.pattern, id) {
                *met = true;
                is_known |= is_failing && entry.until.is_none_or(|until| time < until);
            }
        }
        is_known
    }

    /// What a person should mend about them: sentences.
    pub(super) fn complaints(&self, now: Timestamp) -> Vec<String> {
        let mut complaints = Vec::new();
        for (KnownFailure { pattern, reason, until }, met) in &self.entries {
            if until.is_some_and(|until| until <= now) {
                complaints
                    .push(format!("the known failure {pattern:?} ({reason}) has expired and does not count any more"));
            }
            if !met {
                complaints.push(format!("the known failure {pattern:?} ({reason}) matches no test of this run"));
            }
        }
        complaints
    }
}

/// Whether `pattern`, in which `*` stands for any text, is the whole of `text`.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        // The first place is the best: it leaves most for what follows.
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_the_rest_for_itself() {
        for (pattern, text) in [("a", "a"), ("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*b*c", "aXbYc"), ("a**b", "ab")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*", "ba"), ("*c", "cb"), ("a*b*c", "acb"), ("a*a", "a"), ("[x]*", "x1")]
        {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn expired_and_unused_patterns_are_reported_and_expired_ones_do_not_count() {
        let known = |pattern: &str, until: Option<i64>| KnownFailure {
            pattern: pattern.into(),
            reason: "why".into(),
            until: until.map(Timestamp),
        };
        let mut all = Known::new(vec![known("a*", Some(10)), known("b", None), known("c", None)]);
        assert!(all.matches("a1", Timestamp(9), true) && !all.matches("a1", Timestamp(10), true));
        assert!(all.matches("b", Timestamp(50), true) && !all.matches("b", Timestamp(50), false));
        let complaints = all.complaints(Timestamp(20));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("\"a*\" (why) has expired") && complaints[1].contains("\"c\" (why) matches no"));
    }
}
