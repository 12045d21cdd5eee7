//! Sees to it that no process of a batch outlives it, even if testwire is killed.
//!
//! The guard is a process of its own, in a group of its own, that reads from a pipe whose other end only testwire has. It is
//! told of each process group before that may run, and of its end. When the pipe ends, testwire is gone: what is left of the
//! groups is killed, and whatever else carries the batch's mark in its environment, such as a daemon that left its group.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

use crate::exit::{Exit, Failure};

/// Name of the command that is a guard; not for people.
pub const COMMAND: &str = "batch-guard";
/// The variable that marks the processes of a batch.
pub(super) const MARK: &str = "TESTWIRE_BATCH";
/// A process that starts others while it is being killed is met again; so often that is tried.
const ROUNDS: u32 = 20;

/// The guard as testwire has it.
#[derive(Debug)]
pub(super) struct Guard {
    process: Child,
    pipe: Option<ChildStdin>,
    mark: String,
}

impl Guard {
    /// Starts the guard of a batch.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(mark: String) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(COMMAND).arg(&mark).process_group(0);
        // A batch within a batch has marks of its own, and its guard outlives it.
        command.env_remove(MARK);
        // Nobody shall wait for it at the end of testwire's own output.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe, mark })
    }

    /// The mark of a file: the value of [`MARK`].
    pub(super) fn mark(&self, index: usize, attempt: u32) -> String {
        format!("{}/{index}.{attempt}", self.mark)
    }

    /// A group begins.
    ///
    /// # Errors
    /// If the guard is gone.
    pub(super) fn add(&mut self, group: u32) -> io::Result<()> {
        self.tell('+', group)
    }

    /// A group has ended.
    pub(super) fn remove(&mut self, group: u32) {
        // A guard that is gone needs not know.
        self.tell('-', group).ok();
    }

    fn tell(&mut self, what: char, group: u32) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.pipe.as_mut().ok_or_else(gone)?.write_all(format!("{what}{group}\n").as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends at once, but for what has left its group.
        self.process.wait().ok();
    }
}

/// The guard itself: waits for testwire's end.
///
/// # Errors
/// Never; what is left is killed as far as that can be.
pub fn guard(mark: &str) -> Result<(), Failure> {
    let mut groups = BTreeSet::new();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_at_checked(1).and_then(|(what, group)| Some((what, group.parse::<u32>().ok()?))) {
            Some(("+", group)) => drop(groups.insert(group)),
            Some((_, group)) => drop(groups.remove(&group)),
            None => return Err(Failure::new(Exit::Usage, format!("{COMMAND} is for testwire itself"))),
        }
    }
    groups.iter().for_each(|group| kill_group(*group, Signal::KILL));
    kill_marked(mark);
    Ok(())
}

/// Sends a signal to a process group; that it is gone already is no error.
pub(super) fn kill_group(group: u32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group.cast_signed()) {
        kill_process_group(group, signal).ok();
    }
}

/// Kills every process whose mark is this or begins with it and a slash.
pub(super) fn kill_marked(mark: &str) {
    for _ in 0..ROUNDS {
        let found = marked(mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            kill_process(pid, Signal::KILL).ok();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes of this user with this mark in the environment that they began with.
fn marked(mark: &str) -> Vec<Pid> {
    let entry = format!("{MARK}={mark}");
    let is_marked = |environment: &[u8]| {
        environment.split(|byte| *byte == 0).any(|variable| {
            variable.strip_prefix(entry.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let found = processes.filter_map(|process| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        // A dead process that nobody has waited for yet has none.
        let environment = fs::read(process.path().join("environ")).ok()?;
        (pid != getpid() && is_marked(&environment)).then_some(pid)
    });
    found.collect()
}
