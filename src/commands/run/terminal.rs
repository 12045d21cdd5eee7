//! Pseudo-terminals: a command whose output testwire reads sees a terminal where the user has one.
//!
//! Only output goes through them. Standard input, the controlling terminal and the process group are the user's own, so
//! Ctrl-C, Ctrl-Z, passwords and keys work as without testwire. A pseudo-terminal changes no byte (its line ends are left to the
//! terminal behind it), and has that one's size.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::fstat;
use rustix::process::{Signal, getpgrp, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use tokio::signal::unix::{self, SignalKind, signal};

use crate::pipeline::feed::Tee;

/// What is read and what the command writes to.
pub(super) struct Ends {
    /// For testwire.
    pub(super) reader: OwnedFd,
    /// For the command.
    pub(super) writer: OwnedFd,
}

/// The pseudo-terminals of a command, which follow the size of the terminal.
#[derive(Default)]
pub(super) struct Terminals {
    all: Vec<(OwnedFd, Winsize)>,
    resized: Option<unix::Signal>,
}

impl Terminals {
    /// What a command may write to in place of `stream`: a pseudo-terminal if that is a terminal, else a pipe.
    ///
    /// # Errors
    /// If the system has no descriptors or pseudo-terminals left.
    pub(super) fn ends(&mut self, stream: impl AsFd + IsTerminal) -> io::Result<Ends> {
        if !stream.is_terminal() {
            let (reader, writer) = io::pipe()?;
            return Ok(Ends { reader: reader.into(), writer: writer.into() });
        }
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let reader = openpt(flags)?;
        grantpt(&reader)?;
        unlockpt(&reader)?;
        let writer = ioctl_tiocgptpeer(&reader, flags)?;
        let mut modes = tcgetattr(&stream)?;
        modes.output_modes.remove(OutputModes::OPOST);
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&writer, OptionalActions::Now, &modes)?;
        let size = tcgetwinsize(&stream)?;
        tcsetwinsize(&reader, size)?;
        if self.resized.is_none() {
            self.resized = signal(SignalKind::window_change()).ok();
        }
        self.all.push((rustix::io::dup(&reader)?, size));
        Ok(Ends { reader, writer })
    }

    /// Passes on the terminal's new size each time it changes; never ends. May be dropped and called again.
    pub(super) async fn follow(&mut self) {
        let Some(resized) = &mut self.resized else { return std::future::pending().await };
        while resized.recv().await.is_some() {
            let size = [tcgetwinsize(io::stdout()), tcgetwinsize(io::stderr())].into_iter().find_map(Result::ok);
            let Some(size) = size else { continue };
            let mut news = false;
            for (terminal, last) in &mut self.all {
                if (last.ws_row, last.ws_col) != (size.ws_row, size.ws_col) {
                    *last = size;
                    news |= tcsetwinsize(terminal, size).is_ok();
                }
            }
            // The command may have asked before its terminal had the new size. This process gets the signal too, and
            // finds nothing new then.
            if news {
                kill_process_group(getpgrp(), Signal::WINCH).ok();
            }
        }
        std::future::pending().await
    }
}

/// True if standard output and standard error are one terminal, so that what is written to them has an order.
pub(super) fn is_shared() -> bool {
    let device = |stream: &dyn AsFdTerminal| stream.device();
    device(&io::stdout()).is_some_and(|out| device(&io::stderr()) == Some(out))
}

trait AsFdTerminal {
    fn device(&self) -> Option<u64>;
}

impl<T: AsFd + IsTerminal> AsFdTerminal for T {
    fn device(&self) -> Option<u64> {
        if self.is_terminal() { fstat(self).ok().map(|stat| stat.st_rdev) } else { None }
    }
}

/// Passes bytes on, and notes when they move the cursor over what was drawn before: nothing else can be shown then.
pub(super) struct Watched<T> {
    pub(super) tee: T,
    /// Set at the first sign.
    pub(super) redraws: Arc<AtomicBool>,
}

impl<T: Tee> Tee for Watched<T> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.redraws.load(Ordering::Relaxed) && redraws(bytes) {
            self.redraws.store(true, Ordering::Relaxed);
        }
        self.tee.bytes(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.tee.end()
    }
}

/// Cursor up or to a place, erase in display, scrolling region, another screen (ECMA-48 and xterm). Colours, carriage returns and
/// erasing to the end of a line do no harm to other rows.
fn redraws(bytes: &[u8]) -> bool {
    memchr::memmem::find_iter(bytes, b"\x1b[").any(|at| {
        let sequence = bytes.get(at + 2..).unwrap_or_default();
        let last = sequence.iter().position(|byte| (b'@'..=b'~').contains(byte));
        let Some((parameters, end)) = last.and_then(|last| Some((sequence.get(..last)?, sequence.get(last)?))) else {
            return false;
        };
        matches!(end, b'A' | b'F' | b'H' | b'J' | b'f' | b'r') || (*end == b'h' && parameters == b"?1049")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_over_other_rows_is_told_from_colours_and_progress_in_a_line() {
        for text in ["\x1b[2A\x1b[Kx", "\x1b[H\x1b[2J", "one\x1b[1;1Htwo", "\x1b[?1049h"] {
            assert!(redraws(text.as_bytes()), "{text:?}");
        }
        for text in ["\x1b[1;31mred\x1b[0m", "10 %\r20 %\x1b[K\r", "plain", "\x1b[", "\x1b[?25l"] {
            assert!(!redraws(text.as_bytes()), "{text:?}");
        }
    }
}
