//! One line of libtest's JSON → its fields.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;

use super::super::fields::text;

/// The fields of all events; empty where an event has none.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) event: What,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) name: Cow<'a, str>,
    #[serde(default)]
    pub(super) test_count: u64,
    #[serde(default)]
    pub(super) ignored: u64,
    /// Seconds.
    pub(super) exec_time: Option<f64>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) stdout: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    pub(super) message: Cow<'a, str>,
    pub(super) median: Option<f64>,
    pub(super) deviation: Option<f64>,
    #[serde(borrow)]
    pub(super) nextest: Option<Nextest<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Suite,
    Test,
    Bench,
    Report,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    Started,
    Ok,
    Failed,
    Ignored,
    Timeout,
    Discovery,
    Discovered,
    Completed,
    #[default]
    #[serde(other)]
    Other,
}

/// What libtest-json-plus adds to suites.
#[derive(Deserialize)]
pub(super) struct Nextest<'a> {
    #[serde(borrow, default, rename = "crate", deserialize_with = "text")]
    krate: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    test_binary: Cow<'a, str>,
}

/// Reads a JSON object; `None` if it is no event.
pub(super) fn parse(text: &str) -> Option<Line<'_>> {
    let line: Line<'_> = serde_json::from_str(text).ok()?;
    let complete = match line.kind {
        Kind::Suite => line.event != What::Other,
        Kind::Test => line.event != What::Other && !line.name.is_empty(),
        Kind::Bench => !line.name.is_empty() && line.median.is_some(),
        Kind::Report => memmem::find(text.as_bytes(), b"total_time").is_some(),
    };
    complete.then_some(line)
}

/// True for the beginning of an event of a test that ends within its output.
pub(super) fn is_cut(text: &str) -> bool {
    text.starts_with("{\"type\":\"test\",\"event\":\"") && memmem::find(text.as_bytes(), b",\"stdout\":\"").is_some()
}

impl Line<'_> {
    /// The suite's name, as it stands before the `$` of its tests' names.
    pub(super) fn suite(&self) -> Option<String> {
        let nextest = self.nextest.as_ref()?;
        Some(format!("{}::{}", nextest.krate, nextest.test_binary))
    }
}

/// The suite of a test, which only nextest's names have.
pub(super) fn suite_of(id: &str) -> &str {
    id.split_once('$').map_or("", |(suite, _)| suite)
}

/// Splits `name#3`.
pub(super) fn without_attempt(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once('#') {
        Some((rest, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            (rest, number.parse().ok())
        }
        _ => (name, None),
    }
}

/// Takes `@stress-2` out of `crate::binary@stress-2$test`; true if it was there.
pub(super) fn without_stress(name: &str) -> (Cow<'_, str>, bool) {
    if let Some((binary, test)) = name.split_once('$')
        && let Some((binary, number)) = binary.rsplit_once("@stress-")
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        return (Cow::Owned(format!("{binary}${test}")), true);
    }
    (Cow::Borrowed(name), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_attempts_and_stress_runs_are_no_part_of_the_name() {
        assert_eq!(without_attempt("a::b$c#12"), ("a::b$c", Some(12)));
        assert_eq!(without_attempt("a#b"), ("a#b", None));
        assert_eq!(without_attempt("a#"), ("a#", None));
        assert_eq!(without_stress("c::gate@stress-2$opens"), ("c::gate$opens".into(), true));
        assert_eq!(without_stress("c::gate$opens@stress-2"), ("c::gate$opens@stress-2".into(), false));
    }

    #[test]
    fn what_only_looks_like_an_event_is_none() {
        for text in [r#"{"type":"test","event":"ok"}"#, r#"{"type":"test","event":"born","name":"a"}"#] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(r#"{"type":"suite"}"#).is_none());
        assert!(parse(r#"{"type":"report","total_time":1.5,"compilation_time":0.1}"#).is_some());
    }
}
