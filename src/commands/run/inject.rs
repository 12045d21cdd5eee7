//! Recognises the runner in a command line and gets its events out of it by its own means.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Runners that `testwire run` can make speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// Robot Framework, also through pabot: a listener, by `ROBOT_OPTIONS`.
    Robot,
    /// pytest, with or without xdist: a plugin, by `PYTEST_ADDOPTS`.
    Pytest,
    /// `go test`: its own `-json`.
    GoTest,
    /// Anything else: every output line is a log line, and the exit code is the result.
    Plain,
}

impl Runner {
    /// The value of the label `runner`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Robot => "robot",
            Self::Pytest => "pytest",
            Self::GoTest => "gotest",
            Self::Plain => "plain",
        }
    }
}

/// What is run, and how it is made to speak.
#[derive(Debug)]
pub(super) struct Injection {
    /// What was recognised.
    pub runner: Runner,
    /// The command line, with what had to be added.
    pub argv: Vec<OsString>,
    /// Environment variables to set for it.
    pub env: Vec<(&'static str, OsString)>,
    /// What was done, in one line; empty if nothing.
    pub note: String,
}

impl Injection {
    /// The command as it is.
    pub(super) fn none(argv: &[OsString], run_id: &str) -> Self {
        let env = vec![("TESTWIRE_RUN_ID", run_id.into())];
        Self { runner: Runner::Plain, argv: argv.to_vec(), env, note: String::new() }
    }
}

/// Names the runner of a command line: the first word that is one, wherever it stands (`uv run pytest`,
/// `python -m robot`, `bash -c "cd api && pytest"`).
pub(super) fn recognise(argv: &[OsString]) -> Runner {
    let words = argv.iter().filter_map(|arg| arg.to_str()).flat_map(str::split_whitespace);
    let mut last = "";
    for word in words {
        let name = Path::new(word).file_name().and_then(OsStr::to_str).unwrap_or(word);
        match name {
            "pytest" | "py.test" => return Runner::Pytest,
            "robot" | "pabot" => return Runner::Robot,
            "test" if last == "go" => return Runner::GoTest,
            _ => last = name,
        }
    }
    Runner::Plain
}

/// True if `go test` was asked for JSON by the user.
pub(super) fn wants_json(argv: &[OsString]) -> bool {
    argv.iter().any(|arg| matches!(arg.to_str(), Some("-json" | "--json" | "-json=true" | "--json=true")))
}

/// Plans how to run `argv` so that its events can be had. `listeners` is the directory with testwire's listeners,
/// `events` the file that they write, `env` gives the present environment.
pub(super) fn inject(
    argv: &[OsString],
    listeners: &Path,
    events: &Path,
    run_id: &str,
    env: impl Fn(&str) -> Option<OsString>,
) -> Injection {
    let runner = recognise(argv);
    let mut plan = Injection { runner, ..Injection::none(argv, run_id) };
    match runner {
        Runner::Plain => {}
        Runner::GoTest => {
            if !wants_json(argv) {
                let is_test = |w: &[OsString]| w.last().is_some_and(|a| a == "test");
                if let Some(at) = argv.windows(2).position(is_test) {
                    plan.argv.insert(at + 2, "-json".into());
                    plan.note = "added -json to go test; its output is shown as text".into();
                }
            }
        }
        Runner::Pytest | Runner::Robot => {
            let (name, own, note) = if runner == Runner::Pytest {
                ("PYTEST_ADDOPTS", "-p testwire_pytest", "added the pytest plugin testwire_pytest")
            } else {
                let listeners = "--listener testwire_robot.Listener --listener testwire_robot.Keywords";
                ("ROBOT_OPTIONS", listeners, "added the Robot Framework listener testwire_robot")
            };
            plan.note = format!("{note} through {name}");
            plan.env.push((name, joined(own, " ", env(name))));
            plan.env.push(("PYTHONPATH", joined(listeners, ":", env("PYTHONPATH"))));
            plan.env.push(("TESTWIRE_EVENTS", events.into()));
        }
    }
    plan
}

/// Puts `own` before what the variable holds already.
fn joined(own: impl AsRef<OsStr>, separator: &str, present: Option<OsString>) -> OsString {
    let mut value = own.as_ref().to_owned();
    if let Some(present) = present.filter(|p| !p.is_empty()) {
        value.push(separator);
        value.push(present);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<OsString> {
        words.iter().map(Into::into).collect()
    }

    #[test]
    fn the_runner_is_found_wherever_it_stands() {
        for (command, runner) in [
            (&["pytest", "-n", "2"][..], Runner::Pytest),
            (&["python3", "-m", "pytest"], Runner::Pytest),
            (&["/venv/bin/pytest"], Runner::Pytest),
            (&["uv", "run", "py.test"], Runner::Pytest),
            (&["bash", "-c", "cd api && pytest -q"], Runner::Pytest),
            (&["robot", "suites"], Runner::Robot),
            (&["pabot", "--processes", "4", "suites"], Runner::Robot),
            (&["go", "test", "./..."], Runner::GoTest),
            (&["/usr/local/go/bin/go", "test"], Runner::GoTest),
            (&["make", "test"], Runner::Plain),
            (&["./test"], Runner::Plain),
            (&[], Runner::Plain),
        ] {
            assert_eq!(recognise(&argv(command)), runner, "{command:?}");
        }
    }

    #[test]
    fn go_test_gets_json_once() {
        let plan = |words: &[&str]| inject(&argv(words), Path::new("/l"), Path::new("/e"), "r", |_| None).argv;
        assert_eq!(plan(&["go", "test", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test", "-json", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test"]), argv(&["go", "test", "-json"]));
    }

    #[test]
    fn what_the_user_had_in_the_environment_is_kept() {
        let env = |name: &str| (name == "PYTEST_ADDOPTS").then(|| OsString::from("-q"));
        let plan = inject(&argv(&["pytest"]), Path::new("/l"), Path::new("/e"), "r", env);
        let get = |name: &str| plan.env.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_str().unwrap().to_owned());
        assert_eq!(get("PYTEST_ADDOPTS").unwrap(), "-p testwire_pytest -q");
        assert_eq!(get("PYTHONPATH").unwrap(), "/l");
        assert_eq!(get("TESTWIRE_EVENTS").unwrap(), "/e");
    }
}
