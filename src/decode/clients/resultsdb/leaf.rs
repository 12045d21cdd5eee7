//! A result: expected against actual.

use std::borrow::Cow;
use std::time::Duration;

use super::super::json::{self, Fields};
use crate::event::{Event, Fact, Status, TestFinished, TestRef, Timestamp};

/// The result of a test.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Leaf {
    path: String,
    status: Status,
    flaky: bool,
    duration: Option<Duration>,
    message: String,
    #[serde(skip)]
    log: String,
    tags: Vec<String>,
}

/// Words by severity, the worst first. Other words, and none, mean that it passed.
const WORDS: [(&str, Status); 9] = [
    ("CRASH", Status::Errored),
    ("TIMEOUT", Status::Errored),
    ("IMAGE", Status::Failed),
    ("AUDIO", Status::Failed),
    ("TEXT", Status::Failed),
    ("FAIL", Status::Failed),
    ("ERROR", Status::Errored),
    ("WARNING", Status::Passed),
    ("PASS", Status::Passed),
];

impl Leaf {
    /// Reads the fields of a result.
    pub(super) fn read(path: String, fields: &Fields) -> Self {
        let (actual, expected) = (json::text(fields, "actual"), json::text(fields, "expected"));
        let words = words(&actual);
        let (worst, status) = words.first().copied().unwrap_or(("PASS", Status::Passed));
        let expected_words: Vec<&str> = expected.split_whitespace().collect();
        // FAIL stands for every way in which the output can be wrong.
        let covers = |word: &str| {
            expected_words.contains(&word)
                || (matches!(word, "TEXT" | "AUDIO" | "IMAGE") && expected_words.contains(&"FAIL"))
                || (word == "PASS" && expected_words.is_empty())
        };
        let is_expected = if words.is_empty() { covers("PASS") } else { words.iter().all(|(word, _)| covers(word)) };
        let status = match status {
            failing if failing.is_failing() && is_expected => Status::Xfailed,
            Status::Passed if !is_expected && words_fail(&expected) => Status::Xpassed,
            status => status,
        };
        let (tries, passes) =
            (json::number(fields, "flakiness_num_tries"), json::number(fields, "flakiness_num_passes"));
        let flaky = matches!((tries, passes), (Some(tries), Some(passes)) if passes > 0.0 && passes < tries);
        let mut message = String::new();
        if worst != "PASS" || !is_expected {
            message = if actual.is_empty() { "PASS".into() } else { actual.clone() };
            if !expected.is_empty() {
                message.push_str(&format!(" (expected {expected})"));
            }
        }
        if flaky {
            let text = format!("passed {} of {} tries", passes.unwrap_or(0.0), tries.unwrap_or(0.0));
            message = if message.is_empty() { text } else { format!("{message}, {text}") };
        }
        let mut tags: Vec<String> = Vec::new();
        if worst != "PASS" {
            tags.extend(words.iter().map(|(word, _)| (*word).to_owned()));
        }
        if !is_expected {
            tags.push("unexpected".into());
        }
        let duration = json::number(fields, "time").and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        Self { path, status, flaky, duration, message, log: json::text(fields, "log"), tags }
    }

    /// What it is called.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Says what happened. A flaky test failed before it passed.
    pub(super) fn tell(&self, time: Timestamp, emit: &mut dyn FnMut(&Event<'_>)) {
        let suite = self.path.rsplit_once('/').map_or("", |(suite, _)| suite);
        let test = || TestRef { id: Cow::Borrowed(&self.path), suite: Cow::Borrowed(suite), worker: Cow::Borrowed("") };
        let flaky = self.flaky && self.status == Status::Passed;
        if flaky {
            let retried = TestFinished { attempt: Some(1), ..TestFinished::new(test(), Status::Retried) };
            emit(&Event { time: Some(time), fact: Fact::TestFinished(retried) });
        }
        let finished = TestFinished {
            attempt: flaky.then_some(2),
            duration: self.duration,
            message: Cow::Borrowed(&self.message),
            details: Cow::Borrowed(&self.log),
            tags: self.tags.iter().map(|tag| Cow::Borrowed(tag.as_str())).collect(),
            ..TestFinished::new(test(), self.status)
        };
        emit(&Event { time: Some(time), fact: Fact::TestFinished(finished) });
    }
}

/// True if a list has a word of a failure.
fn words_fail(list: &str) -> bool {
    words(list).iter().any(|(_, status)| status.is_failing())
}

/// The known words of a list, the worst first.
fn words(list: &str) -> Vec<(&'static str, Status)> {
    WORDS.iter().copied().filter(|(word, _)| list.split_whitespace().any(|said| said == *word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str) -> Leaf {
        Leaf::read("a/b".into(), &json::object(text.as_bytes()).unwrap())
    }

    #[test]
    fn what_was_expected_is_no_failure_and_what_was_not_is_marked() {
        for (text, status, tags) in [
            ("{}", Status::Passed, ""),
            (r#"{"actual": "LEAK"}"#, Status::Passed, ""),
            (r#"{"actual": "TEXT"}"#, Status::Failed, "TEXT unexpected"),
            (r#"{"actual": "TEXT", "expected": "FAIL"}"#, Status::Xfailed, "TEXT"),
            (r#"{"actual": "IMAGE TEXT", "expected": "FAIL"}"#, Status::Xfailed, "IMAGE TEXT"),
            (r#"{"actual": "TEXT CRASH", "expected": "FAIL"}"#, Status::Errored, "CRASH TEXT unexpected"),
            (r#"{"actual": "TIMEOUT", "expected": "PASS TIMEOUT"}"#, Status::Xfailed, "TIMEOUT"),
            (r#"{"expected": "FAIL"}"#, Status::Xpassed, "unexpected"),
            (r#"{"actual": "PASS", "expected": "FAIL PASS"}"#, Status::Passed, ""),
            (r#"{"actual": "PASS", "expected": "IMAGE CRASH"}"#, Status::Xpassed, "unexpected"),
            (r#"{"actual": "WARNING", "expected": 7}"#, Status::Passed, "WARNING unexpected"),
        ] {
            let leaf = leaf(text);
            assert_eq!((leaf.status, leaf.tags.join(" ").as_str()), (status, tags), "{text}");
        }
    }
}
