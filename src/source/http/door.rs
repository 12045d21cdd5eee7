//! The way from a request to the thread that owns the runs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::decode::clients::{Answer, Message};

/// Messages that may wait; each is of a request that waits for its answer.
const WAITING: usize = 4096;
/// How long a request waits for its answer before the client is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A message, and who waits for the answer.
#[derive(Debug)]
pub struct Job {
    /// What came.
    pub message: Message,
    /// Takes the answer once what came of the message is in the spool.
    pub answer: oneshot::Sender<Answer>,
}

/// Why a message got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// Too much waits; later it can be taken.
    Busy,
    /// testwire is ending.
    Ending,
}

/// Takes messages; cloned for every connection.
#[derive(Clone)]
pub struct Door {
    jobs: SyncSender<Job>,
    is_full: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl Door {
    /// A door, and the other side of it. `is_full` says that the spool takes no more.
    pub fn new(is_full: Arc<dyn Fn() -> bool + Send + Sync>) -> (Self, Receiver<Job>) {
        let (jobs, receiver) = sync_channel(WAITING);
        (Self { jobs, is_full }, receiver)
    }

    /// True if messages are taken now.
    pub fn is_open(&self) -> bool {
        !(self.is_full)()
    }

    /// Hands a message in and waits until what came of it is in the spool.
    ///
    /// # Errors
    /// If it cannot be taken now.
    pub async fn hand_in(&self, message: Message) -> Result<Answer, Shut> {
        if !self.is_open() {
            return Err(Shut::Busy);
        }
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { message, answer }).map_err(|error| match error {
            TrySendError::Full(_) => Shut::Busy,
            TrySendError::Disconnected(_) => Shut::Ending,
        })?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Shut::Ending),
            Err(_) => Err(Shut::Busy),
        }
    }
}
