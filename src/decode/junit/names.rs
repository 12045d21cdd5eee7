//! Which test a `<testcase>` is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

use crate::event::Status;

/// Tests whose names are remembered; beyond, those of before are forgotten, and a name that comes again is a new test's.
const MAX_NAMES: usize = 2_000_000;

/// What a name is that comes again in its suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Another test.
    Test,
    /// Another attempt if the one before failed, else another test.
    AttemptAfterFailure,
    /// Another attempt.
    Attempt,
}

impl Again {
    /// Where the suite is the class, its methods have different names: the same again is a retry (Gradle), unless the one
    /// before did not fail (parameters). A file of JavaScript may have equal names, and shows no retries like that.
    pub(super) fn of(class: Option<&str>, suite: &str) -> Self {
        let Some(class) = class.filter(|class| *class == suite) else { return Self::Test };
        let end = class.rsplit_once('.').map_or("", |(_, end)| end);
        match end {
            "js" | "ts" | "jsx" | "tsx" | "mjs" | "mts" | "cjs" | "cts" => Self::Test,
            _ => Self::AttemptAfterFailure,
        }
    }
}

/// Where a test case stands.
#[derive(Clone, Copy)]
pub(super) struct Position<'p> {
    /// Number of its suite in the file.
    pub(super) suite: u32,
    /// Whole name of the suite.
    pub(super) path: &'p str,
    /// What the suite says it ran on; Playwright's projects differ in nothing else.
    pub(super) host: &'p str,
    pub(super) again: Again,
}

/// Which test a test case is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: String,
    /// Number of the attempt.
    pub(super) attempt: u32,
    /// Of its name, for [`Names::ended`].
    pub(super) key: u64,
}

#[derive(Clone, Copy)]
struct Seen {
    suite: u32,
    host: u32,
    path: u32,
    /// Number of the last test of this name, and of its last attempt.
    number: u32,
    attempt: u32,
    failed: bool,
}

impl Seen {
    fn again(&mut self, name: String, again: Again, key: u64) -> Identity {
        if again == Again::Attempt || again == Again::AttemptAfterFailure && self.failed {
            self.attempt += 1;
        } else {
            self.number += 1;
            self.attempt = 1;
        }
        self.failed = false;
        let id = if self.number > 1 { format!("{name} ({})", self.number) } else { name };
        Identity { id, attempt: self.attempt, key }
    }
}

/// What was said of a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) attempts: u32,
    pub(super) status: Status,
}

/// The names of a file.
#[derive(Default)]
pub(super) struct Names {
    hasher: FixedState,
    seen: HashMap<u64, Seen, FixedState>,
    told: HashMap<u64, Told, FixedState>,
}

impl Names {
    fn hash(&self, text: &str) -> u32 {
        // Half of it tells apart what is compared here.
        (self.hasher.hash_one(text) >> 32) as u32
    }

    /// The test with this name, and which attempt it is. Names may occur several times: in several suites, which are named
    /// then, or in one, where the occurrences are numbered.
    pub(super) fn identify(&mut self, name: String, at: Position<'_>) -> Identity {
        if self.seen.len() >= MAX_NAMES {
            self.seen.clear();
        }
        let (host, path) = (self.hash(at.host), self.hash(at.path));
        let fresh = Seen { suite: at.suite, host, path, number: 1, attempt: 1, failed: false };
        let key = self.hasher.hash_one(&name);
        let Some(seen) = self.seen.get_mut(&key) else {
            self.seen.insert(key, fresh);
            return Identity { id: name, attempt: 1, key };
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
        let (name, key, seen) = match qualified {
            None => (name, key, seen),
            Some(name) => {
                let key = self.hasher.hash_one(&name);
                match self.seen.entry(key) {
                    Entry::Occupied(seen) => (name, key, seen.into_mut()),
                    Entry::Vacant(place) => {
                        place.insert(fresh);
                        return Identity { id: name, attempt: 1, key };
                    }
                }
            }
        };
        let again = if seen.suite == at.suite { at.again } else { Again::Test };
        seen.suite = at.suite;
        seen.again(name, again, key)
    }

    /// The last test case of a name ended.
    pub(super) fn ended(&mut self, key: u64, failed: bool) {
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.failed = failed;
        }
    }

    /// The names of a suite are to come once more, because its report was written again.
    pub(super) fn forget(&mut self, path: &str, host: &str) {
        let (path, host) = (self.hash(path), self.hash(host));
        self.seen.retain(|_, seen| seen.path != path || seen.host != host);
    }

    /// What was said of a test by an earlier report.
    pub(super) fn told(&self, id: &str) -> Option<Told> {
        self.told.get(&self.hasher.hash_one(id)).copied()
    }

    /// Notes what was said of a test, for a report that is written again.
    pub(super) fn tell(&mut self, id: &str, told: Told) {
        if self.told.len() >= MAX_NAMES {
            self.told.clear();
        }
        self.told.insert(self.hasher.hash_one(id), told);
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
        Position { suite, path, host, again: Again::Test }
    }

    #[test]
    fn a_name_that_comes_again_is_told_apart_by_what_differs() {
        let mut names = Names::default();
        let mut id = |position| names.identify("a::b".into(), position).id;
        assert_eq!(id(at(1, "s", "north")), "a::b");
        assert_eq!(id(at(1, "s", "north")), "a::b (2)");
        assert_eq!(id(at(2, "s", "south")), "[south] a::b");
        assert_eq!(id(at(3, "t", "north")), "t > a::b");
        assert_eq!(id(at(4, "t", "north")), "t > a::b (2)");
        assert_eq!(id(at(5, "s", "north")), "a::b (3)");
    }

    #[test]
    fn where_repeats_are_attempts_they_are_counted_and_elsewhere_only_after_a_failure() {
        let told = |again, failures: [bool; 5]| {
            let mut names = Names::default();
            let position = Position { again, ..at(1, "s", "") };
            failures.map(|failed| {
                let Identity { id, attempt, key } = names.identify("a".into(), position);
                names.ended(key, failed);
                format!("{id} #{attempt}")
            })
        };
        let results = [false, true, true, false, false];
        assert_eq!(told(Again::Attempt, results), ["a #1", "a #2", "a #3", "a #4", "a #5"]);
        assert_eq!(told(Again::AttemptAfterFailure, results), ["a #1", "a (2) #1", "a (2) #2", "a (2) #3", "a (3) #1"]);
        assert_eq!(told(Again::Test, results), ["a #1", "a (2) #1", "a (3) #1", "a (4) #1", "a (5) #1"]);
    }

    #[test]
    fn the_names_of_a_suite_that_comes_again_are_forgotten() {
        let mut names = Names::default();
        let mut id = |name: &str, position| names.identify(name.into(), position).id;
        assert_eq!([id("a", at(1, "s", "")), id("b", at(2, "t", ""))], ["a", "b"]);
        names.forget("s", "");
        let mut id = |name: &str, position| names.identify(name.into(), position).id;
        assert_eq!([id("a", at(3, "s", "")), id("b", at(4, "t", ""))], ["a", "b (2)"]);
    }
}
