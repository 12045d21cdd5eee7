//! How a batch is started, and how it is known later whether it lives.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::record::Record;
use super::store::locked;

/// Writes its own process id to the lock that it holds as standard input, and becomes the batch: so the id is known for as
/// long as the lock is held, whatever becomes of the daemon in between.
const BECOME: &str = "echo $$ >&0 && exec \"$@\"";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Number of its group.
    pub gid: u32,
}

/// What all batches have in common.
#[derive(Clone, Debug)]
pub struct Launch {
    /// testwire.
    pub program: PathBuf,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Its state directory.
    pub state_dir: PathBuf,
    /// The account to run as, if it is another one.
    pub account: Option<Account>,
    /// Files at the same time, if that was said.
    pub workers: Option<u32>,
    /// Most bytes of address space of each process of a test.
    pub max_memory: Option<u64>,
}

/// Where a run's files are.
pub(super) struct Paths {
    /// In which it runs.
    pub(super) directory: PathBuf,
    pub(super) lock: PathBuf,
    pub(super) log: PathBuf,
}

impl Launch {
    /// What `batch` keeps of a run.
    pub(super) fn of_run(&self, run_id: &str) -> PathBuf {
        self.state_dir.join("batch").join(run_id)
    }

    /// Opens what `batch` keeps of a run. Tests can put anything in its place: no link is followed, nothing is waited for, and
    /// only a plain file of the account's own counts.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn kept(&self, run_id: &str, name: &str) -> io::Result<File> {
        let state = File::open(&self.state_dir)?;
        let path = Path::new("batch").join(run_id).join(name);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = File::from(openat2(state, path, flags, Mode::empty(), within)?);
        let about = file.metadata()?;
        let is_own = self.account.as_ref().is_none_or(|account| about.uid() == account.uid);
        if about.is_file() && is_own { Ok(file) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    /// A command that runs `program` as the account does, without an environment of its own.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(account) = &self.account {
            // Further groups of the daemon's are given up with that.
            command.uid(account.uid).gid(account.gid);
        }
        // What is typed on the daemon's terminal is not meant for it.
        command.process_group(0);
        command
    }

    /// Starts the batch of a run.
    ///
    /// # Errors
    /// If it cannot be started, or lives already.
    pub(super) fn start(&self, record: &Record, test: &str, paths: &Paths, limit: Duration) -> io::Result<Child> {
        let Some(lock) = locked(&paths.lock)? else { return Err(io::Error::other("its batch lives already")) };
        lock.set_len(0)?;
        let log = File::create(&paths.log)?;
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", BECOME, "testwire"]).arg(&self.program);
        command.args(["batch", "--quiet", "--run-id", &record.run_id, &format!("--user={}", record.username)]);
        command.args(&self.arguments).arg("--state-dir").arg(&self.state_dir);
        command.args(["--command", test, "--timeout", &format!("{}ms", limit.as_millis())]);
        if let Some(workers) = self.workers {
            command.args(["--workers", &workers.to_string()]);
        }
        if let Some(bytes) = self.max_memory {
            command.args(["--memory", &format!("{bytes}B")]);
        }
        command.arg("--").args(&record.files).current_dir(&paths.directory);
        command.stdin(lock).stdout(log.try_clone()?).stderr(Stdio::from(log));
        command.spawn()
    }
}

impl Paths {
    /// Whether the batch lives.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn is_alive(&self) -> io::Result<bool> {
        Ok(locked(&self.lock)?.is_none())
    }

    /// The process of the batch. It means something while that lives.
    pub(super) fn process(&self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(fs::read_to_string(&self.lock).ok()?.trim().parse().ok()?)
    }
}
