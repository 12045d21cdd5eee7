//! The sample projects of `tests/projects`, their truth, and the runners that run them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::binary::Scratch;

/// `truth.json`, as `tests/projects/README.md` explains it. Lists of names that a project does not need are empty.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Truth {
    pub(crate) exit_code: i32,
    pub(crate) tests: u64,
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) errored: u64,
    pub(crate) skipped: u64,
    pub(crate) xfailed: u64,
    pub(crate) xpassed: u64,
    pub(crate) flaky: u64,
    pub(crate) retries: u64,
    pub(crate) unfinished: u64,
    /// Planned, and kept from running by what failed before.
    #[serde(default)]
    pub(crate) kept_from_running: u64,
    pub(crate) failing: BTreeSet<String>,
    #[serde(default)]
    pub(crate) errored_tests: BTreeSet<String>,
    #[serde(default)]
    pub(crate) skipped_tests: BTreeSet<String>,
    #[serde(default)]
    pub(crate) xfailed_tests: BTreeSet<String>,
    #[serde(default)]
    pub(crate) xpassed_tests: BTreeSet<String>,
    #[serde(default)]
    pub(crate) flaky_tests: BTreeSet<String>,
    /// What the runner prints of it itself.
    #[serde(default)]
    pub(crate) says: String,
}

impl Truth {
    pub(crate) fn of(project: &str) -> Self {
        serde_json::from_str(&fs::read_to_string(sources(project).join("truth.json")).unwrap()).unwrap()
    }

    /// Each counter of a run's end and what it must be.
    pub(crate) fn counters(&self) -> [(&'static str, u64); 11] {
        [
            ("planned", self.tests),
            ("done", self.tests),
            ("passed", self.passed),
            ("failed", self.failed),
            ("errored", self.errored),
            ("skipped", self.skipped),
            ("xfailed", self.xfailed),
            ("xpassed", self.xpassed),
            ("flaky", self.flaky),
            ("retried", self.retries),
            ("unfinished", self.unfinished),
        ]
    }

    /// The final status of a test that has one.
    pub(crate) fn status(&self, test: &str) -> &'static str {
        let named = [
            ("errored", &self.errored_tests),
            ("failed", &self.failing),
            ("skipped", &self.skipped_tests),
            ("xfailed", &self.xfailed_tests),
            ("xpassed", &self.xpassed_tests),
        ];
        named.iter().find(|(_, tests)| tests.contains(test)).map_or("passed", |(status, _)| status)
    }
}

fn sources(project: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/projects").join(project)
}

impl Scratch {
    /// Copies a sample project to where commands run.
    pub(crate) fn with_project(project: &str) -> Self {
        let scratch = Self::new();
        copy(&sources(project), &scratch.work());
        scratch
    }

    /// Adds a file to the project.
    pub(crate) fn add(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A runner, and testwire, find the Python runners of the tests first.
    pub(crate) fn with_runners(mut command: Command) -> Command {
        let mut path = OsString::from(python_runners());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path);
        command
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Directory with `python`, `pytest` and `robot`: `$TESTWIRE_TEST_PYTHON`, else what `tests/run.sh` has made.
fn python_runners() -> PathBuf {
    let made =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory").join("venv/bin");
    let directory = std::env::var_os("TESTWIRE_TEST_PYTHON").map_or(made, PathBuf::from);
    let hint = "bash tests/run.sh makes a venv with the runners of tests/requirements.txt; or name one in TESTWIRE_TEST_PYTHON";
    assert!(directory.join("pytest").is_file() && directory.join("robot").is_file(), "{}: {hint}", directory.display());
    directory
}

/// What the runner's own report says of an attempt: its word for the result, and milliseconds.
pub(crate) type Reported = BTreeMap<String, Vec<(String, f64)>>;

/// Reads a report by what Python has for that; the script prints `{test: [[status, ms], …]}`.
fn by_python(script: &str, file: &Path) -> Reported {
    let output = Command::new(python_runners().join("python")).args(["-c", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Robot's `output.xml`, read by Robot itself.
pub(crate) fn robot_report(file: &Path) -> Reported {
    let script = "
import json, sys
from robot.api import ExecutionResult, ResultVisitor
tests = {}
class Tests(ResultVisitor):
    def visit_test(self, test):
        status = {'PASS': 'passed', 'FAIL': 'failed', 'SKIP': 'skipped'}[test.status]
        tests.setdefault(test.full_name, []).append([status, test.elapsed_time.total_seconds() * 1000])
ExecutionResult(sys.argv[1]).visit(Tests())
json.dump(tests, sys.stdout)
";
    by_python(script, file)
}

/// pytest's JUnit file. It names a test `file.Class::test`, has no word for a retry, none for an unexpected pass, and
/// calls what was expected to fail skipped.
pub(crate) fn junit_report(file: &Path) -> Reported {
    let script = "
import json, sys, xml.etree.ElementTree as tree
tests = {}
for case in tree.parse(sys.argv[1]).getroot().iter('testcase'):
    words = {'failure': 'failed', 'error': 'errored', 'skipped': 'skipped'}
    found = [words[child.tag] for child in case if child.tag in words]
    if case.find('skipped') is not None and case.find('skipped').get('type') == 'pytest.xfail':
        found = ['xfailed']
    name = case.get('classname') + '::' + case.get('name')
    tests.setdefault(name, []).append([found[0] if found else 'passed', float(case.get('time')) * 1000])
json.dump(tests, sys.stdout)
";
    by_python(script, file)
}

/// A stream of `go test -json`: the results of tests.
pub(crate) fn go_report(stdout: &[u8]) -> Reported {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Line {
        action: String,
        #[serde(default)]
        package: String,
        #[serde(default)]
        test: String,
        #[serde(default)]
        elapsed: f64,
    }
    let mut report = Reported::new();
    for line in stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line).unwrap();
        let status = match line.action.as_str() {
            "pass" => "passed",
            "fail" => "failed",
            "skip" => "skipped",
            _ => continue,
        };
        if !line.test.is_empty() {
            let test = format!("{}.{}", line.package, line.test);
            report.entry(test).or_default().push((status.to_owned(), line.elapsed * 1000.0));
        }
    }
    report
}
