//! Names, the lock, and the ways in which files are replaced and kept aside.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::SpoolError;

const LOCK: &str = "lock";
const CURSOR: &str = "cursor";
const SEGMENT: &str = "segment";
const NEW: &str = "new";
/// Where damaged pieces are kept, beside the queues and not in one, as a queue is removed when it is empty.
const CORRUPT: &str = "corrupt";

pub(super) fn cursor(dir: &Path) -> PathBuf {
    dir.join(CURSOR)
}

/// The cursor, and what an interrupted attempt to replace it left.
pub(super) fn cursors(dir: &Path) -> [PathBuf; 2] {
    [cursor(dir), cursor(dir).with_extension(NEW)]
}

/// The segment that begins with this record.
pub(super) fn segment(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.{SEGMENT}"))
}

/// The first record of each segment, in order.
pub(super) fn segments(dir: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        let stem = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
        if let Some(base) = stem
            && path == segment(dir, base)
        {
            bases.push(base);
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Wraps an error with what was done to which path.
pub(super) fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { what, path: path.clone(), source }
}

/// Puts a file in the place of another: who looks, also after a SIGKILL, sees the one or the other, whole. With `sync`
/// it returns after the file, and then the directory, were synced, so that this also holds after a power failure.
pub(super) fn replace_file(path: &Path, bytes: &[u8], sync: bool) -> io::Result<()> {
    let new = path.with_extension(NEW);
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    if sync {
        file.sync_all()?;
    }
    fs::rename(&new, path)?;
    if sync {
        sync_parent(path)?;
    }
    Ok(())
}

/// Makes it durable that a file was made or renamed.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(parent)?.sync_all()
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Held while the process lives, however it ends: the kernel lets go of a `flock` with the last descriptor.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes a directory that is locked from the moment at which it can be seen.
    pub(super) fn create(dir: &Path) -> Result<Self, SpoolError> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let hidden = dir.with_file_name(format!(".{name}.{NEW}"));
        fs::create_dir_all(&hidden).map_err(failed("create", &hidden))?;
        let path = hidden.join(LOCK);
        let file = File::create(&path).map_err(failed("create", &path))?;
        try_lock(&file).map_err(failed("lock", &path))?.then_some(()).ok_or_else(|| SpoolError::Locked(dir.into()))?;
        // An empty directory would be replaced, any other makes this fail.
        fs::rename(&hidden, dir).map_err(|error| {
            remove_file(&path).and_then(|()| fs::remove_dir(&hidden)).ok();
            failed("create", dir)(error)
        })?;
        Ok(Self { _file: file })
    }

    /// The lock of a queue that has no living owner; `None` if it has one, or is no queue any more.
    pub(super) fn adopt(dir: &Path) -> Result<Option<Self>, SpoolError> {
        let path = dir.join(LOCK);
        // Who only looks whether the owner lives holds the lock for some microseconds, which is not meant.
        for _ in 0..5 {
            let file = match OpenOptions::new().read(true).write(true).open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                file => file.map_err(failed("open", &path))?,
            };
            if try_lock(&file).map_err(failed("lock", &path))? {
                // Its owner may have removed the queue between our opening and our locking.
                return Ok(is_at(&file, &path).then_some(Self { _file: file }));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }

    /// Whether the queue has an owner; false if it is no queue.
    pub(super) fn is_held(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(LOCK)) else { return false };
        !matches!(try_lock(&file), Ok(true))
    }

    /// Removes the directory, of which only the lock is left.
    pub(super) fn remove(dir: &Path) -> Result<(), SpoolError> {
        remove_file(&dir.join(LOCK)).and_then(|()| fs::remove_dir(dir)).map_err(failed("remove", dir))
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(mine), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (mine.dev(), mine.ino()) == (there.dev(), there.ino())
}

/// The directories of queues below a folder, sorted; none if there is no such folder.
pub(super) fn queues(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut queues = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.join(LOCK).is_file() {
            queues.push(path);
        }
    }
    queues.sort_unstable();
    Ok(queues)
}

/// Removes what is left of queues whose making was cut short: hidden directories with a lock that nobody holds.
pub(super) fn sweep(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let is_new = name.starts_with(b".") && name.ends_with(NEW.as_bytes());
        // One that is being made right now holds its lock, or has none for a moment.
        let age = || path.metadata().ok()?.modified().ok()?.elapsed().ok();
        if is_new && matches!(Lock::adopt(&path), Ok(Some(_))) {
            Lock::remove(&path).ok();
        } else if is_new && age().is_some_and(|age| age > Duration::from_secs(60)) {
            fs::remove_dir(&path).ok();
        }
    }
}

/// Keeps a damaged piece of a segment aside, durably. A piece that is kept again takes its own place.
pub(super) fn keep_aside(dir: &Path, base: u64, at: u64, bytes: &[u8]) -> io::Result<()> {
    let folder = dir.with_file_name(CORRUPT);
    fs::create_dir_all(&folder)?;
    replace_file(&folder.join(format!("{}{base}-{at}.bin", kept_prefix(dir))), bytes, true)
}

/// How many pieces of this queue were kept aside.
pub(super) fn kept_aside(dir: &Path) -> io::Result<u64> {
    let entries = match fs::read_dir(dir.with_file_name(CORRUPT)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let prefix = kept_prefix(dir);
    let mut count = 0;
    for entry in entries {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        count += u64::from(name.starts_with(&prefix) && name.ends_with(".bin"));
    }
    Ok(count)
}

fn kept_prefix(dir: &Path) -> String {
    format!("{}-", dir.file_name().unwrap_or_default().to_string_lossy())
}
