//! Which test a `<testcase>` is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// Tests whose names are remembered; beyond, those of before are forgotten, and a name that comes again is a new test's.
const MAX_NAMES: usize = 2_000_000;

/// Where a test case stands.
#[derive(Clone, Copy)]
pub(super) struct Position<'p> {
    /// Number of its suite in the file.
    pub(super) suite: u32,
    /// Whole name of the suite.
    pub(super) path: &'p str,
    /// What the suite says it ran on; Playwright's projects differ in nothing else.
    pub(super) host: &'p str,
    /// True where a name that comes again in a suite is another attempt of the same test.
    pub(super) attempts: bool,
}

#[derive(Clone, Copy)]
struct Seen {
    suite: u32,
    host: u32,
    path: u32,
    count: u32,
}

/// The names of a file.
#[derive(Default)]
pub(super) struct Names {
    hasher: FixedState,
    seen: HashMap<u64, Seen, FixedState>,
}

impl Names {
    fn hash(&self, text: &str) -> u32 {
        // Half of it tells apart what is compared here.
        (self.hasher.hash_one(text) >> 32) as u32
    }

    /// The identity of a test with this name, and which attempt it is. Names may occur several times: in several suites,
    /// which are named then, or in one, where the occurrences are numbered.
    pub(super) fn identify(&mut self, name: String, at: Position<'_>) -> (String, u32) {
        if self.seen.len() >= MAX_NAMES {
            self.seen.clear();
        }
        let (host, path) = (self.hash(at.host), self.hash(at.path));
        let fresh = Seen { suite: at.suite, host, path, count: 1 };
        let key = self.hasher.hash_one(&name);
        let Some(seen) = self.seen.get_mut(&key) else {
            self.seen.insert(key, fresh);
            return (name, 1);
        };
        let qualified = if seen.suite == at.suite {
            None
        } else if seen.host != host {
            Some(format!("[{}] {name}", at.host))
        } else if seen.path != path {
            Some(format!("{} > {name}", at.path))
        } else {
            None
        };
        if let Some(name) = qualified {
            let key = self.hasher.hash_one(&name);
            let count = self.seen.entry(key).and_modify(|seen| seen.count += 1).or_insert(fresh).count;
            return numbered(name, count, at.attempts);
        }
        seen.count += 1;
        let count = seen.count;
        numbered(name, count, at.attempts && seen.suite == at.suite)
    }
}

fn numbered(name: String, count: u32, attempts: bool) -> (String, u32) {
    match (count, attempts) {
        (1, _) => (name, 1),
        (_, true) => (name, count),
        (_, false) => (format!("{name} ({count})"), 1),
    }
}

/// The name of a test case: `class::name`. Without a class the suite's name is part of it; an empty one is left empty, as
/// pytest writes it for files that cannot be imported.
pub(super) fn full_name(class: Option<&str>, suite: &str, name: &str) -> String {
    let before: Cow<'_, str> = class.map_or(Cow::Borrowed(suite), Cow::Borrowed);
    format!("{before}::{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(suite: u32, path: &'static str, host: &'static str) -> Position<'static> {
        Position { suite, path, host, attempts: false }
    }

    #[test]
    fn a_name_that_comes_again_is_told_apart_by_what_differs() {
        let mut names = Names::default();
        let mut id = |position| names.identify("a::b".into(), position).0;
        assert_eq!(id(at(1, "s", "north")), "a::b");
        assert_eq!(id(at(1, "s", "north")), "a::b (2)");
        assert_eq!(id(at(2, "s", "south")), "[south] a::b");
        assert_eq!(id(at(3, "t", "north")), "t > a::b");
        assert_eq!(id(at(4, "t", "north")), "t > a::b (2)");
        assert_eq!(id(at(5, "s", "north")), "a::b (3)");
    }

    #[test]
    fn where_repeats_are_attempts_they_are_counted() {
        let mut names = Names::default();
        let position = Position { attempts: true, ..at(1, "s", "") };
        assert_eq!(names.identify("a::b".into(), position), ("a::b".into(), 1));
        assert_eq!(names.identify("a::b".into(), position), ("a::b".into(), 2));
    }
}
