//! The wrapped command: its start, the signals that reach testwire, its end.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::Command;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::{Exit, Failure};
use crate::normalize::RunEnd;

/// A running command.
pub(super) struct Child {
    process: tokio::process::Child,
    interrupts: Stream,
    quits: Stream,
    terminations: Stream,
    hangups: Stream,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended(ExitStatus);

impl Child {
    /// Starts `argv`; standard input is testwire's own, as is each of the outputs that is not given.
    ///
    /// # Errors
    /// If there is no such command, or no permission.
    pub(super) fn start(
        argv: &[OsString],
        env: &[(&'static str, OsString)],
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
    ) -> Result<Self, Failure> {
        let (program, args) = argv.split_first().ok_or_else(|| Failure::new(Exit::Usage, "no command was given"))?;
        // Before the start, so that none comes in between and ends testwire without its child.
        let failed = |e: io::Error| Failure::new(Exit::Usage, "cannot listen for signals").cause(&e);
        let interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let quits = signal(SignalKind::quit()).map_err(failed)?;
        let terminations = signal(SignalKind::terminate()).map_err(failed)?;
        let hangups = signal(SignalKind::hangup()).map_err(failed)?;
        let pipe = |writer: Option<OwnedFd>| writer.map_or_else(Stdio::inherit, Stdio::from);
        let mut command = Command::new(program);
        command.args(args).envs(env.iter().map(|(k, v)| (k, v))).stdout(pipe(stdout)).stderr(pipe(stderr));
        let process = command.spawn().map_err(|e| cannot_start(program, &e))?;
        Ok(Self { process, interrupts, quits, terminations, hangups })
    }

    /// Waits for the end, and passes on the signals that come meanwhile. May be dropped and called again.
    pub(super) async fn wait(&mut self) -> Result<Ended, Failure> {
        loop {
            let signal = tokio::select! {
                status = self.process.wait() => {
                    return status.map(Ended).map_err(|e| Failure::new(Exit::Usage, "cannot wait for the command").cause(&e));
                }
                _ = self.interrupts.recv() => Signal::INT,
                _ = self.quits.recv() => Signal::QUIT,
                _ = self.terminations.recv() => Signal::TERM,
                _ = self.hangups.recv() => Signal::HUP,
            };
            let from_terminal = matches!(signal, Signal::INT | Signal::QUIT) && in_foreground();
            if let Some(pid) = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                // A terminal sends Ctrl-C to the whole foreground group: the command has it already, and a second one
                // would mean "at once" to many runners. That it may be gone by now is no error.
                if !from_terminal {
                    kill_process(pid, signal).ok();
                }
            }
        }
    }
}

/// True if Ctrl-C at the terminal reaches this process.
fn in_foreground() -> bool {
    tcgetpgrp(io::stdin()).or_else(|_| tcgetpgrp(io::stderr())).is_ok_and(|group| group == getpgrp())
}

fn cannot_start(program: &OsString, error: &io::Error) -> Failure {
    let name = program.to_string_lossy();
    // The codes are those of a shell, so that a script sees the same with testwire and without.
    let (exit, hint) = match error.kind() {
        io::ErrorKind::NotFound => {
            (Exit::NotFound, "check the name, or give its path; shell syntax needs a shell: testwire run -- sh -c '…'")
        }
        io::ErrorKind::PermissionDenied => (Exit::CannotRun, "it is a directory, or not executable (chmod +x)"),
        _ => (Exit::CannotRun, "try the command without testwire"),
    };
    Failure::new(exit, format!("cannot run {name}")).cause(error).hint(hint)
}

impl Ended {
    /// For the run's record.
    pub(super) fn run_end(self) -> RunEnd {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => RunEnd::Exited(code),
            (None, Some(signal)) => RunEnd::Killed(signal),
            (None, None) => RunEnd::Exited(1),
        }
    }

    /// As a shell would say it: the code, or 128 + the signal.
    pub(super) fn exit_code(self) -> ExitCode {
        let code = self.0.code().or_else(|| self.0.signal().map(|s| 128 + s)).unwrap_or(1);
        ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
    }
}
