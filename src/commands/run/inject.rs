//! Recognises the runner in a command line and gets its events out of it by its own means.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

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
    /// The file that its listener writes; empty if it has none.
    pub(super) events: PathBuf,
    /// Descriptor that the command inherits: holds the lock on that file until the listener has its own.
    pub(super) lock: Option<OwnedFd>,
    /// What was done, in one line; empty if nothing.
    pub note: String,
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

/// What a listener needs to know.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// Directory with testwire's listeners.
    pub(super) listeners: PathBuf,
    /// The file that they write.
    pub(super) events: PathBuf,
    /// A descriptor with the lock on it, which the command inherits.
    pub(super) lock: OwnedFd,
    /// The run.
    pub(super) run_id: &'a str,
}

/// How to run a command whose events are on its standard output, or that has none.
pub(super) fn without_listener(runner: Runner, argv: &[OsString], run_id: &str) -> Injection {
    let env = vec![("TESTWIRE_RUN_ID", run_id.into())];
    let mut plan =
        Injection { runner, argv: argv.to_vec(), env, events: PathBuf::new(), lock: None, note: String::new() };
    if runner == Runner::GoTest && !wants_json(argv) {
        let is_test = |words: &[OsString]| words.last().is_some_and(|word| word == "test");
        if let Some(at) = argv.windows(2).position(is_test) {
            plan.argv.insert(at + 2, "-json".into());
            plan.note = "added -json to go test; its output is shown as text".into();
        }
    }
    plan
}

/// How to run a command whose runner loads a listener. `env` gives the present environment.
pub(super) fn with_listener(
    runner: Runner,
    argv: &[OsString],
    place: Place<'_>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Injection {
    let mut plan = without_listener(runner, argv, place.run_id);
    let (name, own, note) = if runner == Runner::Pytest {
        ("PYTEST_ADDOPTS", "-p testwire_pytest", "added the pytest plugin testwire_pytest")
    } else {
        let listeners = "--listener testwire_robot.Listener --listener testwire_robot.Keywords";
        ("ROBOT_OPTIONS", listeners, "added the Robot Framework listener testwire_robot")
    };
    plan.note = format!("{note} through {name}");
    plan.env.push((name, joined(own, " ", env(name))));
    plan.env.push(("TESTWIRE_EVENTS_LOCK", place.lock.as_raw_fd().to_string().into()));
    plan.env.push(("PYTHONPATH", joined(&place.listeners, ":", env("PYTHONPATH"))));
    plan.env.push(("TESTWIRE_EVENTS", place.events.clone().into()));
    plan.events = place.events;
    plan.lock = Some(place.lock);
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
        let plan = |words: &[&str]| without_listener(Runner::GoTest, &argv(words), "r").argv;
        assert_eq!(plan(&["go", "test", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test", "-json", "./..."]), argv(&["go", "test", "-json", "./..."]));
        assert_eq!(plan(&["go", "test"]), argv(&["go", "test", "-json"]));
    }

    #[test]
    fn what_the_user_had_in_the_environment_is_kept() {
        let env = |name: &str| (name == "PYTEST_ADDOPTS").then(|| OsString::from("-q"));
        let lock = std::fs::File::open("/dev/null").unwrap().into();
        let place = Place { listeners: "/l".into(), events: "/e".into(), lock, run_id: "r" };
        let plan = with_listener(Runner::Pytest, &argv(&["pytest"]), place, env);
        let get = |name: &str| plan.env.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_str().unwrap().to_owned());
        assert_eq!(get("PYTEST_ADDOPTS").unwrap(), "-p testwire_pytest -q");
        assert_eq!(get("PYTHONPATH").unwrap(), "/l");
        assert_eq!(get("TESTWIRE_EVENTS").unwrap(), "/e");
    }
}
