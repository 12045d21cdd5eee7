//! One attempt of a file: its process group, its time limit, its end.

use std::ffi::OsString;
use std::io::{self, PipeWriter, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::process::{Child as Process, Command};
use tokio::sync::watch;

use super::guard::{Guard, MARK, kill_group, kill_marked};
use crate::event::Status;
use crate::normalize::PartEnd;

/// How long a file may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Waits until the guard knows of the group before it becomes the command, so that no kill of testwire, at whatever moment,
/// leaves one behind: it ends when the pipe does. Its argument is the limit of memory in KiB; 0: none.
const SHIM: &str =
    r#"IFS= read -r go || exit 125; [ "$1" = 0 ] || ulimit -v "$1" || exit 125; shift; exec "$@" </dev/null"#;

/// What is to become of the files that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// They run on.
    No,
    /// They are asked to end, and killed if they do not.
    Soon,
    /// They are killed.
    Now,
}

/// A process group at work.
pub(super) struct Child {
    process: Process,
    group: u32,
    mark: String,
    began: Instant,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    pub(super) group: u32,
    pub(super) took: Duration,
    status: Option<ExitStatus>,
    pub(super) timed_out: Option<Duration>,
    pub(super) stopped: bool,
}

impl Child {
    /// Starts a command, each process of which may have so many bytes of memory.
    ///
    /// # Errors
    /// If there can be no more processes.
    pub(super) fn start(
        argv: &[OsString],
        env: &[(&'static str, OsString)],
        (out, err): (PipeWriter, PipeWriter),
        mark: String,
        memory: Option<u64>,
        guard: &mut Guard,
    ) -> io::Result<Self> {
        let memory = memory.map_or(0, |bytes| bytes.div_ceil(1024).max(1)).to_string();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SHIM).arg("testwire").arg(memory).args(argv);
        command.envs(env.iter().map(|(name, value)| (name, value))).env(MARK, &mark);
        command.process_group(0).stdin(Stdio::piped()).stdout(out).stderr(err);
        let began = Instant::now();
        let mut process = command.spawn()?;
        let group = process.id().ok_or_else(|| io::Error::other("the process is gone"))?;
        guard.add(group)?;
        if let Some(stdin) = process.stdin.take() {
            std::fs::File::from(stdin.into_owned_fd()?).write_all(b"\n")?;
        }
        Ok(Self { process, group, mark, began })
    }

    /// Waits for its end, or brings it about.
    pub(super) async fn wait(mut self, timeout: Option<Duration>, mut stop: watch::Receiver<Stop>) -> Gone {
        let (mut timed_out, mut stopped) = (None, false);
        let ended = tokio::select! {
            ended = self.process.wait() => Some(ended),
            () = after(timeout) => {
                timed_out = timeout;
                None
            }
            // The other side is kept as long as files run.
            _ = stop.wait_for(|stop| *stop > Stop::No) => {
                stopped = true;
                None
            }
        };
        let ended = match ended {
            Some(ended) => ended,
            None => self.end(&mut stop).await,
        };
        let took = self.began.elapsed();
        // What it left in its group has nobody to tell anything.
        kill_group(self.group, Signal::KILL);
        Gone { group: self.group, took, status: ended.ok(), timed_out, stopped }
    }

    /// Asks the group to end, then kills it with all that carries its mark.
    async fn end(&mut self, stop: &mut watch::Receiver<Stop>) -> io::Result<ExitStatus> {
        kill_group(self.group, Signal::TERM);
        tokio::select! {
            _ = self.process.wait() => {}
            () = tokio::time::sleep(GRACE) => {}
            _ = stop.wait_for(|stop| *stop == Stop::Now) => {}
        }
        kill_group(self.group, Signal::KILL);
        let mark = self.mark.clone();
        // It prints its own panic.
        tokio::task::spawn_blocking(move || kill_marked(&mark)).await.ok();
        self.process.wait().await
    }
}

async fn after(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

impl Gone {
    /// A command that could not be started.
    pub(super) fn never() -> Self {
        Self { group: 0, took: Duration::ZERO, status: None, timed_out: None, stopped: false }
    }

    /// The exit code, if it ended by itself.
    pub(super) fn code(&self) -> Option<i32> {
        self.status.filter(|_| self.timed_out.is_none() && !self.stopped)?.code()
    }

    /// The signal that ended it.
    pub(super) fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }

    /// True if the file passed.
    pub(super) fn has_passed(&self) -> bool {
        self.code() == Some(0)
    }

    /// For the run's record.
    pub(super) fn part_end(&self, why_stopped: &str) -> PartEnd {
        let (status, message) = match (self.timed_out, self.code(), self.signal()) {
            _ if self.stopped => (Status::Unfinished, why_stopped.to_owned()),
            (Some(timeout), ..) => {
                (Status::Errored, format!("timed out after {}", crate::config::value::Period(timeout)))
            }
            (None, Some(0), _) => (Status::Passed, String::new()),
            (None, Some(code @ (126 | 127)), _) => {
                (Status::Errored, format!("exit code {code}: the command cannot be run"))
            }
            (None, Some(code), _) => (Status::Failed, format!("exit code {code}")),
            (None, None, Some(signal)) => (Status::Errored, format!("killed by signal {}", name(signal))),
            (None, None, None) => (Status::Errored, "the command cannot be started".to_owned()),
        };
        PartEnd { status, exit_code: self.code(), message, duration: self.took }
    }
}

/// `11 (SIGSEGV)`.
fn name(signal: i32) -> String {
    let name = match Signal::from_named_raw(signal) {
        Some(Signal::SEGV) => "SIGSEGV",
        Some(Signal::ABORT) => "SIGABRT",
        Some(Signal::KILL) => "SIGKILL",
        Some(Signal::TERM) => "SIGTERM",
        Some(Signal::INT) => "SIGINT",
        Some(Signal::BUS) => "SIGBUS",
        Some(Signal::FPE) => "SIGFPE",
        Some(Signal::ILL) => "SIGILL",
        Some(Signal::HUP) => "SIGHUP",
        Some(Signal::PIPE) => "SIGPIPE",
        _ => return signal.to_string(),
    };
    format!("{signal} ({name})")
}
