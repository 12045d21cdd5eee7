//! What clients may do with the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use super::launch::Paths;
use super::store::Store;
use super::{Files, Launch, Order, Record, Refused, Rules, State, names, results};

/// Longest name of a user.
const MAX_USERNAME: usize = 128;

/// The runs that were ordered.
#[derive(Debug)]
pub struct Queue {
    pub(super) rules: Rules,
    pub(super) launch: Launch,
    pub(super) store: Store,
    pub(super) changed: Notify,
    runs: Mutex<Runs>,
}

/// What is on disk, in memory.
#[derive(Debug)]
pub(super) struct Runs {
    pub(super) records: BTreeMap<u64, Record>,
    last: u64,
}

/// What was sent along, file by file.
type Contents = Vec<Vec<u8>>;

/// A page of runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// Runs on all pages.
    pub total: usize,
    /// The page, from 1.
    pub page: usize,
    /// Pages.
    pub pages: usize,
    /// Its runs, the newest first.
    pub records: Vec<Record>,
}

impl Queue {
    /// The queue of a state directory, with what earlier processes left.
    ///
    /// # Errors
    /// If it cannot be read, or another process has it.
    pub fn open(state_dir: &Path, fsync: bool, rules: Rules, launch: Launch) -> io::Result<Self> {
        let store = Store::take(state_dir, fsync)?;
        let (records, last) = store.load()?;
        Ok(Self { rules, launch, store, changed: Notify::new(), runs: Mutex::new(Runs { records, last }) })
    }

    /// Most bytes that may be sent along; `None`: nothing may.
    pub fn max_upload(&self) -> Option<u64> {
        self.rules.uploads.then_some(self.rules.max_upload)
    }

    /// True if tests can do everything on this machine.
    pub fn runs_as_root(&self) -> bool {
        self.launch.account.is_none() && rustix::process::geteuid().is_root()
    }

    /// Most files of a run.
    pub fn max_files(&self) -> usize {
        self.rules.max_files
    }

    /// Takes an order: it is on disk when this returns. Blocks on the disk.
    ///
    /// # Errors
    /// If it is not what the settings allow; then nothing is left of it.
    pub fn submit(&self, order: Order) -> Result<Record, Refused> {
        let username = order.username.trim().to_owned();
        let fits = (1..=MAX_USERNAME).contains(&username.chars().count()) && !username.contains(char::is_control);
        if !fits {
            return Err(Refused::Username);
        }
        let command = self.command(order.command.as_deref())?;
        let (files, contents) = self.files(order.files)?;
        let id = self.number()?;
        let created = now();
        let sent = contents.is_some();
        let record = Record {
            id,
            run_id: run_id(created),
            username,
            command,
            files,
            sent,
            created,
            started: None,
            ended: None,
            state: State::Created,
            reason: String::new(),
            cancelled: false,
        };
        // Others go on meanwhile, as it may be much.
        let kept = contents.map_or(Ok(()), |contents| self.keep(&record, &contents));
        if let Err(refused) = kept.map_err(Refused::from).and_then(|()| self.add(&record)) {
            self.store.remove(id);
            return Err(refused);
        }
        self.changed.notify_one();
        Ok(record)
    }

    /// The number of a new run, if there is place for one.
    fn number(&self) -> Result<u64, Refused> {
        let mut runs = self.runs();
        self.has_place(&runs)?;
        let id = runs.last + 1;
        self.store.give(id)?;
        runs.last = id;
        Ok(id)
    }

    fn add(&self, record: &Record) -> Result<(), Refused> {
        let mut runs = self.runs();
        self.has_place(&runs)?;
        self.store.write(record)?;
        runs.records.insert(record.id, record.clone());
        Ok(())
    }

    fn has_place(&self, runs: &Runs) -> Result<(), Refused> {
        let waiting = runs.records.values().filter(|record| record.state == State::Created).count();
        if waiting >= self.rules.max_queued { Err(Refused::Full(waiting)) } else { Ok(()) }
    }

    fn command(&self, wanted: Option<&str>) -> Result<String, Refused> {
        let all = || self.rules.commands.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match wanted.or(self.rules.command.as_deref()) {
            None => Err(Refused::WhichCommand(all())),
            Some(name) if self.rules.commands.contains_key(name) => Ok(name.to_owned()),
            Some(name) => Err(Refused::Command(name.chars().take(MAX_USERNAME).collect(), all())),
        }
    }

    /// Names of the files, and contents of those that were sent along.
    fn files(&self, files: Files) -> Result<(Vec<String>, Option<Contents>), Refused> {
        let (most, count) = match &files {
            Files::Named(names) => (self.rules.max_files, names.len()),
            Files::Sent(_) if !self.rules.uploads => return Err(Refused::Uploads),
            Files::Sent(sent) => (self.rules.max_files, sent.len()),
        };
        match count {
            0 => return Err(Refused::NoFiles),
            count if count > most => return Err(Refused::TooManyFiles(count, most)),
            _ => {}
        }
        let (names, contents) = match files {
            Files::Named(wanted) => {
                let names: Result<Vec<_>, _> = wanted.iter().map(|name| names::below(&self.rules.root, name)).collect();
                (names?, None)
            }
            Files::Sent(sent) => {
                let (wanted, contents): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
                let names: Result<Vec<_>, _> = wanted.iter().map(|name| names::sent(name)).collect();
                (names?, Some(contents))
            }
        };
        let mut seen = BTreeSet::new();
        match names.iter().find(|name| !seen.insert(name.as_str())) {
            Some(twice) => Err(Refused::Twice(twice.clone())),
            None => Ok((names, contents)),
        }
    }

    /// Writes what was sent along into a directory of its own, which belongs to the account that runs it.
    fn keep(&self, record: &Record, contents: &[Vec<u8>]) -> io::Result<()> {
        let directory = self.store.files(record.id);
        fs::create_dir(&directory)?;
        let give = |path: &Path| match &self.launch.account {
            Some(account) => chown(path, Some(account.uid), Some(account.gid)),
            None => Ok(()),
        };
        for (name, content) in record.files.iter().zip(contents) {
            let path = directory.join(name);
            fs::write(&path, content)?;
            give(&path)?;
        }
        give(&directory)
    }

    /// A page of runs, the newest first: upstream begins with the oldest, and its clients never ask for another page.
    pub fn list(&self, page: usize, per_page: usize) -> Listed {
        let runs = self.runs();
        let shown: Vec<&Record> = runs.records.values().rev().filter(|record| !record.cancelled).collect();
        let records = shown.iter().skip((page - 1).saturating_mul(per_page)).take(per_page);
        Listed {
            total: shown.len(),
            page,
            pages: shown.len().div_ceil(per_page),
            records: records.map(|record| (*record).clone()).collect(),
        }
    }

    /// A run.
    pub fn get(&self, id: u64) -> Option<Record> {
        self.runs().records.get(&id).filter(|record| !record.cancelled).cloned()
    }

    /// The run with this id in Loki.
    pub fn by_run_id(&self, run_id: &str) -> Option<Record> {
        self.runs().records.values().find(|record| record.run_id == run_id && !record.cancelled).cloned()
    }

    /// What its files said, at most about `most` bytes of it. Blocks on the disk.
    pub fn results(&self, record: &Record, most: u64) -> String {
        results::text(record, &self.launch, most)
    }

    /// Removes a run; one that is running ends first. False if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// Those of the disk; then nothing has changed.
    pub fn cancel(&self, id: u64) -> io::Result<bool> {
        let mut runs = self.runs();
        let Some(record) = runs.records.get_mut(&id).filter(|record| !record.cancelled) else { return Ok(false) };
        if record.state == State::Started {
            self.store.write(&Record { cancelled: true, ..record.clone() })?;
            record.cancelled = true;
        } else {
            self.forget(&mut runs, id);
        }
        Ok(true)
    }

    /// Forgets a run whose batch has ended, or never began.
    pub(super) fn forget(&self, runs: &mut Runs, id: u64) {
        let Some(record) = runs.records.remove(&id) else { return };
        let kept = self.launch.of_run(&record.run_id);
        if let Err(error) = fs::remove_dir_all(&kept).or_else(|e| if kept.exists() { Err(e) } else { Ok(()) }) {
            tracing::warn!(path = %kept.display(), %error, "what is left of a test run cannot be removed");
        }
        self.store.remove(id);
    }

    pub(super) fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().expect("no holder of the lock panics")
    }

    pub(super) fn paths(&self, record: &Record) -> Paths {
        Paths {
            directory: if record.sent { self.store.files(record.id) } else { self.rules.root.clone() },
            lock: self.store.of(record.id, "lock"),
            log: self.store.of(record.id, "log"),
        }
    }
}

/// Microseconds since the epoch.
pub(super) fn now() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

/// As those that testwire makes elsewhere: the time and six letters.
fn run_id(created: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(created).unwrap_or_default().format("%Y%m%dT%H%M%SZ");
    let word: String = (0..6).map(|_| fastrand::lowercase()).collect();
    format!("{time}-{word}")
}
