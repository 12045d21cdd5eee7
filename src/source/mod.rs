//! Where bytes come from, and how they become lines.

pub mod follow;
pub mod http;
pub mod lines;
pub mod tail;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use follow::Follow;

/// A source of bytes that the pipeline's one loop can wait for.
#[derive(Debug)]
pub enum Source {
    /// A pipe, a terminal or standard input: poll(2) says when there is something.
    Fd(File),
    /// A growing file: looked at regularly, because poll(2) calls a regular file always ready.
    Follow(Follow),
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now; there may be more later.
    Nothing,
    /// The end; there will be no more.
    End,
}

impl Source {
    /// A pipe or the like.
    pub fn from_fd(fd: OwnedFd) -> Self {
        // A pipe holds 64 KiB at first: a quick writer and the reader would take turns at each quarter of a read, and
        // what each read gives goes to the spool by itself. That it is no pipe, or that the user's pipes hold too much
        // already, is no error.
        #[cfg(target_os = "linux")]
        rustix::pipe::fcntl_setpipe_size(&fd, lines::READ).ok();
        Self::Fd(File::from(fd))
    }

    /// What to wait for, if it can be waited for.
    pub fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Fd(file) => Some(file.as_fd()),
            Self::Follow(_) => None,
        }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// As read(2) says; an interrupted call is [`Got::Nothing`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Got> {
        match self {
            Self::Fd(file) => match file.read(buffer) {
                Ok(0) => Ok(Got::End),
                Ok(n) => Ok(Got::Bytes(n)),
                Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                    Ok(Got::Nothing)
                }
                // A pseudo-terminal whose other side is gone says EIO where a pipe says end.
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(Got::End),
                Err(e) => Err(e),
            },
            Self::Follow(follow) => Ok(match follow.read(buffer)? {
                0 => Got::Nothing,
                n => Got::Bytes(n),
            }),
        }
    }
}
