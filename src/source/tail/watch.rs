//! Who changes files in which directory, as the system tells it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Files that were written.
    pub(super) written: BTreeSet<PathBuf>,
    /// Names appeared, vanished or changed.
    pub(super) moved: bool,
    /// More happened than could be told.
    pub(super) overflow: bool,
}

#[cfg(target_os = "linux")]
mod inotify {
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStringExt as _;

    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};

    use super::*;

    /// Watches directories.
    #[derive(Debug)]
    pub(in super::super) struct Watch {
        fd: OwnedFd,
        directories: HashMap<i32, PathBuf>,
        /// Not every directory could be watched.
        pub(in super::super) is_partial: bool,
    }

    impl Watch {
        pub(in super::super) fn new() -> Option<Self> {
            let fd = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
            Some(Self { fd, directories: HashMap::new(), is_partial: false })
        }

        /// Watches these from now on; those that were are kept.
        pub(in super::super) fn add(&mut self, directories: &BTreeSet<PathBuf>) {
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            let known: BTreeSet<&PathBuf> = self.directories.values().collect();
            let fresh: Vec<PathBuf> = directories.iter().filter(|path| !known.contains(path)).cloned().collect();
            for path in fresh {
                match add_watch(&self.fd, &path, flags) {
                    Ok(number) => drop(self.directories.insert(number, path)),
                    Err(_) => self.is_partial = true,
                }
            }
        }

        pub(in super::super) fn fd(&self) -> BorrowedFd<'_> {
            self.fd.as_fd()
        }

        /// What was told since the last call.
        pub(in super::super) fn told(&mut self) -> Told {
            let mut told = Told::default();
            let mut buffer = [MaybeUninit::uninit(); 16 << 10];
            let mut gone = Vec::new();
            let mut reader = Reader::new(&self.fd, &mut buffer);
            // Ends with WOULDBLOCK; any other error means that this way is of no use any more, and files are looked at still.
            while let Ok(event) = reader.next() {
                let flags = event.events();
                told.overflow |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
                if flags.contains(ReadFlags::IGNORED) {
                    gone.push(event.wd());
                    told.moved = true;
                    continue;
                }
                told.moved |= !flags.contains(ReadFlags::MODIFY);
                if let (Some(name), Some(directory)) = (event.file_name(), self.directories.get(&event.wd())) {
                    told.written.insert(directory.join(OsString::from_vec(name.to_bytes().to_vec())));
                }
            }
            for number in gone {
                // The directory may be made again.
                self.directories.remove(&number);
            }
            told
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod inotify {
    use super::*;

    /// There is none: files are looked at in turn.
    #[derive(Debug)]
    pub(in super::super) struct Watch {
        pub(in super::super) is_partial: bool,
    }

    impl Watch {
        pub(in super::super) fn new() -> Option<Self> {
            None
        }

        pub(in super::super) fn add(&mut self, _: &BTreeSet<PathBuf>) {}

        pub(in super::super) fn told(&mut self) -> Told {
            Told::default()
        }
    }
}

pub(super) use inotify::Watch;

/// Waits until something is told, `stop` is closed or readable, or the time has come. True if it is to stop.
pub(super) fn wait(watch: Option<&Watch>, stop: BorrowedFd<'_>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(3600));
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    let mut fds = vec![PollFd::from_borrowed_fd(stop, PollFlags::IN)];
    #[cfg(target_os = "linux")]
    fds.extend(watch.map(|watch| PollFd::from_borrowed_fd(watch.fd(), PollFlags::IN)));
    #[cfg(not(target_os = "linux"))]
    let _ = watch;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => !fds[0].revents().is_empty(),
        Err(error) => {
            // Interrupted; and if it does not work at all, this must not become a busy loop.
            if io::Error::from(error).kind() != io::ErrorKind::Interrupted {
                std::thread::sleep(left.min(Duration::from_millis(250)));
            }
            false
        }
    }
}

/// The path that a watched directory would name for a file: links into other directories are told by the name there.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    (real != path).then_some(real)
}
