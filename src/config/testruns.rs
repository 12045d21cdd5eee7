//! Test runs that clients of `listen` may order: `[testruns]` of `testwire.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::error::{ConfigError, Origin};
use super::file::deserialize;
use super::value::{Bytes, Expected, Period};

/// The key of a file that is read here.
pub(super) const KEY: &str = "testruns";
/// Their names are arguments of one command line.
const MAX_FILES: u32 = 10_000;
/// Uploads are held in memory while they come.
const MAX_UPLOAD: u64 = 1 << 30;
/// Below it, no interpreter starts.
const MIN_MEMORY: u64 = 64 << 20;

/// What may be run, and what it may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Testruns {
    /// The file that says so, absolute.
    pub config_file: PathBuf,
    /// Directory of the test files, absolute.
    pub root: PathBuf,
    /// Commands by name; `{}` stands for a test file.
    pub commands: BTreeMap<String, String>,
    /// Name of the command of requests that name none.
    pub command: Option<String>,
    /// Whether test files may be sent along.
    pub uploads: bool,
    /// Account that they run as; `None`: that of the daemon.
    pub user: Option<String>,
    /// Files of a run that run at the same time; `None`: as `batch` has it.
    pub workers: Option<u32>,
    /// Most files of a run.
    pub max_files: u32,
    /// Most bytes of an upload, all files together.
    pub max_upload: u64,
    /// Longest run.
    pub max_time: Duration,
    /// Most bytes of address space of each process; `None`: no limit.
    pub max_memory: Option<u64>,
    /// Runs at the same time.
    pub max_running: u32,
    /// Runs that wait.
    pub max_queued: u32,
    /// Ended runs that are remembered.
    pub max_kept: u32,
}

/// `[testruns]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    root: PathBuf,
    commands: BTreeMap<String, String>,
    command: Option<String>,
    #[serde(default)]
    uploads: bool,
    user: Option<String>,
    workers: Option<u32>,
    max_files: Option<u32>,
    max_upload: Option<String>,
    max_time: Option<String>,
    max_memory: Option<String>,
    max_running: Option<u32>,
    max_queued: Option<u32>,
    max_kept: Option<u32>,
}

impl Written {
    /// Looks at the commands, and gives the name of that of requests that name none.
    fn command(&self, file: &Path) -> Result<Option<String>, ConfigError> {
        let refuse = |key, value: &str, expected: &str| Err(wrong(file, key, value, expected));
        for (name, command) in &self.commands {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                return refuse("testruns.commands", name, "names of letters, digits, -, _ and .");
            }
            if !command.contains("{}") {
                return refuse("testruns.commands", command, "a command with {} for the test file");
            }
        }
        match (&self.command, self.commands.len()) {
            (_, 0) => refuse("testruns.commands", "", "at least one command, such as pytest = \"pytest {}\""),
            (Some(name), _) if !self.commands.contains_key(name) => {
                refuse("testruns.command", name, "the name of one of testruns.commands")
            }
            (None, 1) => Ok(self.commands.keys().next().cloned()),
            (name, _) => Ok(name.clone()),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    testruns: Option<Written>,
}

impl Testruns {
    /// Those of the file `path`; `None` if it says nothing of them. Other keys are not looked at.
    ///
    /// # Errors
    /// If it is not TOML or JSON, or what it says of them is not understood.
    pub fn parse(path: &Path, text: &str) -> Result<Option<Self>, ConfigError> {
        let table: Table = deserialize(path, text)?;
        table.testruns.map(|written| Self::from_written(written, path)).transpose()
    }

    fn from_written(written: Written, file: &Path) -> Result<Self, ConfigError> {
        let refuse = |key, value: &str, expected: &str| Err(wrong(file, key, value, expected));
        let command = written.command(file)?;
        let number = |key, value: Option<u32>, preset, most| {
            let value = value.unwrap_or(preset);
            let expected = format!("a number from 1 to {most}");
            if (1..=most).contains(&value) { Ok(value) } else { Err(wrong(file, key, &value.to_string(), &expected)) }
        };
        let size = |key, text: Option<String>, preset: u64| match text {
            None => Ok(preset),
            Some(text) => text.parse().map_err(|Expected(what)| wrong(file, key, &text, &what)).map(|Bytes(size)| size),
        };
        let max_upload = size("testruns.max-upload", written.max_upload, 8 << 20)?;
        if max_upload > MAX_UPLOAD {
            return refuse("testruns.max-upload", &Bytes(max_upload).to_string(), "a size of at most 1GiB");
        }
        let max_memory = size("testruns.max-memory", written.max_memory, 4 << 30)?;
        if (1..MIN_MEMORY).contains(&max_memory) {
            return refuse("testruns.max-memory", &Bytes(max_memory).to_string(), "a size of at least 64MiB, or 0B");
        }
        let text = written.max_time.unwrap_or_else(|| "1h".into());
        let max_time: Period = text.parse().map_err(|Expected(what)| wrong(file, "testruns.max-time", &text, &what))?;
        if max_time.0 < Duration::from_secs(1) {
            return refuse("testruns.max-time", &text, "a duration of at least 1s");
        }
        let base = file.parent().unwrap_or(Path::new(""));
        Ok(Self {
            config_file: file.to_owned(),
            root: base.join(written.root),
            commands: written.commands,
            command,
            uploads: written.uploads,
            user: written.user,
            workers: written.workers.map(|n| number("testruns.workers", Some(n), 1, 1024)).transpose()?,
            max_files: number("testruns.max-files", written.max_files, 100, MAX_FILES)?,
            max_upload,
            max_time: max_time.0,
            max_memory: (max_memory > 0).then_some(max_memory),
            max_running: number("testruns.max-running", written.max_running, 1, 1024)?,
            max_queued: number("testruns.max-queued", written.max_queued, 100, 100_000)?,
            max_kept: number("testruns.max-kept", written.max_kept, 200, 100_000)?,
        })
    }
}

fn wrong(file: &Path, name: &'static str, value: &str, expected: &str) -> ConfigError {
    // The line is not known here; the value is enough to find it.
    let origin = Origin::File(file.to_owned(), 1);
    ConfigError::BadValue { name, value: value.to_owned(), origin, expected: Expected(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Option<Testruns>, String> {
        Testruns::parse(Path::new("/e/testwire.toml"), text)
            .map_err(|error| crate::exit::Failure::from(error).render(false))
    }

    #[test]
    fn nothing_is_run_unless_the_file_says_so_and_limits_have_presets() {
        assert_eq!(parsed("project = \"shop\"\n"), Ok(None));
        let least = parsed("[testruns]\nroot = \"tests\"\ncommands = { pytest = \"pytest {}\" }\n").unwrap().unwrap();
        assert_eq!((least.root.as_path(), least.command.as_deref()), (Path::new("/e/tests"), Some("pytest")));
        assert_eq!((least.uploads, least.user.as_deref(), least.max_memory), (false, None, Some(4 << 30)));
        assert_eq!((least.max_files, least.max_upload, least.max_time.as_secs()), (100, 8 << 20, 3600));
        let most = "[testruns]\nroot = \"/srv\"\nuploads = true\nmax-upload = \"1MiB\"\nmax-time = \"5m\"\n\
                    max-memory = \"0B\"\nmax-files = 2\n[testruns.commands]\na = \"a {}\"\nb = \"b {}\"\n";
        let most = parsed(most).unwrap().unwrap();
        assert_eq!(
            (most.command, most.max_memory, most.max_files),
            (None, None, 2),
            "two commands: none is the usual one"
        );
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let base = "[testruns]\nroot = \"t\"\ncommands = { p = \"pytest {}\" }\n";
        for (text, part) in [
            ("[testruns]\nroot = \"t\"\ncommands = {}\n".to_owned(), "at least one command"),
            ("[testruns]\nroot = \"t\"\ncommands = { p = \"pytest\" }\n".to_owned(), "with {}"),
            (format!("{base}command = \"q\"\n"), "one of testruns.commands"),
            (format!("{base}max-files = 0\n"), "from 1 to 10000"),
            (format!("{base}max-memory = \"1MiB\"\n"), "at least 64MiB"),
            (format!("{base}max-upload = \"2GiB\"\n"), "at most 1GiB"),
            (format!("{base}max-time = \"long\"\n"), "a duration"),
            (format!("{base}rooot = \"x\"\n"), "unknown field `rooot`"),
            ("[testruns]\nroot = \"t\"\n".to_owned(), "missing field `commands`"),
        ] {
            let error = parsed(&text).unwrap_err();
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
    }
}
