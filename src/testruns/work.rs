//! Starts what waits, watches what runs, and says how it ended.

use std::fs::File;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use tokio::sync::watch;

use super::queue::now;
use super::{Queue, Record, State, names, results};

/// How often a running batch is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a batch has to end its tests, before it is killed with them.
const GRACE: Duration = Duration::from_secs(30);
/// How soon what the disk refused is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Bytes of what a batch printed, for the reason of its end.
const LAST_WORDS: u64 = 2000;

impl Queue {
    /// Works until `stop` says so. What runs then goes on, and the next process finds it.
    pub async fn work(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        for id in self.left() {
            tokio::spawn(Arc::clone(&self).watch(id, None));
        }
        loop {
            while let Some(record) = self.next() {
                let (queue, id) = (Arc::clone(&self), record.id);
                let started = tokio::task::spawn_blocking(move || queue.start(&record)).await;
                match started.map_err(io::Error::other).flatten() {
                    Ok(child) => drop(tokio::spawn(Arc::clone(&self).watch(id, Some(child)))),
                    Err(error) => self.settle(id, State::Aborted, &format!("it could not be started: {error}")),
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Runs that are on.
    pub fn running(&self) -> usize {
        self.runs().records.values().filter(|record| record.state == State::Started).count()
    }

    /// Looks at what an earlier process had started, and gives what still runs.
    fn left(&self) -> Vec<u64> {
        let started: Vec<Record> =
            self.runs().records.values().filter(|record| record.state == State::Started).cloned().collect();
        let mut alive = Vec::new();
        for record in started {
            match self.paths(&record).is_alive() {
                Ok(false) if self.launch.of_run(&record.run_id).exists() => self.ended(record.id, None, ""),
                // Its process ended between the mark and the start: nothing of it ran.
                Ok(false) => self.change(record.id, |record| {
                    record.state = State::Created;
                    record.started = None;
                }),
                Ok(true) => alive.push(record.id),
                Err(error) => tracing::error!(id = record.id, %error, "a test run cannot be looked at"),
            }
        }
        alive
    }

    /// The next run to start, which is marked as started.
    fn next(&self) -> Option<Record> {
        let mut runs = self.runs();
        let running = runs.records.values().filter(|record| record.state == State::Started).count();
        if running >= self.rules.max_running {
            return None;
        }
        let record = runs.records.values_mut().find(|record| record.state == State::Created)?;
        let marked = Record { state: State::Started, started: Some(now()), ..record.clone() };
        if let Err(error) = self.store.write(&marked) {
            tracing::error!(id = record.id, %error, "a test run cannot be marked as started, so it waits");
            return None;
        }
        *record = marked;
        Some(record.clone())
    }

    fn start(&self, record: &Record) -> io::Result<Child> {
        let gone = |what: String| io::Error::other(what);
        let command = self.rules.commands.get(&record.command);
        let command = command.ok_or_else(|| gone(format!("there is no command {:?} any more", record.command)))?;
        if !record.sent {
            // Files and links may have changed since they were looked at.
            for file in &record.files {
                names::below(&self.rules.root, file).map_err(|refused| gone(refused.to_string()))?;
            }
        }
        let child = self.launch.start(record, command, &self.paths(record), self.rules.max_time)?;
        tracing::info!(id = record.id, run = record.run_id, user = ?record.username, "a test run was started");
        Ok(child)
    }

    /// Waits for the end of a batch, and brings it about where it is cancelled or takes too long. Without `child` it is one
    /// of an earlier process.
    async fn watch(self: Arc<Self>, id: u64, mut child: Option<Child>) {
        let Some(record) = self.runs().records.get(&id).cloned() else { return };
        let paths = self.paths(&record);
        let limit = i64::try_from(self.rules.max_time.as_micros()).unwrap_or(i64::MAX);
        let until = record.started.unwrap_or_else(now).saturating_add(limit);
        let mut why = "";
        let mut told: Option<Instant> = None;
        let exit = loop {
            match &mut child {
                Some(child) => match child.try_wait() {
                    Ok(Some(exit)) => break Some(exit),
                    Ok(None) => {}
                    Err(error) => tracing::error!(id, %error, "a batch cannot be waited for"),
                },
                None if matches!(paths.is_alive(), Ok(false)) => break None,
                None => {}
            }
            let cancelled = self.runs().records.get(&id).is_none_or(|record| record.cancelled);
            if now() >= until {
                why = "it took longer than max-time of [testruns]";
            }
            let signal = match told {
                None if cancelled || !why.is_empty() => Some(Signal::TERM),
                Some(at) if at.elapsed() > GRACE => Some(Signal::KILL),
                _ => None,
            };
            if let (Some(signal), Some(process)) = (signal, paths.process()) {
                told = Some(Instant::now());
                // It may have ended by itself just now.
                kill_process(process, signal).ok();
            }
            tokio::time::sleep(LOOK).await;
        };
        let queue = Arc::clone(&self);
        // It ends with the process at the latest, and is done again by the next.
        drop(tokio::task::spawn_blocking(move || queue.ended(id, exit, why)).await);
    }

    /// A batch has ended: its journal says how.
    fn ended(&self, id: u64, exit: Option<ExitStatus>, why: &str) {
        let Some(record) = self.runs().records.get(&id).cloned() else { return };
        let outcome = results::outcome(&self.launch, &record.run_id);
        let reason = match (outcome, exit) {
            (Some(State::Passed | State::Failed), _) => String::new(),
            _ if !why.is_empty() => why.to_owned(),
            (Some(_), _) => "it was stopped".into(),
            (None, exit) => {
                let said = File::open(self.paths(&record).log)
                    .and_then(|log| results::tail(log, LAST_WORDS))
                    .unwrap_or_default()
                    .0;
                let how = exit.map_or_else(|| "while testwire did not run".to_owned(), |exit| exit.to_string());
                format!("its batch ended without a result ({how}) {}", said.trim()).trim_end().to_owned()
            }
        };
        self.settle(id, outcome.unwrap_or(State::Aborted), &reason);
    }

    /// A run is over. Forgets it if it was cancelled, and the oldest of those that are too many.
    fn settle(&self, id: u64, state: State, reason: &str) {
        if state == State::Aborted {
            tracing::warn!(id, reason, "a test run was aborted");
        }
        self.change(id, |record| {
            record.state = state;
            record.ended = Some(now());
            reason.clone_into(&mut record.reason);
        });
        let mut runs = self.runs();
        if runs.records.get(&id).is_some_and(|record| record.cancelled) {
            self.forget(&mut runs, id);
        }
        let over: Vec<u64> =
            runs.records.values().filter(|record| record.state.is_over()).map(|record| record.id).collect();
        for id in over.iter().take(over.len().saturating_sub(self.rules.max_kept)) {
            self.forget(&mut runs, *id);
        }
        drop(runs);
        self.changed.notify_one();
    }

    /// Changes a record, also on disk.
    fn change(&self, id: u64, change: impl FnOnce(&mut Record)) {
        let mut runs = self.runs();
        let Some(record) = runs.records.get_mut(&id) else { return };
        change(record);
        if let Err(error) = self.store.write(record) {
            // After a restart it is found as it was, and looked at again.
            tracing::error!(id, %error, "what became of a test run cannot be written");
        }
    }
}
