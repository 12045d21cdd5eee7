//! Finds the JSON object of an event in a line.

use memchr::{memchr_iter, memmem};

/// How many braces of a line are tried as the beginning of an object.
const BEGINNINGS: usize = 32;

/// Looks for an object that `parse` takes and that ends with the line; returns what comes before it (often nothing) and
/// the event. It may begin in the middle of the line, because a runner that writes events to its own standard output
/// does not end its lines first. `mark` is what every event contains.
pub(crate) fn find_event<'t, T>(
    text: &'t str,
    mark: &str,
    parse: impl Fn(&'t str) -> Option<T>,
) -> Option<(&'t str, T)> {
    memmem::find(text.as_bytes(), mark.as_bytes())?;
    memchr_iter(b'{', text.as_bytes()).take(BEGINNINGS).find_map(|at| {
        let (before, object) = text.split_at_checked(at)?;
        Some((before, parse(object)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.get("event")?.as_u64()
    }

    #[test]
    fn an_object_may_begin_anywhere_but_ends_with_the_line() {
        assert_eq!(find_event(r#"{"event":1}"#, "event", parse), Some(("", 1)));
        assert_eq!(find_event(r#"a {b} ..{"event":1}"#, "event", parse), Some(("a {b} ..", 1)));
        assert_eq!(find_event(r#"{"event":1} "#, "event", parse), Some(("", 1)));
        assert_eq!(find_event(r#"{"event":1}F"#, "event", parse), None);
        assert_eq!(find_event(r#"{"inner":{"event":1}}"#, "event", parse), None);
        assert_eq!(find_event("event", "event", parse), None);
        assert_eq!(find_event("", "event", parse), None);
        assert_eq!(find_event(&"{event".repeat(100_000), "event", parse), None);
    }
}
