//! Which runner a command line starts.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Runners that `testwire run` can make speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Runner {
    /// Robot Framework, also through pabot: a listener, by `ROBOT_OPTIONS`.
    Robot,
    /// pytest, with or without xdist: a plugin, by `PYTEST_ADDOPTS`.
    Pytest,
    /// `go test`: its own `-json`.
    GoTest,
    /// Jest: a reporter, by `NODE_OPTIONS`.
    Jest,
    /// Vitest: a reporter, by `NODE_OPTIONS`.
    Vitest,
    /// Mocha: a second reporter, by `NODE_OPTIONS`.
    Mocha,
    /// Playwright Test: a reporter, by `PW_TEST_REPORTER`.
    Playwright,
    /// Cucumber-JS: a formatter, by `NODE_OPTIONS`.
    Cucumber,
    /// `node --test`: a reporter, by `NODE_OPTIONS`.
    NodeTest,
    /// `cargo nextest run`: its messages on standard output, which is else unused.
    Nextest,
    /// `cargo test`: its own lines.
    CargoTest,
    /// `python -m unittest`: our module around it.
    Unittest,
    /// `prove`: a plugin.
    Prove,
    /// Maven or Gradle: their reports, as they appear.
    Java,
    /// `ctest`: its own lines.
    Ctest,
    /// Anything else: every output line is a log line, or an event of a format that shows itself, and the exit code is the
    /// result.
    Plain,
    /// As it is: every output line is a log line.
    Untouched,
}

impl Runner {
    /// The value of the label `runner`.
    pub(in crate::commands) fn label(self) -> &'static str {
        match self {
            Self::Robot => "robot",
            Self::Pytest => "pytest",
            Self::GoTest => "gotest",
            Self::Jest => "jest",
            Self::Vitest => "vitest",
            Self::Mocha => "mocha",
            Self::Playwright => "playwright",
            Self::Cucumber => "cucumber",
            Self::NodeTest => "node",
            Self::Nextest => "nextest",
            Self::CargoTest => "cargo",
            Self::Unittest => "unittest",
            Self::Prove => "prove",
            Self::Java => "junit",
            Self::Ctest => "ctest",
            Self::Plain | Self::Untouched => "plain",
        }
    }

    /// True if it may draw over what it has drawn before, so that nothing else may write to its terminal.
    pub(in crate::commands) fn redraws(self) -> bool {
        match self {
            Self::Jest
            | Self::Vitest
            | Self::Playwright
            | Self::Cucumber
            | Self::Nextest
            | Self::CargoTest
            | Self::Java => true,
            Self::Robot
            | Self::Pytest
            | Self::GoTest
            | Self::Mocha
            | Self::NodeTest
            | Self::Unittest
            | Self::Prove
            | Self::Ctest
            | Self::Plain
            | Self::Untouched => false,
        }
    }
}

/// What a command line starts.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) struct Recognised {
    /// The runner.
    pub(in crate::commands) runner: Runner,
    /// The words of the command that names it: those typed, or those of a script in `package.json`.
    pub(in crate::commands) words: Vec<String>,
}

/// How deep scripts may call each other.
const DEEPEST_SCRIPT: usize = 4;

/// Names the runner of a command line: the first word that is one, wherever it stands (`uv run pytest`,
/// `python -m robot`, `bash -c "cd api && pytest"`), also in the scripts of `package.json` in `directory` that it runs.
pub(in crate::commands) fn recognise(argv: &[OsString], directory: &Path) -> Recognised {
    let words: Vec<_> = argv.iter().filter_map(|arg| arg.to_str()).flat_map(words_of).collect();
    by_words(&words)
        .or_else(|| by_script(&words, &scripts(directory), DEEPEST_SCRIPT))
        .unwrap_or(Recognised { runner: Runner::Plain, words })
}

/// The words of a piece of shell; quotes are taken off, which is all that recognition needs.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(|word| word.trim_matches(['"', '\'', ';', '(', ')']).to_owned())
}

fn by_words(words: &[String]) -> Option<Recognised> {
    let mut last = "";
    let mut node = false;
    for word in words {
        let name = Path::new(word).file_name().and_then(OsStr::to_str).unwrap_or(word);
        let runner = match name {
            // `npm install jest` runs no tests.
            "install" | "add" | "i" | "ci" if matches!(last, "npm" | "pnpm" | "yarn" | "pip" | "cargo") => return None,
            "pytest" | "py.test" => Runner::Pytest,
            "robot" | "pabot" => Runner::Robot,
            "test" if last == "go" => Runner::GoTest,
            "test" | "t" if last == "cargo" => Runner::CargoTest,
            "nextest" if last == "cargo" || last == "cargo-nextest" => Runner::Nextest,
            "jest" | "jest.js" => Runner::Jest,
            "vitest" | "vitest.mjs" => Runner::Vitest,
            "mocha" | "_mocha" | "mocha.js" => Runner::Mocha,
            "test" if last == "playwright" => Runner::Playwright,
            "cucumber-js" | "cucumber.js" => Runner::Cucumber,
            "unittest" if last == "-m" => Runner::Unittest,
            "prove" => Runner::Prove,
            "mvn" | "mvnw" | "mvnd" | "gradle" | "gradlew" => Runner::Java,
            "ctest" | "ctest3" => Runner::Ctest,
            "--test" if node => Runner::NodeTest,
            _ => {
                node |= matches!(name, "node" | "tsx");
                // `cargo +nightly test` is `cargo test`.
                if !name.starts_with('+') {
                    last = name;
                }
                continue;
            }
        };
        return Some(Recognised { runner, words: words.to_vec() });
    }
    None
}

/// The runner of the script that `npm test`, `yarn unit` and the like run.
fn by_script(words: &[String], scripts: &HashMap<String, String>, depth: usize) -> Option<Recognised> {
    if depth == 0 {
        return None;
    }
    words.iter().enumerate().find_map(|(at, word)| {
        let manager = Path::new(word).file_name().and_then(OsStr::to_str)?;
        if !matches!(manager, "npm" | "pnpm" | "yarn") {
            return None;
        }
        let mut rest = words.get(at + 1..)?.iter().filter(|word| !matches!(word.as_str(), "-s" | "--silent"));
        let script = match rest.next()?.as_str() {
            "run" | "run-script" => rest.next()?.as_str(),
            "t" | "tst" => "test",
            other => other,
        };
        let text = scripts.get(script)?;
        let words: Vec<_> = words_of(text).chain(rest.cloned()).collect();
        by_words(&words).or_else(|| by_script(&words, scripts, depth - 1))
    })
}

fn scripts(directory: &Path) -> HashMap<String, String> {
    #[derive(Default, Deserialize)]
    struct Package {
        #[serde(default)]
        scripts: HashMap<String, String>,
    }
    let text = fs::read(directory.join("package.json")).unwrap_or_default();
    serde_json::from_slice::<Package>(&text).unwrap_or_default().scripts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(command: &[&str], directory: &Path) -> Runner {
        recognise(&command.iter().map(Into::into).collect::<Vec<_>>(), directory).runner
    }

    #[test]
    fn the_runner_is_found_wherever_it_stands() {
        for (command, expected) in [
            (&["pytest", "-n", "2"][..], Runner::Pytest),
            (&["python3", "-m", "pytest"], Runner::Pytest),
            (&["/venv/bin/pytest"], Runner::Pytest),
            (&["uv", "run", "py.test"], Runner::Pytest),
            (&["bash", "-c", "cd api && pytest -q"], Runner::Pytest),
            (&["robot", "suites"], Runner::Robot),
            (&["pabot", "--processes", "4", "suites"], Runner::Robot),
            (&["go", "test", "./..."], Runner::GoTest),
            (&["/usr/local/go/bin/go", "test"], Runner::GoTest),
            (&["npx", "jest", "--ci"], Runner::Jest),
            (&["node_modules/.bin/vitest", "run"], Runner::Vitest),
            (&["sh", "-c", "mocha 'test/**'"], Runner::Mocha),
            (&["npx", "playwright", "test"], Runner::Playwright),
            (&["npx", "playwright", "install"], Runner::Plain),
            (&["npx", "cucumber-js"], Runner::Cucumber),
            (&["node", "--import", "tsx", "--test", "x.ts"], Runner::NodeTest),
            (&["node", "x.js"], Runner::Plain),
            (&["cargo", "+nightly", "test"], Runner::CargoTest),
            (&["cargo", "nextest", "run"], Runner::Nextest),
            (&["cargo", "install", "cargo-nextest"], Runner::Plain),
            (&["npm", "install", "jest"], Runner::Plain),
            (&["python3", "-m", "unittest", "discover"], Runner::Unittest),
            (&["prove", "-l", "t"], Runner::Prove),
            (&["./mvnw", "-q", "verify"], Runner::Java),
            (&["gradle", "test"], Runner::Java),
            (&["ctest", "--test-dir", "build", "-j2"], Runner::Ctest),
            (&["make", "test"], Runner::Plain),
            (&["./test"], Runner::Plain),
            (&[], Runner::Plain),
        ] {
            assert_eq!(runner(command, Path::new("/nowhere")), expected, "{command:?}");
        }
    }

    #[test]
    fn scripts_of_a_package_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let package = r#"{"scripts":{"test":"npm run lint && npm run unit -- --ci","lint":"eslint .","unit":"jest","loop":"npm run loop",
            "e2e":"playwright test","node":"node --test --test-reporter=dot"}}"#;
        fs::write(directory.path().join("package.json"), package).unwrap();
        for (command, expected) in [
            (&["npm", "test"][..], Runner::Jest),
            (&["npm", "-s", "t"], Runner::Jest),
            (&["yarn", "e2e", "--headed"], Runner::Playwright),
            (&["bash", "-c", "pnpm run unit"], Runner::Jest),
            (&["npm", "run", "node"], Runner::NodeTest),
            (&["npm", "run", "lint"], Runner::Plain),
            (&["npm", "run", "loop"], Runner::Plain),
        ] {
            assert_eq!(runner(command, directory.path()), expected, "{command:?}");
        }
        let found = recognise(&["npm", "run", "node"].map(OsString::from), directory.path());
        assert_eq!(found.words, ["node", "--test", "--test-reporter=dot"]);
    }
}
