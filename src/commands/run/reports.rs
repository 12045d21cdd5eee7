//! Reports that Maven and Gradle write while they run, one for each class of tests when it is over: each is appended to the
//! run's event file, as a listener appends its events.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::decode::{REPORT_AGAIN, ReportHead};

/// How often the directories are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// Folders of modules below the project; deeper ones are not looked for, as that would mean to walk through everything.
const MODULES: [&str; 4] = ["", "*/", "*/*/", "*/*/*/"];
/// Where Surefire, Failsafe and Gradle write (their default `reportsDirectory` and `junitXml.outputLocation`), and how many folders
/// above is the module.
const REPORTS: [(&str, usize); 3] = [
    ("target/surefire-reports/TEST-*.xml", 3),
    ("target/failsafe-reports/TEST-*.xml", 3),
    ("build/test-results/*/TEST-*.xml", 4),
];

/// A thread that watches until it is told to stop.
#[derive(Debug)]
pub(super) struct Reports {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Reports {
    /// Watches below `project`. What is there already is of an earlier run.
    ///
    /// # Errors
    /// If `events` cannot be opened, or no thread be started.
    pub(super) fn start(project: &Path, events: &Path) -> io::Result<Self> {
        let events = File::options().append(true).open(events)?;
        let mut watcher = Watcher { project: project.to_owned(), events, known: HashMap::new(), taken: HashSet::new() };
        for (path, _) in watcher.paths() {
            if let Some(state) = State::of(&path) {
                watcher.known.insert(path, state);
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            while !stopped.load(Ordering::Acquire) {
                watcher.look(false);
                std::thread::park_timeout(EVERY);
            }
            watcher.look(true);
        };
        let thread = std::thread::Builder::new().name("reports".into()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Looks for the last time, and ends.
    pub(super) fn finish(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the reports of the runner could not be read to their end");
        }
    }
}

/// A file as it was when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    length: u64,
    modified: SystemTime,
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let facts = fs::metadata(path).ok()?;
        Some(Self { length: facts.len(), modified: facts.modified().ok()? })
    }
}

struct Watcher {
    project: PathBuf,
    events: File,
    known: HashMap<PathBuf, State>,
    /// Files of this run.
    taken: HashSet<PathBuf>,
}

impl Watcher {
    /// The reports that there are, each with the number of folders that its module is above it.
    fn paths(&self) -> Vec<(PathBuf, usize)> {
        let project = glob::Pattern::escape(&self.project.to_string_lossy());
        let mut found = Vec::new();
        for module in MODULES {
            for (report, above) in REPORTS {
                let paths = glob::glob(&format!("{project}/{module}{report}")).into_iter().flatten();
                found.extend(paths.filter_map(Result::ok).map(|path| (path, above)));
            }
        }
        found
    }

    /// Takes what is new, and what was written again: Surefire does so when failed tests were run again. `last`: also what
    /// is not whole.
    fn look(&mut self, last: bool) {
        for (path, above) in self.paths() {
            let Some(state) = State::of(&path).filter(|state| self.known.get(&path) != Some(state)) else { continue };
            let Ok(report) = fs::read(&path) else { continue };
            if !last && !is_whole(&report) {
                continue;
            }
            // In one piece, as other writers do.
            let again = if self.taken.insert(path.clone()) { String::new() } else { format!("{REPORT_AGAIN}\n") };
            let text = [again.as_bytes(), &report, b"\n"].concat();
            let text = [head(&path, above, &text).as_bytes(), &text].concat();
            if let Err(error) = self.events.write_all(&text) {
                tracing::error!(path = %path.display(), %error, "a report could not be kept; import it later");
            }
            self.known.insert(path, state);
        }
    }
}

/// The line before a report.
fn head(path: &Path, above: usize, report: &[u8]) -> String {
    let module = path.ancestors().nth(above).unwrap_or(path);
    let module = fs::canonicalize(module).unwrap_or_else(|_| module.to_owned());
    let lines = memchr::memchr_iter(b'\n', report).count();
    let head = ReportHead { report_of: module.to_string_lossy().into_owned(), lines };
    serde_json::to_string(&head).map_or_else(|_| String::new(), |text| text + "\n")
}

/// True if the last tag is that of a suite, which is empty then; what is half written may end with any tag.
fn is_root(report: &[u8]) -> bool {
    let last = memchr::memrchr(b'<', report).and_then(|at| report.get(at..)).unwrap_or_default();
    last.starts_with(b"<testsuite")
}

fn is_whole(report: &[u8]) -> bool {
    let end = report.trim_ascii_end();
    end.ends_with(b"</testsuite>") || end.ends_with(b"</testsuites>") || (end.ends_with(b"/>") && is_root(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn reports_that_come_are_taken_once_when_they_are_whole_and_again_when_they_change() {
        let project = tempfile::tempdir().unwrap();
        let at = |path: &str| project.path().join(path);
        write(&at("target/surefire-reports/TEST-old.xml"), "<testsuite name=\"old\"/>");
        write(&at("events"), "");
        let mut watcher = Watcher {
            project: project.path().to_owned(),
            events: File::options().append(true).open(at("events")).unwrap(),
            known: HashMap::new(),
            taken: HashSet::new(),
        };
        watcher.known =
            watcher.paths().into_iter().filter_map(|(path, _)| Some((path.clone(), State::of(&path)?))).collect();
        let taken = |watcher: &mut Watcher, last| {
            let before = fs::read_to_string(at("events")).unwrap().len();
            watcher.look(last);
            fs::read_to_string(at("events")).unwrap().get(before..).unwrap().to_owned()
        };
        let of = |module: &str, lines, report: &str| {
            let module = fs::canonicalize(at(module)).unwrap();
            format!("{{\"report_of\":\"{}\",\"lines\":{lines}}}\n{report}", module.display())
        };
        write(&at("a/b/target/failsafe-reports/TEST-one.xml"), "<testsuite>one</testsuite>\n");
        write(&at("build/test-results/test/TEST-two.xml"), "<testsuite>two");
        assert_eq!(taken(&mut watcher, false), of("a/b", 2, "<testsuite>one</testsuite>\n\n"));
        assert_eq!(taken(&mut watcher, false), "");
        let half = at("build/test-results/test/TEST-three.xml");
        write(&half, "<?xml version=\"1.0\"?><testsuite><properties><property name=\"a\"/>");
        assert_eq!(taken(&mut watcher, false), "", "it is not written to its end");
        fs::remove_file(half).unwrap();
        write(&at("a/b/target/failsafe-reports/TEST-one.xml"), "<testsuite>again</testsuite>");
        let again = of("a/b", 2, &format!("{REPORT_AGAIN}\n<testsuite>again</testsuite>\n"));
        assert_eq!(taken(&mut watcher, false), again);
        // What is of an earlier run comes for the first time, though it was there.
        write(&at("target/surefire-reports/TEST-old.xml"), "<testsuite name=\"new\"/>");
        let both = of("", 1, "<testsuite name=\"new\"/>\n") + &of("", 1, "<testsuite>two\n");
        assert_eq!(taken(&mut watcher, true), both);
    }
}
