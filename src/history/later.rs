//! Files that are written after the fact, one after the other: a daemon answers its other clients meanwhile, and other commands
//! ship the last entries.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Job = (PathBuf, Box<dyn FnOnce() + Send>);

/// A thread that is there once there is something to do.
#[derive(Default)]
pub(super) struct Later {
    thread: Mutex<Option<(Sender<Job>, JoinHandle<()>)>>,
    waiting: Arc<Waiting>,
}

/// How many jobs there are for each file that are not done.
#[derive(Default)]
struct Waiting {
    files: Mutex<HashMap<PathBuf, usize>>,
    done: Condvar,
}

impl Waiting {
    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        // No holder of the lock panics.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry_out(&self, jobs: &Receiver<Job>) {
        for (path, job) in jobs {
            // A panic was printed, and is no reason to lose the other files, or to have anybody wait for ever.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).ok();
            let mut files = self.files();
            if let Some(count) = files.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    files.remove(&path);
                }
            }
            self.done.notify_all();
        }
    }
}

impl Later {
    /// Has `job` write this file, behind all that was asked for before. Where there can be no thread, it is done now.
    pub(super) fn write(&self, path: &Path, job: impl FnOnce() + Send + 'static) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (sender, jobs) = channel();
            let waiting = Arc::clone(&self.waiting);
            let begun = std::thread::Builder::new().name("history".into()).spawn(move || waiting.carry_out(&jobs));
            *thread = begun.ok().map(|handle| (sender, handle));
        }
        let Some((sender, _)) = &*thread else { return job() };
        *self.waiting.files().entry(path.to_owned()).or_default() += 1;
        // The thread takes jobs until the sender is dropped.
        drop(sender.send((path.to_owned(), Box::new(job))));
    }

    /// True while this file is still to be written.
    pub(super) fn is_writing(&self, path: &Path) -> bool {
        self.waiting.files().contains_key(path)
    }

    /// Waits until this file is written as far as that was asked for.
    pub(super) fn wait_for(&self, path: &Path) {
        let files = self.waiting.files();
        drop(self.waiting.done.wait_while(files, |files| files.contains_key(path)));
    }

    /// Waits until all is written.
    pub(super) fn finish(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((sender, handle)) = thread {
            drop(sender);
            handle.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_order_and_those_of_a_file_can_be_waited_for() {
        let (later, seen) = (Later::default(), Arc::new(Mutex::new(Vec::new())));
        let (open, gate) = channel::<()>();
        let note = |what: &'static str| {
            let seen = Arc::clone(&seen);
            move || seen.lock().unwrap().push(what)
        };
        later.write(Path::new("a"), note("first"));
        later.write(Path::new("b"), move || gate.recv().unwrap());
        later.write(Path::new("a"), || panic!("meant"));
        later.write(Path::new("a"), note("second"));
        later.wait_for(Path::new("c"));
        open.send(()).unwrap();
        later.wait_for(Path::new("a"));
        assert_eq!(*seen.lock().unwrap(), ["first", "second"]);
        later.write(Path::new("c"), note("third"));
        later.finish();
        assert_eq!(*seen.lock().unwrap(), ["first", "second", "third"]);
        assert!(later.waiting.files().is_empty());
    }
}
