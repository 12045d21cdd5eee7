//! The tests that run now.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::excerpt::Excerpt;
use super::message;
use crate::event::{Status, TestRef};

/// Attributes (`t.Attr`) kept of one test.
const TAGS_KEPT: usize = 64;

/// A test between its run event and its end.
#[derive(Debug, Default)]
pub(super) struct OpenTest {
    /// Package, `.`, name.
    id: String,
    package_len: usize,
    output: Excerpt,
    /// Beginning of a line whose end has not come.
    piece: String,
    tags: Vec<String>,
    failed_children: u32,
    first_failed_child: String,
    has_result_line: bool,
    /// Order of start.
    number: u64,
}

impl OpenTest {
    pub(super) fn reference(&self) -> TestRef<'_> {
        let suite = self.id.get(..self.package_len).unwrap_or_default();
        TestRef { id: Cow::Borrowed(&self.id), suite: Cow::Borrowed(suite), worker: Cow::Borrowed("") }
    }

    fn name(&self) -> &str {
        let from = if self.package_len == 0 { 0 } else { self.package_len + 1 };
        self.id.get(from..).unwrap_or_default()
    }

    fn package(&self) -> &str {
        self.id.get(..self.package_len).unwrap_or_default()
    }

    fn is(&self, package: &str, name: &str) -> bool {
        self.package_len == package.len() && self.name() == name && self.package() == package
    }

    pub(super) fn is_benchmark(&self) -> bool {
        self.name().starts_with("Benchmark")
    }

    /// True once its figures were printed.
    pub(super) fn is_finished_benchmark(&self) -> bool {
        self.has_result_line && self.is_benchmark()
    }

    /// A whole line of output.
    pub(super) fn add_line(&mut self, line: &str) {
        self.output.push_line(line);
        if !self.has_result_line && self.is_benchmark() && line.contains(" ns/op") {
            self.has_result_line = true;
        }
    }

    pub(super) fn has_piece(&self) -> bool {
        !self.piece.is_empty()
    }

    pub(super) fn piece_len(&self) -> usize {
        self.piece.len()
    }

    pub(super) fn add_piece(&mut self, text: &str) {
        self.piece.push_str(text);
    }

    /// Makes a line of the pieces, if there are any, and hands it to `then`.
    pub(super) fn end_piece(&mut self, mut then: impl FnMut(TestRef<'_>, &str)) {
        if self.piece.is_empty() {
            return;
        }
        let mut piece = std::mem::take(&mut self.piece);
        self.add_line(&piece);
        then(self.reference(), &piece);
        piece.clear();
        piece.shrink_to(4 * 1024);
        self.piece = piece;
    }

    pub(super) fn add_tag(&mut self, key: &str, value: &str) {
        if self.tags.len() < TAGS_KEPT {
            self.tags.push(format!("{key}={value}"));
        }
    }

    pub(super) fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Message and details for this end; costs nothing where the test passed.
    pub(super) fn verdict(&self, status: Status) -> (String, String) {
        match status {
            Status::Failed | Status::Skipped | Status::Unfinished => {}
            _ => return (String::new(), String::new()),
        }
        if self.output.is_empty() {
            let message = match self.failed_children {
                0 => String::new(),
                1 => format!("subtest {} failed", self.first_failed_child),
                more => format!("subtest {} and {} more failed", self.first_failed_child, more - 1),
            };
            return (message, String::new());
        }
        message::split(&self.output.text(), status)
    }

    fn clear(&mut self) {
        self.id.clear();
        self.output.clear();
        self.piece.clear();
        self.tags.clear();
        self.failed_children = 0;
        self.first_failed_child.clear();
        self.has_result_line = false;
    }
}

/// All open tests. Ended ones leave their memory to the next.
#[derive(Default)]
pub(super) struct OpenTests {
    slots: Vec<OpenTest>,
    index: HashMap<String, usize, foldhash::fast::RandomState>,
    free: Vec<usize>,
    spare_keys: Vec<String>,
    /// The slot found last; output comes in bursts from one test.
    last: usize,
    started: u64,
}

/// Memory of ended tests that is kept for the next ones.
const SPARES: usize = 64;

impl OpenTests {
    /// The open test of this name.
    pub(super) fn find(&mut self, package: &str, name: &str) -> Option<&mut OpenTest> {
        if !self.slots.get(self.last).is_some_and(|test| test.is(package, name)) {
            let key = self.key(package, name);
            let found = self.index.get(&key).copied();
            self.spare_keys.push(key);
            self.last = found?;
        }
        self.slots.get_mut(self.last)
    }

    /// Opens a test that is not open.
    pub(super) fn open(&mut self, package: &str, name: &str) -> &mut OpenTest {
        let key = self.key(package, name);
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(OpenTest::default());
            self.slots.len() - 1
        });
        let test = &mut self.slots[at];
        test.id.push_str(&key);
        test.package_len = package.len();
        test.number = self.started;
        self.started += 1;
        self.index.insert(key, at);
        self.last = at;
        test
    }

    /// Takes an open test out; give it back with [`OpenTests::recycle`].
    pub(super) fn take(&mut self, package: &str, name: &str) -> Option<OpenTest> {
        let key = self.key(package, name);
        let removed = self.index.remove_entry(&key);
        self.spare_keys.push(key);
        let (key, at) = removed?;
        if self.spare_keys.len() < SPARES {
            self.spare_keys.push(key);
        }
        self.free.push(at);
        self.slots.get_mut(at).map(std::mem::take)
    }

    /// Keeps an ended test's memory for the next one.
    pub(super) fn recycle(&mut self, mut test: OpenTest) {
        let Some(slot) = self.free.last().and_then(|at| self.slots.get_mut(*at)) else { return };
        test.clear();
        *slot = test;
    }

    /// Notes a failure with the innermost open test that this one is part of.
    pub(super) fn tell_parent(&mut self, package: &str, name: &str) {
        let mut end = name.len();
        while let Some((parent, _)) = name.get(..end).and_then(|head| head.rsplit_once('/')) {
            end = parent.len();
            if let Some(test) = self.find(package, parent) {
                test.failed_children += 1;
                if test.failed_children == 1 {
                    test.first_failed_child.push_str(name.get(end + 1..).unwrap_or_default());
                }
                return;
            }
        }
    }

    /// Results of benchmarks are reported as `BenchmarkX-8`, while they run as `BenchmarkX`.
    pub(super) fn name_without_procs<'n>(&mut self, package: &str, name: &'n str) -> &'n str {
        match name.rsplit_once('-') {
            Some((plain, procs))
                if name.starts_with("Benchmark")
                    && procs.bytes().all(|byte| byte.is_ascii_digit())
                    && self.find(package, name).is_none()
                    && self.find(package, plain).is_some() =>
            {
                plain
            }
            _ => name,
        }
    }

    /// Names of the package's open tests for which `status` has an answer, last started first. With `before`, only
    /// benchmarks that are not that one nor around it.
    pub(super) fn to_close(
        &self,
        package: &str,
        before: Option<&str>,
        status: impl Fn(&OpenTest) -> Option<Status>,
    ) -> Vec<(String, Status)> {
        let around = |test: &OpenTest, name: &str| {
            name.strip_prefix(test.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut found: Vec<_> = self
            .index
            .values()
            .filter_map(|at| self.slots.get(*at))
            .filter(|test| test.package() == package)
            .filter(|test| before.is_none_or(|name| test.is_benchmark() && !around(test, name)))
            .filter_map(|test| Some((test.number, test.name().to_owned(), status(test)?)))
            .collect();
        found.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
        found.into_iter().map(|(_, name, status)| (name, status)).collect()
    }

    /// Hands out the unfinished lines of all open tests, in the tests' order.
    pub(super) fn for_each_piece(&mut self, mut then: impl FnMut(TestRef<'_>, &str)) {
        let mut open: Vec<&mut OpenTest> = self.slots.iter_mut().filter(|test| test.has_piece()).collect();
        open.sort_unstable_by_key(|test| test.number);
        open.into_iter().for_each(|test| test.end_piece(&mut then));
    }

    fn key(&mut self, package: &str, name: &str) -> String {
        let mut key = self.spare_keys.pop().unwrap_or_default();
        key.clear();
        if !package.is_empty() {
            key.push_str(package);
            key.push('.');
        }
        key.push_str(name);
        key
    }
}
