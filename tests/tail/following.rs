//! A testwire that follows logs, the Loki that it ships to, and what became of the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fake_loki::{Answer, FakeLoki, Push};

/// Nothing here takes as long on any machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// The stream of the log.
const LABELS: &str = r#"{env="local", kind="log", runner="app", service_name="shop", source="app"}"#;

/// Follows `app.log` in a directory of its own. Killed when dropped.
pub(crate) struct Following {
    runtime: tokio::runtime::Runtime,
    directory: tempfile::TempDir,
    address: String,
    loki: Option<FakeLoki>,
    /// What was stored by Lokis that are gone.
    before: Vec<(i64, String, String)>,
    arguments: Vec<String>,
    command: &'static str,
    child: Option<Child>,
    written: u64,
}

/// Lines written, and what became of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) written: u64,
    /// Entries in the sink, those that Loki drops as identical not counted.
    pub(crate) arrived: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Sent again, to the byte: Loki has each once.
    pub(crate) identical: u64,
}

impl Following {
    /// Before anything runs. `arguments` come instead of the log's path, if there are any.
    pub(crate) fn new(arguments: &[&str], script: impl Fn(&Push) -> Answer + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let loki = runtime.block_on(FakeLoki::start(script));
        let address = loki.url.trim_start_matches("http://").to_owned();
        let directory = tempfile::tempdir().unwrap();
        let arguments = if arguments.is_empty() { &["app.log"] } else { arguments };
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let (before, command) = (Vec::new(), "tail");
        Self { runtime, directory, address, loki: Some(loki), before, arguments, command, child: None, written: 0 }
    }

    /// The same by the daemon, whose settings name the log.
    pub(crate) fn by_the_daemon(script: impl Fn(&Push) -> Answer + Send + Sync + 'static) -> Self {
        let mut following = Self::new(&["--listen", "127.0.0.1:0", "--tails-from", "logs.json"], script);
        following.command = "listen";
        let logs = r#"{"tail": [{"path": "app.log"}], "source_log_tails": [{"path": "other.log"}]}"#;
        std::fs::write(following.path("logs.json"), logs).unwrap();
        following
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn start(&mut self) {
        let state = self.path("state");
        let mut command = Command::new(env!("CARGO_BIN_EXE_testwire"));
        command.current_dir(self.directory.path()).env_clear();
        command.args([self.command, "--project", "shop", "--drain-timeout", "60s", "--quiet", "--loki-url"]);
        command.arg(format!("http://{}", self.address)).arg("--state-dir").arg(state).args(&self.arguments);
        let log = OpenOptions::new().create(true).append(true).open(self.path("testwire.err")).unwrap();
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id();
        assert!(Command::new("kill").args([format!("-{name}"), id.to_string()]).status().unwrap().success());
    }

    /// Stops it where it stands, as a slow machine would.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("CONT");
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in order: everything that is there arrives.
    pub(crate) fn end(&mut self) {
        self.signal("TERM");
        let mut child = self.child.take().unwrap();
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.path("testwire.err")).unwrap_or_default()
    }

    pub(crate) fn sink_down(&mut self) {
        self.before = self.stored();
        self.loki = None;
    }

    pub(crate) fn sink_up(&mut self) {
        let address = self.address.clone();
        self.loki = Some(self.runtime.block_on(FakeLoki::start_at(&address, |_| Answer::stored())));
    }

    /// A line with the next number.
    pub(crate) fn line(&mut self) -> String {
        self.written += 1;
        format!("seq={} request handled in {} ms", self.written, self.written % 97)
    }

    /// Appends so many lines to a file, which is made if it is not there.
    pub(crate) fn write(&mut self, name: &str, lines: u64) {
        let mut text = String::new();
        for _ in 0..lines {
            text.push_str(&self.line());
            text.push('\n');
        }
        self.append(name).write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn append(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Time, metadata and line of all that is stored.
    pub(crate) fn stored(&self) -> Vec<(i64, String, String)> {
        let stored = self.loki.as_ref().map(|loki| loki.stored(LABELS)).unwrap_or_default();
        let stored = stored.into_iter().map(|entry| (entry.time, format!("{:?}", entry.metadata), entry.line));
        self.before.iter().cloned().chain(stored).collect()
    }

    /// How many lines with a number are stored, each counted once.
    pub(crate) fn arrived(&self) -> u64 {
        self.stored().iter().filter_map(|(_, _, line)| number(line)).collect::<BTreeSet<u64>>().len() as u64
    }

    /// What is kept of the places in files.
    pub(crate) fn journals(&self) -> String {
        let journals = std::fs::read_dir(self.path("state/tail")).into_iter().flatten().flatten();
        let texts = journals.filter_map(|journal| std::fs::read_to_string(journal.path()).ok());
        texts.collect()
    }

    /// Waits until so many lines have arrived.
    pub(crate) fn until(&self, lines: u64) {
        self.until_true("lines arrive", |following| following.arrived() >= lines);
    }

    pub(crate) fn until_true(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            let (arrived, written) = (self.arrived(), self.written);
            assert!(begun.elapsed() < PATIENCE, "{what}: {arrived} of {written}; {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Ends it and counts. The row is added to the file that `TESTWIRE_FAULT_TABLE` names.
    pub(crate) fn row(&mut self, name: &str) -> Row {
        if self.child.is_some() {
            self.end();
        }
        let mut distinct: BTreeSet<(i64, String, String)> = BTreeSet::new();
        let mut identical = 0;
        for entry in self.stored() {
            identical += u64::from(!distinct.insert(entry));
        }
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for number in distinct.iter().filter_map(|(_, _, line)| number(line)) {
            *times.entry(number).or_default() += 1;
        }
        let arrived = times.values().sum();
        let lost = self.written - times.len() as u64;
        let row = Row { written: self.written, arrived, lost, doubled: arrived - times.len() as u64, identical };
        if let Some(path) = std::env::var_os("TESTWIRE_FAULT_TABLE") {
            let Row { written, arrived, lost, doubled, identical } = &row;
            let line = format!("| {name} | {written} | {arrived} | {lost} | {doubled} | {identical} |\n");
            OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
        }
        row
    }

    /// The same, and nothing may be lost or doubled.
    pub(crate) fn whole(&mut self, name: &str) -> Row {
        let row = self.row(name);
        let mut seen: BTreeMap<u64, (i64, String, String)> = BTreeMap::new();
        let doubled = self.stored().into_iter().find_map(|entry| {
            let earlier = seen.insert(number(&entry.2)?, entry.clone()).filter(|earlier| *earlier != entry)?;
            Some((earlier, entry))
        });
        assert_eq!((row.lost, row.doubled), (0, 0), "{name}: {row:?}, {doubled:?}; {}", self.said());
        row
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended before.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// The number of a line.
pub(crate) fn number(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("seq=")?;
    rest.split(' ').next()?.parse().ok()
}
