//! Turns `go test -json` back into the text that `go test` prints, for a user who did not ask for JSON.
//!
//! With `-v` the pieces of output are that text, but for the `=== NAME` lines. Without, `-json` makes the test binary
//! report each subtest when it ends; `go test` puts subtests below their parent, deeper by four spaces a level, prints nothing of tests that pass, puts a failed test's log below its
//! `--- FAIL` line, and shows packages that pass, if they were named, by their `ok` line only (cmd/go/internal/test,
//! `testing.flushToParent`, `testing.chattyPrinter`; read with Go 1.26).

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, Write};

use serde::Deserialize;

use crate::pipeline::feed::Tee;

/// How go would print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Style {
    /// `-v` was given.
    pub verbose: bool,
    /// Packages were named, so that those that pass are shown by their last line only.
    pub packages_named: bool,
}

impl Style {
    /// The style that the arguments behind `go test` ask for.
    pub(in crate::commands) fn of(argv: &[OsString]) -> Self {
        let args = argv.iter().filter_map(|a| a.to_str()).skip_while(|a| *a != "test").skip(1);
        let (mut verbose, mut named, mut value_next) = (false, false, false);
        for arg in args.take_while(|a| !matches!(*a, "-args" | "--args")) {
            if std::mem::take(&mut value_next) {
                continue;
            }
            let flag = arg.trim_start_matches('-');
            match flag {
                "v" | "v=true" | "test.v" => verbose = true,
                _ if flag.len() == arg.len() => named = true,
                // Flags whose value may be the next word; the others take none or are written with `=`.
                "run" | "skip" | "count" | "timeout" | "p" | "parallel" | "cpu" | "bench" | "benchtime" | "tags"
                | "o" | "C" | "mod" | "modfile" | "covermode" | "coverpkg" | "coverprofile" | "exec" | "ldflags"
                | "gcflags" | "fuzz" | "fuzztime" | "shuffle" | "outputdir" | "vet" | "list" => value_next = true,
                _ => {}
            }
        }
        Self { verbose, packages_named: named }
    }
}

/// Prints a `go test -json` stream as text.
#[derive(Debug)]
pub(in crate::commands) struct GoText<O, E> {
    style: Style,
    out: O,
    err: E,
    partial: Vec<u8>,
    /// In the order of their start, in which go prints them.
    packages: Vec<Package>,
    failed: bool,
}

#[derive(Debug, Default)]
struct Package {
    name: String,
    text: String,
    /// By open test, what go prints below its result: its log, and the results of its subtests.
    below: HashMap<String, String>,
    /// Tests that were started and have no result.
    open: HashSet<String>,
    /// The test that a log line belongs to if nothing says otherwise (`testing.chattyPrinter`).
    last_named: String,
    over: bool,
}

impl Package {
    /// Puts a test's result below its parent's, which is still to come, or prints it if it has none.
    fn report(&mut self, test: &str, report: &str) {
        // A slash may be part of a name, so the parent is the nearest test by that name, not by the last slash.
        let ancestors = test.rmatch_indices('/').map(|(at, _)| test.split_at(at).0);
        let Some(parent) = ancestors.into_iter().find(|name| self.open.contains(*name)) else {
            return self.text.push_str(report);
        };
        let below = self.below.entry(parent.to_owned()).or_default();
        for line in report.split_inclusive('\n') {
            below.push_str("    ");
            below.push_str(line);
        }
    }

    /// Says whose log comes next, where it is not the one before.
    fn name(&mut self, test: &str) {
        if self.last_named != test {
            self.text.push_str(&format!("=== NAME  {test}\n"));
            test.clone_into(&mut self.last_named);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    action: String,
    #[serde(default)]
    package: String,
    #[serde(default)]
    test: String,
    #[serde(default)]
    output: String,
}

impl<O: Write, E: Write> GoText<O, E> {
    /// Prints to `out`, and what go prints to standard error (build errors) to `err`.
    pub(in crate::commands) fn new(style: Style, out: O, err: E) -> Self {
        Self { style, out, err, partial: Vec::new(), packages: Vec::new(), failed: false }
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let Ok(event) = serde_json::from_slice::<Line>(line) else {
            self.out.write_all(line)?;
            return self.out.write_all(b"\n");
        };
        match event.action.as_str() {
            "build-output" => return self.err.write_all(event.output.as_bytes()),
            "build-fail" => self.failed = true,
            "start" => self.packages.push(Package { name: event.package, ..Package::default() }),
            "output" => self.output(&event),
            "run" => {
                if let Some(package) = self.package(&event.package) {
                    package.open.insert(event.test);
                }
            }
            "pass" | "fail" | "skip" if event.test.is_empty() => {
                self.failed |= event.action == "fail";
                self.package_over(&event);
                return self.print();
            }
            _ => {}
        }
        Ok(())
    }

    fn package(&mut self, name: &str) -> Option<&mut Package> {
        self.packages.iter_mut().find(|p| p.name == name)
    }

    fn output(&mut self, event: &Line) {
        let verbose = self.style.verbose;
        let Some(package) = self.package(&event.package) else { return };
        let (test, text) = (event.test.as_str(), event.output.as_str());
        let is_result =
            ["--- FAIL: ", "--- PASS: ", "--- SKIP: "].iter().any(|word| text.trim_start().starts_with(word));
        if test.is_empty() || (is_result && verbose) {
            package.text.push_str(text);
        } else if is_result {
            let below = package.below.remove(test).unwrap_or_default();
            package.open.remove(test);
            if text.starts_with("--- FAIL: ") {
                package.report(test, &format!("{text}{below}"));
            }
        } else if text.starts_with("=== ") {
            if verbose {
                test.clone_into(&mut package.last_named);
                package.text.push_str(text);
            }
        } else if !text.starts_with("    ") {
            package.text.push_str(text);
        } else if verbose {
            package.name(test);
            package.text.push_str(text);
        } else {
            package.below.entry(test.to_owned()).or_default().push_str(text);
        }
    }

    fn package_over(&mut self, event: &Line) {
        let last_line_only = !self.style.verbose && self.style.packages_named && event.action != "fail";
        if let Some(package) = self.package(&event.package) {
            package.over = true;
            if last_line_only {
                let is_last = |l: &&str| l.starts_with("ok  \t") || l.starts_with("?   \t") || l.starts_with('\t');
                package.text = package.text.split_inclusive('\n').filter(is_last).collect();
            }
        }
    }

    /// Prints the packages whose turn it is.
    fn print(&mut self) -> io::Result<()> {
        let over = self.packages.iter().position(|p| !p.over).unwrap_or(self.packages.len());
        for package in self.packages.drain(..over) {
            self.out.write_all(package.text.as_bytes())?;
        }
        self.out.flush()
    }
}

impl<O: Write + Send, E: Write + Send> Tee for GoText<O, E> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            if self.partial.is_empty() {
                self.line(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole)?;
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let partial = std::mem::take(&mut self.partial);
        self.out.write_all(&partial)?;
        self.packages.iter_mut().for_each(|p| p.over = true);
        self.print()?;
        if self.failed && self.style.packages_named {
            self.out.write_all(b"FAIL\n")?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_read_from_the_arguments() {
        let style = |args: &[&str]| Style::of(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(style(&["go", "test"]), Style { verbose: false, packages_named: false });
        assert_eq!(style(&["go", "test", "-run", "X", "-v"]), Style { verbose: true, packages_named: false });
        assert_eq!(style(&["go", "test", "-count=1", "./..."]), Style { verbose: false, packages_named: true });
        assert_eq!(style(&["go", "test", "-args", "x"]), Style { verbose: false, packages_named: false });
    }
}
